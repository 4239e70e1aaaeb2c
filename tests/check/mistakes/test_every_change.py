"""What is listed with every operator: each change does what it says, and no other does it."""

import contextlib
import re

import listed
import numpy as np
import pytest

from visattn import gradcheck, ops, tree
from visattn.check import changes

# Two names for what no case can tell apart, and why both are listed.
RIVALS = {
    # This operator asks attention for a scale of 1: ignoring that, and not asking, are one.
    "spatial_self_attention": [{"scaled", "scale_ignored"}, {"scaled", "scale_on_top"}],
}
OPERATORS = [pytest.param(getattr(ops, name), id=name) for name in dir(ops)]


@pytest.mark.parametrize(("module", "change"), listed.of("mistake", "convention"))
def test_a_mistake_moves_the_output_or_a_gradient(module, change):
    assert listed.moved(module, change) > listed.MOVED


@pytest.mark.parametrize(("module", "change"), listed.of("equal", "plain"))
def test_another_way_to_write_it_is_equal(module, change):
    assert listed.moved(module, change) < listed.SAME
    assert listed.results(module).keys() == listed.results(module, change).keys()


@pytest.mark.parametrize("module", OPERATORS)
def test_no_two_mistakes_are_one(module):
    assert listed.twins(module, RIVALS.get(listed.name(module), ())) == []


@pytest.mark.parametrize(("module", "change"), listed.of("mistake", "convention"))
def test_it_is_said_in_a_sentence_or_two(module, change):
    assert change.says.endswith(".")
    assert len(change.says) < 300


@pytest.mark.parametrize(("module", "change"), listed.of("convention"))
def test_a_convention_says_whose_it_is(module, change):
    assert change.by


@pytest.mark.parametrize("module", OPERATORS)
def test_cases_are_small_and_say_what_they_catch(module):
    for case in listed.cases_of(module):
        assert case.catches, case.name
        assert max(a.size for a in tree.leaves((case.args, case.dy))) <= 600, case.name


@pytest.mark.parametrize("module", OPERATORS)
def test_three_mistakes_or_more_are_known(module):
    assert sum(change.kind == "mistake" for change in changes.changes_of(module)) >= 3


@pytest.mark.parametrize(("module", "change"), listed.of("mistake", "convention"))
def test_an_equation_that_is_named_is_one_of_the_operators_docstring(module, change):
    for number in re.findall(r"\((\d+)\)", change.see):
        assert f"({number})" in module.__doc__ + module.backward.__doc__


@pytest.mark.parametrize(("module", "change"), listed.of("mistake", "convention", "equal", "plain"))
def test_a_changed_operator_keeps_float32(module, change):
    """Wherever it answers: some mistakes cannot be computed where all sizes differ."""
    changed, dtypes = changes.changed(module, change), set()
    for case in listed.cases_of(module):
        options = gradcheck.cast_options(case.options, np.float32)
        with np.errstate(all="ignore"), contextlib.suppress(ValueError, TypeError, IndexError):
            y, cache = changed.forward(*tree.cast(case.args, np.float32), **options)
            dtypes |= {a.dtype for a in tree.leaves(y)}
            dtypes |= {a.dtype for a in tree.leaves(changed.backward(tree.cast(case.dy, np.float32), cache))}
    assert dtypes == {np.dtype(np.float32)}


@pytest.mark.parametrize("module", OPERATORS)
def test_every_line_is_still_there_and_the_original_stays(module):
    before = module.forward
    for change in changes.changes_of(module):
        assert changes.applies(module, change), change
        assert changes.changed(module, change).forward is not before
    assert module.forward is before


def test_a_line_that_is_not_there_is_refused_by_name():
    gone = changes.mistake("gone", "y = nothing", "y = x", "Nothing.")._replace(op=ops.relu.__name__)
    with pytest.raises(LookupError, match=r"gone: 'y = nothing' stands 0 times in visattn\.ops\.primitives\.relu"):
        changes.changed(ops.relu, gone)


def test_two_changes_of_different_lines_can_be_made_together():
    one, two = (next(c for c in changes.own(ops.attention.__name__) if c.name == name)
                for name in ("unscaled", "dk_unscaled"))
    both = changes.changed(ops.attention, one, two)
    assert set(changes.made_in(both)) == {one, two}
    assert set(changes.made_in(changes.changed(changes.changed(ops.attention, one), two))) == {one, two}


def test_a_mistake_of_a_part_is_a_mistake_of_the_whole():
    wrong, = (c for c in changes.own("visattn.ops.primitives.softmax") if c.name == "other_axis")
    for module in (ops.attention, ops.multihead, ops.soft_caption):
        assert wrong in changes.changes_of(module)
        assert listed.moved(module, wrong) > listed.MOVED


def test_there_is_a_catalogue():
    known = changes.everything("mistake")
    assert len(known) >= 70
    assert len(known) == len({(c.op, c.name) for c in known})
