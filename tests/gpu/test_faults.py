"""Faults planted in small kernels: the checked host build catches each in every order of threads, and raises no alarm
about the same kernel without it (where `FAULT` is not defined).  `python tests/gpu/test_faults.py` prints the table.

A kernel is named like its file and takes (x, y, n); its comment says how it is launched and which rule it breaks."""

import functools
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from visattn import gpu
from visattn.gpu import _device, _host

FAULTS = sorted((Path(__file__).parent / "faults").glob("*.cu"))


@functools.cache
def all_of_them(**defines):
    """All kernels in one file, which compiles sooner than a file each."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "faults.cu")
        path.write_text("\n".join(f'#line 1 "{fault}"\n{fault.read_text()}' for fault in FAULTS))
        return _host.build(path, defines, checked=True)


def run(path, turn, **defines):
    """(expected, rule, text): the rule that was found broken, "unwritten" where output was left out, or None."""
    said = dict(re.findall(r"^//: (caught|launch) (.+)$", path.read_text(), re.M))
    launch = dict(re.findall(r"(\w+) (\w+)", said["launch"]))
    n = int(launch["n"])
    x = np.random.default_rng(0).normal(size=n).astype(np.float32)
    with gpu.use("host"):
        y = (_device.zeros if launch.get("y") == "zeros" else _device.empty)(n, np.float32)
    try:
        counted = all_of_them(**defines).launch(path.stem, (int(launch["grid"]), 1, 1), (int(launch["block"]), 1, 1),
                                                int(launch.get("shared", 0)), [x, y, np.int32(n)], turn)
    except _host.KernelFault as fault:
        return said["caught"], fault.kind, str(fault)
    return said["caught"], "unwritten" if counted.unwritten else None, f"{counted.unwritten} elements left out"


def test_there_are_enough():
    assert len(FAULTS) >= 18


@pytest.mark.parametrize("turn", [0, 1, 7])
@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_is_caught_in_every_order_of_threads(path, turn):
    expected, rule, text = run(path, turn, FAULT=1)
    assert rule == expected, text


@pytest.mark.parametrize("turn", [0, 1, 7])
@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_without_it_there_is_no_alarm(path, turn):
    _, rule, text = run(path, turn)
    assert rule is None, text


if __name__ == "__main__":
    for path in FAULTS:
        _, rule, text = run(path, 0, FAULT=1)
        print(f"{path.stem:26} {rule!s:10} {text}")
