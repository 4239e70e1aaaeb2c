"""An instructor's own operator makes the same exercise; in notebooks its results are stored, not the operator."""

import json

import pytest

from visattn.assignment import cells, grading, own, records, targets

GATED = '''"""Gated mean: every position gives its mean as much as its own sigmoid says.

    g = σ(x w)
    y = Σ_t g_t x_t / Σ_t g_t
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float
from visattn.ops.primitives import sigmoid


class Cache(NamedTuple):
    x: Float[Array, "N T D"]
    w: Float[Array, "D"]
    g: Float[Array, "N T"]                                  # the gates
    y: Float[Array, "N D"]


def forward(x: Float[Array, "N T D"], w: Float[Array, "D"], *, power: int = 1) -> tuple[Float[Array, "N D"], Cache]:
    """y (N, D): the mean over T under the gates to a power."""
    g = sigmoid.forward(x @ w)[0] ** power                  # (N, T)
    y = (g[:, :, None] * x).sum(1) / g.sum(1)[:, None]      # (N, D)
    return y, Cache(x, w, g, y)


def backward(dy: Float[Array, "N D"], cache: Cache) -> tuple[Float[Array, "N T D"], Float[Array, "D"]]:
    """y = Σ g x / Σ g, hence dg_t = (x_t - y) · dy / Σ g; for the power 1."""
    x, w, g, y = cache
    total = g.sum(1)[:, None]
    dg = ((x - y[:, None]) * dy[:, None]).sum(2) / total
    da, = sigmoid.backward(dg, sigmoid.Cache(g))
    dx = g[:, :, None] * dy[:, None] / total[:, :, None] + da[:, :, None] * w
    dw = np.einsum("nt,ntd->d", da, x)
    return dx, dw


def example(rng):
    return (rng.normal(size=(2, 3, 4)), rng.normal(size=4)), {}
'''
WRONG = "(x - y[:, None])", "x"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    file = tmp_path_factory.mktemp("own") / "gated_mean.py"
    file.write_text(GATED, encoding="utf-8")
    assert own.is_operator(file)
    return own.sheet("hw", file, key="0123")


def code_of(made):
    kinds = ("given", "answer")
    return "\n\n".join(records.solved(c.source) for c in made.cells if c.kind in kinds and c.name != "setup")


def notebook(made, change=lambda text: text):
    """{test: what it says, "" if it passes} where the solution runs in a notebook."""
    book = json.loads(targets.files(made, "plain")["instructor/hw_solution.ipynb"])
    found, space = {}, {}
    for cell in book["cells"]:
        text, said = "".join(cell["source"]), cell["metadata"]["visattn"]
        if said["role"] == "test":
            try:
                exec(text, space)
                found[said["name"]] = ""
            except cells.NotYet as why:
                found[said["name"]] = str(why)
        elif cell["cell_type"] == "code":
            exec(change(text), space)
    return found


def test_the_sheet_is_that_of_an_operator(made):
    assert [(t.name, t.points, t.hidden) for t in made.tests] == [
        ("gated_mean_output", 2, False), ("gated_mean_dx", 1, False), ("gated_mean_dw", 1, False),
        ("gated_mean_edges", 1, True), ("gated_mean_gradients", 1, True)]
    assert (made.ops, made.given, made.own) == (("gated_mean",), ("sigmoid",), GATED)
    about = next(c.source for c in made.cells if c.name == "gated_mean_about")
    assert "```text\ng = σ(x w)\ny = Σ_t g_t x_t / Σ_t g_t\n```" in about


def test_the_solution_is_right_in_the_notebook_and_for_our_grader(made):
    assert set(notebook(made).values()) == {""}
    assert grading.grade(made, grading.Submission("ada", code_of(made))).points == sum(t.points for t in made.tests)


def test_a_wrong_gradient_loses_the_same_tests_in_both(made):
    says = notebook(made, lambda text: text.replace(*WRONG))
    assert says["gated_mean_dx"].startswith("dx[")
    assert says["gated_mean_dx"].endswith("(in the case plain_0)")
    graded = grading.grade(made, grading.Submission("ada", code_of(made).replace(*WRONG)))
    assert {o.test for o in graded.outcomes if not o.passed} == {name for name, why in says.items() if why} == {
        "gated_mean_dx", "gated_mean_dw", "gated_mean_gradients"}


def test_a_stub_earns_nothing_in_both(made):
    stub = "\n\n".join(records.unsolved(c.source) for c in made.cells
                       if c.kind in ("given", "answer") and c.name != "setup")
    assert grading.grade(made, grading.Submission("ada", stub)).points == 0
    book = json.loads(targets.files(made, "plain")["student/hw.ipynb"])
    space, seen = {}, 0
    for cell in book["cells"]:
        text = "".join(cell["source"])
        if cell["metadata"]["visattn"]["role"] == "test":
            with pytest.raises(cells.NotYet, match="nothing is written here yet"):
                exec(text, space)
            seen += 1
        elif cell["cell_type"] == "code":
            exec(text, space)
    assert seen == 3


@pytest.mark.parametrize(("old", "new", "says"), [
    ("return y, GatedMeanCache(x, w, g, y)", "return y", "forward returns two things"),
    ("return dx, dw", "return dx", "backward returns a tuple of dx, dw"),
    ("return dx, dw", "return dx.sum(0), dw", "dx has shape (3, 4), where (2, 3, 4) is meant"),
    ("total = g.sum(1)[:, None]", "total = nothing", "NameError: name 'nothing' is not defined"),
])
def test_what_does_not_even_fit_is_said(old, new, says, made):
    assert says in notebook(made, lambda text: text.replace(old, new))["gated_mean_dx"]


@pytest.mark.parametrize("target", targets.TARGETS)
def test_no_target_gives_the_operator_to_students(target, made):
    for path, text in targets.files(made, target).items():
        if path.startswith("student/"):
            assert "total" not in text
            assert not targets.leaks(made, path, text)


@pytest.mark.parametrize(("text", "says"), [
    (GATED.replace("def example", "def draw"), "gated_mean.py is no operator: there is no example; an operator has"),
    (GATED + "\nraise OSError('no')", "gated_mean.py is no operator: no"),
])
def test_a_file_that_does_not_follow_the_contract_is_refused(text, says, tmp_path):
    (tmp_path / "gated_mean.py").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        own.sheet("hw", tmp_path / "gated_mean.py")


def test_what_does_not_go_together_is_refused(tmp_path):
    for name in ("sigmoid.py", "gated-mean.py"):
        (tmp_path / name).write_text(GATED, encoding="utf-8")
    with pytest.raises(ValueError, match="calls an operator of its own name, sigmoid"):
        own.sheet("hw", tmp_path / "sigmoid.py")
    with pytest.raises(ValueError, match="the file's name must be letters"):
        own.sheet("hw", tmp_path / "gated-mean.py")
    (tmp_path / "gated.py").write_text(GATED, encoding="utf-8")
    with pytest.raises(ValueError, match="derivation"):
        own.sheet("hw", tmp_path / "gated.py", parts=("backward", "derivation"))


def test_a_script_with_cells_is_no_operator(tmp_path):
    (tmp_path / "a.py").write_text("# %%\n" + GATED, encoding="utf-8")
    (tmp_path / "b.py").write_text("def (", encoding="utf-8")
    assert not own.is_operator(tmp_path / "a.py")
    assert not own.is_operator(tmp_path / "b.py")
