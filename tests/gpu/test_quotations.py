"""Kernels say what they compute, in lines of the reference, and what they are launched with, and both are true."""

from pathlib import Path

import numpy as np
import pytest
import sizes

import visattn.gpu
from visattn import gpu, ops
from visattn.check import twins
from visattn.check.kernels.launches import calls, launches, twin_file
from visattn.gpu import _kernels
from visattn.gpu._device import Launch

HERE = Path(visattn.gpu.__file__).parent
FILES = sorted([*HERE.glob("*/*.cu"), *HERE.glob("*/*_v1.py")])
CUDA = [file for file in FILES if file.suffix == ".cu"]


def name_of(file):
    """The operator: flash_tiled.cu belongs to flash."""
    return max((name for name in dir(ops) if file.stem == name or file.stem.startswith(f"{name}_")), key=len)


def label(file):
    return file.name


@pytest.mark.parametrize("file", FILES, ids=label)
def test_every_quotation_stands_in_the_reference(file):
    reference = twin_file(name_of(file)).relative_to(HERE)
    lines = {line.strip() for line in (HERE.parent / "ops" / reference).read_text(encoding="utf-8").splitlines()}
    quotations = _kernels.read(file).quotations
    strange = [f"{file.name}:{line}: {text}" for line, text in quotations if text not in lines]
    assert not strange, f"not in visattn/ops/{reference}, verbatim:\n" + "\n".join(strange)


@pytest.mark.parametrize("file", FILES, ids=label)
def test_every_kernel_says_what_it_computes(file):
    for header in _kernels.read(file).headers:
        assert header.quotations, f"{file.name}:{header.line}: {header.name} quotes no line of the reference"


@pytest.mark.parametrize("file", CUDA, ids=label)
def test_every_kernel_says_how_many_threads_it_has_and_what_it_moves(file):
    read = _kernels.read(file)
    assert read.compile, f"{file.name} names no set of defines to compile: //: compile Real=float"
    for header in read.headers:
        where = f"{file.name}:{header.line}: {header.name}"
        assert header.threads is not None, f"{where} does not say how many threads a block has"
        assert header.reads is not None, f"{where} does not say what it reads"
        assert header.writes is not None, f"{where} does not say what it writes"
        for defines in read.compile:
            header.dynamic(defines)
            if header.bounds is not None:
                assert header.block(defines) == header.bounds(header.names(defines)), f"{where}: __launch_bounds__"


@pytest.fixture(scope="module")
def launched():
    """Everything that the twins launch, in every version and precision, at every size that is known here."""
    found = []
    for name in gpu.twins():
        for version in range(2, getattr(gpu, name).SHIPS + 1):
            for dtype in twins.dtypes_of(name, version):
                rng = np.random.default_rng(0)
                more = [sizes.larger(name, rng), *sizes.others(name, rng)]
                for args, options in [*([] if dtype != "float32" else calls(name)), *more]:
                    forward, backward = launches(name, version, twins.cast(args, dtype), options)
                    found += forward + backward
    return found


@pytest.mark.parametrize("file", CUDA, ids=label)
def test_every_kernel_is_launched(file, launched):
    names = {launch.kernel for launch in launched if launch.source == file}
    assert not {header.name for header in _kernels.read(file).headers} - names


@pytest.mark.parametrize("file", CUDA, ids=label)
def test_blocks_have_as_many_threads_as_the_header_says(file, launched):
    read = _kernels.read(file)
    for launch in launched:
        if launch.source == file:
            header = read[launch.kernel]
            assert int(np.prod(launch.block)) == header.block(launch.defines), launch.kernel
            assert launch.shared == header.dynamic(launch.defines), \
                f"{launch.kernel} with {launch.defines}: {launch.shared} bytes of dynamic shared memory"


@pytest.mark.parametrize("file", CUDA, ids=label)
def test_what_is_launched_is_compiled_offline(file, launched):
    """Each launch has a set of defines of its precision, with the same names, in which no number is smaller: what is
    compiled offline is the most demanding there is."""
    read = _kernels.read(file)
    for launch in launched:
        if launch.source == file:
            assert any(covers(one, launch.defines) for one in read.compile), \
                f"{file.name} compiles no set that covers {launch.defines} of {launch.kernel}"


def covers(one, defines):
    real = {"Real": "float"}
    return all(name in (real | one) and (str(value) == (real | one)[name] if isinstance(value, str)
                                         else int(value) <= int(one[name])) for name, value in defines.items())


# And these tests can fail.

def written(tmp_path, header, body="    y[0] = x[0];", suffix=".cu"):
    file = tmp_path / f"softmax{suffix}"
    file.write_text(f'''#include "common.cuh"
#define TILE 32
{header}
extern "C" __global__ void __launch_bounds__(TILE) move(
    const Real* __restrict__ x, Real* y, int n) {{
{body}
}}
''', encoding="utf-8")
    return file


