"""Commands of blurphys, one module each; `blurphys.cli` finds them by entry points."""
