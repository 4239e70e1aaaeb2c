"""Right implementations, of other people and as strangers write them, are within the checker's bounds."""

import contextlib
import sys
from pathlib import Path

import pytest

from visattn import catalogue

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parents[3] / "benchmarks"
SEEDS = (0, 1)
FILES = sorted(path.stem for path in (FOLDER / "implementations").glob("*.py"))
OPERATORS = [name for name in FILES if name not in ("__init__", "findings", "huggingface")]


@pytest.fixture(scope="module")
def right():
    """The benchmark, in the default precision of torch, as its users have it."""
    pytest.importorskip("jax")
    pytest.importorskip("keras")
    pytest.importorskip("timm")
    pytest.importorskip("scipy")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    sys.path.insert(0, str(FOLDER))
    import right
    yield right
    sys.path.remove(str(FOLDER))
    torch.set_default_dtype(before)


def test_every_operator_has_implementations(right):
    assert right.operators() == [name for name in map(right.cases.name_of, catalogue.select()) if name in OPERATORS]
    assert all(right.implementations(op) for op in OPERATORS)


@pytest.mark.parametrize("precision", ["float64", "float32", "tf32", "float16", "bfloat16"])
@pytest.mark.parametrize("implemented", OPERATORS)
def test_none_is_rejected_but_for_what_is_shown_of_libraries(right, implemented, precision):
    from implementations.findings import covering

    compared = 0
    for seed in SEEDS:
        found = right.evaluate(catalogue.select([implemented])[0], precision, seed, "eager")["results"]
        for name, record in found.items():
            compared += record["arrays"]
            for case, part, ratio, machine in record["rejected"]:
                where = f"seed {seed}: {name} {machine} {case} {part}: {ratio:.3g}"
                assert covering(implemented, name, part, precision), where
            assert not record["raised"] or covering(implemented, name, "y", precision), (name, record["raised"])
    assert compared or precision == "tf32"


def test_what_a_library_gets_wrong_is_shown_without_the_checker(right):
    from implementations.findings import FINDINGS

    for finding in FINDINGS:
        with contextlib.suppress(right.NotTaken):                   # of a package that is not installed
            off, honest = finding.show()
            assert off > 2 * honest, finding.name


def test_without_transformers_its_functions_take_nothing(right, monkeypatch):
    from implementations import huggingface

    huggingface.of.cache_clear()
    monkeypatch.setitem(sys.modules, "transformers", None)
    found = right.evaluate(catalogue.select(["grouped_query"])[0], "float32", 0, "eager", "torch_transformers_*")
    assert len(found["results"]) == 3
    for record in found["results"].values():
        assert record["not_taken"].keys() == {"transformers is not installed"}
        assert not record["cases"]
        assert not record["raised"]


def test_jax_and_the_others_share_the_bounds_of_a_case_and_give_the_same_as_apart(right):
    op = catalogue.select(["merge"])[0]
    apart = [right.evaluate(op, "float32", 0, kind, "*_written")["results"] for kind in ("eager", "jax")]
    together = right.evaluate(op, "float32", 0, "eager,jax", "*_written")["results"]
    assert together == apart[0] | apart[1]
    assert together.keys() == {"torch_written", "jax_written"}


def test_what_was_done_twice_counts_once(right, monkeypatch):
    op = catalogue.select(["merge"])[0]
    one, more = (right.evaluate(op, "float32", 0, "eager", pattern) for pattern in ("torch_written", "torch_*"))
    monkeypatch.setattr(right, "kept", lambda: [more])
    alone = right.counted()
    monkeypatch.setattr(right, "kept", lambda: [one, more])
    assert right.counted() == alone
    assert alone["totals"]["calls"] > sum(r["cases"] for r in one["results"].values())


@pytest.mark.parametrize(("implemented", "name", "precision", "verdict", "says"), [
    ("layernorm", "torch_layer_norm", "bfloat16", "precision", "sums are kept in"),
    ("hard_swish", "torch_hardsigmoid", "float64", "wrong", "a constant of too few digits")])
def test_the_checker_says_what_it_is(right, implemented, name, precision, verdict, says):
    import visattn.check

    f = right.implementations(implemented)[name]
    report = visattn.check.run(implemented, f, framework="torch", precision=precision)
    assert report.verdict == verdict, report.says
    assert any(says in part.says for part in report.parts)
