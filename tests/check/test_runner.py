"""A function runs in a process of its own: what is asked and answered, and what is said when it cannot be."""

import json
import os
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from visattn.check import runner
from visattn.check.child import linux, main, wire
from visattn.check.child.records import Accepts, Answer, Problem, Spec
from visattn.check.runner import Limits, launch, trusted

RIGHT = """
import numpy as np

def forward(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)

def backward(dy, x):
    y = forward(x)
    return y * (dy - (dy * y).sum(-1, keepdims=True))
"""
X = np.random.default_rng(3).normal(size=(2, 3))
PATIENT = Limits(start=60, first=60, call=60)


def spec(path, source=None, **more):
    """The Spec of softmax in a file."""
    if source is not None:
        path.write_text(source)
    return Spec(**{"file": str(path), "op": "softmax", "arguments": ("x",), "framework": "numpy"} | more)


def ask(function, x=X, dy=None):
    return function.call({"x": x}, {}, dy, dtype="float64")


def problem(path, source, limits=PATIENT, **more):
    """What is said when a file cannot be loaded, or does not answer."""
    with launch(spec(path, source, **more), limits) as function:
        if function.accepts.problem:
            assert ask(function).problems[0].says == function.accepts.problem
            return function.accepts.problem
        return "; ".join(f"{p.kind}: {p.says}" for p in ask(function).problems)


# What is asked and answered.

def test_a_function_answers_from_its_own_process_as_it_does_in_ours(tmp_path):
    given = spec(tmp_path / "mine.py", RIGHT)
    with launch(given) as there, launch(given, trust=True) as here:
        assert there.accepts == here.accepts
        theirs, ours = ask(there, dy=[X]), ask(here, dy=[X])
    assert theirs._replace(seconds=0) != Answer()
    np.testing.assert_array_equal(theirs.y[0], ours.y[0])
    np.testing.assert_array_equal(theirs.grads[0], ours.grads[0])
    assert theirs.dtypes == ours.dtypes
    assert theirs.problems == ours.problems == ()
    np.testing.assert_allclose(theirs.y[0].sum(-1), 1)


def test_a_function_at_hand_runs_here_and_says_so():
    with trusted(spec(Path("none"), file=""), lambda x: x * 2) as function:
        np.testing.assert_array_equal(ask(function).y[0], X * 2)
        assert function.isolation == ("none: it runs in this process",)


def test_a_file_that_is_not_trusted_is_never_imported_here(tmp_path):
    source = "import os\nPID = os.getpid()\ndef forward(x): return x * 0 + PID\n"
    with launch(spec(tmp_path / "elsewhere.py", source)) as function:
        assert ask(function).y[0].flat[0] != os.getpid()
    assert not [name for name in sys.modules if "elsewhere" in name]


def test_files_beside_it_can_be_imported_and_read(tmp_path):
    (tmp_path / "helper.py").write_text("from pathlib import Path\n"
                                        "TWO = float((Path(__file__).parent / 'two.txt').read_text())\n")
    (tmp_path / "two.txt").write_text("2")
    with launch(spec(tmp_path / "mine.py", "from helper import TWO\ndef forward(x): return x * TWO\n")) as function:
        np.testing.assert_array_equal(ask(function).y[0], X * 2)


READS = """
import os
READ = []
for name in NAMES:
    try:
        READ.append(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name)).read())
    except OSError:
        pass
def forward(x): raise ValueError(f"read {READ}")
"""


@pytest.mark.skipif(not linux.HERE, reason="only Linux can hide files")
@pytest.mark.parametrize("mode", [0o700, 0o755])
@pytest.mark.parametrize("layers", [main.LAYERS, ("namespaces", "user"), ("landlock", "seccomp", "user")],
                         ids=["all", "namespaces", "Landlock"])
def test_hidden_files_and_visattn_below_its_folder_cannot_be_read(tmp_path, monkeypatch, mode, layers):
    (tmp_path / ".ssh").mkdir()
    (tmp_path / "tree" / "visattn").mkdir(parents=True)
    monkeypatch.setattr(runner, "PACKAGE", tmp_path / "tree" / "visattn")
    names = (".secret", ".ssh/key", "tree/visattn/softmax.py", "tree/open.py")
    for name in names:
        (tmp_path / name).write_text(name)
        os.chmod((tmp_path / name).parent, 0o755)
    os.chmod(tmp_path, mode)
    with launch(spec(tmp_path / "mine.py", f"NAMES = {names!r}\n{READS}"), PATIENT, layers=layers) as function:
        if "files: not isolated" in function.isolation:
            pytest.skip("this system lets nothing be hidden")
        assert "read ['tree/open.py']" in ask(function).problems[0].says


