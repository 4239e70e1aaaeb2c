"""Whatever a checked function does, the check ends in time, gets no right answer for it, and nothing else changes.

The files of `hostile/` are meant to harm.  Each is run here as `visattn check` runs it, with all protections, and some
once more without namespaces, as where a container allows none.
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from visattn.check.child import landlock, linux
from visattn.check.child.records import Spec
from visattn.check.runner import Limits, launch

FILES = {path.stem: path for path in sorted((Path(__file__).parent / "hostile").glob("*.py"))}
LIMITS = Limits(start=60, first=60, call=60, memory=1 << 30, processes=48, file=8 << 20, disk=32 << 20, answer=1 << 20)
# These never answer, or take long over it: no need to wait.
ENDLESS = ("deaf", "endless_loop", "exit_handler", "goes_on_in_threads", "fork_bomb", "many_files", "prints_a_gigabyte",
           "prints_and_hangs", "sleeps", "stops_itself", "takes_the_orders")
RIGHT_AT_FIRST = ("first_answer_for_ever", "right_at_first")
HANGS_ON_IMPORT = ("hangs_on_import",)

# What the check must have understood, where there is only one right understanding.
KINDS = {
    "endless_loop": {"resource"}, "sleeps": {"resource"}, "deaf": {"resource"}, "stops_itself": {"resource"},
    "prints_and_hangs": {"resource"}, "memory_bomb": {"resource"}, "many_memory_bombs": {"resource"},
    "hangs_on_import": {"resource"}, "huge_shape": {"resource", "shape", "raised"},
    "ends_the_process": {"crash"}, "exits_on_import": {"crash"}, "crashes": {"crash"},
    "every_descriptor": {"forged"}, "false_lengths": {"forged"}, "answers_on_import": {"forged"},
    "answers_in_advance": {"forged"}, "forged_message": {"forged"},
    "exits": {"raised"}, "interrupts": {"raised"}, "own_exception": {"raised"}, "huge_file": {"raised", "crash"},
    "spoils_inputs": {"mutated"}, "right_at_first": {"changing"}, "never_twice_the_same": {"changing"},
}
NAMESPACES = ("namespaces", "landlock", "seccomp", "user")
NO_NAMESPACES = ("landlock", "seccomp", "user")
# Without namespaces: what can go wrong with files, processes and sockets then.
TOO = ("calls_the_reference", "reads_the_reference", "fork_bomb", "many_memory_bombs", "many_files", "deep_folders",
       "kills_its_parents", "stops_itself", "outlives", "deletes_its_folder", "writes_outside", "changes_its_source",
       "sockets", "reads_other_processes", "traces_its_parent", "every_descriptor", "exit_handler", "deaf")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def contents(folder):
    """All that is below a folder: names, kinds, permissions, times, texts."""
    found = {}
    for path in sorted(folder.rglob("*")):
        at = path.lstat()
        found[str(path.relative_to(folder))] = (at.st_mode, at.st_uid, at.st_mtime_ns, at.st_size,
                                                path.read_bytes() if path.is_file() else b"")
    return found


def processes_of(folder):
    """Processes that were started with this folder as their home."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "environ").read_bytes():
                found.append(f"{entry.name}: {(entry / 'stat').read_text()[:60]}")
        except OSError:
            continue
    return found


def attack(name, tmp_path, layers=NAMESPACES):
    """The answers to three calls, how it was shut in, and what was changed."""
    student = tmp_path / "above" / "student"
    (student / "sentinel").mkdir(parents=True)
    (student.parent / "sentinel").mkdir()
    for folder in (student, student.parent, student / "sentinel", student.parent / "sentinel"):
        (folder / "keep.txt").write_text("keep")
    shutil.copy(FILES[name], student)
    before, others = contents(tmp_path), set(os.listdir("/tmp"))
    spec = Spec(str(student / FILES[name].name), name="forward", op="softmax", arguments=("x",),
                framework="numpy")
    rng = np.random.default_rng(7)
    limits = LIMITS
    if name in ENDLESS:
        limits = LIMITS._replace(first=1.5, call=1.5, total=2)
    if name in HANGS_ON_IMPORT:
        limits = LIMITS._replace(start=1.5)
    asked, answers = [], []
    with launch(spec, limits, layers=layers) as function:
        for _ in range(3):
            asked.append(rng.normal(size=(3, 5)))
            answers.append(function.call({"x": asked[-1]}, {}, None, dtype="float64"))
    assert processes_of(function.temporary) == []
    assert not os.path.exists(function.temporary)
    assert contents(tmp_path) == before
    assert not [n for n in set(os.listdir("/tmp")) - others if "hostile" in n]
    return asked, answers, function


def judged(name, asked, answers):
    """No answer is right, and what is wrong has a name."""
    kinds = {p.kind for answer in answers for p in answer.problems}
    for i, (x, answer) in enumerate(zip(asked, answers)):
        right = [y for y in answer.y if y.shape == x.shape and np.allclose(y, softmax(x), atol=1e-6)]
        if name in RIGHT_AT_FIRST and i == 0:
            continue
        assert not right or answer.problems, f"call {i} got the right answer"
    for answer in answers:
        assert answer.y or answer.problems
        assert all(p.says and "\x1b" not in p.says for p in answer.problems)
    if name == "answers_in_advance":
        assert not answers[0].y, "an answer to another question was taken"
    if name in KINDS:
        assert kinds & KINDS[name], kinds


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Libraries start a thread for each processor, and our limits are small."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


needs_linux = pytest.mark.skipif(not linux.HERE, reason="only Linux has namespaces, Landlock and seccomp")


@needs_linux
@pytest.mark.parametrize("name", FILES)
def test_no_trick_gives_a_right_answer_or_leaves_a_trace(name, tmp_path):
    asked, answers, function = attack(name, tmp_path)
    judged(name, asked, answers)
    if name in ("reads_other_processes", "traces_its_parent", "sockets"):
        if any("not isolated" in says for says in function.isolation):
            pytest.skip(f"not isolated here: {[s for s in function.isolation if 'not isolated' in s]}")
        assert answers[0].y, answers[0].problems
        assert not answers[0].y[0].any(), "it reached something"


@needs_linux
@pytest.mark.parametrize("name", TOO)
def test_nor_where_there_are_no_namespaces(name, tmp_path):
    if not landlock.version():
        pytest.skip("the kernel has no Landlock")
    asked, answers, _ = attack(name, tmp_path, NO_NAMESPACES)
    judged(name, asked, answers)
    if name in ("traces_its_parent", "sockets"):
        assert answers[0].y, answers[0].problems
        assert not answers[0].y[0].any(), "it reached something"


@needs_linux
def test_a_process_that_leaves_its_group_is_found_without_seccomp_too(tmp_path):
    if not landlock.version():
        pytest.skip("the kernel has no Landlock")
    asked, answers, _ = attack("outlives", tmp_path, ("landlock",))
    judged("outlives", asked, answers)


def test_every_hostile_file_says_what_its_trick_is():
    assert len(FILES) >= 30
    for path in FILES.values():
        source = path.read_text(encoding="utf-8")
        assert source.startswith('"""'), path
        assert "def forward(x):" in source, path
        assert path.stem not in sys.stdlib_module_names, f"{path} would hide Python's own {path.stem}"
