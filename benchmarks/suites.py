"""What published tests of attention and softmax let through: our catalogue of mistakes against replicas of them.

    python benchmarks/suites.py [--seeds 100] [--out build/suites]

Each function here is a suite: called with a module like `visattn.ops.attention`, it raises where the test it replicates
would fail.  The replicas are our own code, written after reading the tests; what they look at, their inputs and their
tolerances are the tests'.  `visattn mutate --suite benchmarks/suites.py:tinytorch --op attention` runs one by itself.

    KernelBench   github.com/ScalingIntelligence/KernelBench, KernelBench/level1/97_ScaledDotProductAttention.py with
                  src/kernelbench/eval.py: uniform inputs in [0, 1), 512 tokens of 1024 features, allclose with 1e-2 in
                  half precision.  Here one head instead of 32 × 32, and half precision by rounding inputs and outputs
    TinyTorch     github.com/harvard-edge/cs249r_book, module of attention: the graded unit test of scaled dot-product
                  attention looks at shapes, row sums, and zeros above the diagonal under a causal mask
    MiniTorch     github.com/minitorch/minitorch, grad_check in minitorch/tensor_functions.py: the loss is the sum of
                  the output, one random index of each argument, rtol = atol = 1e-2
    CS231n        cs231n.github.io/assignments, gradient_check.py: the loss is a product with random numbers, every
                  element by central differences; the judgement on the relative error is left to the student, here 1e-6
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from visattn import ops, plot
from visattn.check import changes

TOKENS, FEATURES = 512, 1024


# The suites.

def kernelbench(op: Any, seed: int = 0, trials: int = 5) -> None:
    """Five trials in half precision: forward only."""
    assert kernelbench_error(op, seed, trials) <= 1


def kernelbench_error(op: Any, seed: int = 0, trials: int = 5) -> float:
    """The largest |error| / (1e-2 + 1e-2 |y|)."""
    worst = 0.0
    for trial in range(trials):
        rng = np.random.default_rng([seed, trial])
        args = [half(rng.random((1, 1, TOKENS, FEATURES))) for _ in range(3)]
        wanted, got = (half(o.forward(*args)[0]) for o in (ops.attention, op))
        worst = max(worst, float((np.abs(got - wanted) / (1e-2 + 1e-2 * np.abs(wanted))).max()))
    return worst if np.isfinite(worst) else np.inf


def half(a: Any) -> Any:
    """Rounded to half precision, kept in single: what matrix units that add in single precision are given."""
    return a.astype(np.float16).astype(np.float32)


def tinytorch(op: Any, seed: int = 0) -> None:
    """Shapes, rows that sum to one, zeros under a causal mask."""
    N, T, D = 2, 4, 8
    q, k, v = np.random.default_rng(seed).normal(size=(3, N, T, D))
    y, cache = op.forward(q, k, v)
    assert y.shape == (N, T, D)
    assert cache.p.shape == (N, T, T)
    assert np.allclose(cache.p.sum(2), 1, atol=1e-6)
    _, cache = op.forward(q, k, v, mask=np.tril(np.ones((N, T, T), bool)))
    assert (np.abs(np.triu(cache.p, 1)) < 1e-6).all()


def minitorch(op: Any, seed: int = 0) -> None:
    """The gradient of sum(y) at one element of each of q, k, v."""
    rng = np.random.default_rng(seed)
    _grad_check(op, [rng.normal(scale=0.3, size=(2, 4, 8)) for _ in range(3)], {}, rng)


def minitorch_softmax(op: Any, seed: int = 0) -> None:
    """A row that sums to one, twice, and the gradient of sum(y), which is zero, at one element."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (1, 1, 4, 4))
    for axis in (3, 1):
        assert abs(op.forward(x, axis=axis)[0].sum(axis)[0, 0, 0] - 1) < 1e-2
    _grad_check(op, [x], {"axis": 2}, rng)


