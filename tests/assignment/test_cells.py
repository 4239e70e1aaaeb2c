"""What a notebook calls passes for what is right, raises a sentence for what is not, and leaves no trace of either."""

import linecache

import numpy as np
import pytest
from answers import code, functions, mistaken

from visattn import assignment, ops
from visattn.assignment import cells, sheet, source
from visattn.assignment.cells import NotYet, expect

SOFTMAX = sheet.of_operators("hw", ["softmax"], written=False)
RIGHT = functions(code(SOFTMAX))
FORWARD, BACKWARD = RIGHT["softmax_forward"], RIGHT["softmax_backward"]


def test_what_is_right_passes_and_returns_nothing(capsys):
    for what, given in (("output", (FORWARD,)), ("dx", (FORWARD, BACKWARD)), ("masks", (FORWARD,)),
                        ("gradients", (FORWARD, BACKWARD))):
        assert expect("softmax", what, *given) is None
        assert capsys.readouterr() == (f"✓ softmax {what}: right\n", "")


def test_what_is_wrong_raises_the_sentence_of_a_teacher():
    wrong = functions(mistaken(SOFTMAX, "softmax", "no_row_sum"))
    with pytest.raises(NotYet, match="Every row of dx must sum to 0"):
        expect("softmax", "dx", wrong["softmax_forward"], wrong["softmax_backward"])
    expect("softmax", "output", wrong["softmax_forward"])


def test_the_reference_s_line_is_not_shown(capsys):
    wrong = functions(mistaken(SOFTMAX, "softmax", "no_row_sum"))
    with pytest.raises(NotYet):
        expect("softmax", "dx", wrong["softmax_forward"], wrong["softmax_backward"])
    shown = capsys.readouterr().out
    assert "wrong: dx: no row sum" in shown
    assert "expand_dims" not in shown
    assert not any(source.leaked(function.body, shown) for function in source.of(ops.softmax)[2:])


def test_a_notebook_shows_the_sentence_alone():
    assert NotYet("the sum is missing")._render_traceback_() == ["Not yet: the sum is missing"]


def test_what_is_not_written_is_said():
    def softmax_forward(x, *, axis=-1, mask=None):
        raise NotImplementedError

    with pytest.raises(NotYet, match="nothing is written here yet"):
        expect("softmax", "output", softmax_forward)
    with pytest.raises(NotYet, match="a function is expected; got NoneType"):
        expect("softmax", "output", None)


def test_an_answer_may_not_call_the_reference():
    def copied(x, *, axis=-1, mask=None):
        return ops.softmax.forward(x, axis=axis, mask=mask)

    with pytest.raises(NotYet, match="may not call visattn's own operators"):
        expect("softmax", "output", copied)


def test_in_a_lesson_it_may_call_the_parts_and_no_more(capsys):
    def softmax_forward(x, *, axis=-1, mask=None):
        return ops.softmax.forward(x, axis=axis, mask=mask)

    assignment.attempt("softmax", softmax_forward)
    assert "may not call visattn's own operators" in capsys.readouterr().out

    def hard_forward(x, w1, w2):
        s, _ = ops.sigmoid.forward(np.maximum(x.mean((2, 3)) @ w1.T, 0) @ w2.T)
        return s[:, :, None, None] * x, None

    assignment.attempt("squeeze_excite", hard_forward)
    assert capsys.readouterr().out.startswith("Right: ")


def test_what_an_answer_prints_or_warns_about_is_not_in_the_cell(capsys):
    def loud(x, *, axis=-1, mask=None):
        import sys
        import warnings

        print("here", x.shape)
        print("there", file=sys.stderr)
        warnings.warn("beware", stacklevel=1)
        np.log(np.zeros(1))
        return FORWARD(x, axis=axis, mask=mask)

    expect("softmax", "output", loud)
    assert capsys.readouterr() == ("✓ softmax output: right\n", "")


def test_a_changed_helper_is_judged_anew():
    scope = functions("def helper(e):\n    return e.sum(-1, keepdims=True)\n\n"
                      "def softmax_forward(x):\n    e = np.exp(x - x.max(-1, keepdims=True))\n"
                      "    return e / helper(e), None\n")
    expect("softmax", "output", scope["softmax_forward"])
    exec("def helper(e):\n    return 1.0", scope)
    with pytest.raises(NotYet):
        expect("softmax", "output", scope["softmax_forward"])


def test_a_derivation_is_read_from_the_cell():
    text = ("def softmax_derivation(dp, p, axis):\n"
            "    mean = (dp * p).sum(axis, keepdims=True)\n    dx = p * (dp - mean)\n    return dx\n")
    linecache.cache["<cell>"] = len(text), None, text.splitlines(keepends=True), "<cell>"
    scope = {"np": np}
    exec(compile(text, "<cell>", "exec"), scope)
    expect("softmax", "line_dx", scope["softmax_derivation"])
    scope["softmax_derivation"].__code__ = FORWARD.__code__         # not read from a file that is there
    with pytest.raises(NotYet, match=r"source code|no function softmax_derivation|lineno"):       # as Python says it
        expect("softmax", "line_dx", scope["softmax_derivation"])


def test_hidden_numbers_come_from_the_instructor_s_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cells.seed_of() == 0
    (tmp_path / cells.KEY_FILE).write_text("secret\n")
    (tmp_path / "autograded" / "ada").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "autograded" / "ada")
    assert cells.seed_of() == cells.seed_from("secret") != 0
    monkeypatch.setenv(cells.KEY, "other")
    assert cells.seed_of() == cells.seed_from("other")


def test_a_variant_is_shown_and_returned(capsys):
    mine = assignment.variant("hw1", "ada", ["attention"])
    assert "| attention | causal |" in capsys.readouterr().out
    assert mine["attention"]["options"].keys() == {"causal", "scale", "softcap"}


def test_the_package_says_what_it_has():
    assert set(assignment.__all__) <= set(dir(assignment))
    with pytest.raises(AttributeError, match="it has attempt, expect"):
        assignment.nothing  # noqa: B018
