"""The tree is what CONTRIBUTING says it is: what can be found by being there needs no list, and nothing is missing."""

import ast
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest

import visattn
from visattn import models, ops
from visattn._namespace import find

ROOT = Path(visattn.__file__).parents[1]
FAMILIES = {"primitives", "gates", "pairs", "sampling", "recurrent"}
OPERATORS = find("visattn.ops", ops.__path__)
SOURCES = sorted(Path(visattn.__file__).parent.rglob("*.py"))

# Arrows run one way: a part imports itself, the parts here, and nothing else of visattn.
IMPORTS = {
    "ops": set(),
    "tree": set(),
    "optim": {"tree"},
    "data": set(),
    "gradcheck": {"tree"},
    "plot": set(),
    "gpu": {"ops", "tree"},
    "models": {"ops", "tree"},
    "catalogue": {"ops", "models"},
    "check": {"catalogue", "ops", "models", "gpu", "gradcheck", "plot", "tree"},
    "assignment": {"catalogue", "check", "ops", "plot", "tree"},
    "doctor": {"data", "gpu"},
    "tasks": {"ops", "models", "data", "optim", "tree", "plot", "check", "gradcheck"},
    "demo": {"catalogue", "ops", "models", "tasks", "check", "data", "plot", "tree"},
    "cli": {"assignment", "catalogue", "check", "demo", "doctor", "gpu", "tasks"},
}
OUTSIDE = {"numpy", *sys.stdlib_module_names}
EVERYWHERE = {"_namespace", "_extras", "_atomic", "__version__"}


def path_of(operator):
    return "/".join(operator.__name__.split(".")[2:])


def imported(path):
    """Dotted names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # What a checked function is run with is copied elsewhere, and knows itself only.
            assert node.level == ("child" in path.parts and (node.module or "").partition(".")[0] not in OUTSIDE), (
                f"{path}: import by full name")
            yield from (f"{node.module}.{alias.name}" for alias in node.names if not node.level)


def test_there_are_five_families():
    assert {p.name for p in Path(ops.__path__[0]).iterdir() if p.is_dir() and p.name != "__pycache__"} == FAMILIES
    assert {name.split(".")[2] for name in OPERATORS.values()} == FAMILIES


def test_every_module_of_ops_is_an_operator(op):
    for name in ("forward", "backward", "example", "Cache"):
        assert hasattr(op, name), f"{op.__name__} has no {name}"
    assert hasattr(op, "Params") == hasattr(op, "init"), f"{op.__name__}: Params and init come together"
    assert issubclass(op.Cache, tuple)
    assert op.Cache._fields
    assert op.__doc__
    assert op.forward.__doc__
    assert op.backward.__doc__, f"{op.__name__}.backward does not derive its gradients"


def test_positional_means_differentiable(operator):
    """Every positional argument is a floating-point array or a tree of them; everything else is keyword-only."""
    for p in inspect.signature(operator.forward).parameters.values():
        assert p.annotation is not p.empty, f"{operator.__name__}: {p.name} declares no type"
        choices = [p.annotation, *getattr(p.annotation, "__args__", ())]
        floating = any("float32" in getattr(choice, "dtypes", ()) for choice in choices)
        if p.kind is not p.KEYWORD_ONLY:
            assert floating, f"{operator.__name__}: {p.name} is positional, so it must be differentiable"


def test_an_example_has_sizes_that_all_differ(operator, rng):
    """Two axes of one size can be confused without a trace; so can an axis of size one with nothing."""
    args, _ = operator.example(rng)
    sizes = {}
    for p, a in zip(inspect.signature(operator.forward).parameters.values(), args):
        choices = [p.annotation, *getattr(p.annotation, "__args__", ())]
        axes = next((c.dim_str.split() for c in choices if hasattr(c, "dim_str")), [])
        if len(axes) == np.ndim(a) and not any("*" in axis for axis in axes):
            sizes |= {axis: n for axis, n in zip(axes, a.shape) if axis.isidentifier()}
    for m, n in (("H", "W"), ("T", "S"), ("D", "E"), ("Kh", "Kw")):
        assert m not in sizes or sizes[m] != sizes.get(n), f"{operator.__name__}: {m} and {n} have one size"
    assert all(n > 1 for axis, n in sizes.items()), sizes


def test_every_operator_has_a_definition_a_test_and_a_peer(operator):
    path = path_of(operator)
    family, name = path.split("/")
    for place in (f"visattn/check/definitions/{path}.py", f"tests/ops/{family}/test_{name}.py",
                  f"tests/oracles/{family}/test_{name}.py"):
        assert (ROOT / place).is_file(), f"{operator.__name__} has no {place}"


def test_every_model_has_a_test():
    for name in dir(models):
        assert (ROOT / f"tests/models/test_{name}.py").is_file(), f"models.{name} has no tests/models/test_{name}.py"


def test_nothing_is_left_over():
    """A definition, a list of mistakes or a test whose operator is gone is gone too."""
    there = {dotted.split(".", 2)[2].replace(".", "/") for dotted in OPERATORS.values()}
    for place, strip in ((ROOT / "visattn/check/definitions", ""), (ROOT / "visattn/check/mistakes", ""),
                         (ROOT / "tests/ops", "test_")):
        for file in place.glob("*/*.py"):
            name = f"{file.parent.name}/{file.stem.removeprefix(strip)}"
            assert file.stem == "__init__" or name in there, f"{file} belongs to no operator"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_run_one_way(path):
    part = path.relative_to(ROOT / "visattn").parts[0].removesuffix(".py")
    for name in imported(path):
        top, _, rest = name.partition(".")
        if top == "visattn" and part in IMPORTS:
            target = rest.split(".")[0]
            assert target in IMPORTS[part] | EVERYWHERE | {part}, f"visattn.{part} must not import visattn.{target}"
        elif part == "ops":
            assert top in {"numpy", "jaxtyping"} | sys.stdlib_module_names, f"ops must not import {top}"


def test_no_module_is_called_after_nothing():
    for path in SOURCES:
        assert path.stem not in {"utils", "util", "helpers", "common", "misc", "core", "base"}, path


def test_top_level_folders_are_fixed():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")}
    made = {"build", "dist", "htmlcov", "runs"}
    assert folders <= {"lessons", "visattn", "tests", "notebooks", "benchmarks", *made}, folders
