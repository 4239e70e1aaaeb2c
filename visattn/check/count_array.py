"""Arrays that count: NumPy computes, and a ledger keeps what it did and what it moved.

    ledger = Ledger()
    y, cache = op.forward(*count(args, ledger))
    ledger.multiply_adds, ledger.read, ledger.written

NumPy's dispatch protocols let the lines of an operator run on them as they stand.  What is counted:

    multiply_adds   of matmul, einsum and their like, the product of the sizes of all axes that take part; and a product
                    that is added in place to a running sum, which is how a depthwise convolution is written
    operations      one for each element of the result of an elementwise function, by kind
    reductions      one for each element that a sum, mean, maximum … takes in
    read, written   bytes, as if every call read its operands from memory and wrote its result there.  Views cost
                    nothing; an operand that is broadcast is read once; of a gather, what is gathered
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from math import isqrt, prod
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from visattn import tree

FUNCTIONS = {"exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "cbrt", "divide", "true_divide", "power",
             "float_power", "reciprocal", "floor_divide", "remainder", "mod", "fmod", "tanh", "sinh", "cosh", "sin",
             "cos", "tan", "arctan", "arctan2", "arcsin", "arccos", "hypot", "logaddexp"}
COMPARISONS = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "logical_and", "logical_or",
               "logical_not", "logical_xor", "bitwise_and", "bitwise_or", "invert", "isnan", "isfinite", "isinf",
               "signbit"}
PRODUCTS = {"dot", "inner", "tensordot", "vdot"}
REDUCTIONS = {"sum", "mean", "max", "min", "amax", "amin", "prod", "any", "all", "argmax", "argmin", "cumsum",
              "cumprod", "count_nonzero", "ptp", "var", "std"}
GATHERS = {"take", "take_along_axis", "repeat", "tile"}
ALLOCATIONS = {"zeros", "zeros_like", "ones", "ones_like", "full", "full_like", "arange", "eye"}
UNWRITTEN = {"empty", "empty_like"}


class Memory:
    """What all views of one piece of memory share: how large it is, and where its numbers come from."""

    def __init__(self, size: int, page: int, sources: "Iterable[Memory]" = (), given: bool = False) -> None:
        self.size = size                            # bytes
        self.page = page                            # of the ledger, on which it was made
        self.given = given                          # from outside
        self.sources: set[Memory] = {self} if given else set(sources)       # all that was given and went into it


class Ledger:
    """What has been done so far.  `turn` begins a new page; what a page needs of earlier ones can be asked then."""

    def __init__(self) -> None:
        self.page = -1
        self.taken: Counter[Memory] = Counter()     # bytes read of each memory, on all pages
        self.turn()

    def turn(self) -> None:
        """Forget what was counted, but not where numbers come from."""
        self.page += 1
        self.multiply_adds = self.reductions = self.read = self.written = 0
        self.operations: Counter[str] = Counter()   # arithmetic, functions, comparisons, selections
        self.here: Counter[Memory] = Counter()      # bytes read of each memory, on this page

    def inputs(self) -> int:
        """The fewest bytes that can be read on this page: what was given on it, and of earlier pages either what it
        reads of them, or what had been given there for that to be made of, if it is made once more."""
        earlier = [m for m in self.here if m.page < self.page]
        origins = set().union(*(m.sources for m in earlier))
        return (sum(min(m.size, n) for m, n in self.here.items() if m.given and m.page == self.page)
                + min(sum(min(m.size, self.here[m]) for m in earlier),
                      sum(min(m.size, self.taken[m]) for m in origins)))


def count(t: Any, ledger: Ledger) -> Any:
    """A tree of NumPy arrays as counting ones, each of them given from outside."""
    return tree.map(lambda a: CountArray(a, ledger, Memory(footprint(a), ledger.page, given=True)), t)


def footprint(a: np.ndarray) -> int:
    """Bytes of an array, each broadcast axis counted once."""
    return prod(n for n, stride in zip(a.shape, a.strides) if stride or n == 0) * a.itemsize


class CountArray(NDArrayOperatorsMixin):
    """A NumPy array, the ledger it writes into, and the memory it is a view of."""

    def __init__(self, array: np.ndarray, ledger: Ledger, memory: Memory) -> None:
        self.array, self.ledger, self.memory = np.asarray(array), ledger, memory
        self.is_product = False                     # fresh from a multiplication, and of no other use yet

    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: self.array.dtype)
    ndim = property(lambda self: self.array.ndim)
    size = property(lambda self: self.array.size)
    nbytes = property(lambda self: self.array.nbytes)
    itemsize = property(lambda self: self.array.itemsize)
    strides = property(lambda self: self.array.strides)
    T = property(lambda self: self._view(self.array.T))
    mT = property(lambda self: self._view(self.array.mT))

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a counting array would be converted to NumPy here, and count no further")

    def __repr__(self) -> str:
        return f"CountArray({self.array!r})"

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self.array)))

    def __bool__(self) -> bool:
        return bool(self.array)

    def __float__(self) -> float:
        return float(self.array)

    def __int__(self) -> int:
        return int(self.array)

    def __index__(self) -> int:
        return self.array.__index__()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        name = ufunc.__name__
        values, operands = _plain(inputs)
        into = None if out is None else out[0]
        if into is not None:
            if not isinstance(into, CountArray):
                raise TypeError(f"{name}: a counting array cannot be written into a {type(into).__name__}")
            kwargs["out"] = (into.array,)
        result = getattr(ufunc, method)(*values, **kwargs)
        if method == "at":
            touched = np.size(inputs[0].array[values[1]])
            self.ledger.operations[_kind(name)] += touched
            moved = touched * inputs[0].itemsize
            self._reads(operands[1:])
            self.ledger.read += moved
            self.ledger.written += moved
            self._learns(inputs[0], operands[1:])
            return None
        if method in ("reduce", "accumulate"):
            self.ledger.reductions += sum(a.size for a in operands[:1])
        elif name in ("matmul", "vecdot", "matvec", "vecmat"):
            self.ledger.multiply_adds += _contracted(name, *values[:2])
        elif not self._accumulates(name, into, inputs):
            self.ledger.operations[_kind(name, values)] += int(np.size(result))
        self._reads(operands)
        if into is not None:
            self.ledger.written += footprint(into.array)
            self._learns(into, operands)
            return into
        answer = self._new(result, operands)
        if name == "multiply" and method == "__call__" and isinstance(answer, CountArray):
            answer.is_product = True
        return answer

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self._call(function.__name__, function, args, kwargs)

    def _call(self, name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """What a function gives, and what it costs by its name."""
        (args, kwargs), operands = _plain((list(args), dict(kwargs)))
        result = function(*args, **kwargs)
        if not _arrays(result):
            return result                           # a shape, a dtype
        size = sum(int(np.size(r)) for r in _arrays(result))
        if all(any(np.may_share_memory(r, a.array) for a in operands) for r in _arrays(result)):
            return self._new(result, operands)      # a view
        if name in ALLOCATIONS or name in UNWRITTEN:
            self.ledger.written += footprint(result) * (name in ALLOCATIONS)
            return self._new(result, [], moves=False)
        if name == "einsum":
            self._einsum(args[0], [np.asarray(a) for a in args[1:]])
        elif name in PRODUCTS:
            self.ledger.multiply_adds += isqrt(np.size(args[0]) * np.size(args[1]) * size)
        elif name == "outer":
            self.ledger.operations["arithmetic"] += size
        elif name in REDUCTIONS:
            self.ledger.reductions += operands[0].size
            self.ledger.operations["functions"] += size * (name == "mean")
        elif name == "where":
            self.ledger.operations["selections"] += size
        elif name == "clip":
            self.ledger.operations["arithmetic"] += size
        if name in GATHERS:
            self._gathers(operands[0], sum(map(footprint, _arrays(result))))
            self._reads(operands[1:])
        else:
            self._reads(operands)
        return self._new(result, operands)

    def _einsum(self, subscripts: str, arrays: list[np.ndarray]) -> None:
        """Every combination of indices is one product, for each operand after the first; of one operand, a sum."""
        terms = re.sub(r"\s|->.*", "", subscripts).split(",")
        sizes: dict[Any, int] = {}
        for term, a in zip(terms, arrays):
            head, dots, tail = term.partition("...")
            letters = [*head, *range(-(a.ndim - len(head) - len(tail)), 0), *tail] if dots else list(term)
            for letter, n in zip(letters, a.shape):
                sizes[letter] = max(n, sizes.get(letter, n)) if n else 0
        if len(arrays) == 1:
            self.ledger.reductions += arrays[0].size
        else:
            self.ledger.multiply_adds += prod(sizes.values()) * (len(arrays) - 1)

    def _accumulates(self, name: str, into: Any, inputs: Any) -> bool:
        """`sum += a * b` is a multiply-add: the product was counted as arithmetic, and both become one."""
        if name != "add" or into is None or into is not inputs[0]:
            return False
        product = inputs[1]
        if not (isinstance(product, CountArray) and product.is_product and product.shape == into.shape):
            return False
        product.is_product = False
        self.ledger.operations["arithmetic"] -= product.size
        self.ledger.multiply_adds += product.size
        return True

    def _reads(self, operands: "list[CountArray]") -> None:
        for a in operands:
            self._gathers(a, footprint(a.array))

    def _gathers(self, a: "CountArray", moved: int) -> None:
        self.ledger.read += moved
        self.ledger.taken[a.memory] += moved
        self.ledger.here[a.memory] += moved

    def _learns(self, into: "CountArray", operands: "list[CountArray]") -> None:
        for a in operands:
            into.memory.sources |= a.memory.sources

    def _new(self, result: Any, operands: "list[CountArray]", moves: bool = True) -> Any:
        """The result as counting arrays: a view of an operand, or new memory that has been written."""
        if isinstance(result, (tuple, list)):
            parts = [self._new(r, operands, moves) for r in result]
            return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
        if not isinstance(result, (np.ndarray, np.generic)):
            return result
        result = np.asarray(result)
        for a in operands:
            if np.may_share_memory(result, a.array):
                return CountArray(result, self.ledger, a.memory)
        if moves:
            self.ledger.written += footprint(result)
        sources = (s for a in operands for s in a.memory.sources)
        return CountArray(result, self.ledger, Memory(footprint(result), self.ledger.page, sources))

    def _view(self, array: np.ndarray) -> "CountArray":
        return CountArray(array, self.ledger, self.memory)

    def __getitem__(self, index: Any) -> Any:
        plain, operands = _plain(index)
        result = np.asarray(self.array[plain])
        if result.size == 0 or np.may_share_memory(result, self.array):
            return self._view(result)
        self._gathers(self, footprint(result))
        self._reads(operands)
        return self._new(result, [self, *operands])

    def __setitem__(self, index: Any, value: Any) -> None:
        (plain, new), operands = _plain((index, value))
        place = self.array[plain]
        if isinstance(value, CountArray) and isinstance(place, np.ndarray) and _same(place, value.array):
            return                                  # the end of a[i] += b, which has been done in place
        self.array[plain] = new
        self._reads(operands)
        self.ledger.written += np.size(place) * self.itemsize
        self._learns(self, operands)

    def copy(self, *args: Any) -> Any:
        return self._call("copy", lambda a: a.copy(), (self,), {})

    def setflags(self, **flags: Any) -> None:
        self.array.setflags(**flags)

    def item(self, *args: Any) -> Any:
        return self.array.item(*args)

    def tolist(self) -> Any:
        return self.array.tolist()


def _method(name: str) -> Callable[..., Any]:
    def call(self: CountArray, *args: Any, **kwargs: Any) -> Any:
        return self._call(name, getattr(np.ndarray, name), (self, *args), kwargs)

    return call


for _name in ("sum", "mean", "max", "min", "any", "all", "prod", "argmax", "argmin", "cumsum", "var", "std", "clip",
              "dot", "take", "repeat", "reshape", "ravel", "flatten", "squeeze", "swapaxes", "transpose", "astype",
              "view", "diagonal", "round", "nonzero", "argsort"):
    setattr(CountArray, _name, _method(_name))


def _plain(value: Any) -> tuple[Any, list[CountArray]]:
    """A nest of arguments with NumPy's arrays in place of counting ones, and these in their order."""
    if isinstance(value, CountArray):
        return value.array, [value]
    if isinstance(value, (tuple, list)):
        parts = [_plain(v) for v in value]
        plain = [p for p, _ in parts]
        kept = type(value)(*plain) if hasattr(value, "_fields") else type(value)(plain)
        return kept, [a for _, found in parts for a in found]
    if isinstance(value, dict):
        parts = [_plain(v) for v in value.values()]
        return dict(zip(value, (p for p, _ in parts))), [a for _, found in parts for a in found]
    return value, []


