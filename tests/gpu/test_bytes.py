"""Bytes: what a kernel moves, counted in the checked host build, is what its header says, to a tenth."""

from pathlib import Path

import numpy as np
import pytest
import sizes

import visattn.gpu
from visattn import gpu, ops, tree
from visattn.check import twins
from visattn.gpu import _device, _kernels

HERE = Path(visattn.gpu.__file__).parent
# Every version in single precision, and what ships in half.
RUNS = [(name, version, dtype) for name in gpu.twins() for version in range(2, getattr(gpu, name).SHIPS + 1)
        for dtype in twins.dtypes_of(name, version)
        if dtype == "float32" or (dtype == "float16" and version == getattr(gpu, name).SHIPS)]
PLAY = 1.1
AT_MOST = 2                     # where a header says "at most", because it depends on the numbers what is moved


def counted(name, args, options, version, dtype):
    """[Launch] of forward and backward, each with what it moved."""
    seen = []
    token = _device.watching.set(seen)
    try:
        with twins.running("host", checked=True), np.errstate(all="ignore"):
            twin = getattr(gpu, name)
            y, cache = twin.forward(*twins.cast(tuple(args), dtype), **options, version=version)
            twin.backward(tree.map(np.ones_like, y), cache, version=version)
    finally:
        _device.watching.reset(token)
    return seen


def strays(launches):
    """[what does not hold]: of each kernel all launches together, as one may move nothing worth the name."""
    claimed, moved, depends = {}, {}, {}
    for launch in launches:
        key = launch.kernel
        header = _kernels.read(launch.source)[key]
        says, depends[key] = header.bytes(launch), header.at_most
        claimed[key] = [a + b for a, b in zip(claimed.get(key, (0, 0)), says)]
        moved[key] = [a + b for a, b in zip(moved.get(key, (0, 0)), launch.counted[:2])]
    found = []
    for key, both in moved.items():
        for word, was, said in zip(("reads", "writes"), both, claimed[key]):
            if not (was <= PLAY * said and said <= (AT_MOST if word in depends[key] else PLAY) * was):
                found.append(f"{key} {word} {was} bytes; its header says {said}"
                             + (f", {was / said:.2f} times" if said else ""))
    return found


@pytest.mark.parametrize(("name", "version", "dtype"), RUNS)
def test_kernels_move_what_their_headers_say(name, version, dtype):
    rng = np.random.default_rng(0)
    wrong = []
    for size, (args, options) in {"example": getattr(ops, name).example(rng), "odd": sizes.larger(name, rng)}.items():
        wrong += [f"at the {size} size, {text}" for text in strays(counted(name, args, options, version, dtype))]
    assert not wrong, "\n".join(wrong)


# And this test can fail.

KERNEL = """#include "common.cuh"
//: compile Real=float

//= dx *= p
//: threads 64
//: reads {most}n * real * {reads}
//: writes n * real * {writes}
extern "C" __global__ void __launch_bounds__(64) move(const Real* __restrict__ x, Real* y, int n) {{
    for (int i = blockIdx.x * 64 + threadIdx.x; i < n; i += gridDim.x * 64) {body};
}}
"""
COPY = "store(y + i, load(x[i]))"


@pytest.mark.parametrize(("body", "reads", "writes", "says"), [
    (COPY, 1, 1, []),
    (COPY, "at most 1.9", 1, []),
    (COPY, "at most 2.1", 1, ["move reads 4000 bytes"]),
    (COPY, "at most 0.9", 1, ["move reads 4000 bytes"]),
    (COPY, 0.95, 1.05, []),
    ("store(y + i, load(x[i]) + load(x[n - 1 - i]))", 1, 1, ["move reads 8000 bytes"]),
    (COPY, 2, 1, ["move reads 4000 bytes"]),
    ("{{ store(y + i, 0.f); store(y + i, load(x[i])); }}", 1, 1, ["move writes 8000 bytes"]),
    (COPY, 1, 0, ["move writes 4000 bytes"]),
    ("if (i % 2) " + COPY, 1, 1, ["move reads 2000 bytes", "move writes 2000 bytes"]),
])
def test_what_moves_more_or_less_is_found(tmp_path, body, reads, writes, says):
    file = tmp_path / "kernels" / "move.cu"
    file.parent.mkdir()
    most, _, reads = f" {reads}".rpartition(" ")
    file.write_text(KERNEL.format(body=body, most=f"{most} ".lstrip(), reads=reads, writes=writes), encoding="utf-8")
    seen, x = [], np.arange(1000, dtype=np.float32)
    token = _device.watching.set(seen)
    try:
        with twins.running("host", checked=True):
            _device.Source(str(file))("move", Real=x.dtype)(3, 64, x, np.zeros_like(x), len(x))
    finally:
        _device.watching.reset(token)
    found = strays(seen)
    assert len(found) == len(says)
    assert all(text.startswith(start) for text, start in zip(found, says)), found
