"""The notebooks of all targets in JupyterLab: opened, run from top to bottom, and photographed.

    python benchmarks/browser.py [--out build/browser]

A headless Chromium opens what students of a varied assignment get, with a right forward, a backward that has a known
mistake, and an exercise that nobody has begun; of the folder for pytest, the stub in the editor and the tests in a
terminal.  Needs the `graders` extra, and Chromium.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import graders
import typer

from visattn.assignment import records, sheet, targets

NAME, STUDENT = "hw1", "ada"
NOTEBOOKS = ("plain", "nbgrader", "otter")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
            "--disable-sync"]
SETTINGS: dict[str, Any] = {
    "notebook-extension/tracker": {"windowingMode": "none"},            # every cell is there, also those out of sight
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
WIDE, TALL = 1280, 9000
MISTAKE = ("dq = scale * attention_weigh(da, k, mask)", "dq = attention_weigh(da, k, mask)")
RAN = """() => [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')]
    .filter(cell => cell.querySelector('.cm-content')?.innerText.trim())
    .every(cell => /\\d/.test(cell.querySelector('.jp-InputPrompt').innerText))"""
WAIT = 300                                          # seconds for a notebook


class Seen(NamedTuple):
    """A notebook after all its cells ran."""

    text: str                                       # of all outputs
    maps: int                                       # of errors, in reports
    picture: Path


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def handed_out(folder: Path) -> dict[str, Path]:
    """{target: its students' folder}, with answers in the files."""
    made = sheet.of_operators(NAME, ["attention", "squeeze_excite"], varied=True, title="Attention, by hand")
    answers = {cell.name: records.solved(cell.source) for cell in made.cells
               if cell.kind == "answer" and not cell.name.startswith("squeeze_excite")}
    assert MISTAKE[0] in answers["attention_backward"]
    answers["attention_backward"] = answers["attention_backward"].replace(*MISTAKE)
    answers["student"] = f'student = "{STUDENT}"'
    found = {}
    for target in targets.TARGETS:
        targets.write(made, folder / target, target)
        found[target] = folder / target / "student"
        if target in NOTEBOOKS:
            graders.write(found[target] / f"{NAME}.ipynb", answers, found[target] / f"{NAME}.ipynb")
        else:
            text = "\n\n\n".join(answers.get(c.name, records.unsolved(c.source)) for c in made.cells
                                 if c.kind in ("given", "answer"))
            (found[target] / f"{NAME}.py").write_text(text + "\n", encoding="utf-8")
    return found


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[str]:
    """JupyterLab over a folder: its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, values in SETTINGS.items():
        file = folder / ".settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                        "JUPYTERLAB_SETTINGS_DIR": str(folder / ".settings")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
               "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={folder}",
               "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    server = subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(WAIT):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{address}/api", timeout=5).read()
                break
            time.sleep(1)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def run_all(page: Any, address: str, path: str, picture: Path) -> Seen:
    """Open a notebook, run all its cells, and take a picture of it."""
    page.goto(f"{address}/lab/tree/{path}?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=WAIT * 1000)
    page.wait_for_timeout(3000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    try:
        page.wait_for_function(RAN, timeout=WAIT * 1000)
    except Exception:
        page.screenshot(path=picture)               # what it looked like
        raise
    page.wait_for_timeout(2000)                     # the last pictures are drawn
    page.screenshot(path=picture)
    texts = page.locator(".jp-OutputArea-output").all_inner_texts()
    maps = sum(frame.locator(".jp-OutputArea-output svg").count() for frame in page.frames)
    return Seen("\n".join(texts), maps, picture)


def in_terminal(page: Any, address: str, path: str, command: str, done: Path, picture: Path) -> None:
    """Run a command in a terminal of JupyterLab, and take a picture of it."""
    page.set_viewport_size({"width": WIDE, "height": 1100})
    page.goto(f"{address}/lab/tree/{path}?reset")
    page.wait_for_selector(".jp-FileEditor .cm-content", timeout=WAIT * 1000)
    page.wait_for_timeout(2000)
    page.screenshot(path=picture.with_name(f"{picture.stem}_stub.png"))
    page.get_by_role("menuitem", name="File", exact=True).click()
    page.get_by_text("New", exact=True).hover()
    page.get_by_text("Terminal", exact=True).last.click()
    page.wait_for_selector(".jp-Terminal .xterm", timeout=WAIT * 1000)
    page.wait_for_timeout(2000)
    page.keyboard.type(f"{command}; touch {done}\n")
    for _ in range(WAIT):
        if done.exists():
            break
        page.wait_for_timeout(1000)
    page.wait_for_timeout(2000)
    page.screenshot(path=picture)


def photographed(out: Path) -> dict[str, Seen]:
    """{target: what was seen}, of the notebooks; pictures of all targets are in `out`."""
    from playwright.sync_api import sync_playwright

    out.mkdir(parents=True, exist_ok=True)
    found = {}
    with tempfile.TemporaryDirectory(prefix="browser-") as name, sync_playwright() as play:
        folder = Path(name)
        there = handed_out(folder)
        browser = play.chromium.launch(executable_path=chromium(), args=SWITCHES)
        with lab(folder) as address:
            for target in NOTEBOOKS:
                page = browser.new_page(viewport={"width": WIDE, "height": TALL})
                path = (there[target] / f"{NAME}.ipynb").relative_to(folder)
                found[target] = run_all(page, address, str(path), out / f"{target}.png")
                page.close()
            page = browser.new_page()
            path = (there["pytest"] / f"{NAME}.py").relative_to(folder)
            command = f"cd {there['pytest']} && {sys.executable} -m pytest test_{NAME}.py --tb=short -q"
            in_terminal(page, address, str(path), command, folder / "done", out / "pytest.png")
        browser.close()
    return found


def main(out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("build/browser")) -> None:
    """Open and run everything, and say what was seen."""
    if chromium() is None:
        raise SystemExit(f"there is no Chromium here: {', '.join(CHROMIUM)}")
    for target, seen in photographed(out).items():
        passed, failed = seen.text.count("✓ attention"), seen.text.count("Not yet: ")
        print(f"{target:10} {passed} passed, {failed} not yet, {seen.maps} pictures: {seen.picture}")


if __name__ == "__main__":
    typer.run(main)
