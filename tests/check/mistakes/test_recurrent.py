"""What is listed with the operators that look again: each change does what it says, and no other does it."""

import listed
import pytest

# Two names for what no case can tell apart, and why both are listed.
RIVALS = {}


@pytest.mark.parametrize(("module", "change"), listed.of("recurrent", "mistake", "convention"))
def test_a_mistake_moves_the_output_or_a_gradient(module, change):
    assert listed.moved(module, change) > listed.MOVED


@pytest.mark.parametrize(("module", "change"), listed.of("recurrent", "equal"))
def test_another_way_to_write_it_is_equal(module, change):
    assert listed.moved(module, change) < listed.SAME
    assert listed.results(module).keys() == listed.results(module, change).keys()


@pytest.mark.parametrize("module", listed.operators("recurrent"), ids=listed.name)
def test_no_two_mistakes_are_one(module):
    assert listed.twins(module, RIVALS.get(listed.name(module), ())) == []


@pytest.mark.parametrize(("module", "change"), listed.of("recurrent", "mistake", "convention"))
def test_it_is_said_in_a_sentence_or_two(module, change):
    assert change.says.endswith(".")
    assert len(change.says) < 300


@pytest.mark.parametrize("module", listed.operators("recurrent"), ids=listed.name)
def test_cases_are_small_and_say_what_they_catch(module):
    for case in listed.cases_of(module):
        assert case.catches, case.name
        assert max(a.size for a in (*case.args, case.dy)) <= 600, case.name
