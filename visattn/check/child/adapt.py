"""Which parameter of somebody's function is which argument of an operator: by name, then by place, never by guess.

    fit = forward_fit(signature_of(f), "f", spec)       # fit.problem says why not, fit.notes what is called what
    args, keywords = fit.bind({"q": q, "k": k, "v": v, "causal": "top_left"})
    f(*args, **keywords)
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import Parameter
from typing import Any, NamedTuple

import numpy as np

from .records import Problem, Spec

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
STARRED = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)

# What a backward may call the gradient that comes in, what forward kept, and what forward returned.
GRADIENT = ("dy", "do", "dout", "dz", "dl", "grad", "gradoutput", "gradoutputs", "gradout", "outputgrad", "gradients",
            "upstream", "upstreamgrad", "dldy", "doutput", "doutputs", "ybar", "g", "gy", "cotangent", "ct")
KEPT = ("cache", "ctx", "context", "saved", "residuals", "res", "state", "memory", "tape", "intermediates")
# What is said of a function that has x and no context.
ITSELF = (". If x is its own context, write def build(**arrays), which returns a module that gives it both side by "
          "side, torch.cat([x, context], -1), and weights that are 0 where w_q would see the context, and w_k and w_v "
          "would see x")
RETURNED = ("y", "o", "out", "output", "outputs")


class Broken(Exception):
    """A promise was not kept: carries the Problem, and never leaves this package."""

    def __init__(self, kind: str, says: str, part: str = ""):
        super().__init__(says)
        self.problem = Problem(kind, says, part)


class Fit(NamedTuple):
    """Where each of an operator's arguments and options goes when one function is called."""

    name: str = ""
    parameters: tuple[Parameter, ...] = ()
    places: dict[str, str] = {}                 # parameter: operator's name
    values: dict[str, list] = {}                # operator's name: [[operator's value, user's value]]
    starred: tuple[str, ...] = ()               # operator's names that *args takes, in order
    rest: tuple[str, ...] = ()                  # and **kwargs
    defaults: dict[str, Any] = {}               # of the operator, for parameters that have none
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def takes(self) -> tuple[str, ...]:
        """The operator's names that the function has a place for."""
        return (*self.places.values(), *self.starred, *self.rest)

    @property
    def ordered(self) -> tuple[str, ...]:
        """The same, in the order of the function's own parameters."""
        found: list[str] = []
        for p in self.parameters:
            if p.kind is Parameter.VAR_POSITIONAL:
                found += self.starred
            elif p.kind is Parameter.VAR_KEYWORD:
                found += self.rest
            elif p.name in self.places:
                found.append(self.places[p.name])
        return tuple(found)

    def bind(self, given: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """(args, keywords) of a call that gives these arguments and options.

        Raises Broken("unsupported") where the function has no place for one, or no such value of it.
        """
        for name in given:
            if name not in self.takes:
                raise Broken("unsupported", f"{self.name} has no place for {name}")
        values = {name: self._value(name, value) for name, value in given.items()}
        args: list[Any] = []
        keywords: dict[str, Any] = {}
        tail = [values.get(name) for name in self.starred]
        while tail and tail[-1] is None:
            tail.pop()
        by_place = bool(tail)                   # before *args, everything goes by place
        last = max((i for i, p in enumerate(self.parameters) if self.places.get(p.name) in values), default=-1)
        for i, p in enumerate(self.parameters):
            if p.kind is Parameter.VAR_POSITIONAL:
                args += tail
            elif p.kind is Parameter.VAR_KEYWORD:
                keywords |= {name: values[name] for name in self.rest if name in values}
            else:
                name = self.places.get(p.name, "")
                placed = p.kind is Parameter.POSITIONAL_ONLY or (by_place and p.kind in POSITIONAL)
                if name in values:
                    value = values[name]
                elif p.default is Parameter.empty:
                    value = self._value(name, self.defaults.get(name))
                elif placed and (by_place or i < last):
                    value = p.default
                else:
                    continue
                if placed:
                    args.append(value)
                else:
                    keywords[p.name] = value
        return args, keywords

    def _value(self, name: str, value: Any) -> Any:
        if name not in self.values:
            return value
        for ours, theirs in self.values[name]:
            if same_value(ours, value):
                return theirs
        can = ", ".join(repr(ours) for ours, _ in self.values[name])
        raise Broken("unsupported", f"{self.name} cannot be given {name}={value!r}, only {can}")


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """The parameters of a function; where Python does not know them, those that its documentation begins with."""
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):
        return _documented(function)


