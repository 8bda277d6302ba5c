"""The roof of the house: what needs both the generator and the solvers.

Here is the command `blurphys demo`, and here the learned networks will stand, which call the solvers' steps.
"""
