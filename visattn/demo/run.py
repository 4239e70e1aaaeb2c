"""`visattn demo`: verify, train, look, write."""

import hashlib
import platform
import time
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from visattn import __version__, catalogue, data
from visattn.check import verify
from visattn.demo import findings, page
from visattn.tasks import classify

NETWORKS = {"cnn": ("cnn", "digits", "cbam"), "vit": ("vit", "digits", "none"), "stn": ("stn", "scattered", "none")}
QUICK = {"cnn": 2, "vit": 6, "stn": 8}                  # epochs
Progress = Callable[[str, float, str], None]            # what is done, the share of it that is done, in words


class Demo(NamedTuple):
    page: Path
    results: list[verify.Result]
    networks: dict[str, classify.Result]
    seconds: float


def run(out: str | PathLike[str] = "build/demo", quick: bool = False, seed: int = 0,
        progress: Progress = lambda task, share, words: None) -> Demo:
    """Write index.html, and beside it the weights and curves of its networks, into the folder `out`."""
    started, folder = time.perf_counter(), Path(out)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: --out names a folder")
    picture = data.photos.load("china")                 # what is missing is said before any work

    results = check(progress)
    verified_in = time.perf_counter() - started
    networks = {name: train(name, folder, quick, seed, progress) for name in NETWORKS}

    progress("looking", 0.0, "attention, gates and grids")
    cnn, vit, stn = (networks[name] for name in ("cnn", "vit", "stn"))
    digits = classify.load_data("digits")
    found = SimpleNamespace(
        quick=quick, command="visattn demo" + " --quick" * quick + f" --seed {seed}" * bool(seed),
        version=__version__, python=platform.python_version(), numpy=np.__version__,
        proof=findings.proof(results, verified_in), hero=findings.hero(picture),
        cnn=findings.network(cnn), vit=findings.network(vit), stn=findings.network(stn),
        learning=findings.learning([vit, cnn], digits), patches=findings.patches(vit, digits),
        photo=findings.photo(vit, picture), channels=findings.channels(cnn, digits),
        places=findings.places(cnn, digits, picture), windows=findings.windows(stn),
        attributions=[digits.attribution, picture.attribution],
        files={f"{findings.NAMES[n.config.model]}: {what}": Path(file).relative_to(folder).as_posix()
               for n in (vit, cnn, stn) for what, file in n.files.items()})
    found.seconds = time.perf_counter() - started
    path = page.write(folder / "index.html", page.render(found))
    progress("looking", 1.0, "")
    return Demo(path, results, networks, time.perf_counter() - started)


def check(progress: Progress) -> list[verify.Result]:
    names = catalogue.everything()

    def step(name: str) -> None:
        progress("verifying", names.index(name) / len(names), name)

    results = verify.verify(names, step)
    progress("verifying", 1.0, "")
    return results


def train(name: str, folder: Path, quick: bool, seed: int, progress: Progress = lambda *_: None) -> classify.Result:
    """One of NETWORKS, trained; a run that was interrupted goes on."""
    model, images, gate = NETWORKS[name]
    epochs = QUICK[name] if quick else None

    def step(state: Any, steps: int) -> None:
        total = classify.configure(model, images, gate, seed, epochs).epochs
        words = f"{state.curve[-1]['accuracy']:.1%} of held-out digits" if state.curve else ""
        progress(f"training the {findings.NAMES[model]}", (state.epoch + state.step / steps) / total, words)

    return classify.train(model, images, gate, seed, epochs, out=folder_of(name, folder, quick, seed), progress=step)


def folder_of(name: str, folder: Path, quick: bool, seed: int) -> Path:
    """A folder for each way to train it, so that no run meets the files of another."""
    model, images, gate = NETWORKS[name]
    config = classify.configure(model, images, gate, seed, QUICK[name] if quick else None)
    return folder / "networks" / f"{name}-{hashlib.sha256(repr(config).encode()).hexdigest()[:8]}"
