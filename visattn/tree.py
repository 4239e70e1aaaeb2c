"""Trees: nested tuples, namedtuples, lists and dicts whose leaves are arrays.

A layer's weights, their gradients and an optimiser's moments are trees of one shape, so one line of
`tree.map` is an optimiser, a cast or a copy.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def is_leaf(tree: Any) -> bool:
    """Anything with a shape: NumPy arrays and scalars, CuPy arrays, any array that NumPy dispatches to."""
    return hasattr(tree, "shape")


def leaves(tree: Any) -> list[Any]:
    """The arrays of a tree, in a fixed order."""
    return [leaf for _, leaf in named_leaves(tree)]


def named_leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """("block.0.w", array) for every array of a tree: names of fields, keys, and numbers of places."""
    if is_leaf(tree):
        yield path, tree
    elif tree is not None:
        for name, branch in branches(tree):
            yield from named_leaves(branch, f"{path}.{name}" if path else name)


def branches(tree: Any) -> list[tuple[str, Any]]:
    """[(name, subtree)] of one level."""
    if isinstance(tree, dict):
        return [(str(key), branch) for key, branch in tree.items()]
    if hasattr(tree, "_fields"):
        return list(zip(tree._fields, tree, strict=True))
    if isinstance(tree, (tuple, list)):
        return [(str(i), branch) for i, branch in enumerate(tree)]
    raise TypeError(f"a tree is made of tuples, lists, dicts and arrays; got {type(tree).__name__}")


def map(f: Callable[..., Any], *trees: Any) -> Any:
    """Apply f to corresponding arrays of equally built trees; None stays None."""
    first = trees[0]
    if is_leaf(first):
        return f(*trees)
    if first is None:
        return None
    if isinstance(first, dict):
        return {key: map(f, *(tree[key] for tree in trees)) for key in first}
    mapped = [map(f, *parts) for parts in zip(*trees, strict=True)]
    return type(first)(*mapped) if hasattr(first, "_fields") else type(first)(mapped)


def cast(tree: Any, dtype: Any) -> Any:
    """The tree with its floating-point arrays in another precision; integers and booleans stay."""
    return map(lambda a: a.astype(dtype) if np.issubdtype(a.dtype, np.floating) else a, tree)


def freeze(tree: Any) -> Any:
    """Make every array read-only, so that a function that writes to its inputs fails at that very line."""
    for leaf in leaves(tree):
        if hasattr(leaf, "setflags"):
            leaf.setflags(write=False)
    return tree


def dot(a: Any, b: Any) -> Any:
    """⟨a, b⟩: the sum over all arrays of a tree of the products of corresponding elements."""
    return sum((u * v).sum() for u, v in zip(leaves(a), leaves(b), strict=True))
