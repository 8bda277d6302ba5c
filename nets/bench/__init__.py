"""`blurphys bench-nets`: the networks' physics compared with its straightforward formulation in torch."""
