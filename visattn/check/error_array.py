"""An array that carries, beside each value, how far an honest computation may be from it.

    a = Bounded(values, precision=PRECISIONS["float32"])            # exact so far
    b = np.exp(a @ a.T)                                             # any NumPy calls
    b.value, b.error                                                # |what float32 may give - value| ≤ error

Values are float64.  Booleans and integers carry an error where they are undecided, and are ordinary arrays where they
are not.  What each call of NumPy does to the errors is said in `error_rules`,
from which the array is imported to be used.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from visattn.check.precision import Precision

Rule = Callable[..., Any]
UFUNCS: dict[str, Rule] = {}
FUNCTIONS: dict[str, Rule] = {}
CREATIONS: dict[str, Rule] = {}
MOVES: set[str] = set()                             # what only moves numbers: done to values and errors alike


class Bounded(NDArrayOperatorsMixin):
    """Values, and for each a bound of its error, in one precision."""

    def __init__(self, value: Any, error: Any = None, *, precision: Precision) -> None:
        self.value = np.asarray(value)
        if error is None:
            self.error = np.zeros(self.value.shape)
        else:
            error = np.asarray(error, float)
            self.error = np.where(np.isnan(error), np.inf, error) if np.isnan(error).any() else error
        self.precision = precision

    @classmethod
    def of(cls, value: np.ndarray, error: np.ndarray, precision: Precision) -> "Bounded":
        """Of a value and an error that are known to be arrays of one shape, without a NaN in the error."""
        made = cls.__new__(cls)
        made.value, made.error, made.precision = value, error, precision
        return made

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    nbytes = property(lambda self: self.value.nbytes)
    T = property(lambda self: self._both(lambda a: a.T))

    def __repr__(self) -> str:
        return f"Bounded({self.value!r} ± {self.error!r}, {self.precision.name})"

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        if name not in UFUNCS:
            raise TypeError(f"there is no rule of error for np.{name}")
        with np.errstate(all="ignore"):
            result = UFUNCS[name](*inputs, **options)
        if out is None or result is None:
            return result
        target, = out
        if not isinstance(target, Bounded):
            raise TypeError("an array without errors cannot take a result that has them")
        target[...] = result
        return target

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        name = function.__name__
        with np.errstate(all="ignore"):
            if name in CREATIONS:                               # np.zeros(shape, like=self): NumPy keeps `like`
                return CREATIONS[name](self, *args, **options)
            if name in FUNCTIONS:
                return FUNCTIONS[name](*args, **options)
            if name in MOVES:
                return FUNCTIONS["move"](function, args, options)
        raise TypeError(f"there is no rule of error for np.{name}")

    def _both(self, move: Callable[[np.ndarray], np.ndarray]) -> "Bounded":
        """Something that only moves numbers, done to the values and to the errors."""
        return Bounded.of(move(self.value), move(self.error), self.precision)

    def __getitem__(self, index: Any) -> "Bounded":
        index = plain(index)
        return self._both(lambda a: np.asarray(a[index]))

    def __setitem__(self, index: Any, value: Any) -> None:
        index = plain(index)
        self.value[index], self.error[index] = values(value), errors(value)

    def reshape(self, *shape: Any) -> "Bounded":
        return self._both(lambda a: a.reshape(*shape))

    def swapaxes(self, a: int, b: int) -> "Bounded":
        return self._both(lambda x: x.swapaxes(a, b))

    def transpose(self, *axes: Any) -> "Bounded":
        return self._both(lambda a: a.transpose(*axes))

    def copy(self, *_: Any) -> "Bounded":
        return self._both(np.copy)

    def repeat(self, n: Any, axis: int | None = None) -> "Bounded":
        return self._both(lambda a: a.repeat(n, axis))

    def ravel(self) -> "Bounded":
        return self._both(np.ravel)

    def astype(self, dtype: Any) -> Any:
        if np.issubdtype(dtype, np.floating):
            return self.copy()
        whole, e = np.trunc(self.value), self.error
        ends = np.maximum(np.trunc(self.value + e) - whole, whole - np.trunc(self.value - e))
        reach = np.where(self.value == whole, np.floor(e + 0.5), ends)          # whole ones are so for everybody
        return Bounded(whole.astype(dtype), reach, precision=self.precision).decided()

    def decided(self) -> Any:
        """A plain array, where it is one of booleans or integers without an undecided element."""
        if self.value.dtype.kind in "biu" and not self.error.any():
            return self.value
        return self

    def take(self, indices: Any, axis: int | None = None) -> "Bounded":
        return FUNCTIONS["take"](self, indices, axis)

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> "Bounded":
        return FUNCTIONS["sum"](self, axis, keepdims=keepdims)

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> "Bounded":
        return FUNCTIONS["mean"](self, axis, keepdims=keepdims)

    def cumsum(self, axis: int | None = None) -> "Bounded":
        return FUNCTIONS["cumsum"](self, axis)

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> "Bounded":
        return FUNCTIONS["max"](self, axis, keepdims=keepdims)

    def min(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> "Bounded":
        return -FUNCTIONS["max"](-self, axis, keepdims=keepdims)

    def clip(self, low: Any = None, high: Any = None) -> "Bounded":
        return FUNCTIONS["clip"](self, low, high)

    def argmax(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return FUNCTIONS["argmax"](self, axis, keepdims)

    def any(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self.value.any(axis, keepdims=keepdims)

    def all(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self.value.all(axis, keepdims=keepdims)


def values(a: Any) -> Any:
    return a.value if isinstance(a, Bounded) else np.asarray(a)


def errors(a: Any) -> Any:
    return a.error if isinstance(a, Bounded) else 0.0


def plain(index: Any) -> Any:
    """An index without errors: an undecided one is read at its value."""
    if isinstance(index, tuple):
        return tuple(map(plain, index))
    return index.value if isinstance(index, Bounded) else index