def _grad_check(op: Any, args: list[Any], options: dict[str, Any], rng: Any, eps: float = 1e-6) -> None:
    y, cache = op.forward(*args, **options)
    grads = op.backward(np.ones_like(y), cache)
    for i, a in enumerate(args):
        where = tuple(rng.integers(n) for n in a.shape)
        moved = [[*args[:i], a.copy(), *args[i + 1:]] for _ in range(2)]
        moved[0][i][where] += eps
        moved[1][i][where] -= eps
        up, down = (op.forward(*m, **options)[0].sum() for m in moved)
        np.testing.assert_allclose(grads[i][where], (up - down) / (2 * eps), rtol=1e-2, atol=1e-2)


def cs231n(op: Any, seed: int = 0, h: float = 1e-5) -> None:
    """Every element of every gradient, at the operator's own example."""
    rng = np.random.default_rng(seed)
    args, options = op.example(rng)
    y, cache = op.forward(*args, **options)
    dy = rng.normal(size=y.shape)
    grads = op.backward(dy, cache)
    for i, a in enumerate(args):
        numeric, x = np.zeros_like(a), a.copy()
        given = [*args[:i], x, *args[i + 1:]]
        for where in np.ndindex(a.shape):
            x[where] = a[where] + h
            up = op.forward(*given, **options)[0]
            x[where] = a[where] - h
            down = op.forward(*given, **options)[0]
            x[where] = a[where]
            numeric[where] = ((up - down) * dy).sum() / (2 * h)
        scale = np.maximum(1e-3, np.abs(numeric) + np.abs(grads[i]))        # noise of h² is no error where both are 0
        assert numeric.shape == grads[i].shape
        assert (np.abs(numeric - grads[i]) / scale).max() < 1e-6


class Suite(NamedTuple):
    name: str
    op: str
    test: Any
    random: bool                        # does it look at something else in every run


SUITES = [
    Suite("KernelBench", "attention", kernelbench, False),
    Suite("TinyTorch", "attention", tinytorch, False),
    Suite("MiniTorch", "attention", minitorch, True),
    Suite("CS231n", "attention", cs231n, False),
    Suite("MiniTorch", "softmax", minitorch_softmax, True),
    Suite("CS231n", "softmax", cs231n, False),
]

# Not mistakes that anybody makes, but what a test should notice: beside the catalogue, and not counted with it.
MEAN = "o = weigh(p, v, allowed)"
ABSURD = {
    "attention": [
        changes.mistake("no_attention_at_all", MEAN, "o = 0 * weigh(p, v, allowed) + v.mean(-2, keepdims=True)",
                        "Every query gets the plain mean of all values."),
        changes.mistake("zeros", MEAN, "o = 0 * weigh(p, v, allowed)", "The output is zero."),
        changes.mistake("zero_gradients", "return dq, dk, dv, *dbias", "return 0 * dq, 0 * dk, 0 * dv, *dbias",
                        "The gradients are zero."),
    ],
    "softmax": [changes.mistake("zero_gradients", "return (dx,)", "return (0 * dx,)", "The gradient is zero.")],
}


class Row(NamedTuple):
    """One mistake against one suite."""

    op: str
    mistake: str
    of: str                             # the operator whose line it is
    absurd: bool                        # one of ours, beside the catalogue
    where: str                          # "forward", if it moves the output; else "backward"
    suite: str
    killed: float                       # the share of runs


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Runs of a suite that looks at random places.")] = 100,
    out: Annotated[Path | None, typer.Option(help="Folder for suites.json and the figure.")] = None,
) -> None:
    """Run the mistakes of attention and softmax against the suites, and print what these let through."""
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    for suite in SUITES:
        assert killed(suite, getattr(ops, suite.op), seeds) == 0, f"{suite.name} rejects {suite.op} as it stands"
    jobs = [(name, change) for name in dict.fromkeys(s.op for s in SUITES)
            for change in [*ABSURD[name], *changes.changes_of(getattr(ops, name), "mistake")]]
    rows: list[Row] = []
    for name, change in track(jobs, "mistakes", console=Console(stderr=True), transient=True):
        op = changes.changed(getattr(ops, name), change)
        where = "forward" if moves_output(name, op) else "backward"
        rows += [Row(name, change.name, (change.op or name).rpartition(".")[2], change in ABSURD[name], where,
                     suite.name, killed(suite, op, seeds)) for suite in SUITES if suite.op == name]
    show(rows, console)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "suites.json").write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")
        for op_name in ABSURD:
            plot.save(picture([row for row in rows if row.op == op_name]), out / f"suites_{op_name}.svg")


