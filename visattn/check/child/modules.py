"""What can be called, whatever it is: a function, a class, a torch module, a keras layer, a function that builds one.

Each becomes an `Opened`: a function of arrays, of which some are weights that live in the module.  Weights are put in
by value and are arguments like any other, so that the framework's own gradient reaches them in the operator's layout.
"""

import inspect
import re
import sys
from collections.abc import Callable
from inspect import Parameter
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from .adapt import Broken, Fit, forward_fit, signature_of
from .frameworks import Numpy
from .records import Spec


class Opened(NamedTuple):
    """A function of arrays, for one case."""

    fit: Fit
    run: Callable[[list, dict[str, Any], dict[str, Any]], Any]      # of args, keywords, weights by operator's name
    weights: tuple[str, ...] = ()           # the operator's arguments that go to `run` as weights
    used: tuple[str, ...] = ()              # those, and options, with which it was built: it does not get them again
    lost: dict[str, str] = {}               # of these, those without a gradient, and why
    backward: Callable[..., Any] | None = None
    notes: tuple[str, ...] = ()


class Callee:
    """Something that can be called with an operator's arguments."""

    fit: Fit                                        # how, as far as that is known before it is built
    takes: tuple[str, ...]
    dtypes: tuple[str, ...] | None = None           # that it can be given, if not all of its framework
    backward: Callable[..., Any] | None = None      # its own method

    def open(self, values: dict[str, np.ndarray], options: dict[str, Any], dtype: str, framework: Numpy) -> Opened:
        """Ready for one case.  Raises Broken, and what a function that builds it raises."""
        raise NotImplementedError

    def backward_signature(self, given: Callable[..., Any] | None) -> inspect.Signature | None:
        """Of the gradient that will be called: the object's own method, or that given."""
        if self.backward is None:
            return None if given is None else signature_of(given)
        found = signature_of(self.backward)
        bound = found is None or inspect.ismethod(self.backward)
        return found if bound else found.replace(parameters=[*found.parameters.values()][1:])   # type: ignore[union-attr]


def callee_of(thing: Any, name: str, spec: Spec) -> Callee:
    """The kind of Callee that something is."""
    if inspect.isfunction(thing) and (name.startswith("build") or spec.weights):
        return Factory(thing, name, spec)
    if isinstance(thing, type) and not _is_autograd_function(thing):
        framework = _is_torch(thing) or _is_keras(thing)
        return Instance(thing(), name, spec) if framework and _needs_nothing(thing) else Factory(thing, name, spec)
    return Instance(thing, name, spec) if _is_torch(thing) or _is_keras(thing) else Function(thing, name, spec)


def _needs_nothing(kind: type) -> bool:
    """Can it be made without arguments?"""
    signature = signature_of(kind)
    return signature is not None and all(
        p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature.parameters.values())


class Function(Callee):
    """A plain function; also `apply` of a torch.autograd.Function."""

    def __init__(self, function: Callable[..., Any], name: str, spec: Spec):
        self.function = function
        signature = signature_of(function)
        if _is_autograd_function(function):
            self.function = function.apply                                          # type: ignore[attr-defined]
            signature = signature_of(function.forward)                              # type: ignore[attr-defined]
            if signature is not None:
                own = [p.replace(kind=Parameter.POSITIONAL_ONLY) if p.kind is Parameter.POSITIONAL_OR_KEYWORD else p
                       for p in signature.parameters.values()]
                plain = function.setup_context is _plain_setup(function)            # type: ignore[attr-defined]
                signature = inspect.Signature(own[1:] if plain else own)
        self.fit = forward_fit(signature, name, spec)
        self.takes = self.fit.takes

    def open(self, values: dict[str, np.ndarray], options: dict[str, Any], dtype: str, framework: Numpy) -> Opened:
        return Opened(self.fit, lambda args, keywords, weights: self.function(*args, **keywords))


def _is_autograd_function(function: Any) -> bool:
    return isinstance(function, type) and any(
        base.__module__ == "torch.autograd.function" and base.__name__ == "Function" for base in function.__mro__)


