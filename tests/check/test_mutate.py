"""`visattn mutate` says which mistakes a suite lets through, and nothing else comes of it."""

import ast
import csv
import inspect
import json
import sys
from pathlib import Path

import pytest

from visattn import cli, ops
from visattn.check import changes, mutate, mutate_plugin
from visattn.ops import relu

RELU = "visattn.ops.primitives.relu"
FORWARD, BACKWARD = "y = np.maximum(x, 0)", "return (np.where(y > 0, dy, 0),)"


def mistake(name, line, instead):
    return mutate.Mutant(RELU, changes.mistake(name, line, instead, f"This is {name}.")._replace(op=RELU))


DOUBLED = mistake("doubled", FORWARD, "y = 2 * np.maximum(x, 0)")
SHIFTED = mistake("shifted", FORWARD, "y = np.maximum(x, 1)")
FLIPPED = mistake("flipped", BACKWARD, "return (np.where(y > 0, -dy, 0),)")
NO_CACHE = mistake("no_cache", 'y: Float[Array, "*B"]', 'y: Float[Array, "*B"]\nmore: int')
ENDLESS = mistake("endless", FORWARD, "while True: pass")
ENDS_US = mistake("ends_us", FORWARD, "import os; os._exit(0)")
ALL = [DOUBLED, SHIFTED, FLIPPED]

KILLS_ALL = """
import numpy as np
from visattn.ops.primitives.relu import backward, forward

X = np.array([-1.0, 0.5, 2.0])
Y, CACHE = forward(X)

def test_forward():
    assert Y.tolist() == [0, 0.5, 2]

class TestBackward:
    def test_it(self):
        assert backward(X, CACHE)[0].tolist() == [0, 0.5, 2]
"""
KILLS_NONE = """
import numpy as np
from visattn.ops import relu

def test_that_it_runs():
    y, cache = relu.forward(np.ones(3))
    relu.backward(y, cache)
"""
FUNCTION = """
import numpy as np
from pathlib import Path

def log():
    with Path(__file__).with_name("log").open("a") as file:
        file.write("called\\n")

def by_raising(op):
    log()
    assert op.forward(np.array([-1.0, 0.5]))[0].tolist() == [0, 0.5], "not relu"

def by_false(op):
    y, cache = op.forward(np.array([0.5, 2.0]))
    return op.backward(y, cache)[0][0] > 0

def never(op):
    return False
"""


@pytest.fixture(autouse=True)
def listed(monkeypatch):
    """The mistakes of relu are those of this file."""
    chosen = list(ALL)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")            # they take a second to load, each time
    monkeypatch.setattr(mutate, "mutants", lambda ops=None, parts=False: chosen)
    monkeypatch.setitem(cli.LATER, "mutate", "visattn.check.mutate_command:mutate")
    return chosen


@pytest.fixture
def suite(tmp_path):
    """suite(text): its path, in a folder where nothing else is."""

    def write(text, name="test_suite.py"):
        path = tmp_path / "suite" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def verdicts(matrix):
    return {o.mistake: o.killed for o in matrix.outcomes}


def test_a_suite_that_looks_kills_all_and_says_by_which_test(suite):
    before = Path(relu.__file__).read_bytes()
    path = suite(KILLS_ALL)
    found = mutate.run(path, jobs=1)
    assert found.passed
    assert (found.suite, found.tests) == (path, 2)
    by = {o.mistake: o.by.rpartition("test_suite.py::")[2] for o in found.outcomes}
    assert by == {"doubled": "test_forward", "shifted": "test_forward", "flipped": "TestBackward::test_it"}
    assert all(o.op == o.of == "relu" and "[0" in o.why for o in found.outcomes)
    assert Path(relu.__file__).read_bytes() == before
    assert [p.name for p in Path(path).parent.iterdir()] == ["test_suite.py"]          # no cache, no database


def test_a_suite_that_only_calls_lets_all_through_and_two_jobs_say_the_same(suite):
    path = suite(KILLS_NONE)
    one, two = mutate.run(path, jobs=1), mutate.run(path, jobs=2)
    assert not one.passed
    assert verdicts(one) == {"doubled": False, "shifted": False, "flipped": False}
    assert [o._replace(seconds=0) for o in one.outcomes] == [o._replace(seconds=0) for o in two.outcomes]
    assert {o.why for o in one.survivors} == {"passes"}


