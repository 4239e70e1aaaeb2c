"""Kernels counted: what each launch moves, beside what the kernel says, and faults that name threads and lines."""

import numpy as np
import pytest

from visattn import gpu, ops
from visattn.gpu import _device
from visattn.gpu._host import KernelFault

X = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
OWN = """
extern "C" __global__ void turned(const float* __restrict__ x, float* __restrict__ y, int rows, int columns) {
    for (int i = threadIdx.x; i < rows * columns; i += blockDim.x) y[i] = x[i % rows * columns + i / rows];
}
extern "C" __global__ void shifted(const float* __restrict__ x, float* __restrict__ y) {
    __shared__ float row[64];
    row[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = row[(threadIdx.x + 1) % 64];
}
"""


def test_counts_each_launch_of_a_call():
    counts = gpu.count(gpu.softmax.forward, X, version=2)
    assert [one.kernel for one in counts] == ["softmax_reread"]
    assert counts[0].reads == counts[0].says.reads == 3 * X.nbytes
    assert counts[0].writes == counts[0].says.writes == X.nbytes
    assert counts[0].sectors_read == 3 * X.nbytes / 32
    assert counts.moved == 4 * X.nbytes
    np.testing.assert_allclose(counts.result[0], ops.softmax.forward(X)[0], rtol=1e-5)


def test_is_shown_as_a_table():
    heading, line = repr(gpu.count(gpu.softmax.forward, X)).splitlines()
    assert heading.split()[:3] == ["kernel", "blocks", "threads"]
    assert line.split() == ["softmax_kept", "1", "256", *["1,536"] * 4, "96", "0", "0"]
    assert len(heading) == len(line)


def test_a_kernel_of_ones_own_says_nothing_of_itself():
    cu = gpu.kernels(OWN)

    def turned(x):
        y = _device.empty(x.shape[::-1], x.dtype)
        cu("turned")(1, 32, x, y, *x.shape)
        return y

    counts = gpu.count(turned, X.T.copy())
    np.testing.assert_array_equal(counts.result, X)
    assert counts[0].says is None
    assert counts[0].reads == X.nbytes
    assert counts[0].sectors_read > 4 * X.nbytes / 32           # 32 lanes read down a column of 64 rows
    assert counts[0].sectors_written == X.nbytes / 32
    assert "turned" in repr(counts)


def test_a_race_is_told_with_both_threads_and_lines():
    cu = gpu.kernels(OWN)
    with pytest.raises(KernelFault, match=r"race: shifted: thread \d+ .*mine.cu:\d+.* thread \d+ .*mine.cu:\d+"):
        gpu.count(lambda x: cu("shifted")(1, 64, x, np.empty_like(x)), X[0])


def test_leaves_everything_as_it_was():
    with pytest.raises(ZeroDivisionError):
        gpu.count(lambda: 1 // 0)
    assert _device.watching.get() is None
    assert not _device.checking.get()
