"""What is listed with the gates: each change does what it says, and no other does it."""

import re

import listed
import numpy as np
import pytest

from visattn import gradcheck, ops, tree
from visattn.check import changes

# Two names for what no case can tell apart, and why both are listed.
RIVALS: dict[str, list[set[str]]] = {}


@pytest.mark.parametrize(("module", "change"), listed.of("gates", "mistake", "convention"))
def test_a_mistake_moves_the_output_or_a_gradient(module, change):
    assert listed.moved(module, change) > listed.MOVED


@pytest.mark.parametrize(("module", "change"), listed.of("gates", "equal", "plain"))
def test_another_way_to_write_it_is_equal(module, change):
    assert listed.moved(module, change) < listed.SAME
    assert listed.results(module).keys() == listed.results(module, change).keys()


@pytest.mark.parametrize("module", listed.operators("gates"), ids=listed.name)
def test_no_two_mistakes_are_one(module):
    assert listed.twins(module, RIVALS.get(listed.name(module), ())) == []


@pytest.mark.parametrize(("module", "change"), listed.of("gates", "mistake", "convention"))
def test_it_is_said_in_a_sentence_or_two(module, change):
    assert change.says.endswith(".")
    assert len(change.says) < 300


@pytest.mark.parametrize("module", listed.operators("gates"), ids=listed.name)
def test_cases_are_small_and_say_what_they_catch(module):
    for case in listed.cases_of(module):
        assert case.catches, case.name
        assert max(a.size for a in tree.leaves((case.args, case.dy))) <= 600, case.name


@pytest.mark.parametrize("module", listed.operators("gates"), ids=listed.name)
def test_three_mistakes_or_more_are_known(module):
    assert sum(change.kind == "mistake" for change in changes.own(module.__name__)) >= 3


@pytest.mark.parametrize(("module", "change"), listed.of("gates", "mistake", "convention"))
def test_an_equation_that_is_named_is_one_of_the_operators_docstring(module, change):
    for number in re.findall(r"\((\d+)\)", change.see):
        assert f"({number})" in module.__doc__ + module.backward.__doc__


@pytest.mark.parametrize(("module", "change"), listed.of("gates", "mistake", "convention", "equal", "plain"))
def test_a_changed_operator_keeps_float32(module, change):
    case, changed = listed.cases_of(module)[0], changes.changed(module, change)
    options = gradcheck.cast_options(case.options, np.float32)
    with np.errstate(all="ignore"):
        y, cache = changed.forward(*tree.cast(case.args, np.float32), **options)
        answers = [y]
        if [a.shape for a in tree.leaves(y)] == [a.shape for a in tree.leaves(case.dy)]:
            answers.append(changed.backward(tree.cast(case.dy, np.float32), cache))
    assert {a.dtype for a in tree.leaves(answers)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ["squeeze_excite", "channel_gate", "spatial_gate", "efficient_channel", "cbam"])
def test_a_mistake_of_the_sigmoid_is_one_of_every_gate(name):
    module = getattr(ops, name)
    for change in changes.own("visattn.ops.primitives.sigmoid"):
        if change.name in ("sign", "one_branch", "hard"):
            assert change in changes.changes_of(module)
            assert listed.moved(module, change) > listed.MOVED


@pytest.mark.parametrize("name", ["squeeze_excite", "efficient_channel"])
def test_a_forgotten_way_through_the_gate_is_the_same_at_every_pixel(name):
    """As its sentence, and lesson 2, say."""
    module = getattr(ops, name)
    change, = (c for c in changes.own(module.__name__) if c.name == "gate_as_constant")
    right, wrong = listed.results(module)["plain_0", "d0"], listed.results(module, change)["plain_0", "d0"]
    missing = right - wrong
    assert np.abs(missing).max() > 1e-3
    np.testing.assert_allclose(missing, np.broadcast_to(missing.mean((2, 3), keepdims=True), missing.shape), atol=1e-12)