def test_a_mistake_that_hangs_or_ends_the_process_is_killed(suite, listed):
    listed[:] = [ENDLESS, DOUBLED, ENDS_US, NO_CACHE]
    found = mutate.run(suite(KILLS_ALL), jobs=1, limit=4)
    assert {o.mistake: o.by for o in found.outcomes if o.by in ("time", "crash")} == {
        "endless": "time", "ends_us": "crash"}
    assert found.passed                                         # and so is one that stands outside all functions


def test_what_one_test_computes_for_another_is_not_lost(suite, listed):
    """The call is made for the first test, through a fixture or a cache; only the second looks at the answer."""
    listed[:] = [DOUBLED, FLIPPED]
    text = """
import functools, pytest, numpy as np
from visattn.ops import relu

@functools.cache
def y():
    return relu.forward(np.ones(3))[0]

@pytest.fixture(scope="session")
def dx():
    return relu.backward(np.ones(3), relu.Cache(np.ones(3)))[0]

def test_one(dx):
    assert y() is not None

def test_two():
    assert y()[0] == 1

def test_three(dx):
    assert dx[0] == 1
"""
    found = mutate.run(suite(text), jobs=1)
    assert [o.by.rpartition("::")[2] for o in found.outcomes] == ["test_two", "test_three"]


def test_a_test_that_leans_on_those_before_it_is_judged_in_a_whole_run(suite, listed):
    listed[:] = [DOUBLED]
    text = """
import numpy as np
from visattn.ops import relu
ready = []

def test_first():
    ready.append(1)

def test_second():
    relu.forward(np.ones(3))
    assert ready
"""
    outcome, = mutate.run(suite(text), jobs=1).outcomes
    assert (outcome.killed, outcome.why) == (False, "passes")


def test_a_failure_by_chance_of_a_test_that_does_not_call_kills_nothing(suite, listed):
    listed[:] = [DOUBLED]
    text = """
import numpy as np
from pathlib import Path
from visattn.ops import relu

def test_calls():
    relu.forward(np.ones(3))

def test_is_unlucky_the_second_time():
    log = Path(__file__).with_name("log")
    log.write_text(log.read_text() + "x" if log.exists() else "x")
    assert log.read_text() != "xx"
"""
    assert not mutate.run(suite(text), jobs=1).outcomes[0].killed


def test_a_mistake_in_what_no_test_calls_is_not_run(suite):
    found = mutate.run(suite("def test_nothing(): pass"), jobs=1)
    assert {o.why for o in found.outcomes} == {"not reached"}


@pytest.mark.parametrize(("text", "said"), [
    ("def test_one(): assert 1 == 2, 'no'", r"fails without any change.*::test_one: AssertionError: no"),
    ("import not_there_at_all", r"fails without any change.*not_there_at_all"),
    ("x = 1", "finds no tests"),
])
def test_a_suite_that_fails_by_itself_judges_none(suite, text, said):
    with pytest.raises(ValueError, match=said):
        mutate.run(suite(text), jobs=1)


def test_a_function_rejects_by_raising_or_by_false(suite, listed):
    path = suite(FUNCTION, "grader.py")
    raising = mutate.run(f"{path}:by_raising", jobs=2)
    assert verdicts(raising) == {"doubled": True, "shifted": True, "flipped": False}
    assert raising.outcomes[0].why == "AssertionError: not relu"
    listed[:] = [FLIPPED, ENDS_US]
    assert verdicts(mutate.run(f"{path}:by_false", jobs=2)) == {"flipped": True, "ends_us": True}
    with pytest.raises(ValueError, match="rejects relu without any change"):
        mutate.run(f"{path}:never")
    with pytest.raises(ValueError, match="has no function nobody"):
        mutate.run(f"{path}:nobody")


