"""What the README shows runs, and its list of operators is the list of operators."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from visattn import gpu, ops
from visattn._namespace import find

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def test_its_examples_run(capsys):
    scope = {}
    for code in blocks(README):
        if "gpu" not in code:
            exec(compile(code, "README.md", "exec"), scope)
    assert "gradient of w" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("g++") is None, reason="kernels on the CPU need g++")
def test_its_examples_of_kernels_run(capsys):
    scope = {"np": np, "ops": ops, "rng": np.random.default_rng(0)}
    page = (Path(gpu.__file__).parent / "README.md").read_text(encoding="utf-8")
    for code in blocks(README) + blocks(page):
        if "gpu" in code and "cupy" not in code:
            exec(compile(code, "README.md", "exec"), scope)
    assert "softmax_kept" in capsys.readouterr().out


def test_it_lists_every_operator_in_its_family():
    listed = README.split("<!-- operators -->")[1].split("<!-- /operators -->")[0]
    rows = dict(re.findall(r"^\| \*\*(\w+)\*\*[^|]*\| (.*?) \|$", listed, re.M))
    for name, dotted in find("visattn.ops", ops.__path__).items():
        family = dotted.split(".")[2]
        assert f"`{name}`" in rows.get(family, ""), f"README does not list {name} under {family}"


def test_its_files_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
