"""The side of a check that runs somebody's code.

These files import nothing but the standard library and NumPy (and the framework of the function), never visattn: they
are copied into the empty folder in which the function runs, so nothing of the reference is there to be read.
"""
