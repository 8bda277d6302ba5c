"""What `blurphys bench` measures: our operators beside plain torch code and other packages, in one run.

`problems` states what is computed, `opponents` computes it the plain way, `timing` and `memory` measure, `report`
prints and stores.
"""
