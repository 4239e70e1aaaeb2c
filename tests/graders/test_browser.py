"""What students get opens in JupyterLab and runs from top to bottom; pictures are kept in build/browser."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import browser

PICTURES = Path(__file__).parents[2] / "build/browser"
pytestmark = [pytest.mark.graders, pytest.mark.skipif(browser.chromium() is None, reason="there is no Chromium here")]


@pytest.fixture(scope="module")
def seen():
    return browser.photographed(PICTURES)


@pytest.mark.parametrize("target", browser.NOTEBOOKS)
def test_a_notebook_runs_and_shows_what_is_wrong(target, seen):
    text = seen[target].text
    assert f"What holds for {browser.STUDENT}" in text
    assert text.count("✓ attention") == 3
    assert "dq lacks the factor 1/√D" in text
    assert "nothing is written here yet" in text
    assert "Traceback" not in text
    assert seen[target].maps > 0


def test_all_targets_are_photographed(seen):
    for name in (*browser.NOTEBOOKS, "pytest", "pytest_stub"):
        assert (PICTURES / f"{name}.png").stat().st_size > 50_000
