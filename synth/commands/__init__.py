"""`blurphys blur`, `blurphys synth`, `blurphys bench-synth`, and the options they share."""