def test_the_environment_is_not_passed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "secret")
    source = "import os\nSEEN = dict(os.environ)\ndef forward(x): raise ValueError(sorted(SEEN))\n"
    says = problem(tmp_path / "mine.py", source)
    assert "HOME" in says
    assert "API_TOKEN" not in says


def test_it_starts_in_an_empty_folder_of_its_own_that_is_removed(tmp_path):
    source = """
import os
def forward(x):
    assert os.listdir(".") == [], os.listdir(".")
    assert os.path.realpath(os.getcwd()) == os.path.realpath(os.environ["HOME"])
    open("mine", "w").close()
    os.remove("mine")
    return x
"""
    with launch(spec(tmp_path / "mine.py", source)) as function:
        assert ask(function).problems == () or ask(function).problems[0].kind == "aliases"
        folder = function.temporary
        assert os.path.isdir(folder)
    assert not os.path.exists(folder)
    function.close()                                        # a second time is nothing


def test_what_has_been_closed_answers_with_a_problem(tmp_path):
    with launch(spec(tmp_path / "mine.py", RIGHT)) as function:
        pass
    assert ask(function).problems[0].kind == "crash"


def test_arrays_larger_than_a_pipe_go_both_ways(tmp_path):
    x = np.random.default_rng(0).normal(size=(700, 701))
    with launch(spec(tmp_path / "mine.py", RIGHT), PATIENT) as function:
        np.testing.assert_allclose(ask(function, x).y[0].sum(-1), 1)


def test_threads_can_carry_for_systems_whose_processes_take_no_sockets(tmp_path, monkeypatch):
    start = runner._start
    monkeypatch.setattr(runner, "_start", lambda settings, temporary: start(settings, temporary, pumped=True))
    x = np.random.default_rng(0).normal(size=(300, 701))
    with launch(spec(tmp_path / "mine.py", RIGHT), PATIENT) as function:
        np.testing.assert_allclose(ask(function, x).y[0].sum(-1), 1)
    before = time.monotonic()
    while threading.active_count() > 1 and time.monotonic() < before + 20:
        time.sleep(0.01)
    assert not [t for t in threading.enumerate() if t.name.startswith("Thread") and "_pump" in t.name]


def test_two_functions_can_be_there_at_once(tmp_path):
    with launch(spec(tmp_path / "a.py", RIGHT)) as a, \
            launch(spec(tmp_path / "b.py", "def forward(x): return x * 3")) as b:
        np.testing.assert_array_equal(ask(b).y[0], X * 3)
        np.testing.assert_allclose(ask(a).y[0].sum(-1), 1)


# What is said when it cannot be.

def test_a_file_that_is_not_there_is_said(tmp_path):
    with launch(spec(tmp_path / "none.py")) as function:
        assert "none.py: there is no such file" in function.accepts.problem
    with launch(spec(tmp_path)) as function:
        assert "it is a folder" in function.accepts.problem


def test_a_syntax_error_is_said_with_its_line(tmp_path):
    says = problem(tmp_path / "mine.py", "x = 1\ndef forward(x:\n    return x\n")
    assert "SyntaxError" in says
    assert "line 2" in says


def test_a_name_that_is_not_there_is_said_with_those_that_are(tmp_path):
    says = problem(tmp_path / "mine.py", RIGHT, name="soft_max")
    assert "soft_max" in says
    assert "forward" in says


def test_an_error_while_it_is_loaded_is_said_with_its_line(tmp_path):
    says = problem(tmp_path / "mine.py", "import numpy as np\n\nraise RuntimeError('no luck')\n")
    assert "RuntimeError: no luck" in says
    assert "line 3" in says


def test_a_package_that_is_not_installed_is_said(tmp_path):
    assert "surely_not_there" in problem(tmp_path / "mine.py", "import surely_not_there\ndef forward(x): return x\n")


def test_the_reference_is_said_not_to_be_there(tmp_path):
    says = problem(tmp_path / "mine.py", "from visattn.ops import softmax\nforward = softmax.forward\n")
    assert "visattn" in says


