"""What CuPy offers of NumPy, as facts: which functions, ufuncs and methods, and which arguments each takes.

    pip install cupy-cuda13x && python tests/cupy_api.py

writes `cupy_api.json`, which lets the strict double (`strict.py`) do its work where CuPy has no wheel.  CuPy imports
without a GPU.  `test_strict.py` compares the file with an installed CuPy of the same version.
"""

import inspect
import json
import re
from pathlib import Path

FILE = Path(__file__).with_name("cupy_api.json")
MODULES = ["", "linalg", "fft", "lib.stride_tricks"]
METHODS = ["all", "any", "argmax", "argmin", "argsort", "astype", "clip", "copy", "cumsum", "diagonal", "dot", "fill",
           "flatten", "item", "max", "mean", "min", "nonzero", "prod", "ravel", "repeat", "reshape", "round", "sort",
           "squeeze", "std", "sum", "swapaxes", "take", "trace", "transpose", "var", "view"]


def parameters(f):
    """[[name, kind, has a default]] of a function; of a compiled method, read from the first line of its docstring."""
    try:
        signature = inspect.signature(f)
    except ValueError:
        said = re.search(r"\((.*?)\)", f.__doc__)[1].split(", ")
        text = ", ".join(word.split()[-1] for word in said if word != "self")      # without the C types
        signature = inspect.signature(eval(f"lambda {text}: 0"))
    return [[p.name, int(p.kind), p.default is not p.empty] for p in signature.parameters.values()]


def read(cupy, numpy):
    api = {"version": cupy.__version__, "functions": {}, "ufuncs": [], "methods": {}}
    for module in MODULES:
        there, here = cupy, numpy
        for part in filter(None, module.split(".")):
            there, here = getattr(there, part), getattr(here, part)
        for name in sorted(set(dir(there)) & set(dir(here))):
            f = getattr(there, name)
            if type(f).__name__ in ("ufunc", "_GUFunc"):
                api["ufuncs"].append(name)
            elif inspect.isfunction(f) and callable(getattr(here, name)):
                api["functions"][f"{module}.{name}".lstrip(".")] = parameters(f)
    for name in METHODS:
        api["methods"][name] = parameters(getattr(cupy.ndarray, name))
    return api


if __name__ == "__main__":
    import cupy
    import numpy

    FILE.write_text(json.dumps(read(cupy, numpy), sort_keys=True) + "\n")