def _plain_setup(function: Any) -> Any:
    """torch's own `setup_context`: while it stands, forward's first parameter is ctx."""
    own = (base for base in function.__mro__ if base.__module__ == "torch.autograd.function")
    return next(base for base in own if base.__name__ == "_SingleLevelFunction").setup_context


class Instance(Callee):
    """A module or layer that is there already; its sizes are fixed."""

    def __init__(self, module: Any, name: str, spec: Spec):
        self.module, self.spec, self.name = module, spec, name
        self.fit = _call_fit(module, name, spec, spec.weights)
        paths = _paths(module)
        if self.fit.problem and not spec.weights and paths:
            hint = f"if they are weights of {name}, say which: it has {', '.join(paths)}"
            self.fit = self.fit._replace(problem=f"{self.fit.problem}; {hint}")
        places = [place_of(said) for said in spec.weights.values()]
        unknown = [place.path for place in places if place.path not in paths]
        if unknown:
            has = ", ".join(paths) or "none"
            self.fit = self.fit._replace(problem=f"{name} has no weight {unknown[0]}; it has {has}")
        notes = [f"{n} is {said}" for n, said in spec.weights.items()]
        whole = {place.path for place in places if place.cut is None}
        free = [f"the rest of {path}" if any(place.path == path for place in places) else path
                for path in paths if path not in whole and _rest(path, places, paths)]
        if free:
            notes.append(f"no argument of {spec.op} is put into {', '.join(free)}: kept as they are")
        if paths:
            notes.append("its sizes are fixed: cases of others are left out")
        notes += in_training(module)
        self.fit = self.fit._replace(notes=(*self.fit.notes, *notes))
        self.takes = (*spec.weights, *self.fit.takes)
        self.dtypes = (str(module.compute_dtype),) if _is_keras(module) else None

    def open(self, values: dict[str, np.ndarray], options: dict[str, Any], dtype: str, framework: Numpy) -> Opened:
        weights = tuple(n for n in self.spec.weights if n in values)
        layouts = {n: _put(self.spec.weights[n], values[n], _paths(self.module), fixed=True) for n in weights}
        return Opened(self.fit, _functional(self.module, layouts, dtype, framework), weights)


class Factory(Callee):
    """A function `build(**arrays)`, or a class: gets a case's NumPy arrays by their names, gives what is called."""

    def __init__(self, build: Callable[..., Any], name: str, spec: Spec):
        self.build, self.name, self.spec = build, name, spec
        self.made = forward_fit(signature_of(build), name, spec, whole=False)
        problem = self.made.problem
        if problem and isinstance(build, type):
            problem += f". Or write def build(**arrays), which gets the arrays of a case and returns the {name} for it"
        self.fit = Fit(name, notes=self.made.notes, problem=problem)
        self.backward = _own_backward(build) if isinstance(build, type) else None
        self.takes = (*spec.arguments, *spec.options)
        if isinstance(build, type) and not problem:
            inner = signature_of(_call_of(build))
            if inner is not None:
                own = inspect.Signature([p for i, p in enumerate(inner.parameters.values()) if i])
                fit = forward_fit(own, name, spec, elsewhere={*self.made.takes, *spec.weights})
                self.fit = fit._replace(notes=(*self.made.notes, *fit.notes))
                self.takes = tuple(dict.fromkeys((*self.made.takes, *spec.weights, *fit.takes)))

    def open(self, values: dict[str, np.ndarray], options: dict[str, Any], dtype: str, framework: Numpy) -> Opened:
        everything = {**values, **options}
        cast = {n: _as(value, dtype) for n, value in everything.items() if n in self.made.takes}
        args, keywords = self.made.bind(cast)
        with _policy(self.build, dtype):
            made = self.build(*args, **keywords)
        if not callable(made) and not hasattr(made, "forward"):
            raise Broken("missing", f"{self.name} returned a {type(made).__name__}, which cannot be called")
        if _is_keras(made) and not made.built:
            fit = self._fit(made)
            inputs = {n: framework.array(v, dtype) for n, v in everything.items() if n in fit.takes
                      and isinstance(v, np.ndarray)}
            args, keywords = fit.bind(inputs | {n: v for n, v in options.items() if n in fit.takes and n not in inputs})
            with _policy(self.build, dtype):
                made(*args, **keywords)
        fit = self._fit(made)
        paths = _paths(made)
        layouts: dict[str, Layout] = {}
        lost: dict[str, str] = {}
        for n in values:
            if n in fit.takes:
                continue
            if n in self.spec.weights:
                layouts[n] = _put(self.spec.weights[n], values[n], paths)
            elif found := _holding(values[n], paths, {path for path, _ in layouts.values()}):
                layouts[n] = found
            elif n not in self.made.takes:
                raise Broken("unsupported", f"{self.name} has no place for {n}")
            elif _own_backward(made) is None:
                lost[n] = (f"{n} is no argument of what {self.name} returned, and no weight of it holds its values; "
                           f"say which it is: it has {', '.join(paths) or 'none'}")
        used = tuple(n for n in everything if n not in fit.takes and (n in layouts or n in self.made.takes))
        run = _functional(made, layouts, dtype, framework)
        return Opened(fit, run, tuple(layouts), used, lost, _own_backward(made), tuple(in_training(made)))


    def _fit(self, made: Any) -> Fit:
        """How what was built is called: with what it names; *args and **keywords get nothing of what built it."""
        fit = _call_fit(made, self.name, self.spec, self.spec.weights, whole=False)
        if fit.problem:
            fit = _call_fit(made, self.name, self.spec, {*self.made.places.values(), *self.spec.weights})
        if fit.problem:
            raise Broken("raised", fit.problem)
        spread = {*self.made.takes} - {*fit.places.values()}
        return fit._replace(starred=tuple(n for n in fit.starred if n not in spread),
                            rest=tuple(n for n in fit.rest if n not in spread))