def test_what_is_no_array_is_said(tmp_path):
    assert "None" in problem(tmp_path / "mine.py", "def forward(x): return None\n")


def test_the_end_of_what_it_printed_is_in_the_message_of_a_crash(tmp_path):
    source = "import os\ndef forward(x):\n    print('last words', flush=True)\n    os._exit(3)\n"
    says = problem(tmp_path / "mine.py", source)
    assert says == "crash: it ended its process with exit status 3; it had printed: last words"


def test_a_signal_is_said_by_its_name(tmp_path):
    says = problem(tmp_path / "mine.py", "import ctypes\ndef forward(x): ctypes.memset(0, 1, 8)\n")
    assert "SIGSEGV" in says


def test_an_answer_that_is_too_large_is_a_problem_and_the_next_call_is_answered(tmp_path):
    source = "import numpy as np\ndef forward(x): return x if len(x) < 5 else np.zeros(1 << 20)\n"
    with launch(spec(tmp_path / "mine.py", source), PATIENT._replace(answer=1 << 20)) as function:
        first = ask(function, np.zeros((5, 2)))
        assert [p.kind for p in first.problems if p.kind not in ("shape", "aliases")] == ["resource"]
        np.testing.assert_array_equal(ask(function).y[0], X)


def test_all_calls_together_have_a_limit_too(tmp_path):
    source = "import time\ndef forward(x):\n    time.sleep(0.4)\n    return x + 1\n"
    with launch(spec(tmp_path / "mine.py", source), PATIENT._replace(total=1.5)) as function:
        kinds = [p.says for _ in range(6) for p in ask(function).problems]
    assert kinds
    assert "all its calls together took more than 1.5 s" in kinds[0]
    assert kinds[-1].startswith("in a call before: ")


# What comes over the channel is looked at byte by byte.

def message(tree, blob=b""):
    header = (tree if isinstance(tree, bytes) else json.dumps(tree).encode())
    return wire.LENGTHS.pack(len(header), len(blob)) + header + blob


def received(data, most=1 << 20):
    at = 0

    def take(count):
        nonlocal at
        if at + count > len(data):
            raise EOFError
        at += count
        return data[at - count:at]

    return wire.read(take, most)


def sent(tree):
    """What comes out of a message that is packed."""
    return received(b"".join(bytes(part) for part in wire.pack(tree)))


VALUES = [None, True, 3, -2.5, float("inf"), "text", (1, (2, "x")), [1, None], {"a": {"b": (1,)}},
          np.arange(6.0).reshape(2, 3), np.float32([1.5]), np.array(7), np.zeros((0, 3)), np.array([True, False]),
          np.arange(3, dtype=np.int8), np.float64(0.1), np.arange(6.0).reshape(2, 3).T[::-1], np.complex64([1j]),
          np.arange(3, dtype=">f8")]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_a_message_comes_out_as_it_went_in(value):
    got = sent({"value": value})["value"]
    if isinstance(value, np.ndarray):
        assert (got.shape, got.dtype) == (value.shape, value.dtype.newbyteorder("="))
        np.testing.assert_array_equal(got, value)
        got[...] = 0                                        # it is its own
    else:
        assert got == value
        assert type(got) is type(value)


def test_not_a_bit_of_a_number_is_lost():
    bits = np.array([0x7ff8_0000_dead_beef, 1, 0x8000_0000_0000_0000, 0x7ff0_0000_0000_0000], np.uint64)
    x = bits.view(np.float64)
    got = sent({"x": x})["x"]
    np.testing.assert_array_equal(got.view(np.uint64), bits)


@pytest.mark.parametrize("value", [object(), np.array([object()]), {1: 2}, np.array(["text"]), {1, 2}, 1j])
def test_what_cannot_be_sent_is_refused_where_it_is_sent(value):
    with pytest.raises(TypeError, match="cannot be sent"):
        wire.pack({"value": value})


def table(**fields):
    return {"table": [[k, v] for k, v in fields.items()]}