def test_an_interrupted_run_goes_on_with_the_rest(suite, tmp_path):
    path, out = suite(FUNCTION, "grader.py"), tmp_path / "out"

    def stop(outcome):
        if outcome is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mutate.run(f"{path}:by_raising", out=out, jobs=1, step=stop)
    lines = (out / "outcomes.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == 1
    (out / "outcomes.jsonl").write_text(lines[0] + lines[0][:40])            # and the power failed in the second
    log = Path(path).with_name("log")

    def calls(**options):
        log.unlink()
        found = mutate.run(f"{path}:by_raising", out=out, jobs=1, **options)
        assert verdicts(found) == {"doubled": True, "shifted": True, "flipped": False}
        return len(log.read_text().splitlines())

    assert calls() == 1 + 2                                     # without a change, and the two that were not done
    assert calls(fresh=True) == 1 + 3
    suite(FUNCTION + "\n# another suite", "grader.py")
    assert calls() == 1 + 3


def test_the_command_prints_writes_and_says_by_its_status(suite, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path, out = suite(FUNCTION, "grader.py"), tmp_path / "out"
    assert cli.main(["mutate", "--suite", f"{path}:by_raising", "--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert "relu: flipped survives: This is flipped." in said
    assert BACKWARD in said
    assert "kills 2 of 3 mistakes" in said
    assert cli.main(["mutate", "--suite", f"{path}:by_raising", "--out", str(out), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["mistakes"], printed["killed"], printed["survived"], printed["passed"]) == (3, 2, 1, False)
    assert json.loads((out / "matrix.json").read_text())["outcomes"] == printed["outcomes"]
    rows = list(csv.DictReader((out / "matrix.csv").read_text().splitlines()))
    assert [(row["mistake"], row["killed"]) for row in rows] == [
        ("doubled", "True"), ("shifted", "True"), ("flipped", "False")]
    assert (out / "matrix.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "matrix.svg").read_text()


def test_the_command_is_content_when_all_are_killed(suite, listed):
    listed[:] = [DOUBLED]
    assert cli.main(["mutate", "--suite", suite(FUNCTION, "grader.py") + ":by_raising"]) == 0


def test_what_the_user_got_wrong_is_a_line_and_status_2(suite, capsys, monkeypatch):
    assert cli.main(["mutate", "--suite", "no/such/place"]) == 2
    assert "no such file or directory: no/such/place" in capsys.readouterr().err
    assert cli.main(["mutate", "--suite", "no/such/place.py:function"]) == 2
    assert "no/such/place.py" in capsys.readouterr().err
    assert cli.main(["mutate", "--suite", "no_such_module:function"]) == 2
    assert "no_such_module" in capsys.readouterr().err
    assert cli.main(["mutate", "--suite", suite("def test_one(): assert False")]) == 2
    assert "fails without any change" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setitem(cli.LATER, "mutate", "visattn.check.mutate_command:mutate")
    assert cli.main(["mutate", "--suite", "tests", "--op", "atention"]) == 2
    assert "did you mean attention" in capsys.readouterr().err


def test_without_a_name_every_mistake_is_meant_and_with_parts_those_below(monkeypatch):
    monkeypatch.undo()
    everywhere = {(m.op, m.change.name) for m in mutate.mutants()}
    assert everywhere == {(c.op, c.name) for c in changes.everything("mistake")}
    assert {m.change.op for m in mutate.mutants(["attention"])} == {ops.attention.__name__}
    below = mutate.mutants(["attention"], parts=True)
    assert {m.op for m in below} == {ops.attention.__name__}
    assert {m.change.op for m in below} >= {ops.attention.__name__, ops.softmax.__name__}


SUITES = Path(__file__).parents[2] / "benchmarks" / "suites.py"


@pytest.mark.parametrize(("published", "of", "lets_through", "kills"), [
    ("kernelbench", ops.attention, ("no_attention_at_all", "zero_gradients"), ("zeros",)),
    ("tinytorch", ops.attention, ("no_attention_at_all", "zeros"), ()),
    ("minitorch", ops.attention, (), ("zero_gradients",)),
    ("minitorch_softmax", ops.softmax, ("zero_gradients",), ()),
    ("cs231n", ops.softmax, (), ("zero_gradients",)),
    ("cs231n", ops.attention, (), ("no_attention_at_all", "zero_gradients")),
])
def test_published_tests_let_through_what_the_benchmark_says(published, of, lets_through, kills, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])
    test = mutate.load(f"{SUITES}:{published}")
    listed = mutate.load(f"{SUITES}:main").__globals__["ABSURD"]
    absurd = {c.name: c for c in listed[of.__name__.rpartition(".")[2]]}
    assert mutate.accepts(test, of)[0]
    assert all(mutate.accepts(test, changes.changed(of, absurd[name]))[0] for name in lets_through)
    assert not any(mutate.accepts(test, changes.changed(of, absurd[name]))[0] for name in kills)


def test_a_watched_module_says_what_is_called_and_is_otherwise_itself():
    called = []
    source = inspect.getsource(relu)
    tree, plain = ast.parse(source), ast.parse(source)
    mutate_plugin.watched(tree, "m")
    space = {mutate_plugin.SAYS: called.append, "__name__": "m"}
    exec(compile(tree, "m", "exec"), space)
    assert called == []
    assert inspect.unwrap(space["forward"]).__doc__ == "y (*B)."
    space["example"](__import__("numpy").random.default_rng(0))
    assert called == ["m:example"]
    lines = [[node.body[-1].lineno for node in t.body if isinstance(node, ast.FunctionDef)] for t in (tree, plain)]
    assert lines[0] == lines[1]
