"""What is loaded when: `import visattn` costs nothing, and an operator needs NumPy and jaxtyping alone."""

import subprocess
import sys

import pytest

HEAVY = ["jaxtyping", "scipy", "matplotlib", "numba", "cupy", "torch", "sklearn", "PIL", "safetensors", "jinja2",
         "typer", "rich"]


def modules_after(code):
    """The top-level names of what is in sys.modules after `code`, in a process of its own."""
    listing = f"import sys\n{code}\nprint(' '.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize("part", ["visattn", "visattn.tree, visattn.optim, visattn.gradcheck"])
def test_importing_visattn_loads_nothing_heavy(part):
    assert not modules_after(f"import {part}") & set(HEAVY)


def test_operators_need_numpy_and_jaxtyping_alone():
    before = modules_after("import numpy, jaxtyping")
    after = modules_after("from visattn import models, ops\n[getattr(ops, name) for name in dir(ops)]\n"
                          "[getattr(models, name) for name in dir(models)]")
    third_party = {name for name in after - before - {"visattn"} if name not in sys.stdlib_module_names}
    assert third_party <= {"wadler_lindig", "typing_extensions"}, third_party


@pytest.mark.parametrize("part", ["visattn.data", "visattn.check", "visattn.plot", "visattn.cli"])
def test_parts_load_what_they_need_when_they_need_it(part):
    assert not modules_after(f"import {part}") & (set(HEAVY) - {"jaxtyping", "typer", "rich"})


def test_the_command_answers_before_it_loads_numpy():
    assert not modules_after("import visattn.cli") & {"jaxtyping", "numpy"}


def test_calling_an_operator_loads_no_jax(tmp_path):
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("")
    after = modules_after(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport numpy; from visattn import ops\n"
                          "ops.softmax.forward(numpy.ones((2, 3)))")
    assert "jaxtyping" in after
    assert "jax" not in after
