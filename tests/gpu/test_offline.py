"""The kernels in machine code, for four architectures and without a device: no spills, no 64-bit floats, at least two
blocks on a multiprocessor or as many as the header says."""

import ctypes
import importlib.metadata
import itertools
import subprocess
from pathlib import Path

import pytest

import visattn.gpu
from visattn import gpu
from visattn.check.kernels import machine
from visattn.check.kernels.compilers import _toolkit
from visattn.check.kernels.launches import twin_file
from visattn.gpu import _host, _kernels

HERE = Path(visattn.gpu.__file__).parent
FILES = sorted(HERE.glob("*/*.cu"))
NUMBA = [name for name in gpu.twins() if twin_file(name).with_name(f"{name}_v1.py").exists()]


@pytest.fixture(scope="module")
def built():
    """Everything at once, so that all cores have something to do; by file."""
    jobs = [job for file in FILES for job in machine.jobs(file)]
    found = {}
    for answer in machine.compile_all(jobs):
        found.setdefault(answer.job.source, []).append(answer)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_machine_code_keeps_to_the_budget(file, built):
    wrong = failings(_kernels.read(file), built[file])
    assert not wrong, "\n".join(wrong)


def failings(read, answers):
    """[what is wrong]; each kernel is in some set of defines."""
    found, seen = [], set()
    for answer in answers:
        where = f"sm_{answer.job.arch} " + " ".join(f"{k}={v}" for k, v in answer.job.defines.items())
        found += [f"{where}: {answer.error}"] * bool(answer.error)
        seen |= set(answer.kernels)
        for name, kernel in answer.kernels.items():
            found += [f"{name}, {where}: {fault}"
                      for fault in machine.faults(read[name], answer.job.defines, answer.job.arch, kernel)]
    return found + [f"{header.name} is not in the machine code" for header in read.headers if header.name not in seen]


@pytest.fixture(scope="module")
def numba():
    return machine.compile_numba(NUMBA)


@pytest.mark.parametrize("name", NUMBA)
def test_numba_kernels_compile_without_64_bit_floats_and_spills(name, numba):
    found = numba[name]
    written = {header.name for header in _kernels.read(twin_file(name).with_name(f"{name}_v1.py")).headers}
    assert {kernel.name for kernel in found} == written, "every kernel is launched at the operator's cases"
    for kernel in found:
        where = f"{kernel.name}({kernel.types}) for sm_{kernel.arch}"
        assert kernel.double_in_ptx == 0, f"{where}: {kernel.double_in_ptx} instructions on .f64"
        assert not kernel.compiled.double, f"{where}: {kernel.compiled.double}"
        assert kernel.compiled.spills == 0, where
        blocks = machine.blocks_that_fit(kernel.arch, kernel.block, kernel.compiled.registers, kernel.compiled.shared)
        assert blocks >= 2, f"{where}: {blocks} blocks fit a multiprocessor"


# These tests can fail: kernels with one fault each.

PLANTED = {
    "a 64-bit literal": ("", "y[i] = x[i] * 0.1;", "64-bit floats in a float kernel"),
    "a 64-bit function": ("", "y[i] = sqrt((double)x[i]);", "64-bit floats in a float kernel"),
    "spills": ("", """
        float kept[64];
        for (int k = 0; k < 64; ++k) kept[k] = x[i + k * n];
        __syncthreads();
        for (int k = 0; k < 64; ++k) { float s = 0.f; for (int m = 0; m < 64; ++m) s += kept[m] * kept[(m + k) % 64];
                                       y[i + k * n] = s; }""", "bytes spilled"),
    "an array that is indexed": ("", """
        float kept[64];
        for (int k = 0; k < 64; ++k) kept[k] = x[i + k * n];
        for (int k = 0; k < n; ++k) kept[(int)x[k] & 63] *= kept[k & 63];
        y[i] = kept[(int)x[i] & 63];""", "bytes of local memory"),
    "shared memory for one block": ("", """
        __shared__ float tile[12 * 1024];
        for (int k = threadIdx.x; k < 12 * 1024; k += 256) tile[k] = x[k];
        __syncthreads();
        y[i] = tile[i % (12 * 1024)];""", "1 blocks fit a multiprocessor instead of 2"),
    "dynamic shared memory": ("//: shared 100 * 1024", "y[i] = x[i];", "blocks fit a multiprocessor instead of 2"),
    "no tensor core": ("//: tensor cores", "y[i] = x[i];", "no instruction on tensor cores"),
    "one load for each multiply-add": ("//: fma per load 2", """
        __shared__ float tile[256];
        tile[threadIdx.x] = x[i];
        __syncthreads();
        float s = 0.f;
        for (int k = 0; k < n; ++k) s += tile[(k * 7) % 256] * tile[(k * 3) % 256];
        y[i] = s;""", "loads from shared memory; the header says 2 to 1"),
}
SPILLING = "__launch_bounds__(256, 8)"


