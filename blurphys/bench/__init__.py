"""The benchmark `blurphys bench`: our operators compared with plain torch code and other packages, in one run.

`problems` defines what is computed and by which code, `measure` measures time and memory, `report` prints and stores
the results; `run` does all of it.
"""
