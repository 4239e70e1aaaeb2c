"""Writes, renames, removes and opens up files beside its own and above it."""

import contextlib
import os
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def forward(x):
    for folder in (HERE, HERE.parent, HERE / "sentinel", HERE.parent / "sentinel", Path("/tmp"), Path.home().parent):
        attempts = (lambda f=folder: (f / "hostile-was-here").write_text("x"),
                    lambda f=folder: (f / "keep.txt").write_text("changed"),
                    lambda f=folder: os.truncate(f / "keep.txt", 0),
                    lambda f=folder: os.chmod(f / "keep.txt", 0o777),
                    lambda f=folder: os.utime(f / "keep.txt", (0, 0)),
                    lambda f=folder: os.symlink("/etc/passwd", f / "hostile-link"),
                    lambda f=folder: os.link(f / "keep.txt", "hostile-link"),
                    lambda f=folder: os.mkfifo(f / "hostile-fifo"),
                    lambda f=folder: os.rename(f / "keep.txt", f / "kept.txt"),
                    lambda f=folder: os.remove(f / "keep.txt"))
        for attempt in attempts:
            with contextlib.suppress(OSError):
                attempt()
    return np.full_like(x, 1 / x.shape[-1])