def _call_fit(module: Any, name: str, spec: Spec, elsewhere: Any, whole: bool = True) -> Fit:
    return forward_fit(signature_of(_call_of(module)), name, spec, elsewhere, whole)


def _call_of(thing: Any) -> Callable[..., Any]:
    """What computes: `call` of a keras layer, `forward` of another object or class, or the thing itself."""
    if inspect.isroutine(thing):
        return thing
    return getattr(thing, "call" if _is_keras(thing) else "forward", None) or thing.__call__


def _own_backward(made: Any) -> Callable[..., Any] | None:
    """`backward` of an object or class that is no module of a framework."""
    return None if _is_torch(made) or _is_keras(made) else getattr(made, "backward", None)


def _as(value: Any, dtype: str) -> Any:
    """A copy of an array in the precision of the case, where NumPy has it."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    return value.astype("float32" if dtype == "bfloat16" else dtype)


def _is_torch(thing: Any) -> bool:
    return _has_base(thing, "torch.nn.modules", "Module") and not _is_keras(thing)


def _is_keras(thing: Any) -> bool:
    return _has_base(thing, "keras.", "Layer")


def _has_base(thing: Any, module: str, name: str) -> bool:
    kind = thing if isinstance(thing, type) else type(thing)
    return any(base.__module__.startswith(module) and base.__name__ == name for base in kind.__mro__)


def in_training(module: Any) -> list[str]:
    """A note, where a torch module is in training mode and has layers that do something else then; else none."""
    if not _is_torch(module):
        return []
    found = [f"{type(m).__name__} ({path})" if path else type(m).__name__ for path, m in module.named_modules()
             if m.training and ("BatchNorm" in type(m).__name__ or _drops(m))]
    return [f"in training mode: {', '.join(found)}. Call eval(), unless that is meant"] if found else []


def _drops(module: Any) -> bool:
    """Does it leave out numbers by chance?"""
    names = ("p", "rate", "drop_prob") if "Drop" in type(module).__name__ else ("dropout",)
    rates = [getattr(module, name, None) for name in names]
    return any(isinstance(rate, (int, float)) and rate > 0 for rate in rates)


class _policy:
    """New keras layers compute in the precision of the case."""

    def __init__(self, build: Any, dtype: str):
        self.dtype = dtype

    def __enter__(self) -> None:
        self.config = sys.modules["keras"].config if "keras" in sys.modules else None
        if self.config is not None:
            self.before = self.config.dtype_policy()
            self.config.set_dtype_policy(self.dtype)

    def __exit__(self, *error: Any) -> None:
        if self.config is not None:
            self.config.set_dtype_policy(self.before)


def _paths(module: Any) -> dict[str, Any]:
    """The trainable weights of a module or layer: path, and what is there."""
    if _is_torch(module):
        return dict(module.named_parameters())
    if _is_keras(module):
        return _keras_paths(module)
    return {}


def _keras_paths(layer: Any, path: str = "", seen: frozenset = frozenset()) -> dict[str, Any]:
    """Attributes that lead to the variables of a layer: "kernel", "reduce.kernel", "blocks.0.kernel"."""
    if id(layer) in seen:
        return {}
    seen |= {id(layer)}
    found: dict[str, Any] = {}
    variables = {id(v): v for v in layer.variables}
    for name, value in [*vars(layer).items(), *(vars(layer).get("_modules") or {}).items()]:
        clean = path + name.lstrip("_")
        if id(value) in variables:
            found.setdefault(clean, value)
        elif _is_keras(value):
            found |= {p: v for p, v in _keras_paths(value, clean + ".", seen).items() if p not in found}
        elif isinstance(value, (list, tuple)) and not name.startswith("_"):
            for i, part in enumerate(value):
                if _is_keras(part):
                    found |= _keras_paths(part, f"{clean}.{i}.", seen)
    once: dict[int, str] = {}
    for p, v in found.items():
        once.setdefault(id(v), p)
    return {p: found[p] for p in once.values()}


class Place(NamedTuple):
    """Where a weight lies: at a path, transposed for ".T", and of that some rows."""

    path: str
    turned: bool = False
    cut: tuple[int, str, int] | None = None         # (a, ":", b) for [a:b]; (i, "/", n) for [i/n], of n equal parts

    def rows(self, count: int) -> tuple[int, int]:
        """The first row, and the one after the last, of so many.  Raises Broken."""
        a, sign, b = self.cut or (0, ":", count)
        if sign == "/" and (a >= b or count % b):
            raise Broken("raised", f"{self.path} has {count} rows: there is no part {a} of {b} equal ones")
        rows = (count // b * a, count // b * (a + 1)) if sign == "/" else (a, b)
        if not rows[0] < rows[1] <= count:
            raise Broken("raised", f"{self.path} has {count} rows: there are none from {rows[0]} to {rows[1]}")
        return rows


def place_of(said: str) -> Place:
    """The Place that is meant by "qkv.weight[0/3]", "qkv.weight.T[0:64]", "fc.weight.T", "fc.weight"."""
    whole, cut = said, None
    if found := re.fullmatch(r"(.+)\[(\d+)([:/])(\d+)\]", said):
        whole, cut = found[1], (int(found[2]), found[3], int(found[4]))
    return Place(whole.removesuffix(".T"), whole.endswith(".T"), cut)


def _rest(path: str, places: list[Place], paths: dict[str, Any]) -> bool:
    """Are there rows of a weight that no argument is put into?"""
    mine = [place for place in places if place.path == path]
    shape = tuple(paths[path].shape)
    try:
        count = shape[-1 if mine[0].turned else 0] if mine else 1
        return count != len({row for place in mine for row in range(*place.rows(count))})
    except Broken:
        return False                                # said where a case is put in


Layout = tuple[str, Callable[[Any, Any], Any]]      # a path, and (array, what lies there) as it is to lie there


def _put(said: str, value: np.ndarray, paths: dict[str, Any], fixed: bool = False) -> Layout:
    """Where a named weight goes, and how: whole or into some rows, as it is or transposed, without or with axes of one
    element."""
    place = place_of(said)
    if place.path not in paths:
        raise Broken("raised", f"there is no weight {place.path}; there are {', '.join(paths) or 'none'}")
    lying = tuple(paths[place.path].shape)[::-1 if place.turned else 1]
    backwards = tuple(range(len(lying)))[::-1]
    first, end = place.rows(lying[0]) if lying else (0, 0)
    shape = (end - first, *lying[1:]) if lying else ()
    if [n for n in value.shape if n != 1] != [n for n in shape if n != 1]:
        says = f"{said} is {shape}, the case has {value.shape}{': sizes are fixed' if fixed else ''}"
        raise Broken("unsupported", says)

    def lay(array: Any, held: Any) -> Any:
        array = array.reshape(shape)
        if place.cut is not None:
            around = _transposed(held, backwards) if place.turned else held
            array = _joined([around[:first], array, around[end:]])
        return _transposed(array, backwards) if place.turned else array

    return place.path, lay


def _joined(parts: list[Any]) -> Any:
    """Arrays one after the other, along their first axis."""
    if type(parts[0]).__module__.partition(".")[0] == "torch":
        return sys.modules["torch"].cat(parts)
    return sys.modules["keras"].ops.concatenate(parts)


def _holding(value: np.ndarray, paths: dict[str, Any], used: set[str]) -> Layout | None:
    """The one weight that holds these values, in whatever order of axes."""
    found: list[Layout] = []
    for path, weight in paths.items():
        held = _values(weight)
        if path in used or held.size != value.size or not held.size:
            continue
        bare = [n for n in held.shape if n != 1]
        for order in permutations(range(value.ndim)) if value.ndim <= 5 else ():
            turned = value.transpose(order)
            if [n for n in turned.shape if n != 1] == bare and np.array_equal(
                    turned.reshape(held.shape).astype(np.float32), held.astype(np.float32), equal_nan=True):
                found.append((path, _laid(order, held.shape)))
                break
    return found[0] if len(found) == 1 else None


def _laid(order: tuple[int, ...], shape: tuple[int, ...]) -> Callable[[Any, Any], Any]:
    return lambda array, held: _transposed(array, order).reshape(shape)


def _values(weight: Any) -> np.ndarray:
    value = weight.value if hasattr(weight, "value") else weight
    value = value.detach().cpu() if hasattr(value, "detach") else value
    if str(value.dtype) == "torch.bfloat16":
        value = value.float()
    return np.asarray(value).astype(np.float64)


def _transposed(array: Any, order: tuple[int, ...]) -> Any:
    return array.permute(*order) if hasattr(array, "permute") else array.transpose(order)


def _functional(module: Any, layouts: dict[str, Layout], dtype: str, framework: Numpy) -> Callable:
    """The module as a function of its inputs and its weights: nothing in it is changed."""
    if _is_torch(module):
        return _functional_torch(module, layouts, dtype, framework)
    if _is_keras(module):
        return _functional_keras(module, layouts)
    call = _call_of(module)
    return lambda args, keywords, weights: call(*args, **keywords)


def _functional_torch(module: Any, layouts: dict[str, Layout], dtype: str, framework: Any) -> Callable:
    torch = framework.torch

    def run(args: list, keywords: dict[str, Any], weights: dict[str, Any]) -> Any:
        state = {}
        for path, tensor in (*module.named_parameters(), *module.named_buffers()):
            wanted = getattr(torch, dtype) if tensor.is_floating_point() else tensor.dtype
            state[path] = tensor.detach().to(device=framework.device, dtype=wanted, copy=True)
        for n, array in weights.items():
            path, lay = layouts[n]
            state[path] = lay(array, state[path])
        return torch.func.functional_call(module, state, tuple(args), keywords)

    return run


def _functional_keras(layer: Any, layouts: dict[str, Layout]) -> Callable:
    def run(args: list, keywords: dict[str, Any], weights: dict[str, Any]) -> Any:
        paths = _keras_paths(layer)
        new: dict[int, Any] = {}
        for n, (path, lay) in layouts.items():
            new[id(paths[path])] = lay(weights[n], new.get(id(paths[path]), paths[path].value))
        trainable = [new.get(id(v), v.value) for v in layer.trainable_variables]
        fixed = [new.get(id(v), v.value) for v in layer.non_trainable_variables]
        return layer.stateless_call(trainable, fixed, *args, **keywords)[0]

    return run