def _documented(function: Callable[..., Any]) -> inspect.Signature | None:
    """Compiled functions have no signature, but "scaled_dot_product_attention(query, key, …) -> Tensor" in words."""
    name, doc = getattr(function, "__name__", ""), getattr(function, "__doc__", None) or ""
    found = re.search(rf"(?m)^\s*(?:[\w.]+\.)?{re.escape(name)}\(([^()]*(?:\([^()]*\)[^()]*)*)\)", doc)
    if not name or not found:
        return None
    try:
        arguments = ast.parse(f"def f({found[1]}): pass").body[0].args      # type: ignore[attr-defined]
    except SyntaxError:
        return None
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(plain) - len(arguments.defaults)), *arguments.defaults]
    parameters = [Parameter(a.arg, Parameter.POSITIONAL_OR_KEYWORD, default=_literal(d))
                  for a, d in zip(plain, defaults)]
    if arguments.vararg:
        parameters.append(Parameter(arguments.vararg.arg, Parameter.VAR_POSITIONAL))
    parameters += [Parameter(a.arg, Parameter.KEYWORD_ONLY, default=_literal(d))
                   for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults)]
    if arguments.kwarg:
        parameters.append(Parameter(arguments.kwarg.arg, Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters)


def _literal(node: ast.expr | None) -> Any:
    if node is None:
        return Parameter.empty
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def forward_fit(signature: inspect.Signature | None, name: str, spec: Spec, elsewhere: Iterable[str] = (),
                whole: bool = True) -> Fit:
    """How a function with this signature takes the operator's arguments and options.

    elsewhere   names that it does not get as arguments, because they are weights that it keeps itself
    whole       False: it need not have a place for all of them, and nothing goes by place
    """
    known = [n for n in (*spec.arguments, *spec.options) if n not in set(elsewhere)]
    if signature is None:
        return Fit(name, (Parameter("args", Parameter.VAR_POSITIONAL),), starred=_arguments(spec, known),
                   notes=(f"{name} does not say what its parameters are called: arguments are given by place",))
    parameters = tuple(signature.parameters.values())
    plain = [p for p in parameters if p.kind not in STARRED]
    said = f"{name}({', '.join(_spelled(parameters))})"
    places: dict[str, str] = {}
    values: dict[str, list] = {}
    notes: list[str] = []
    for meaning in _meanings(known, spec.aliases):
        found: dict[str, str] = {}
        for p in plain:
            theirs, pairs = meaning(p.name)
            if p.name in places or theirs is None or theirs in set(places.values()) - set(found):
                continue
            if theirs in found:
                return Fit(name, problem=f"{said}: both {found[theirs]} and {p.name} could be {theirs} of {spec.op}")
            found[theirs] = p.name
            places[p.name] = theirs
            pairs = pairs or _truths(theirs, p.default, spec)
            if pairs is not None:
                values[theirs] = [list(pair) for pair in pairs]
    notes += [f"{n} is called {p}" for p, n in places.items() if p != n]
    missing = [n for n in known if n not in places.values()]
    bare = [p for p in plain if p.name not in places and p.default is Parameter.empty]
    required = [n for n in spec.arguments if n in missing and n not in spec.optional]
    if whole and bare and len(bare) == len(required) and all(p.kind in POSITIONAL for p in bare):
        places |= {p.name: n for p, n in zip(bare, required)}
        notes += [f"{p.name} is taken for {n}, by its place" for p, n in zip(bare, required)]
        missing = [n for n in missing if n not in required]
        bare = []
    kinds = {p.kind for p in parameters}
    starred = _arguments(spec, missing) if Parameter.VAR_POSITIONAL in kinds else ()
    rest = tuple(n for n in missing if n not in starred) if Parameter.VAR_KEYWORD in kinds else ()
    if starred and rest and len(starred) < len([n for n in spec.arguments if n in missing]):
        rest = tuple(n for n in rest if n in spec.options)
    fit = Fit(name, parameters, places, values, starred, rest, spec.defaults)
    problem = _lacking(fit, said, bare, [n for n in known if n not in fit.takes] if whole else [], spec)
    return fit._replace(notes=(*notes, *_other_defaults(fit, plain, spec)), problem=problem)


def _truths(name: str, default: Any, spec: Spec) -> list | None:
    """The values of an option that is True or False here and a word in the operator, if an alias says which."""
    if not isinstance(default, bool) or isinstance(spec.defaults.get(name, False), bool):
        return None
    known = [entry[1] for entry in spec.aliases.values() if not isinstance(entry, str) and entry[0] == name]
    return next((pairs for pairs in known if all(isinstance(theirs, bool) for _, theirs in pairs)), None)


def _arguments(spec: Spec, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(n for n in spec.arguments if n in names)


def _lacking(fit: Fit, said: str, bare: list[Parameter], missing: list[str], spec: Spec) -> str:
    """Why the function cannot be called at all, or ""."""
    has = f"it has {', '.join((*spec.arguments, *spec.options)) or 'none'}"
    if bare:
        names = " or ".join(p.name for p in bare)
        if len(bare) == 1 and {"q", "k", "v"} <= {n for n in missing if n not in spec.optional}:
            return (f"{said}: {spec.op} is given q, k and v. A function that makes them of {names} by itself is "
                    "multihead: --op multihead, with --weights that say where it keeps w_q, w_k, w_v and w_o")
        return (f"{said}: no argument of {spec.op} is called {names}; {has}. Give {'it' if len(bare) == 1 else 'them'} "
                f"a default, or say which it is: {bare[0].name}=<a name of {spec.op}>")
    needed = [n for n in missing if n in spec.required or (n in spec.arguments and n not in spec.optional)]
    if needed:
        spare = [p.name for p in fit.parameters if p.name not in fit.places and p.kind not in STARRED]
        hint = f" (is it {' or '.join(spare)}?)" if spare else ""
        itself = ITSELF if "context" in needed and "x" in fit.takes else ""
        fixed = "".join(f". If {n} is built in, say its value: --option {n}=..., in Python options={{{n!r}: ...}}"
                        for n in needed if n in spec.options)
        return f"{said} has no place for {', '.join(needed)}{hint}; {spec.op} cannot be computed without{itself}{fixed}"
    return ""


def _other_defaults(fit: Fit, plain: list[Parameter], spec: Spec) -> Iterator[str]:
    """A default that differs from the operator's is a convention that nobody sees: say it."""
    for p in plain:
        name = fit.places.get(p.name)
        if name not in spec.defaults or p.default is Parameter.empty or p.default is None:
            continue
        ours = spec.defaults[name]
        theirs = next((a for a, b in fit.values.get(name, ()) if same_value(b, p.default)), p.default)
        if not same_value(ours, theirs):
            yield f"{name} is {p.default!r} where it is not given; {spec.op} has {ours!r}"


def _meanings(known: list[str], aliases: dict[str, Any]) -> Iterator[Callable[[str], tuple[str | None, list | None]]]:
    """The ways to understand a name, the surest first: each gives the operator's name and pairs of values, or None."""
    entries = {user: (entry, None) if isinstance(entry, str) else (entry[0], entry[1])
               for user, entry in aliases.items()}
    entries = {user: entry for user, entry in entries.items() if entry[0] in known}
    unsure = (None, None)
    yield lambda name: (name, None) if name in known else unsure
    yield lambda name: entries.get(name, unsure)
    yield lambda name: (_only([n for n in known if folded(n) == folded(name)]), None)
    yield lambda name: _only([e for user, e in entries.items() if folded(user) == folded(name)]) or unsure


def _only(found: list) -> Any:
    """The one element of a list; None where there is none, or several that differ."""
    return found[0] if found and all(f == found[0] for f in found) else None


def folded(name: str) -> str:
    """A name without capitals and underscores."""
    return name.lower().replace("_", "")


def same_value(a: Any, b: Any) -> bool:
    """Equal plain values; lists and tuples alike, True and 1 not."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same_value(x, y) for x, y in zip(a, b))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) or isinstance(a, bool) != isinstance(b, bool):
        return False
    try:
        return bool(a == b)
    except Exception:                                       # an object of the user's, with its own idea of equality
        return False


def _spelled(parameters: Iterable[Parameter]) -> Iterator[str]:
    stars: dict[Any, str] = {Parameter.VAR_POSITIONAL: "*", Parameter.VAR_KEYWORD: "**"}
    seen_star = False
    for p in parameters:
        if p.kind is Parameter.KEYWORD_ONLY and not seen_star:
            yield "*"
        seen_star = seen_star or p.kind in (Parameter.KEYWORD_ONLY, Parameter.VAR_POSITIONAL)
        yield stars.get(p.kind, "") + p.name + ("" if p.default is Parameter.empty else f"={_short(p.default)}")


def _short(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= 20 else "…"


class BackwardFit(NamedTuple):
    """What each parameter of a gradient written by hand gets."""

    name: str = ""
    parameters: tuple[Parameter, ...] = ()
    roles: dict[str, tuple[str, Any]] = {}      # parameter: ("dy", leaf or None), ("cache", 0), ("kept", its name) …
    notes: tuple[str, ...] = ()
    problem: str = ""

    def bind(self, dy: list[Any], kept: Any, inner: dict[str, Any], y: list[Any], given: dict[str, Any],
             values: Fit) -> tuple[list[Any], dict[str, Any]]:
        """(args, keywords) of a call.  Raises Broken where something it wants was not kept by forward."""
        args: list[Any] = []
        keywords: dict[str, Any] = {}
        gap = False
        for p in self.parameters:
            if p.kind in STARRED:
                continue
            role, which = self.roles.get(p.name, ("", None))
            if role == "dy":
                value = dy[which] if which is not None else dy[0] if len(dy) == 1 else tuple(dy)
            elif role == "cache":
                if kept is None:
                    raise Broken("missing", f"{self.name} wants {p.name}, but forward returned its output alone: "
                                 "return (y, cache)")
                value = kept
            elif role == "y":
                value = y[0] if len(y) == 1 else tuple(y)
            elif role == "argument" and which in given:
                value = values._value(which, given[which])
            elif p.name in inner:
                value = inner[p.name]
            elif p.default is not Parameter.empty:
                gap = True
                continue
            elif role == "argument":
                value = values._value(which, values.defaults.get(which))
            else:
                raise Broken("missing", f"{self.name} wants {p.name}, which is no argument and which forward does not "
                             f"return{_offer(inner)}")
            if p.kind is Parameter.KEYWORD_ONLY or (gap and p.kind is Parameter.POSITIONAL_OR_KEYWORD):
                keywords[p.name] = value
            else:
                args.append(value)
        return args, keywords


def _offer(inner: dict[str, Any]) -> str:
    return f"; it returns {', '.join(inner)}" if inner else ""


def backward_fit(signature: inspect.Signature | None, name: str, spec: Spec, forward: Fit) -> BackwardFit:
    """How a hand-written gradient is called: backward(dy, cache), backward(cache, dy), backward(dy, q, k, v, …)."""
    if signature is None:
        return BackwardFit(name, problem=f"{name} does not say what its parameters are called: write it as "
                           "backward(dy, cache)")
    parameters = tuple(signature.parameters.values())
    plain = [p for p in parameters if p.kind not in STARRED]
    known = [*spec.arguments, *spec.options]
    meanings = [*_meanings(known, spec.aliases)]
    incoming = {*GRADIENT, *("d" + folded(n) for n in spec.outputs), *("grad" + folded(n) for n in spec.outputs)}
    roles: dict[str, tuple[str, Any]] = {}
    leaves = {"d" + folded(n): i for i, n in enumerate(spec.outputs)} if len(spec.outputs) > 1 else {}
    for p in plain:
        if p.name in forward.places:
            roles[p.name] = ("argument", forward.places[p.name])
        elif folded(p.name) in leaves:
            roles[p.name] = ("dy", leaves[folded(p.name)])
        elif folded(p.name) in incoming and "dy" not in {r for r, _ in roles.values()}:
            roles[p.name] = ("dy", None)
        elif folded(p.name) in KEPT:
            roles[p.name] = ("cache", 0)
        elif operators := next((m(p.name)[0] for m in meanings if m(p.name)[0]), None):
            roles[p.name] = ("argument", operators)
        elif folded(p.name) in RETURNED or p.name in spec.outputs:
            roles[p.name] = ("y", None)
    notes: list[str] = []
    open_ = [p for p in plain if p.name not in roles and p.default is Parameter.empty]
    if "dy" not in {r for r, _ in roles.values()}:
        # The gradient that comes in is first by everybody's habit, unless its name says otherwise.
        several = [p for p in open_ if folded(p.name).startswith(("d", "grad"))]
        if len(spec.outputs) > 1 and len(several) == len(spec.outputs):
            roles |= {p.name: ("dy", i) for i, p in enumerate(several)}
        elif open_:
            roles[open_[0].name] = ("dy", None)
            notes.append(f"{open_[0].name} of {name} is taken for the gradient of the output, by its place")
        else:
            return BackwardFit(name, problem=f"{name}({', '.join(_spelled(parameters))}): none of these is the "
                               "gradient of the output; call it dy")
        open_ = [p for p in plain if p.name not in roles and p.default is Parameter.empty]
    if len(plain) == 2 and len(open_) == 1:
        roles[open_[0].name] = ("cache", 0)
    return BackwardFit(name, parameters, roles, tuple(notes))
