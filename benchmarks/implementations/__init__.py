"""Right implementations of the operators, written as strangers write them: what the checker must never reject.

One file an operator.  A function's name begins with what it is written in:

    torch_…     called with tensors and the operator's options; its gradients by autograd; here, too, are modules of
                timm and, as torch_transformers_…, of transformers, where that is installed
    jax_…       called with jax arrays, compiled; its gradients by jax.vjp
    keras_…     keras.ops on torch
    numpy_…     called with a Machine first; gives the output and a function from dy to the gradients

A function raises NotTaken for what it has no place for.  CONVENTIONS = {function: change} says by which convention of a
library a function is right where the operators decide otherwise.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

PREFIXES = ("torch", "jax", "keras", "numpy")


class NotTaken(NotImplementedError):
    """An option or a shape for which an implementation has no place."""


class Machine(NamedTuple):
    """Arithmetic of a kernel in NumPy: what is loaded and stored is rounded, what is summed is kept in `dtype`."""

    name: str
    dtype: Any
    stored: Callable[[Any], Any]                # to memory
    operand: Callable[[Any], Any]               # on the way into a unit that multiplies matrices

    def dot(self, a: Any, b: Any) -> Any:
        return np.matmul(self.operand(a), self.operand(b))


def machines(precision: str) -> list[Machine]:
    """The machines of a precision: of tf32 two, for there are units that round and units that cut."""
    def same(a: Any) -> Any:
        return np.asarray(a)

    if precision in ("float64", "float32"):
        return [Machine("plain", np.dtype(precision), same, same)]
    if precision == "tf32":
        return [Machine("rounding", np.dtype("float32"), same, lambda a: ten_bits(a, 0x1000)),
                Machine("cutting", np.dtype("float32"), same, lambda a: ten_bits(a, 0))]
    rounded = to_half if precision == "float16" else to_bfloat
    return [Machine("sums in float32", np.dtype("float32"), rounded, rounded)]


def ten_bits(a: Any, more: int) -> Any:
    """A float32 of which ten bits are left, as tf32 has them; `more` is half of the last for rounding, 0 for cutting.
    Halves go away from zero."""
    bits = np.array(a, np.float32).view(np.uint32) + np.uint32(more)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def to_half(a: Any) -> Any:
    with np.errstate(over="ignore"):
        return np.asarray(a, np.float32).astype(np.float16).astype(np.float32)


def to_bfloat(a: Any) -> Any:
    """The nearest bfloat16, as a float32."""
    a = np.array(a, np.float32)
    bits = a.view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return np.where(np.isfinite(a), bits.astype(np.uint32).view(np.float32), a)


def summed(d: Any, shape: tuple[int, ...]) -> Any:
    """The gradient of an array that was broadcast: summed to its shape."""
    d = d.sum(tuple(range(d.ndim - len(shape))))
    for axis, n in enumerate(shape):
        if n == 1 and d.shape[axis] != 1:
            d = d.sum(axis, keepdims=True)
    return d


def opened(q: Any, k: Any, mask: Any, causal: str | None) -> Any:
    """Which pairs of torch's queries and keys are open, or None."""
    T, S = q.shape[-2], k.shape[-2]
    if causal is not None:
        corner = q.new_ones(T, S).tril(0 if causal == "top_left" else S - T) > 0
        mask = corner if mask is None else mask & corner
    return mask


def refuse(**options: Any) -> None:
    """NotTaken for each option that is given."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise NotTaken(name)


def pair(n: Any) -> tuple[int, int]:
    return (n, n) if isinstance(n, int) else tuple(n)


def tiles(n: int, tile: int, order: str) -> list[Any]:
    """The numbers 0 … n - 1 in tiles, one after another."""
    made = [np.arange(i, min(i + tile, n)) for i in range(0, n, tile)]
    if order == "descending":
        return made[::-1]
    if order == "random":
        return [made[i] for i in np.random.default_rng(n).permutation(len(made))]
    return made
