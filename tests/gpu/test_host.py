"""The host build: what it takes and refuses, fibers and warps, what the checked build counts, and that both agree."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from visattn import gpu, tree
from visattn.check import twins
from visattn.gpu import _device, _host

KERNELS = r"""
#ifndef THREADS
#define THREADS 1024
#endif
extern "C" __global__ void scale(const float* __restrict__ x, float* __restrict__ y, int n, float by) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) y[i] = by * x[i];
}
extern "C" __global__ void __launch_bounds__(THREADS) whoami(int* y) {
    int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    y[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 10000 + thread;
}
extern "C" __global__ void lanes(int* y) {
    unsigned whole = __ballot_sync(0xffffffffu, 1);
    int half = threadIdx.x & 16, lane = threadIdx.x % 32;
    unsigned mask = half ? 0xffff0000u : 0x0000ffffu;
    int* its = y + threadIdx.x * 8;
    its[0] = __popc(whole);
    its[1] = __shfl_sync(whole, lane, 0);
    its[2] = __shfl_xor_sync(whole, lane, 1);
    its[3] = __shfl_down_sync(whole, lane, 1, 8);
    its[4] = __shfl_up_sync(whole, lane, 1, 8);
    its[5] = __shfl_sync(whole, lane, 35);
    its[6] = whole == 0xffffffffu ? __shfl_xor_sync(mask, lane, 15) : 0;
    its[7] = __any_sync(whole, lane == 2) + 2 * __all_sync(whole, lane < 8);
}
extern "C" __global__ void votes(int* y) {
    int few = __syncthreads_count(threadIdx.x < 5), all = __syncthreads_and(threadIdx.x < 5);
    int any = __syncthreads_or(threadIdx.x == 5);
    y[threadIdx.x] = few * 100 + all * 10 + any;
}
extern "C" __global__ void turns(int* y) {                      // in which order threads and blocks come by
    y[atomicAdd(y, 1)] = blockIdx.x * 100 + threadIdx.x;
}
__device__ int deep(volatile char* above, int depth) { return depth + above[0]; }
extern "C" __global__ void hungry(int* y, int by) {
    volatile char much[100000];
    for (int i = 99999; i >= 0; i -= by) much[i] = (char)i;
    __syncthreads();
    y[threadIdx.x] = deep(much, by);
}
extern "C" __global__ void endless(int* y) {
    if (threadIdx.x == 3) __syncwarp(0xffffu);
    else __syncthreads();
    y[threadIdx.x] = 0;
}
extern "C" __global__ void bytes(bool* y) {                     // neighbours write one byte each
    __shared__ bool held[64];
    held[threadIdx.x] = threadIdx.x % 2;
    __syncthreads();
    y[threadIdx.x] = held[63 - threadIdx.x];
}
struct alignas(4) Two { __half x, y; };
extern "C" __global__ void halves(const __half* x, __half* y) {
    const Two two = reinterpret_cast<const Two*>(x)[threadIdx.x];
    y[2 * threadIdx.x] = two.y;
    y[2 * threadIdx.x + 1] = two.x;
}
extern "C" __global__ void in_place(float* x, const float* also) { x[threadIdx.x] = also[threadIdx.x] + 1.f; }
extern "C" __global__ void same(const float* x, float* y) { y[threadIdx.x] = x[0]; }
extern "C" __global__ void strided(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x * 8]; }
extern "C" __global__ void fours(const float* x, float* y) {
    reinterpret_cast<float4*>(y)[threadIdx.x] = reinterpret_cast<const float4*>(x)[threadIdx.x];
}
extern "C" __global__ void some(const float* x, float* y) {     // lanes that come by differently often
    for (int i = 0; i < threadIdx.x % 4; ++i) {
        y[threadIdx.x * 4 + i] = x[i];
        __syncwarp(__ballot_sync(1u << threadIdx.x, 1));
    }
}
extern "C" __global__ void columns(float* y) {
    __shared__ float tile[32][STRIDE];
    tile[threadIdx.x][0] = 1.f;
    __syncwarp();
    y[threadIdx.x] = tile[31 - threadIdx.x][0];
}
extern "C" __global__ void adds(float* y) { atomicAdd(y + threadIdx.x % 2, 1.f); }
extern "C" __global__ void rest(float* y) { if (threadIdx.x % 2) y[threadIdx.x] = 0.f; }
"""


@pytest.fixture(scope="module", params=[False, True], ids=["fast", "checked"])
def kernels(request, tmp_path_factory):
    return built(tmp_path_factory, request.param)


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    return built(tmp_path_factory, True)


def built(factory, checked, **defines):
    path = factory.mktemp("kernels") / "kernels.cu"
    path.write_text('#include "common.cuh"\n' + KERNELS)
    return _host.build(path, {"STRIDE": 32, **defines}, checked=checked)


def blank(size, dtype=np.int32):
    with gpu.use("host"):
        return _device.empty(size, dtype)


def launch(kernels, name, grid, block, *args, turn=0, shared=0):
    three = [(*((size,) if isinstance(size, int) else size), 1, 1)[:3] for size in (grid, block)]
    return kernels.launch(name, *three, shared, args, turn)


# ---- arguments

X, Y = np.ones(4, np.float32), np.empty(4, np.float32)
GOOD = [X, Y, np.int32(4), np.float32(2)]


@pytest.mark.parametrize(("args", "error"), [
    (GOOD[:3], "scale takes 4 arguments; got 3"),
    ([X.astype(np.float64), *GOOD[1:]], "argument 0 of scale points to 'f'; got an array of float64"),
    ([np.ones((4, 4), np.float32).T, *GOOD[1:]], "argument 0 of scale must be C-contiguous"),
    ([3, *GOOD[1:]], "argument 0 of scale is a pointer; got int"),
    ([X, Y, 4, np.float32(2)], "argument 2 of scale is a 'i'; got int"),
    ([X, Y, np.int64(4), np.float32(2)], "argument 2 of scale is a 'i'; got int64"),
    ([X, Y, np.int32(4), X], "argument 3 of scale is a 'f'; got ndarray"),
])
def test_arguments_are_held_to_the_declaration(kernels, args, error):
    with pytest.raises(TypeError, match=error):
        launch(kernels, "scale", 1, 32, *args)


def test_a_kernel_that_is_not_there_is_named(kernels):
    with pytest.raises(ValueError, match=r"kernels.cu has no kernel scales; it has scale, whoami"):
        launch(kernels, "scales", 1, 32, *GOOD)


@pytest.mark.parametrize(("grid", "block", "error"), [
    (1, 1025, "a block of (1025, 1, 1)"), ((1, 70000), 1, "a grid of (1, 70000, 1)"), (1, (1, 1, 65), "64 in z"),
    (0, 32, "size 0"), (1, 96, "a block of 96 threads; __launch_bounds__ says 64"),
])
def test_sizes_are_held_to_what_a_device_takes(tmp_path_factory, grid, block, error):
    kernels = built(tmp_path_factory, False, THREADS=64)
    with pytest.raises(_host.KernelFault) as caught:
        launch(kernels, "whoami", grid, block, blank(1))
    assert caught.value.kind == "launch"
    assert error in str(caught.value)


def test_a_block_gets_no_more_shared_memory_than_there_is(kernels):
    with pytest.raises(_host.KernelFault, match="shared: scale: 300000 bytes of shared memory"):
        launch(kernels, "scale", 1, 32, *GOOD, shared=300000)
    launch(kernels, "scale", 1, 32, *GOOD)


# ---- threads, warps and blocks

@pytest.mark.parametrize(("grid", "block"), [(1, 1), (3, 40), ((2, 3), (8, 4, 2)), (2, 1024), ((1, 2, 3), (5, 7, 3))])
@pytest.mark.parametrize("turn", [0, 1, 2])
def test_every_thread_knows_where_it_is(kernels, grid, block, turn):
    y = blank((np.prod(grid), np.prod(block)))
    launch(kernels, "whoami", grid, block, y, turn=turn)
    np.testing.assert_array_equal(y, np.arange(len(y))[:, None] * 10000 + np.arange(y.shape[1]))


@pytest.mark.parametrize("threads", [32, 40, 64])
@pytest.mark.parametrize("turn", [0, 1, 2])
def test_warp_instructions_in_whole_and_partial_warps(kernels, threads, turn):
    y = blank((threads, 8))
    launch(kernels, "lanes", 1, threads, y, turn=turn)
    for i, its in enumerate(y):
        lane, there = i % 32, min(32, threads - i // 32 * 32)
        down = lane + 1 if lane % 8 < 7 else lane
        assert list(its) == [there, 0, lane ^ 1, down, lane - 1 if lane % 8 else lane, 3,
                             lane ^ 15 if there == 32 else 0, 1 + 2 * (there <= 8)]


def test_barriers_count_votes(kernels):
    y = blank(64)
    launch(kernels, "votes", 1, 64, y)
    assert set(y) == {501}


def test_the_order_of_threads_and_blocks_is_the_turn(kernels):
    def order(turn):
        y = np.array([1] + [-1] * 12, np.int32)
        launch(kernels, "turns", 3, 4, y, turn=turn)
        assert y[0] == 13
        return list(y[1:])

    numbered = [block * 100 + thread for block in range(3) for thread in range(4)]
    assert order(0) == numbered
    assert order(1) == numbered[::-1]
    assert order(2) == order(2) != order(3)
    assert sorted(order(2)) == numbered
    assert [i // 100 for i in order(5)] != sorted(i // 100 for i in order(5)) or \
           [i // 100 for i in order(6)] != sorted(i // 100 for i in order(6))


def test_after_a_fault_the_next_launch_is_whole(kernels):
    for _ in range(3):
        with pytest.raises(_host.KernelFault, match="line") as caught:
            launch(kernels, "endless", 2, 64, blank(64))
        assert caught.value.kind in ("barrier", "warp")
        y = blank((1, 64))
        launch(kernels, "whoami", 1, 64, y)
        np.testing.assert_array_equal(y[0], np.arange(64))


def test_a_stack_that_does_not_suffice_is_a_fault(kernels):
    with pytest.raises(_host.KernelFault, match="stack: hungry: thread 0 needs more than 64 KiB"):
        launch(kernels, "hungry", 1, 2, blank(2), np.int32(1))


def test_launches_of_many_python_threads_do_not_meet(kernels):
    results = {}

    def work(k):
        for _ in range(20):
            y = blank(100, np.float32)
            launch(kernels, "scale", 2, 32, np.arange(100, dtype=np.float32), y, np.int32(100), np.float32(k))
            results.setdefault(k, []).append(np.array_equal(y, np.arange(100) * k))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [all(results[k]) for k in range(4)] == [True] * 4


@pytest.mark.parametrize("checked", [False, True])
def test_the_way_of_other_processors_to_switch_fibers(tmp_path_factory, monkeypatch, checked):
    monkeypatch.setattr(_host, "FLAGS", (*_host.FLAGS, "-DCUDA_HOST_UCONTEXT"))
    kernels = built(tmp_path_factory, checked, OTHER=1)
    for _ in range(2):
        for threads in (64, 100):
            y = blank((2, threads))
            launch(kernels, "whoami", 2, threads, y)
            np.testing.assert_array_equal(y, np.arange(2)[:, None] * 10000 + np.arange(threads))
        y = blank(64)
        launch(kernels, "votes", 1, 64, y)
        assert set(y) == {501}
        with pytest.raises(_host.KernelFault):
            launch(kernels, "endless", 2, 64, blank(64))


# ---- the checked build

def test_neighbours_may_write_bytes_and_halves(checked):
    y = blank(64, bool)
    launch(checked, "bytes", 1, 64, y)
    assert list(y) == [True, False] * 32
    x, y = np.arange(64, dtype=np.float16), blank(64, np.float16)
    launch(checked, "halves", 1, 32, x, y)
    np.testing.assert_array_equal(y, x.reshape(-1, 2)[:, ::-1].ravel())


def test_an_array_given_twice_stays_one(checked):
    x = np.arange(8, dtype=np.float32)
    launch(checked, "in_place", 1, 8, x, x)
    np.testing.assert_array_equal(x, np.arange(8) + 1)


def test_a_view_keeps_its_alignment_and_its_end(checked):
    whole = np.arange(17, dtype=np.float32)
    with pytest.raises(_host.KernelFault, match="address"):
        launch(checked, "fours", 1, 4, whole[1:], blank(16, np.float32))
    with pytest.raises(_host.KernelFault, match=r"right past the end of x"):
        launch(checked, "fours", 1, 4, whole[:12], blank(16, np.float32))


def test_a_null_pointer_is_told(checked):
    with pytest.raises(_host.KernelFault, match=r"bounds: same: .* null pointer"):
        launch(checked, "same", 1, 32, None, blank(32, np.float32))


def test_a_number_that_was_nan_was_written(checked):
    y = blank(32, np.float32)
    launch(checked, "same", 1, 32, np.full(1, np.nan, np.float32), y)
    assert np.isnan(y).all()


def test_bytes_are_distinct_in_a_warp_and_sectors_are_of_32(checked):
    def moved(name, n_x, n_y, block=32, grid=1, **zeros):
        counted = launch(checked, name, grid, block, np.ones(n_x, np.float32), blank(n_y, np.float32))
        assert counted.by_parameter["x"].reads == counted.reads
        assert counted.by_parameter["y"].writes == counted.writes
        return counted[:6]

    assert moved("same", 1, 32) == (4, 128, 0, 1, 4, 0)             # a broadcast counts once
    assert moved("same", 1, 64, 64) == (8, 256, 0, 2, 8, 0)         # in each warp
    assert moved("strided", 256, 32) == (128, 128, 0, 32, 4, 0)     # a sector for each lane
    assert moved("fours", 128, 128) == (512, 512, 0, 16, 16, 0)


def test_lanes_that_come_by_together_are_one_instruction(checked):
    counted = launch(checked, "some", 1, 32, np.ones(4, np.float32), blank(128, np.float32))
    assert (counted.reads, counted.writes, counted.unwritten) == (4 * 3, 4 * 8 * (1 + 2 + 3), 128 - 48)


def test_atomics_are_counted_by_lane(checked):
    y = np.zeros(2, np.float32)
    assert launch(checked, "adds", 2, 32, y)[:6] == (0, 0, 64, 0, 0, 0)
    assert list(y) == [32, 32]


def test_what_is_left_out_is_counted(checked):
    assert launch(checked, "rest", 1, 32, blank(32, np.float32)).unwritten == 16


@pytest.mark.parametrize(("stride", "conflicts"), [(1, 0), (2, 2), (32, 62), (33, 0)])
def test_bank_conflicts_are_the_passes_beyond_the_first(tmp_path_factory, stride, conflicts):
    counted = launch(built(tmp_path_factory, True, STRIDE=stride), "columns", 1, 32, blank(32, np.float32))
    assert (counted.shared_accesses, counted.bank_conflicts) == (2, conflicts)


@pytest.mark.parametrize("name", gpu.twins())
def test_both_builds_give_the_same(name):
    twin = getattr(gpu, name)
    args, options = twin.example(np.random.default_rng(5))
    results = []
    for checked in (False, True):
        with twins.running("host", 7, checked):
            y, _ = twin.forward(*twins.cast(tuple(args), "float32"), **options)
        results.append(tree.leaves(y))
    for fast, slow in zip(*results, strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-5, atol=1e-6)


# ---- building

def test_what_does_not_compile_is_told_by_its_line(tmp_path):
    path = tmp_path / "wrong.cu"
    path.write_text('extern "C" __global__ void wrong(float* y) {\n    y[0] = no_such_thing;\n}\n')
    with pytest.raises(_host.DoesNotCompile, match=r"wrong.cu:2:\d+: error: .*no_such_thing"):
        _host.build(path)


def test_shared_memory_outside_a_kernel_does_not_compile(tmp_path):
    path = tmp_path / "wrong.cu"
    path.write_text('__device__ inline float f() { __shared__ float s[2]; return s[0]; }\n'
                    'extern "C" __global__ void wrong(float* y) { y[0] = f(); }\n')
    with pytest.raises(_host.DoesNotCompile, match="shared_memory_belongs_into_a_kernel"):
        _host.build(path)


def test_a_file_without_a_kernel_is_refused(tmp_path):
    path = tmp_path / "none.cu"
    path.write_text("__global__ void mangled(float* y) {}\n")
    with pytest.raises(ValueError, match="has no kernel"):
        _host.build(path)


def test_a_changed_file_or_header_is_built_anew(tmp_path):
    path, header = tmp_path / "one.cu", tmp_path / "number.cuh"
    for number, text in [(1, "x + NUMBER"), (1, "x - NUMBER"), (2, "x - NUMBER")]:
        header.write_text(f"#define NUMBER {number}\n")
        path.write_text(f'#include "number.cuh"\nextern "C" __global__ void one(int* y, int x) {{ y[0] = {text}; }}\n')
        y = blank(1)
        launch(_host.build(path), "one", 1, 1, y, np.int32(5))
        assert y[0] == 5 + (number if "+" in text else -number)


def test_without_a_compiler_it_says_how_to_get_one(monkeypatch):
    _host.compiler.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    try:
        with pytest.raises(_host.NoCompiler, match="apt install"):
            _host.compiler()
    finally:
        _host.compiler.cache_clear()


def test_two_processes_build_the_same_file_at_once(tmp_path):
    path = tmp_path / "both.cu"
    path.write_text('extern "C" __global__ void both(int* y) { y[threadIdx.x] = threadIdx.x; }\n')
    code = ("import sys, numpy as np; from pathlib import Path; from visattn.gpu import _host\n"
            "y = np.zeros(8, np.int32)\n"
            "_host.build(Path(sys.argv[1])).launch('both', (1, 1, 1), (8, 1, 1), 0, [y])\n"
            "assert list(y) == list(range(8))\n")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    runs = [subprocess.Popen([sys.executable, "-c", code, str(path)], env=environment) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert len(list((tmp_path / "cache" / "visattn" / "host").glob("both-*.so"))) == 1
    assert not [entry for entry in (tmp_path / "cache" / "visattn" / "host").iterdir() if entry.is_dir()]


def test_a_kernel_may_have_the_name_of_a_function_of_the_c_library():
    """glibc has a `step`."""
    cu = gpu.kernels('extern "C" __global__ void step(const float* x, float* y) {'
                     ' y[threadIdx.x] = x[threadIdx.x] + 1.f; }')
    x, y = np.arange(5, dtype=np.float32), np.empty(5, np.float32)
    with gpu.use("host"):
        cu("step")(1, 5, x, y)
    np.testing.assert_array_equal(y, x + 1)
