"""What passes between a check and the function that is checked."""

from typing import Any, NamedTuple

import numpy as np


class Spec(NamedTuple):
    """Whom to call, and what an operator's arguments are called.  Plain values only: it is sent as JSON."""

    file: str = ""                          # path of the user's file, or "" for a module
    module: str = ""                        # dotted module, where there is no file
    name: str = ""                          # of the function, class or factory in it; "" = forward, or the only one
    backward: str = ""                      # of a gradient written by hand; "" = "backward" if there is one
    framework: str = "auto"                 # auto, numpy, torch, jax, cupy, numba, triton
    op: str = ""                            # the operator's name, for texts only
    arguments: tuple[str, ...] = ()         # positional, differentiable, in order
    optional: tuple[str, ...] = ()          # those of them that may be left out
    options: tuple[str, ...] = ()           # keyword-only
    required: tuple[str, ...] = ()          # those of them that have no default
    aliases: dict[str, Any] = {}            # user's name: operator's, or [operator's, [[its value, user's value], …]]
    weights: dict[str, str] = {}            # argument: path of a weight in a module or layer, ".T" for its transpose,
                                            # "[0/3]" for a third of it, "[0:64]" for rows
    seed: int = 0
    defaults: dict[str, Any] = {}           # of optional arguments and options
    outputs: tuple[str, ...] = ("y",)       # what the operator's formulas call each array of its output
    device: str = ""                        # "cpu", "cuda"; "" = the framework's own choice


class Accepts(NamedTuple):
    """How a function can be called."""

    framework: str = ""
    takes: tuple[str, ...] = ()             # the operator's arguments and options that it has a place for
    gradient: str = ""                      # "backward", "autograd", or "" for none
    device: str = "cpu"
    dtypes: tuple[str, ...] = ()            # that it can be given
    values: dict[str, Any] = {}             # of an option, the only values that it can be given, if not all
    notes: tuple[str, ...] = ()             # "q is called query"
    problem: str = ""                       # why it cannot be called at all; "" = it can


class Problem(NamedTuple):
    """A promise that one call did not keep."""

    kind: str           # mutated, aliases, changing, shape, dtype, device, missing, raised, unsupported, resource,
                        # crash, forged
    says: str           # "q was written", "TypeError: …"
    part: str = ""      # "y", "dq", or "" for all


class Answer(NamedTuple):
    """One call: what came back, as NumPy arrays (bfloat16 as float32), and what was seen on the way."""

    y: tuple[np.ndarray, ...] = ()                          # the leaves of the output
    grads: tuple[np.ndarray | None, ...] | None = None      # one per argument given; None = it has no gradient
    inner: dict[str, np.ndarray] = {}                       # intermediates that the function returned or named
    dtypes: dict[str, str] = {}                             # of "y", "y1", "dq" …, as the framework calls them
    problems: tuple[Problem, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()                             # on what was built for this call
