"""Faults planted in small kernels: the checked host build catches each in every order of threads, and raises no alarm
about the same kernel without it (where `FAULT` is not defined).  `python tests/gpu/test_faults.py` prints the table.

Then the kernels that ship, without one barrier at a time.

A kernel is named like its file and takes (x, y, n); its comment says how it is launched and which rule it breaks."""

import contextlib
import functools
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from visattn import gpu
from visattn.check import twins
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


# ---- the kernels that ship


GPU = Path(gpu.__file__).parent
BARRIER = re.compile(r"__sync(?:threads|warp)\(\)(?=;)")
SWITCH = """#line 1 "switch"
#include <cstdlib>
extern "C" __attribute__((noinline, no_sanitize("thread"))) bool there_is(const char* barrier) {
    const char* without = getenv("WITHOUT");
    return !without || strcmp(without, barrier);
}
"""


def random(*shapes):
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


# Sizes at which every barrier is needed: above one tile, in launches of at most two blocks, which go round again.
CASES = {
    "softmax": [(random((5, 1100)), {}), (random((70, 40)), {})],
    "layernorm": [(random((5, 1100), 1100, 1100), {}), (random((70, 40), 40, 40), {})],
    "attention": [(random((1, 2, 70, 40), (1, 2, 150, 40), (1, 2, 150, 40)), {"mask": np.arange(150)[None, None] > 7}),
                  (random((1, 1, 3, 8), (1, 1, 1100, 8), (1, 1, 1100, 8)), {})],
    "flash": [(random((1, 1, 70, 24), (1, 1, 140, 24), (1, 1, 140, 24)), {})],
    "lstm_cell": [(random((20, 40), (20, 50), (20, 50), (200, 40), (200, 50), 200, 200), {})],
    "squeeze_excite": [(random((3, 20, 10, 10), (5, 20), (20, 5)), {}), (random((1, 6, 40, 40), (2, 6), (6, 2)), {})],
    "channel_gate": [(random((3, 20, 10, 10), (5, 20), (20, 5)), {}), (random((1, 6, 40, 40), (2, 6), (6, 2)), {})],
    "spatial_gate": [(random((3, 5, 40, 50), (1, 2, 7, 7)), {})],
    "grid_sample": [(random((2, 40, 9, 8), (2, 13, 11, 2)), {"align_corners": False})],
}

# Barriers that others make needless, which a reader need not know.
NEEDLESS = {"channel_gate": 1}                                      # before a maximum: the sum before it has its own


@functools.cache
def with_switches(folder):
    """Copies of all sources with a switch at each barrier; {source: copy}, and the barriers, "file:line"."""
    copies, barriers = {}, []
    for source in [*GPU.glob("*.cuh"), *GPU.glob("*/*.cu")]:
        lines = source.read_text().split("\n")
        for i, line in enumerate(lines):
            name = f"{source.name}:{i + 1}"
            lines[i] = BARRIER.sub(lambda m, name=name: f'(there_is("{name}") ? {m[0]} : (void)0)', line)
            barriers += [name] * (lines[i] != line)
        copies[source] = folder / source.name
        switch = f'{SWITCH}#line 1 "{source}"\n' if source.suffix == ".cu" else ""
        copies[source].write_text(switch + "\n".join(lines))
    return copies, barriers


def rounds(count, each, most=2):
    return min(-(-count // each), 2)


@contextlib.contextmanager
def switched(name, folder, monkeypatch):
    """The twin's kernels with switches, in launches of few blocks."""
    copies, barriers = with_switches(folder)
    build, used = _host.build, {"common.cuh"} if name == "softmax" else set()        # softmax uses all of that

    def copied(source, *args, **options):
        used.add(source.name)
        return build(copies[source], *args, **options)

    monkeypatch.setattr(_host, "build", copied)
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("visattn.gpu.") and hasattr(module, "blocks"):
            monkeypatch.setattr(module, "blocks", rounds)
    yield lambda: [barrier for barrier in barriers if barrier.split(":")[0] in used]


def cases(name):
    args, options = getattr(gpu, name).example(np.random.default_rng(0))
    return [*CASES.get(name, []), (twins.cast(tuple(args), "float32"), options)]


def rule_broken(name, turn=0):
    """What the checked build says first of a twin, forward and backward, in all its versions."""
    twin = getattr(gpu, name)
    for version in range(twin.SHIPS, 1, -1):
        for args, options in cases(name):
            try:
                with twins.running("host", turn, checked=True):
                    y, cache = twin.forward(*args, **options, version=version)
                    twin.backward(y, cache, version=version)
            except _host.KernelFault as fault:
                return str(fault)
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("switched")


@pytest.mark.parametrize("turn", [1, 7])
@pytest.mark.parametrize("name", gpu.twins())
def test_what_ships_breaks_no_rule(name, turn):
    assert rule_broken(name, turn) is None


@pytest.mark.parametrize("name", gpu.twins())
def test_each_barrier_that_ships_is_needed(name, folder, monkeypatch):
    with switched(name, folder, monkeypatch) as barriers:
        monkeypatch.delenv("WITHOUT", raising=False)
        assert rule_broken(name) is None                            # in launches of few blocks, too
        missed = []
        for barrier in barriers():
            monkeypatch.setenv("WITHOUT", barrier)
            if rule_broken(name) is None:
                missed.append(barrier)
    assert len(missed) <= NEEDLESS.get(name, 0), f"without {missed} nothing is said; is the case in CASES too small?"


if __name__ == "__main__":
    for path in FAULTS:
        _, rule, text = run(path, 0, FAULT=1)
        print(f"{path.stem:26} {rule!s:10} {text}")
