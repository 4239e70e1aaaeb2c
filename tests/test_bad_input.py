"""Malformed calls of every operator: refused at the door with a name, or right.

A mutated call either ends in a TypeError or ValueError of the operator's own door that names an argument, or it was
not malformed after all, and then its answer is what the definition says: no traceback from inside NumPy, no silent
broadcast, no hang.
"""

import inspect
import re
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_definitions import definition

from visattn import tree

FUZZ = settings(max_examples=80, deadline=60_000, derandomize=True, database=None,
                suppress_health_check=list(HealthCheck))

RETYPED = {
    "a list": lambda a: a.tolist(),
    "nested tuples": lambda a: tuple(map(tuple, a)) if a.ndim > 1 else tuple(a),
    "integers": lambda a: a.astype(np.int64),
    "objects": lambda a: a.astype(object),
    "complex": lambda a: a.astype(np.complex128),
    "text": lambda a: a.astype(str),
    "half": lambda a: a.astype(np.float16),
    "a number": lambda a: 1.0,
    "None": lambda a: None,
    "words": lambda a: "x",
}
BAD_OPTIONS = [None, "x", "", -1, 0, 1, 2, 3, 7, 1.5, -0.5, float("nan"), float("inf"), True, (1, 2), (0, 0), (1, 2, 3),
               [1, 2], {}, 10**6]


def reshaped(a, data):
    """The array with one axis dropped, added, shortened, lengthened, emptied, or two exchanged."""
    kind = data.draw(st.sampled_from(["drop", "add", "shorten", "lengthen", "one", "empty", "swap", "repeat"]))
    if kind == "add":
        return a[None]
    if a.ndim == 0:
        return np.full(2, a)
    axis = data.draw(st.integers(0, a.ndim - 1))
    if kind == "drop":
        return a.take(0, axis) if a.shape[axis] else a.sum(axis)
    if kind == "swap":
        return a.swapaxes(axis, data.draw(st.integers(0, a.ndim - 1)))
    size = {"shorten": a.shape[axis] - 1, "lengthen": a.shape[axis] + 1, "one": 1, "empty": 0,
            "repeat": 2 * a.shape[axis]}[kind]
    return a.take(np.arange(max(size, 0)) % max(a.shape[axis], 1), axis)


def parameters(operator):
    return inspect.signature(operator.forward).parameters


def refused(operator, error, function="forward", names=None):
    """Is this the door's own word, and does it name an argument?"""
    names = names or list(parameters(operator))
    short = operator.__name__.rpartition(".")[2]
    said = str(error)
    assert said.startswith(f"{short}.{function}: "), f"not refused at the door of {short}: {said!r}"
    assert re.search(r"\b(" + "|".join(map(re.escape, names)) + r")\b", said), f"no argument named: {said!r}"


def refused_or_right(operator, args, options):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            y, _ = operator.forward(*args, **options)
    except (TypeError, ValueError) as error:
        refused(operator, error)
        return
    wanted = definition(operator).forward(*args, **options)
    for got, want in zip(tree.leaves(y), tree.leaves(wanted), strict=True):
        assert got.shape == np.shape(want)
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


@FUZZ
@given(data=st.data())
def test_an_argument_of_another_type(operator, data):
    args, options = operator.example(np.random.default_rng(0))
    i = data.draw(st.integers(0, len(args) - 1))
    wrong = data.draw(st.sampled_from(sorted(RETYPED)))
    args = list(args)
    args[i] = tree.map(RETYPED[wrong], args[i]) if wrong != "None" else None
    refused_or_right(operator, args, options)


@FUZZ
@given(data=st.data())
def test_an_argument_of_another_shape(operator, data):
    args, options = operator.example(np.random.default_rng(0))
    args = list(args)
    for _ in range(data.draw(st.integers(1, 2))):
        i = data.draw(st.integers(0, len(args) - 1))
        args[i] = tree.map(lambda a: reshaped(a, data), args[i])
    refused_or_right(operator, args, options)


