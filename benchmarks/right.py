"""Does the checker reject what is right?  Right implementations by the hundred, on every case of many seeds.

    python benchmarks/right.py run [--seeds 200] [--ops attention,softmax] [--precisions float32] [--minutes 50]
                                   [--frameworks eager,jax] [--functions torch_transformers_*]
    python benchmarks/right.py table [--save benchmarks/results/right.json]
    python benchmarks/right.py findings

`run` calls each function of benchmarks/implementations on each case, and compares its output and every gradient with
the reference, within the bound that `visattn check` uses: first the reference's own, and where that is exceeded, that
of all ways to write it.  What was done is kept in build/right, a file an operator, and is not done again.  A function
that is right by a convention of its library is compared with that, where it is outside of the operator's.  JAX compiles
every function for every shape at the first seed, which takes minutes; in the same process the others take no longer
than torch, and with both in one run they share the bounds.

Beyond HONEST bounds it is rejected.  `table` counts; what is rejected and not among the findings about libraries is
listed.  `findings` shows each of those without the checker.
"""

import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("JAX_ENABLE_X64", "1")
sys.path.insert(0, str(Path(__file__).parent))

import types

import numpy as np
import torch
import typer
from implementations import PREFIXES, NotTaken, machines
from rich.console import Console
from rich.table import Table

from visattn import catalogue, tree
from visattn.check import cases, changes, tolerance
from visattn.check.compare import compare
from visattn.check.judge import HONEST
from visattn.check.precision import FINEST_FIRST, PRECISIONS

if torch.version.cuda is None:              # beside a CPU build of torch, torchvision's compiled operators may not load
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
FOLDER = Path(__file__).parent
BUILD = FOLDER.parent / "build" / "right"
UNSUPPORTED = ("not implemented for", "not supported", "does not support", "not implemented", "unsupported",
               "No available kernel", "Unsupported")
app = typer.Typer(add_completion=False, help=__doc__)


def operators() -> list[str]:
    """The operators that have implementations."""
    names = [cases.name_of(op) for op in catalogue.select()]
    return [name for name in names if (FOLDER / "implementations" / f"{name}.py").exists()]


@cache
def implementations(op: str) -> dict[str, Callable[..., Any]]:
    """{name: function} of an operator."""
    found = vars(importlib.import_module(f"implementations.{op}"))
    return {name: f for name, f in found.items()
            if name.partition("_")[0] in PREFIXES and "_" in name and callable(f) and not name.startswith("numpy_open")
            and name not in HELPERS}


HELPERS = ("jax_open", "jax_scores", "jax_scored", "numpy_open")


@cache
def conventions(op: str) -> dict[str, tuple[str, ...]]:
    """By which conventions a function is right where it is not right by the operator's."""
    return getattr(importlib.import_module(f"implementations.{op}"), "CONVENTIONS", {})


# Calling

def called(f: Any, name: str, case: cases.Case, precision: str, dy: bool = True) -> Iterator[tuple[str, Any]]:
    """(machine, [y leaves, gradients of the arguments given]) of one function; of NumPy's, for every machine."""
    kind = name.partition("_")[0]
    if kind == "numpy":
        for machine in machines(precision):
            yield machine.name, in_numpy(f, machine, case)
    elif precision == "tf32":
        return
    elif kind == "jax":
        yield "", in_jax(f, case, PRECISIONS[precision].dtype)
    else:
        yield "", in_torch(f, case, PRECISIONS[precision].dtype)


def in_torch(f: Any, case: cases.Case, dtype: str) -> Any:
    kind = getattr(torch, dtype)

    def tensor(a: Any, grad: bool = False) -> Any:
        if a.dtype.kind != "f":
            return torch.from_numpy(np.ascontiguousarray(a))
        return torch.from_numpy(np.array(a)).to(kind).requires_grad_(grad)

    args = [None if a is None else tensor(np.asarray(a), True) for a in case.args]
    options = {key: tensor(value) if isinstance(value, np.ndarray) else value for key, value in case.options.items()}
    y = tree.leaves(f(*args, **options))
    given = [a for a in args if a is not None]
    grads = torch.autograd.grad(y, given, [tensor(np.asarray(u)) for u in tree.leaves(case.dy)],
                                materialize_grads=True)
    for leaf in (*y, *grads):
        if leaf.dtype != kind:
            raise TypeError(f"{leaf.dtype} came back where {kind} was given")
    return [a.detach().double().numpy() for a in y], [a.double().numpy() for a in grads]


