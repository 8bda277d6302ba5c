"""Commands of the ground floor, one module each; `blurphys.cli` finds them by entry points."""
