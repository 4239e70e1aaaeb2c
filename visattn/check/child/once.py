"""One call of a function, forward and gradient, and the promises that it did not keep on the way."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .adapt import Broken, backward_fit, signature_of
from .frameworks import Numpy
from .modules import Callee
from .raised import problem_of
from .records import Problem, Spec
from .returned import Output, part_name, read_gradients, read_output

POOLED = 2 ** 18                            # elements of the largest array that is kept to be used again


class Setting(NamedTuple):
    """What is the same in all calls of a function."""

    spec: Spec
    framework: Numpy
    callee: Callee
    backward: Callable[..., Any] | None
    gradient: str                           # "backward", "autograd" or ""
    files: tuple[str, ...]
    pool: dict[tuple, Any]                  # arrays that are used again


class Once:
    """The first half of a call is `forward`, the second `gradients`; what was seen is in the attributes."""

    def __init__(self, setting: Setting, dtype: str, layout: str) -> None:
        self.setting, self.dtype, self.layout = setting, dtype, layout
        self.problems: list[Problem] = []
        self.dtypes: dict[str, str] = {}
        self.y: tuple[np.ndarray, ...] = ()
        self.inner: dict[str, np.ndarray] = {}
        self.grads: tuple[np.ndarray | None, ...] | None = None
        self.seconds = 0.0
        self.returned: list[Any] = []                               # the function's own arrays
        self._watched: dict[str, Any] = {}                          # those that it was given
        self._before: dict[str, np.ndarray] = {}                    # and what was in them

    def run(self, args: dict[str, np.ndarray], options: dict[str, Any], dy: list[np.ndarray] | None) -> "Once":
        """Both halves.  Raises what forward raises; what the gradient raises is a Problem of each gradient."""
        with self.setting.framework.context(self.dtype, dy is not None and self.setting.gradient == "autograd"):
            self.forward(args, options, traced=dy is not None and self.setting.gradient == "autograd")
            if dy is not None:
                self.gradients(dy)
        return self

    def array(self, name: str, value: np.ndarray) -> Any:
        """The same object as in the last call of this shape: who remembers answers by their inputs is found out."""
        key = (name, value.shape, value.dtype.kind, self.dtype, self.layout)
        pool, framework = self.setting.pool, self.setting.framework
        array = pool.get(key)
        if array is None or not framework.refill(array, value):
            array = framework.array(value, self.dtype, self.layout)
            if value.size <= POOLED:
                pool[key] = array
        self._watched[name] = array
        self._before[name] = framework.numpy(array)
        return array

    def forward(self, args: dict[str, np.ndarray], options: dict[str, Any], traced: bool) -> None:
        """Call the function; with `traced` so that its framework can go back."""
        framework, spec = self.setting.framework, self.setting.spec
        self.args = args
        self.arrays = {n: self.array(n, value) for n, value in args.items()}
        self.options = {n: self.array(n, v) if isinstance(v, np.ndarray) else v for n, v in options.items()}
        self.opened = opened = self.setting.callee.open(args, options, self.dtype, framework)
        self.names = [n for n in args if (n in opened.weights or n not in opened.used)]
        settings = {n: v for n, v in self.options.items() if n not in opened.used}

        def function(inputs: list) -> tuple[list, Output]:
            by_name = dict(zip(self.names, inputs))
            weights = {n: by_name.pop(n) for n in opened.weights if n in by_name}
            given, keywords = opened.fit.bind({**by_name, **settings})
            found = read_output(opened.run(given, keywords, weights), framework, spec, opened.fit.name)
            return found.leaves, found

        began = time.perf_counter()
        inputs = [self.arrays[n] for n in self.names]
        self._pull: Callable | None = None
        if traced:
            leaves, self.found, self._pull = framework.trace(function, inputs)
        else:
            leaves, self.found = function(inputs)
        framework.synchronise()
        self.seconds += time.perf_counter() - began
        self.leaves = list(leaves)
        self.returned += self.leaves
        self.y = tuple(self._numpy(leaf, part_name(i)) for i, leaf in enumerate(self.leaves))
        self.inner = {n: framework.numpy(a) for n, a in self.found.inner.items()}
        for i, leaf in enumerate(self.leaves):
            self._alone(leaf, part_name(i))
        self._unwritten("")

    def gradients(self, dy: list[np.ndarray]) -> None:
        """Take the gradient, by the framework or by hand."""
        framework = self.setting.framework
        lost = {n: why for n, why in self.opened.lost.items() if n in self.args}
        self.problems += [Problem("missing", why, f"d{n}") for n, why in lost.items()]
        raw: dict[str, Any] = {}
        began = time.perf_counter()
        try:
            for i, (ours, incoming) in enumerate(zip(self.y, dy, strict=True)):
                if ours.shape != incoming.shape:
                    raise Broken("shape", f"{part_name(i)} is {ours.shape}, where the operator's is {incoming.shape}: "
                                 "no gradient was taken")
            given = [self.array(f"d{part_name(i)}", value) for i, value in enumerate(dy)]
            if self._pull is not None:
                raw = {n: g for n, g in zip(self.names, self._pull(given)) if g is not None}
                self.problems += [Problem("missing", f"autograd finds no way from the output to {n}", f"d{n}")
                                  for n in self.names if n not in raw]
            else:
                raw = self._by_hand(given)
            framework.synchronise()
            self.seconds += time.perf_counter() - began
            self._unwritten("backward")
        except (Exception, SystemExit) as error:
            found = problem_of(error, self.setting.files)
            parts = [found.part] if found.part else [f"d{n}" for n in self.args if n not in lost]
            self.problems += [found._replace(part=part) for part in parts]
        self.returned += raw.values()
        self.grads = tuple(self._numpy(raw[n], f"d{n}") if n in raw else None for n in self.args)

    def _by_hand(self, dy: list) -> dict[str, Any]:
        spec, opened = self.setting.spec, self.opened
        backward = opened.backward or self.setting.backward
        if backward is None:
            raise Broken("missing", f"{opened.fit.name} has no backward")
        name = getattr(backward, "__name__", "backward")
        fit = backward_fit(signature_of(backward), name, spec, opened.fit)
        if fit.problem:
            raise Broken("missing", fit.problem)
        args, keywords = fit.bind(dy, self.found.kept, self.found.inner, self.leaves, {**self.arrays, **self.options},
                                  opened.fit)
        value = backward(*args, **keywords)
        own = [n for n in opened.fit.ordered if n in spec.arguments]
        order = own if set(self.args) <= set(own) else [n for n in spec.arguments if n in self.args]
        called = {n: p for p, n in opened.fit.places.items()}
        raw, problems = read_gradients(value, self.setting.framework, spec, name, order, [*self.args], called)
        self.problems += problems
        for n, gradient in raw.items():
            self._alone(gradient, f"d{n}")
        return raw

    def _numpy(self, array: Any, part: str) -> np.ndarray:
        """An array that came back, as NumPy's; what it should not be is a Problem."""
        framework = self.setting.framework
        self.dtypes[part] = framework.dtype(array)
        if self.dtypes[part] != self.dtype:
            self.problems.append(Problem("dtype", f"{part} is {self.dtypes[part]}, where {self.dtype} came in", part))
        if (place := framework.place(array)) != framework.device.partition(":")[0]:
            says = f"{part} is on {place}, where the arguments are on {framework.device}"
            self.problems.append(Problem("device", says, part))
        values = framework.numpy(array)
        return values if values.dtype.kind == "f" else values.astype(np.float64)

    def _alone(self, array: Any, part: str) -> None:
        """What is returned must not be a view of what was given: who writes the one changes the other."""
        self.problems += [Problem("aliases", f"{part} shares memory with {n}", part)
                          for n, given in self._watched.items() if self.setting.framework.overlap(array, given)
                          and (n in self.args or n in self.options)]

    def _unwritten(self, by: str) -> None:
        """What was given must be what it was."""
        known = {problem.says for problem in self.problems}
        for n, array in self._watched.items():
            before, after = self._before[n], self.setting.framework.numpy(array)
            same = np.array_equal(before, after, equal_nan=before.dtype.kind == "f")
            if not same and f"{n} was written" not in known:
                self.problems.append(Problem("mutated", f"{n} was written{f' by {by}' if by else ''}"))
