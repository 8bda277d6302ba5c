"""What `blurphys bench` measures: our operators beside plain torch code and other packages, in one run.

`problems` states what is computed and who computes it, `measure` takes times and memory, `report` prints and stores;
`run` is the whole of it.
"""