def kernel(header, body, bounds="__launch_bounds__(256)", names="planted"):
    return f"""#include "common.cuh"
#include <mma.h>
//: compile Real=float

{header}
//: threads 256
extern "C" __global__ void {bounds} {names}(const float* __restrict__ x, float* __restrict__ y, int n) {{
    const int i = blockIdx.x * 256 + threadIdx.x;
    {body}
}}
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """What is said of each planted fault on each architecture."""
    folder, files = tmp_path_factory.mktemp("planted"), {}
    for i, (name, (header, body, _)) in enumerate(PLANTED.items()):
        files[name] = folder / f"planted{i}.cu"
        files[name].write_text(kernel(header, body, *([SPILLING] if name == "spills" else [])), encoding="utf-8")
    answers = machine.compile_all([job for file in files.values() for job in machine.jobs(file)])
    return {name: [failings(_kernels.read(file), [a]) for a in answers if a.job.source == file]
            for name, file in files.items()}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name, planted):
    everywhere = planted[name] if "shared memory" not in name else planted[name][:1]        # sm_75 has the least
    for said in everywhere:
        assert len(said) >= 1
        assert any(PLANTED[name][2] in text for text in said), said


def test_a_clean_kernel_raises_no_alarm(tmp_path):
    file = tmp_path / "clean.cu"
    file.write_text(kernel("//: shared 16 * 1024\n//: tensor cores\n//: fma per load 2", """
    using namespace nvcuda::wmma;
    __shared__ __half tile[16 * 16];
    __shared__ float sums[16 * 16];
    tile[threadIdx.x] = __float2half(x[i]);
    __syncthreads();
    if (threadIdx.x < 32) {
        fragment<matrix_a, 16, 16, 16, __half, row_major> a;
        fragment<matrix_b, 16, 16, 16, __half, row_major> b;
        fragment<accumulator, 16, 16, 16, float> c;
        fill_fragment(c, 0.f);
        load_matrix_sync(a, tile, 16);
        load_matrix_sync(b, tile, 16);
        mma_sync(c, a, b, c);
        store_matrix_sync(sums, c, 16, mem_row_major);
    }
    __syncthreads();
    float s = sums[threadIdx.x];
    #pragma unroll
    for (int k = 0; k < 64; ++k) s = s * 0.5f + x[k];
    y[i] = s;"""), encoding="utf-8")
    assert failings(_kernels.read(file), machine.compile_all(machine.jobs(file))) == []


def test_what_does_not_compile_is_told_with_its_line(tmp_path):
    file = tmp_path / "broken.cu"
    file.write_text(kernel("", "y[i] = x[j];"), encoding="utf-8")
    (answer,) = machine.compile_all(machine.jobs(file, [80]))
    assert 'broken.cu(9): error: identifier "j" is undefined' in answer.error
    assert failings(_kernels.read(file), [answer])


def test_a_set_of_defines_can_be_for_newer_cards_only(tmp_path):
    file = tmp_path / "newer.cu"
    file.write_text(kernel("//: compile Real=__nv_bfloat16 from sm_80\n", "y[i] = x[i];"), encoding="utf-8")
    assert [(job.defines["Real"], job.arch) for job in machine.jobs(file)] == [
        *(("float", arch) for arch in (75, 80, 90, 100)), *(("__nv_bfloat16", arch) for arch in (80, 90, 100))]


def test_a_missing_package_is_told_with_the_fix(monkeypatch):
    def version(name):
        if name == "nvidia-cuda-nvdisasm":
            raise importlib.metadata.PackageNotFoundError(name)
        return "13.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(machine.NoCompiler, match=r'nvdisasm must be installed: pip install "visattn\[proofs\]"'):
        machine.compile_all([machine.Job(FILES[0], {}, 80)])


# Occupancy, against NVIDIA's own calculator, a header of the CUDA toolkit.

CALCULATOR = """
#include <cuda_occupancy.h>
extern "C" int blocks(int major, int minor, int threads_of_card, int shared_of_card, int most, int reserved,
                      int threads, int registers, int shared, int dynamic) {
    cudaOccDeviceProp card;
    card.computeMajor = major; card.computeMinor = minor; card.maxThreadsPerBlock = 1024;
    card.maxThreadsPerMultiprocessor = threads_of_card; card.regsPerBlock = card.regsPerMultiprocessor = 65536;
    card.warpSize = 32; card.sharedMemPerBlock = 49152; card.sharedMemPerMultiprocessor = shared_of_card;
    card.numSms = 1; card.sharedMemPerBlockOptin = most; card.reservedSharedMemPerBlock = reserved;
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = 1024; kernel.numRegs = registers; kernel.sharedSizeBytes = shared;
    kernel.maxDynamicSharedSizeBytes = most - shared; kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    cudaOccDeviceState state;
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &card, &kernel, &state, threads, dynamic)) return -1;
    return result.activeBlocksPerMultiprocessor;
}
"""


def test_occupancy_is_what_the_toolkit_computes(tmp_path):
    source, library = tmp_path / "occupancy.cc", tmp_path / "occupancy.so"
    source.write_text(CALCULATOR, encoding="utf-8")
    subprocess.run([_host.compiler(), "-shared", "-fPIC", "-w", f"-I{_toolkit('include')}", source, "-o", library],
                   check=True)
    theirs = ctypes.CDLL(str(library)).blocks
    sizes = itertools.product(machine.CARDS, (32, 33, 64, 96, 128, 192, 256, 384, 512, 1024),
                              (16, 24, 32, 40, 41, 64, 72, 96, 128, 168, 200, 255),
                              (0, 32, 1000, 8704, 16384, 20000, 31744, 32768, 49152, 49153, 65536, 80000, 166912))
    for arch, threads, registers, shared in sizes:
        card = machine.CARDS[arch]
        if shared <= card.most_shared:
            static, dynamic = (shared, 0) if shared <= 49152 else (0, shared)
            expected = theirs(*divmod(arch, 10), card.threads, card.shared, card.most_shared, card.reserved, threads,
                              registers, static, dynamic)
            ours = machine.blocks_that_fit(arch, threads, registers, shared)
            assert ours == expected, (arch, threads, registers, shared)
    assert machine.occupancy(80, 256, 40, 0) == 6 * 256 / 2048
