"""A strict double of CuPy: an array that accepts exactly those NumPy calls that CuPy would take over.

Each function, ufunc and method that is called on it is looked up among CuPy's (`cupy_api.json`), its arguments are
bound to CuPy's signature, and a NumPy array among them is refused, as CuPy refuses it.  Then NumPy computes the
answer.  So "this operator runs on a GPU as it stands" is tested where there is no GPU: the calls, not the arithmetic.
"""

import inspect
import json

import cupy_api
import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from visattn import tree

API = json.loads(cupy_api.FILE.read_text())
UFUNCS = set(API["ufuncs"])
AT = {"add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"}
REDUCE = {"add", "multiply"}
SCALARS = (bool, int, float, complex, np.generic, type(None), str, slice, type(Ellipsis), type, np.dtype, range)


def put(t):
    """A tree of NumPy arrays as strict ones."""
    return tree.map(StrictArray, t)


def get(t):
    """And back."""
    return tree.map(lambda a: a.array if isinstance(a, StrictArray) else a, t)


def signature(parameters):
    return inspect.Signature([
        inspect.Parameter(name, inspect._ParameterKind(kind), default=None if default else inspect.Parameter.empty)
        for name, kind, default in parameters])


def bind(what, parameters, args, kwargs):
    try:
        signature(parameters).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"CuPy's {what} does not take these arguments: {error}") from None


def unwrap(value, what):
    if isinstance(value, StrictArray):
        return value.array
    if isinstance(value, (tuple, list)):
        return type(value)(unwrap(v, what) for v in value)
    if isinstance(value, SCALARS):
        return value
    raise TypeError(f"{what}: CuPy refuses {type(value).__module__}.{type(value).__name__} beside its own arrays")


def wrap(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return StrictArray(np.asarray(value))           # CuPy's reductions give arrays of no axes, never scalars
    if isinstance(value, (tuple, list)):
        return type(value)(map(wrap, value))
    return value


class StrictArray(NDArrayOperatorsMixin):
    def __init__(self, array):
        self.array = np.asarray(array)

    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: self.array.dtype)
    ndim = property(lambda self: self.array.ndim)
    size = property(lambda self: self.array.size)
    nbytes = property(lambda self: self.array.nbytes)
    T = property(lambda self: wrap(self.array.T))
    mT = property(lambda self: wrap(self.array.mT))

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion of a CuPy array to NumPy")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        name = ufunc.__name__
        what = f"{name}.{method}" if method != "__call__" else name
        allowed = {"__call__": UFUNCS, "at": AT, "reduce": REDUCE, "accumulate": REDUCE, "outer": UFUNCS}
        if name not in allowed.get(method, ()) and name not in API["functions"]:
            raise TypeError(f"CuPy has no {what}")
        if method == "__call__" and set(kwargs) - {"dtype", "casting"}:
            raise TypeError(f"CuPy's {what} does not take {', '.join(kwargs)}")
        values = [unwrap(v, what) for v in inputs]
        if out is not None:
            kwargs["out"] = tuple(unwrap(o, what) for o in out)
        answer = getattr(ufunc, method)(*values, **kwargs)
        if out is not None:
            return out[0]
        return wrap(answer)

    def __array_function__(self, function, types, args, kwargs):
        module = function.__module__.removeprefix("numpy").lstrip(".")
        name = f"{module}.{function.__name__}".lstrip(".")
        if name not in API["functions"]:
            raise TypeError(f"CuPy has no {name}")
        bind(name, API["functions"][name], args, kwargs)
        args, kwargs = unwrap(list(args), name), {k: unwrap(v, name) for k, v in kwargs.items()}
        return wrap(function(*args, **kwargs))

    def __getitem__(self, index):
        return wrap(self.array[unwrap(index, "indexing")])

    def __setitem__(self, index, value):
        self.array[unwrap(index, "indexing")] = unwrap(value, "assignment")

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        return (wrap(a) for a in self.array)

    def __bool__(self):
        return bool(self.array)

    def __float__(self):
        return float(self.array)

    def __int__(self):
        return int(self.array)


def _method(name):
    def call(self, *args, **kwargs):
        bind(f"ndarray.{name}", API["methods"][name], args, kwargs)
        args, kwargs = unwrap(args, name), {k: unwrap(v, name) for k, v in kwargs.items()}
        return wrap(getattr(self.array, name)(*args, **kwargs))

    return call


for _name in API["methods"]:
    setattr(StrictArray, _name, _method(_name))