GOOD = "//= dx *= p\n//: threads TILE\n//: reads n * real + (y is not None)\n//: writes max(n, 1) * real"


def test_a_header_is_read(tmp_path):
    (header,) = _kernels.read(written(tmp_path, "//: compile Real=float TILE=64 from sm_80\n\n" + GOOD)).headers
    assert header.parameters == ("x", "y", "n")
    assert header.quotations == ((5, "dx *= p"),)
    assert header.block({}) == 32
    assert header.block({"TILE": 64}) == 64
    x = np.zeros(5)
    launch = Launch(header.path, "move", {"Real": "__half"}, (3, 1, 1), (32, 1, 1), 0, (x, None, np.int32(5)))
    assert header.bytes(launch) == (10, 10)
    assert header.bytes(launch._replace(args=(x, x, np.int32(0)))) == (1, 2)


@pytest.mark.parametrize(("header", "line", "says"), [
    ("//: reads n *", 3, "is no expression"),
    ("//: reads m * real", 3, "names m"),
    ("//: reads __import__('os').getcwd()", 3, "calls __import__('os').getcwd"),
    ("//: reads n.real", 3, "has a Attribute"),
    ("//: reads open(n)", 3, "calls open"),
    ("//: reads [n for n in x]", 3, "has a ListComp"),
    ("//: reads n ** n", 3, "has a Pow"),
    ("//: reads 'x' * n", 3, "has the constant 'x'"),
    ("//: threads n", 3, "names n"),
    ("//: threads 32\n//: threads 32", 4, "twice"),
    ("//: blocks 1", 3, "'blocks 1 because …'"),
    ("//: fma per load much", 3, "expected a number"),
    ("//: compile Real=float LANES", 3, "'LANES' should read NAME=value"),
    ("//: compile Real=float from T4", 3, "'from T4' should read 'from sm_80'"),
    ("//: raeds n", 3, "is none of"),
    ("//: threads 32\n\nint x;", 3, "belongs to no kernel"),
])
def test_what_is_wrong_in_a_header_is_told_with_file_and_line(tmp_path, header, line, says):
    with pytest.raises(_kernels.HeaderError) as error:
        _kernels.read(written(tmp_path, header))
    assert str(error.value).startswith(f"softmax.cu:{line}: ")
    assert says in str(error.value)


def test_a_pointer_is_not_a_number(tmp_path):
    (header,) = _kernels.read(written(tmp_path, "//: reads x * 2\n//: writes 0")).headers
    with pytest.raises(_kernels.HeaderError, match=r"softmax.cu:3: 'x \* 2' cannot be computed"):
        header.bytes(Launch(header.path, "move", {}, (1, 1, 1), (32, 1, 1), 0, (np.zeros(2), None, np.int32(2))))


@pytest.mark.parametrize("quotation", ["dx *= q", "dx *=p", "    dx *= p  # twice"])
def test_a_line_that_the_reference_has_not_is_found(tmp_path, quotation):
    file = written(tmp_path, GOOD.replace("dx *= p", quotation))
    with pytest.raises(AssertionError, match="not in visattn"):
        test_every_quotation_stands_in_the_reference(file)


@pytest.mark.parametrize("left_out", ["//= dx *= p\n", "//: threads TILE\n", "//: reads n * real + (y is not None)\n",
                                      "//: writes max(n, 1) * real"])
def test_a_header_that_leaves_something_out_is_found(tmp_path, left_out):
    file = written(tmp_path, "//: compile Real=float\n\n" + GOOD.replace(left_out, "").rstrip())
    held = (test_every_kernel_says_what_it_computes if left_out.startswith("//= ")
            else test_every_kernel_says_how_many_threads_it_has_and_what_it_moves)
    with pytest.raises(AssertionError, match=r"quotes no line|does not say"):
        held(file)


def test_a_kernel_that_nobody_launches_is_found(tmp_path):
    with pytest.raises(AssertionError):
        test_every_kernel_is_launched(written(tmp_path, GOOD), [])


def test_a_launch_that_is_not_compiled_offline_is_found(tmp_path):
    file = written(tmp_path, "//: compile Real=float TILE=64\n\n" + GOOD)
    launch = Launch(file, "move", {"Real": "float", "TILE": 64}, (1, 1, 1), (64, 1, 1), 0, ())
    test_what_is_launched_is_compiled_offline(file, [launch])
    for defines in ({"Real": "__half", "TILE": 64}, {"Real": "float", "TILE": 128}, {"Real": "float", "KEEP": 8}):
        with pytest.raises(AssertionError, match="compiles no set"):
            test_what_is_launched_is_compiled_offline(file, [launch._replace(defines=defines)])
    with pytest.raises(AssertionError):
        test_blocks_have_as_many_threads_as_the_header_says(file, [launch._replace(block=(32, 1, 1))])