FORGERIES = {
    "no JSON": message(b"\xff\xfe"),
    "no table": message([1, 2]),
    "a header without an end": message(b"[" * 100_000),
    "a number without an end": message(b"9" * 100_000),
    "a header that is too long": wire.LENGTHS.pack(1 << 62, 0),
    "arrays that are too long": wire.LENGTHS.pack(2, 1 << 62),
    "an unknown dtype": message(table(y={"array": ["object", [1]]}), bytes(8)),
    "a dtype that is code": message(table(y={"array": ["O8", [1]]}), bytes(8)),
    "a shape larger than the bytes": message(table(y={"array": ["float64", [2]]}), bytes(8)),
    "a shape whose product overflows": message(table(y={"array": ["float64", [1 << 61, 8]]}), bytes(8)),
    "a shape that is nothing times too much": message(table(y={"array": ["float64", [0, 1 << 61, 8]]})),
    "a negative shape": message(table(y={"array": ["float64", [-1]]}), bytes(8)),
    "a shape of fractions": message(table(y={"array": ["float64", [1.0]]}), bytes(8)),
    "a shape of truths": message(table(y={"array": ["float64", [True]]}), bytes(8)),
    "a shape of too many axes": message(table(y={"array": ["float64", [1] * 65]}), bytes(8)),
    "bytes too many": message(table(y={"array": ["float64", [1]]}), bytes(16)),
    "too many arrays": message(table(y=[{"array": ["float64", [0]]}] * 1000)),
    "a number with axes": message(table(y={"scalar": ["float64", [1]]}), bytes(8)),
    "an unknown form": message({"pickle": "gASV"}),
    "two forms at once": message({"table": [], "tuple": []}),
    "a table of singles": message({"table": [["y"]]}),
    "a table of numbers": message({"table": [[1, 2]]}),
    "depth": message(b'{"tuple":[' * 50 + b"]}" * 50),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_message_that_does_not_add_up_is_forged(name):
    with pytest.raises(wire.Forged):
        received(FORGERIES[name])


def test_no_bytes_at_all_are_an_error_of_another_kind():
    """Random bytes, and honest messages with a byte changed, are read, refused, or too short: nothing else."""
    rng = np.random.default_rng(0)
    honest = b"".join(bytes(p) for p in wire.pack({"kind": "answer", "record": wire.message_of(ANSWER)}))
    read = 0
    for i in range(3000):
        data = bytearray(rng.bytes(200) if i % 3 == 0 else honest)
        if i % 3:
            for _ in range(i % 3):
                data[rng.integers(len(data))] = rng.integers(256)
        try:
            wire.answer_from(received(bytes(data)).get("record"))
            read += 1
        except (wire.Forged, EOFError):
            continue
    assert 0 < read < 3000


ANSWER = Answer((np.arange(3.0),), (None, np.zeros((2, 2))), {"p": np.ones(2)}, {"y": "float64"},
                (Problem("shape", "y has shape (3,)", "y"),), 0.25)


def test_a_record_comes_out_as_it_went_in():
    assert str(wire.answer_from(sent({"r": wire.message_of(ANSWER)})["r"])) == str(ANSWER)
    accepts = Accepts("numpy", ("x", "axis"), "backward", "cpu", ("float64",), {"causal": ("top_left", 1)}, ("note",))
    assert wire.accepts_from(sent({"r": wire.message_of(accepts)})["r"]) == accepts


WRONG = {
    "y": [np.zeros(2)], "grads": (1, 2), "inner": {"p": 3}, "dtypes": {"y": 3}, "problems": [["passed", "", ""]],
    "seconds": float("nan"), "notes": 3,
}


@pytest.mark.parametrize("field", WRONG)
def test_a_field_that_is_not_what_it_should_be_is_forged(field):
    with pytest.raises(wire.Forged):
        wire.answer_from(wire.message_of(ANSWER) | {field: WRONG[field]})


def test_a_field_too_many_or_too_few_is_forged():
    with pytest.raises(wire.Forged):
        wire.answer_from(wire.message_of(ANSWER) | {"verdict": "pass"})
    with pytest.raises(wire.Forged):
        wire.answer_from({"y": ()})


def test_texts_of_strangers_cannot_command_a_terminal():
    assert wire.text("\x1b[2J\x07passed\u202e\nnext") == "\ufffd[2J\ufffdpassed\ufffd\nnext"
    assert len(wire.text("x" * 10**6)) < 3000


def test_a_prefix_is_sixteen_bytes():
    assert wire.LENGTHS.size == 16
    assert wire.lengths(struct.pack("<QQ", 5, 7), 7) == (5, 7)
