"""`blurphys bench-nets`: the networks' physics beside its straightforward formulations."""
