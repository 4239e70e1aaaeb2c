"""The fixture `visattn_check`, in a test-suite of its own, as another project has it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import visattn

SUITE = """
import numpy as np

def right(x, mask=None, axis=-1):
    x = x if mask is None else np.where(mask, x, -np.inf)
    m = x.max(axis, keepdims=True)
    e = np.exp(x - np.where(np.isfinite(m), m, 0))
    s = e.sum(axis, keepdims=True)
    return e / np.where(s > 0, s, 1)

def wrong(x, mask=None, axis=-1):
    return 2 * right(x, mask, axis)

def test_right(visattn_check):
    report = visattn_check("softmax", right, framework="numpy", only=["plain_0"])
    assert report.passed

def test_wrong(visattn_check):
    visattn_check("softmax", wrong, framework="numpy", only=["plain_0"])

def test_misspelled(visattn_check):
    visattn_check("sofmax", right)
"""


def suite(tmp_path, *arguments):
    """stdout of pytest over SUITE in a process of its own, which finds the plugin by its entry point."""
    (tmp_path / "test_kernels.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    installed = tmp_path / "site" / "visattn_as_installed-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: visattn-as-installed\nVersion: 0\n")
    (installed / "entry_points.txt").write_text("[pytest11]\nvisattn = visattn.check.pytest_plugin\n")
    (installed / "RECORD").write_text("")
    path = os.pathsep.join(filter(None, [str(installed.parent), os.environ.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments],
                          cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
                          timeout=300)
    return done.stdout + done.stderr


def test_a_right_kernel_passes_and_a_wrong_one_fails_with_the_report(tmp_path):
    out = suite(tmp_path)
    assert "2 failed, 1 passed" in out, out
    assert "✗ wrong: " in out
    assert "did you mean softmax" in out
    assert "judge.py" not in out.partition("test_misspelled")[0], "no traceback through visattn where a kernel is wrong"


def test_the_fixture_is_listed_with_what_it_does(tmp_path):
    out = suite(tmp_path, "--fixtures", "-v")
    assert "visattn_check" in out
    assert "the report, or a failed test" in out


def test_loading_it_loads_nothing_heavy():
    code = ("import sys, pytest; before = set(sys.modules)\nimport visattn.check.pytest_plugin\n"
            "print(*set(sys.modules) - before)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {"visattn", "visattn.check", "visattn.check.pytest_plugin"}
    assert {name for name in done.stdout.split() if name not in sys.stdlib_module_names} == ours


def test_it_is_declared_for_pytest_to_find():
    project = Path(visattn.__file__).parents[1] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("not a source tree")
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]
    assert declared == {"visattn": "visattn.check.pytest_plugin"}