def killed(suite: Suite, op: Any, seeds: int) -> float:
    """The share of runs in which a suite rejects an operator."""
    runs = range(seeds if suite.random else 1)
    return float(np.mean([not accepts(suite.test, op, seed) for seed in runs]))


def accepts(test: Any, op: Any, seed: int) -> bool:
    try:
        with np.errstate(all="ignore"):
            test(op, seed)
    except Exception:
        return False
    return True


def moves_output(name: str, op: Any) -> bool:
    """Is the output another one, anywhere in a handful of calls that use every option?"""
    rng = np.random.default_rng(0)
    (x, *others), options = (right := getattr(ops, name)).example(rng)
    calls = [((x * size, *others), options | more) for size in (1, 3000) for more in (
        [{}, {"mask": None}] + ([{"axis": 1}] if name == "softmax" else
        [{"scale": 0.7}, {"softcap": 0.9}, {"causal": "top_left"}, {"causal": "bottom_right", "mask": None}]))]
    for args, given in calls:
        with np.errstate(all="ignore"):
            try:
                if not np.allclose(op.forward(*args, **given)[0], right.forward(*args, **given)[0], rtol=1e-9,
                                   atol=1e-12):
                    return True
            except Exception:
                return True
    return False


def show(rows: list[Row], console: Console) -> None:
    table = Table(title="mistakes that fail the suite in every run / in some runs / in none", box=None, pad_edge=False)
    for heading in ("suite", "operator", "in forward", "in backward", "all", "share killed"):
        table.add_column(heading, justify="left" if heading in ("suite", "operator") else "right", no_wrap=True)
    for suite in SUITES:
        mine = [r for r in rows if (r.suite, r.op) == (suite.name, suite.op) and not r.absurd]
        table.add_row(suite.name, suite.op,
                      *(tally([r for r in mine if r.where in where]) for where in ("forward", "backward")), tally(mine),
                      f"{np.mean([r.killed for r in mine]):.0%}")
    console.print(table)
    console.print("\nNot mistakes, but what a test should notice, and a few that are named elsewhere "
                  "(share of runs that fail):")
    chosen = Table(box=None, pad_edge=False)
    chosen.add_column("operator: change")
    names = list(dict.fromkeys(s.name for s in SUITES))
    for name in names:
        chosen.add_column(name, justify="right")
    named = {"unscaled", "divided_by_d", "roles_swapped", "queries_as_values", "mask_after_softmax", "dk_unscaled",
             "plain_mean", "no_row_sum", "other_axis"}
    for key in dict.fromkeys((r.op, r.mistake) for r in rows if r.absurd or r.mistake in named):
        share = {r.suite: r.killed for r in rows if (r.op, r.mistake) == key}
        chosen.add_row(": ".join(key), *(f"{share[n]:.0%}" if n in share else "" for n in names))
    console.print(chosen)
    error = kernelbench_error(changes.changed(ops.attention, ABSURD["attention"][0]))
    console.print(f"\nNo attention at all errs by {error:.2f} of what KernelBench allows, at the worst of "
                  f"{5 * TOKENS * FEATURES:,} elements.")


def tally(rows: list[Row]) -> str:
    always, never = sum(r.killed == 1 for r in rows), sum(r.killed == 0 for r in rows)
    return f"{always} / {len(rows) - always - never} / {never}"


def picture(rows: list[Row]) -> Any:
    """Mistakes downwards, suites across."""
    suites = list(dict.fromkeys(r.suite for r in rows))
    keys = list(dict.fromkeys((r.of, r.mistake) for r in rows))
    share = {(r.of, r.mistake, r.suite): r.killed for r in rows}
    cells = [[1 if (s := share[(*key, suite)]) == 1 else 2 if s == 0 else 3 for suite in suites] for key in keys]
    fig, ax = plot.figure(size=(5.2, 1.6 + 0.15 * len(keys)))
    plot.verdicts(ax, cells, [": ".join(key) for key in keys], suites, x="suite", y=f"mistake in {rows[0].op}",
                  names=("", "killed", "survives", "killed in some runs"))
    return fig


if __name__ == "__main__":
    typer.run(main)