@FUZZ
@given(data=st.data())
def test_an_option_of_another_value(operator, data):
    args, options = operator.example(np.random.default_rng(0))
    keywords = [p.name for p in parameters(operator).values() if p.kind is p.KEYWORD_ONLY]
    if not keywords:
        return
    name = data.draw(st.sampled_from(keywords))
    options = dict(options)
    if tree.is_leaf(options.get(name)) and data.draw(st.booleans()):
        options[name] = reshaped(options[name], data)
    else:
        options[name] = data.draw(st.sampled_from(BAD_OPTIONS))
    refused_or_right(operator, args, options)


def test_a_call_with_too_few_too_many_or_unknown_arguments(operator):
    args, options = operator.example(np.random.default_rng(0))
    first = next(iter(parameters(operator)))
    for bad_args, bad_options in [((), options), ((*args, *args, *args), options), (args, {**options, "spam": 1}),
                                  (args, {**options, first: args[0]})]:
        with pytest.raises(TypeError) as error:
            operator.forward(*bad_args, **bad_options)
        refused(operator, error.value, names=[*parameters(operator), "spam", "positional"])


@FUZZ
@given(data=st.data())
def test_a_gradient_that_does_not_fit_its_output(operator, data):
    args, options = operator.example(np.random.default_rng(0))
    y, cache = operator.forward(*args, **options)
    wrong = data.draw(st.sampled_from([*sorted(RETYPED), "another shape", "mixed precision"]))
    if wrong == "another shape":
        dy = tree.map(lambda a: reshaped(np.asarray(a), data), y)
        if [a.shape for a in tree.leaves(dy)] == [a.shape for a in tree.leaves(y)]:
            return
    elif wrong == "mixed precision":
        dy = tree.map(lambda a: np.asarray(a, np.float32), y)
    else:
        if tree.is_leaf(y) and np.ndim(y) == 0 and wrong in ("a number", "a list", "nested tuples"):
            return                                          # a loss: its gradient may be a plain number
        dy = tree.map(lambda a: RETYPED[wrong](np.asarray(a)), y)
    with pytest.raises((TypeError, ValueError)) as error:
        operator.backward(dy, cache)
    refused(operator, error.value, "backward", names=list(inspect.signature(operator.backward).parameters))


def test_a_cache_that_is_not_one(operator):
    args, options = operator.example(np.random.default_rng(0))
    y, cache = operator.forward(*args, **options)
    for wrong in (None, tuple(cache), (y,)):
        with pytest.raises(TypeError) as error:
            operator.backward(y, wrong)
        refused(operator, error.value, "backward", names=["cache"])


def test_an_empty_batch_gives_an_empty_answer(operator):
    """No examples, along N or the first of the leading axes, give no answers, and zero gradients for the weights."""
    args, options = operator.example(np.random.default_rng(0))
    annotations = {p.name: p.annotation for p in parameters(operator).values()}

    def axes_of(name):
        choices = [annotations[name], *getattr(annotations[name], "__args__", ())]
        return next((a.dim_str.replace("#N", "N").split() for a in choices if hasattr(a, "dim_str")), [])

    given = {**dict(zip(annotations, args)), **options}
    leading = [a.shape[0] for name, a in given.items() if tree.is_leaf(a) and axes_of(name)[:1] == ["*B"]]
    B = leading[0] if leading else tree.leaves(args)[0].shape[0]

    def emptied(name, value):
        axes = axes_of(name)
        if "N" in axes and tree.is_leaf(value):
            return value.take([], axes.index("N"))
        if axes and axes[0] in ("*B", "*#B") and tree.is_leaf(value) and value.ndim >= len(axes):
            return value.take([], 0) if value.shape[0] == B else value
        return tree.map(lambda a: a.take([], 0), value) if isinstance(value, tuple) and tree.leaves(value) else value

    empty = [emptied(name, a) for name, a in zip(annotations, args)]
    options = {name: emptied(name, value) if tree.is_leaf(value) else value for name, value in options.items()}
    arrays = [*tree.leaves(empty), *filter(tree.is_leaf, options.values())]
    assert any(0 in a.shape for a in arrays), "no argument has a batch axis"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y, cache = operator.forward(*empty, **options)
        grads = operator.backward(tree.map(np.ones_like, y), cache)
    for g, a in zip(tree.leaves(grads), tree.leaves(tuple(empty)), strict=True):
        assert g.shape == a.shape
        assert not np.any(g)