def in_jax(f: Any, case: cases.Case, dtype: str) -> Any:
    import jax
    import jax.numpy as jnp

    def array(a: Any) -> Any:
        return jnp.asarray(a) if a.dtype.kind != "f" else jnp.asarray(a).astype(dtype)

    plain = {key: value for key, value in case.options.items() if not isinstance(value, np.ndarray)}
    arrays = {key: array(value) for key, value in case.options.items() if isinstance(value, np.ndarray)}
    args = tuple(None if a is None else array(np.asarray(a)) for a in case.args)
    dy = jax.tree.map(lambda u: array(np.asarray(u)), case.dy)
    y, grads = compiled(f, tuple(sorted(plain.items())))(args, arrays, dy)
    return ([np.asarray(a).astype(float) for a in tree.leaves(y)],
            [np.asarray(a).astype(float) for a in grads if a is not None])


@cache
def compiled(f: Any, plain: tuple[tuple[str, Any], ...]) -> Any:
    import jax

    jax.config.update("jax_compilation_cache_dir", str(BUILD / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

    def both(args: Any, arrays: Any, dy: Any) -> Any:
        y, back = jax.vjp(lambda *a: f(*a, **arrays, **dict(plain)), *args)
        return y, back(dy)

    return jax.jit(both)


def in_numpy(f: Any, machine: Any, case: cases.Case) -> Any:
    def array(a: Any) -> Any:
        return a.astype(machine.dtype) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a

    args = tree.map(array, tuple(case.args))
    y, backward = f(machine, *args, **{key: array(value) for key, value in case.options.items()})
    return ([np.asarray(a, float) for a in tree.leaves(y)],
            [np.asarray(a, float) for a in backward(tree.map(array, case.dy))])


# Judging

class Judge:
    """The bounds of one case, each made once, when it is asked for."""

    def __init__(self, op: ModuleType, case: cases.Case, precision: str) -> None:
        self.op, self.case, self.precision, self.made = op, case, precision, {}

    def bounds(self, convention: str = "", all_ways: bool = True) -> Any:
        key = convention, all_ways
        if key not in self.made:
            op = self.op
            if convention:
                change = next(c for c in changes.changes_of(op) if (c.name, c.kind) == (convention, "convention"))
                op = changed(op, change)
            self.made[key] = tolerance.bounds(op, self.case.args, self.case.options, self.case.dy, self.precision,
                                              all_ways=all_ways)
        return self.made[key]

    def ratios(self, got: Any, conventions: tuple[str, ...]) -> tuple[dict[str, float], str]:
        """{part: |error| / bound}, and the convention by which it is so: that by which most parts are right."""
        found = {}
        for all_ways, enough in ((False, 1), (True, HONEST)):
            for convention in ("", *conventions):
                by = against(got, self.bounds(convention, all_ways))
                if max(by.values()) <= enough:
                    return by, convention
                found[convention] = by
        best = min(found, key=lambda convention: sum(ratio > HONEST for ratio in found[convention].values()))
        return found[best], best


@cache
def changed(op: ModuleType, change: Any) -> ModuleType:
    return changes.changed(op, change)


def against(got: Any, right: Any) -> dict[str, float]:
    y, grads = got
    found, parts = {}, right.parts()
    answers = {"y": y} | {name: [g] for name, g in zip((n for n in parts if n != "y"), grads, strict=True)}
    for name, leaves in answers.items():
        for leaf, wanted in zip(leaves, parts[name], strict=True):
            if leaf.shape != wanted.value.shape:
                raise TypeError(f"{name} has shape {leaf.shape}, where {wanted.value.shape} is meant")
            found[name] = max(found.get(name, 0.0), compare(leaf, wanted).worst)
    return found


def evaluate(op: ModuleType, precision: str, seed: int, frameworks: str, functions: str = "*") -> dict[str, Any]:
    """What became of every implementation of an operator in one precision, on all cases of one seed."""
    own, by = cases.name_of(op), conventions(cases.name_of(op))
    results: dict[str, dict[str, Any]] = {}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases.cases(op, precision, seed):
            judge = Judge(op, case, precision)
            for name, f in implementations(own).items():
                kind = "jax" if name.startswith("jax") else "eager"
                if kind not in frameworks.split(",") or not fnmatch(name, functions):
                    continue
                record = results.setdefault(name, {"cases": 0, "arrays": 0, "worst": [0.0, "", ""], "above": 0,
                                                   "rejected": [], "by_convention": 0, "not_taken": {}, "raised": {}})
                try:
                    for machine, got in called(f, name, case, precision):
                        ratios, convention = judge.ratios(got, by.get(name, ()))
                        record["cases"] += 1
                        record["arrays"] += len(ratios)
                        record["by_convention"] += bool(convention)
                        for part, ratio in ratios.items():
                            ratio = min(ratio, 1e300)
                            if ratio > HONEST:
                                record["rejected"].append([case.name, part, ratio, machine])
                            else:
                                record["above"] += ratio > 1
                                record["worst"] = max(record["worst"], [ratio, part, case.name])
                except NotTaken as why:
                    record["not_taken"][str(why)] = record["not_taken"].get(str(why), 0) + 1
                except Exception as error:
                    text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"[:160]
                    kind = "not_taken" if any(word in str(error) for word in UNSUPPORTED) else "raised"
                    record[kind][text] = record[kind].get(text, 0) + 1
    return {"op": own, "precision": precision, "seed": seed, "frameworks": frameworks, "functions": functions,
            "results": {n: r for n, r in results.items() if r["cases"] or r["raised"] or r["not_taken"]}}


# The command

@app.command()
def run(seeds: Annotated[int, typer.Option(help="From 0 on.")] = 3,
        ops: Annotated[str, typer.Option(help="Names, separated by commas; by default all.")] = "",
        frameworks: Annotated[str, typer.Option(help="eager, jax (compiled at the first seed), or both.")] = "eager",
        functions: Annotated[str, typer.Option(help="A pattern of their names.")] = "*",
        precisions: Annotated[str, typer.Option(help="Likewise.")] = ",".join(FINEST_FIRST),
        minutes: Annotated[float, typer.Option(help="Not to begin anything after so long.")] = 50) -> None:
    """Call the implementations; seed after seed, so that whenever it ends, all operators have as many.

    With JAX, operator after operator, forgotten before the next: a process may map only so many compiled functions.
    """
    torch.set_num_threads(1)
    BUILD.mkdir(parents=True, exist_ok=True)
    chosen, end = ops.split(",") if ops else operators(), time.monotonic() + 60 * minutes
    done = {(d["op"], d["precision"], d["seed"], d["frameworks"], d.get("functions", "*")) for d in kept()}
    jobs = [(seed, name) for seed in range(seeds) for name in chosen]
    if "jax" in frameworks.split(","):
        jobs.sort(key=lambda job: chosen.index(job[1]))
    for (seed, name), (_, before) in zip(jobs, [(0, ""), *jobs]):
        start = time.monotonic()
        if name != before:
            forget_compiled()
        for precision in precisions.split(","):
            if (name, precision, seed, frameworks, functions) in done:
                continue
            if time.monotonic() > end:
                print(f"time is up, at seed {seed}, {name}")
                return
            found = evaluate(catalogue.select([name])[0], precision, seed, frameworks, functions)
            with (BUILD / f"{name}.jsonl").open("a") as file:
                file.write(json.dumps(found) + "\n")
            for one, r in found["results"].items():
                for case, part, ratio, machine in r["rejected"]:
                    print(f"{name} {precision} seed {seed}: {one} {machine} {case} {part} {ratio:.3g}", flush=True)
                for text in r["raised"]:
                    print(f"{name} {precision} seed {seed}: {one} raised {text}", flush=True)
        if (taken := time.monotonic() - start) > 0.01:
            print(f"  seed {seed} {name} {taken:.1f} s", flush=True)


def forget_compiled() -> None:
    """What JAX compiled so far."""
    if compiled.cache_info().currsize:
        import jax

        compiled.cache_clear()
        jax.clear_caches()


def kept() -> Iterator[dict[str, Any]]:
    for path in sorted(BUILD.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            yield json.loads(line)


@app.command()
def table(save: Annotated[Path | None, typer.Option(help="A JSON file for the rows.")] = None) -> None:
    """What was found so far."""
    rows = counted()
    shown = Table(*("operator", "precision", "functions", "seeds", "compared", "above 1", "rejected", "findings",
                    "largest", "where"), title="Right implementations: arrays compared, and what is outside of bounds")
    for row in rows["rows"]:
        shown.add_row(*(str(row[key]) for key in ("op", "precision", "functions", "seeds", "compared", "above_1",
                                                  "rejected", "findings")), f"{row['largest']:.2f}", row["where"])
    Console(width=160).print(shown)
    print(json.dumps({key: rows[key] for key in ("totals", "findings", "unexplained")}, indent=1))
    if save is not None:
        save.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def counted() -> dict[str, Any]:
    """All that was kept, added up: a row for each operator and precision, the totals, and what is not explained.

    What was done twice, by itself and in a run of more functions, counts once."""
    from implementations.findings import FINDINGS, covering

    rows: dict[tuple[str, str], dict[str, Any]] = {}
    by_finding = {f.name: {"says": f.says, "rejected": 0, "largest": 0.0, "precisions": set()} for f in FINDINGS}
    unexplained, conventions, untaken, ran, seen = [], 0, {}, set(), set()
    for d in kept():
        row = rows.setdefault((d["op"], d["precision"]), {
            "op": d["op"], "precision": d["precision"], "functions": set(), "seeds": set(), "seeds_of_jax": set(),
            "calls": 0, "compared": 0, "above_1": 0, "rejected": 0, "findings": 0, "largest": 0.0, "where": ""})
        for kind in d["frameworks"].split(","):
            row["seeds_of_jax" if kind == "jax" else "seeds"].add(d["seed"])
        for name, r in d["results"].items():
            if (judged := (d["op"], d["precision"], d["seed"], name)) in seen:
                continue
            seen.add(judged)
            if r["cases"]:
                row["functions"].add(name)
                ran.add((d["op"], name))
            row["calls"] += r["cases"]
            row["compared"] += r["arrays"]
            row["above_1"] += r["above"]
            conventions += r["by_convention"]
            if r["worst"][0] > row["largest"]:
                row["largest"], row["where"] = r["worst"][0], f"{name} {r['worst'][1]} {r['worst'][2]}"
            for case, part, ratio, _ in r["rejected"]:
                finding = covering(d["op"], name, part, d["precision"])
                row["findings" if finding else "rejected"] += 1
                if finding:
                    found = by_finding[finding]
                    found["rejected"] += 1
                    found["largest"] = max(found["largest"], ratio)
                    found["precisions"].add(d["precision"])
                else:
                    unexplained.append([d["op"], d["precision"], d["seed"], name, case, part, ratio])
            for text in r["raised"]:
                if not covering(d["op"], name, "y", d["precision"]):
                    unexplained.append([d["op"], d["precision"], d["seed"], name, "raised", text, 0.0])
            for why, count in r["not_taken"].items():
                key = f"{d['op']} {name}: {why}"
                untaken[key] = untaken.get(key, 0) + count
    made = []
    for row in rows.values():
        made.append(row | {"functions": len(row["functions"]), "seeds": len(row["seeds"]),
                           "seeds_of_jax": len(row["seeds_of_jax"])})
    return {"rows": made,
            "totals": {key: sum(row[key] for row in made)
                       for key in ("calls", "compared", "above_1", "rejected", "findings")}
            | {"by_convention": conventions, "functions": len(ran)},
            "findings": {n: f | {"precisions": sorted(f["precisions"])} for n, f in by_finding.items()},
            "unexplained": unexplained, "not_taken": untaken}


@app.command()
def findings() -> None:
    """Show what libraries do, without the checker."""
    from implementations.findings import FINDINGS

    for finding in FINDINGS:
        try:
            off, honest = finding.show()
        except NotTaken as why:
            print(f"{finding.name}: not shown, {why}")
            continue
        print(f"{finding.name}: off by {off:.3g}, where {honest:.1g} is honest. {finding.says}")


@app.command()
def verdicts() -> None:
    """What `visattn check` says of the findings and of a few functions that are right."""
    from visattn.check import run as check

    torch.set_num_threads(1)
    for op, name, precision in (
            ("layernorm", "torch_layer_norm", "bfloat16"), ("layernorm", "torch_layer_norm", "float16"),
            ("layernorm", "torch_layer_norm", "float32"), ("layernorm", "torch_rsqrt", "float16"),
            ("erf", "torch_erf", "bfloat16"), ("erf", "torch_erf", "float32"),
            ("hard_swish", "torch_hardsigmoid", "float64"), ("hard_swish", "torch_hardsigmoid", "float32"),
            ("attention", "torch_nan_rows", None), ("attention", "torch_lowest_number", None),
            ("attention", "torch_scale_on_scores", None), ("attention", "torch_scale_on_scores", "bfloat16"),
            ("attention", "jax_dot_product_attention", None), ("conv2d", "jax_conv", "bfloat16")):
        f = implementations(op)[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = check(op, f, framework=name.partition("_")[0], precision=precision)
        print(f"{op} {name} {precision}: {report.verdict}: {report.says} ({report.seconds:.1f} s)", flush=True)


if __name__ == "__main__":
    app()