def _arrays(result: Any) -> list[Any]:
    if isinstance(result, (tuple, list)):
        return [a for part in result for a in _arrays(part)]
    return [result] if isinstance(result, (np.ndarray, np.generic)) else []


def _kind(name: str, values: Any = ()) -> str:
    if name == "power" and len(values) > 1 and np.ndim(values[1]) == 0 and values[1] == 2:
        return "arithmetic"                         # a square
    return "functions" if name in FUNCTIONS else "comparisons" if name in COMPARISONS else "arithmetic"


def _contracted(name: str, a: np.ndarray, b: np.ndarray) -> int:
    """Products of matmul and its like: of every element of the result, as many as the summed axis is long."""
    if name == "matmul":
        rows = a.shape[:-2] if b.ndim == 1 or a.ndim == 1 else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        rows = b.shape[:-2] if a.ndim == 1 else rows
        return prod(rows) * (a.shape[-2] if a.ndim > 1 else 1) * a.shape[-1] * (b.shape[-1] if b.ndim > 1 else 1)
    if name == "vecdot":
        return prod(np.broadcast_shapes(a.shape, b.shape))
    return prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-1])) * prod(a.shape[-2:]) if name == "matvec" else \
        prod(np.broadcast_shapes(a.shape[:-1], b.shape[:-2])) * prod(b.shape[-2:])


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.strides == b.strides and a.ctypes.data == b.ctypes.data
