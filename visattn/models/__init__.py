"""Operators made of operators: forward and backward by hand, weights as a tree, under the contract of `visattn.ops`."""

from visattn._namespace import lazy

__getattr__, __dir__ = lazy(__name__, __path__)
