"""A class of 200 that nobody would wish for, graded: how long it takes, who is lost, whose marks are wrong.

    python benchmarks/classroom.py [--students 200] [--jobs 2] [--dask 2] [--out build/classroom] [--save]

The assignment is softmax and attention, forward and backward.  The class:

    right       as notebooks, files and archives of several layouts; some print, warn or use other names
    mistakes    each known mistake of both operators, in the place of the reference's line
    nothing     stubs, empty cells, half of an answer
    repaired    cells deleted, twice, renamed, merged, in another order, that do not parse
    forged      verdicts printed, tests rewritten, the reference called, `expect` replaced
    hostile     the files of tests/check/hostile: they hang, crash, fork, lie, print a gigabyte
    unreadable  no notebook, no text, a gigabyte, a bomb, a broken archive, nothing

What a mistake must earn is computed by judging the changed operator itself, in this process and without a notebook.
Then a run is killed at a random moment and started again, and, with --dask, the class is graded once more by a cluster:
all tables must be the same.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from visattn import ops
from visattn.assignment import classroom, judging, marks, records
from visattn.assignment.cells import seed_from
from visattn.assignment.records import Sheet, solved, unsolved
from visattn.assignment.sheet import of_operators, tests_of
from visattn.check import changes, judge, memory
from visattn.check.changes import Change

HERE = Path(__file__).parent
HOSTILE = HERE.parent / "tests" / "check" / "hostile"
OPS = ("softmax", "attention")
NAMES = {r"\bsoftmax\.(forward|backward)\b": r"softmax_\1", r"\bsoftmax\.Cache\b": "SoftmaxCache",
         r"\b_allowed\b": "attention_allowed", r"(?<!_)\bweigh\b": "attention_weigh"}
ALL, NONE = None, frozenset[str]()


class Member(NamedTuple):
    """One student: what lies in the folder, and what it must earn."""

    name: str
    kind: str
    files: dict[str, bytes]                     # path below the folder of submissions: content
    passes: frozenset[str] | None               # the tests that pass; None is all of them
    status: str = "graded"


def sheet() -> Sheet:
    return of_operators("hw1", OPS, key="a class")


# --- notebooks

def notebook(of: Sheet, answers: dict[str, str], more: tuple[str, ...] = ()) -> bytes:
    """A notebook with these answers in the place of the stubs, and cells behind them."""
    cells = [_cell(c.name, answers.get(c.name, unsolved(c.source)) if c.kind == "answer" else c.source,
                   c.kind in ("given", "answer", "test")) for c in of.cells]
    return _book([*cells, *(_cell("", text) for text in more)])


def _cell(name: str, source: str, code: bool = True) -> dict[str, Any]:
    return {"cell_type": "code" if code else "markdown", "source": source, "id": name or "x",
            "metadata": {"visattn": {"name": name}, "nbgrader": {"grade_id": name}} if name else {}}


def _book(cells: list[dict[str, Any]]) -> bytes:
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def right(of: Sheet) -> dict[str, str]:
    return {c.name: solved(c.source) for c in of.cells if c.kind == "answer"}


def module(of: Sheet, answers: dict[str, str]) -> bytes:
    """The same as a file."""
    parts = [answers.get(c.name, unsolved(c.source)) if c.kind == "answer" else c.source for c in of.cells
             if c.kind in ("given", "answer")]
    return "\n\n\n".join(parts).encode()


def _zipped(path: Path, files: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    data = path.read_bytes()
    path.unlink()
    return data


# --- known mistakes

def mistaken(of: Sheet, change: Change) -> dict[str, str] | None:
    """The right answers with one mistake in them; None where its line is not in them once."""
    op = change.op.rpartition(".")[2]
    wanted, instead = (_in_the_sheet(text, op) for text in (change.line, change.instead))
    answers = right(of)
    found = []
    for name in (f"{op}_forward", f"{op}_backward"):
        lines = answers[name].splitlines()
        bare = [line.strip() for line in wanted.strip().splitlines()]
        places = [i for i in range(len(lines)) if [_code(line) for line in lines[i:i + len(bare)]] == bare]
        found += [(name, lines, i, len(bare)) for i in places]
    if len(found) != 1:
        return None
    name, lines, at, count = found[0]
    indent = lines[at][:len(lines[at]) - len(lines[at].lstrip())]
    lines[at:at + count] = [indent + line for line in instead.strip("\n").splitlines()]
    return answers | {name: "\n".join(lines)}


def _in_the_sheet(text: str, op: str) -> str:
    for there, here in {**NAMES, r"(?<![\w.])Cache\b": f"{op.capitalize()}Cache"}.items():
        text = re.sub(there, here, text)
    return text


def _code(line: str) -> str:
    return line.partition("  #")[0].strip()


def earned(of: Sheet, change: Change) -> frozenset[str]:
    """The tests that operators with a mistake in them pass, judged directly."""
    passed = set()
    for op, tests in tests_of(of).items():
        reference = getattr(ops, op)
        there = change.op in [m.__name__ for m in (reference, *changes.parts(reference))]
        made = changes.changed(reference, change) if there else reference
        reports = {gradient: judge.run(op, made.forward, made.backward if gradient else None, framework="numpy",
                                       precision=judging.PRECISION, seed=seed_from(of.key))
                   for gradient in (False, True)}
        passed |= {test.name for test in tests if judging.outcome(test, reference, reports[test.part != "y"]).passed}
    return frozenset(passed)


# --- the class

def members(of: Sheet, folder: Path, limit: int | None = None) -> list[Member]:
    """The class; of every kind some, and right answers in between.  At most `limit`, every kind in turn."""
    kinds = {"mistakes": _mistakes(of), "hostile": _hostile(of), "repaired": _repaired(of), "forged": _forged(of),
             "nothing": _nothing(of), "unreadable": _unreadable(of, folder), "right": _right(of, folder)}
    found, rounds = [], {kind: iter(some) for kind, some in kinds.items()}
    while rounds and (limit is None or len(found) < limit):
        for kind in list(rounds):
            member = next(rounds[kind], None)
            if member is None:
                del rounds[kind]
            elif limit is None or len(found) < limit:
                found.append(member)
        if [*rounds] == ["right"] and limit is None:
            break
    return found


def _right(of: Sheet, folder: Path) -> Iterator[Member]:
    """Right answers without end, in every layout."""
    answers = right(of)
    noisy = {k: re.sub(r'(\n    """\n)', r'\1    print("here")\n    __import__("warnings").warn("x")\n', v, count=1)
             if "forward" in k else v for k, v in answers.items()}
    i = 0
    while True:
        i += 1
        mine = answers if i % 3 else noisy
        # Variants in names that no comparison of texts may take for a difference.
        own = {k: f"{v}\n\n\ndef helper_{i}(x):\n    return x + {i}\n" for k, v in mine.items()}
        book, name = notebook(of, own), f"right{i:03}"
        layouts = [{f"{name}.ipynb": book}, {f"{name}.py": module(of, own)}, {f"{name}/hw1.ipynb": book},
                   {f"{name}/hw1/hw1.ipynb": book}, {f"{name}_{1000 + i}_{5000 + i}_hw1.ipynb": book},
                   {f"{name}_{i}_assignsubmission_file_/hw1.ipynb": book},
                   {f"{name}.zip": _zipped(folder / "x.zip", {"hw1.ipynb": book})},
                   {f"{name}/all.zip": _zipped(folder / "x.zip", {"in/hw1.py": module(of, own)})}]
        yield Member(name, "right", layouts[i % len(layouts)], ALL)


def _mistakes(of: Sheet) -> Iterator[Member]:
    each = [[c for c in changes.own(getattr(ops, op).__name__) if c.kind == "mistake"] for op in OPS]
    known = [c for some in zip_longest(*each) for c in some if c is not None]               # of both in turn
    for change in known:
        answers = mistaken(of, change)
        if answers is not None:
            op = change.op.rpartition(".")[2]
            name = f"mistake_{op}_{change.name}"
            yield Member(name, "mistakes", {f"{name}/hw1.ipynb": notebook(of, answers)}, earned(of, change))


def _nothing(of: Sheet) -> Iterator[Member]:
    answers = right(of)
    softmax = {k: v for k, v in answers.items() if k.startswith("softmax")}
    forwards = {k: v for k, v in answers.items() if k.endswith("forward")}
    of_y = frozenset(t.name for t in of.tests if t.part == "y")
    yield Member("stub", "nothing", {"stub.ipynb": notebook(of, {})}, NONE)
    yield Member("blank", "nothing", {"blank.ipynb": notebook(of, dict.fromkeys(answers, ""))}, NONE)
    yield Member("half", "nothing", {"half.ipynb": notebook(of, softmax)},
                 frozenset(t.name for t in of.tests if t.op == "softmax"))
    yield Member("forwards", "nothing", {"forwards.ipynb": notebook(of, forwards)}, of_y)
    yield Member("passes", "nothing", {"passes.py": re.sub(
        rb"raise NotImplementedError", b"pass", module(of, {}))}, NONE)
    yield Member("comment", "nothing", {"comment.py": b"# sorry\n"}, NONE)


def _repaired(of: Sheet) -> Iterator[Member]:
    answers = right(of)
    book = json.loads(notebook(of, answers))["cells"]

    def some(name: str, cells: list[dict[str, Any]], passes: frozenset[str] | None = ALL) -> Member:
        return Member(name, "repaired", {f"{name}.ipynb": _book(cells)}, passes)

    def of_name(name: str) -> dict[str, Any]:
        return next(c for c in book if c["id"] == name)

    yield some("tests_deleted", [c for c in book if "expect(" not in c["source"]])
    yield some("given_deleted", [c for c in book if c["id"] not in ("setup", "given")])
    yield some("twice", [*book, of_name("softmax_forward")])
    yield some("stub_behind", [*book, {**of_name("attention_backward"), "source": unsolved(next(
        c.source for c in of.cells if c.name == "attention_backward"))}])
    yield some("backwards", book[::-1])
    yield some("no_metadata", [{**c, "metadata": {}, "id": "x"} for c in book])
    yield some("short_names", [{**c, "source": c["source"].replace("def softmax_forward", "def softmax_fwd")
                                .replace("def attention_backward", "def Attention_Bwd")} for c in book])
    yield some("merged", [*[c for c in book if c["cell_type"] != "code"],
                          _cell("softmax_forward", "\n\n".join(c["source"] for c in book if c["cell_type"] == "code"))])
    yield some("magics", [_cell("", "%matplotlib inline\n!pip list\n"), *book, _cell("", "%%bash\nrm -rf /")])
    yield some("no_python", [_cell("", "def f(:\n  x"), *book, _cell("", "this is not Python")])
    yield some("fails_beside", [_cell("", "import nobody_has_this\nLIMIT = 1 / 0\n"), *book])
    yield some("one_deleted", [c for c in book if c["id"] != "attention_backward"],
               frozenset(t.name for t in of.tests if t.op == "softmax" or t.part == "y"))
    yield some("plots_and_waits", [_cell("", "import time\ntime.sleep(3600)\nwhile True: pass\n"), *book])


def _forged(of: Sheet) -> Iterator[Member]:
    def some(name: str, *more: str, answers: dict[str, str] | None = None) -> Member:
        return Member(name, "forged", {f"{name}.ipynb": notebook(of, answers or {}, more)}, NONE)

    yield some("prints_verdicts", 'print("✓ attention output: right")\nexpect = lambda *a, **k: print("✓ right")\n')
    yield some("asks_the_reference", "from visattn.ops import softmax\n"
               "softmax_forward, softmax_backward = softmax.forward, softmax.backward\n")
    yield some("imports_inside", "def softmax_forward(x, *, axis=-1, mask=None):\n    from visattn import ops\n"
               "    return ops.softmax.forward(x, axis=axis, mask=mask)\n")
    yield some("always_equal", "class Equal(np.ndarray):\n    def __eq__(self, other): return np.True_\n"
               "    def __sub__(self, other): return np.zeros(self.shape)\n\n\n"
               "def softmax_forward(x, *, axis=-1, mask=None):\n    return np.ones(x.shape).view(Equal), None\n")
    yield some("patches_numpy", "np.allclose = np.array_equal = lambda *a, **k: True\nnp.max = lambda *a, **k: 0.0\n"
               "def softmax_forward(x, *, axis=-1, mask=None):\n    return np.zeros(x.shape), None\n")
    yield some("answers_json", 'def softmax_forward(x, *, axis=-1, mask=None):\n    import sys\n    '
               'sys.stdout.write(\'{"student": "me", "points": 15, "status": "graded"}\\n\')\n    return x, None\n')


def _hostile(of: Sheet) -> Iterator[Member]:
    """Each attack as an answer to softmax; what attacks on import does so in the body of a class, which is kept."""
    for path in sorted(HOSTILE.glob("*.py")):
        text = re.sub(r"\bdef forward\(", "def softmax_forward(", path.read_text(encoding="utf-8"))
        if path.stem.endswith("_on_import"):
            body = "\n".join(f"    {line}" if line else "" for line in text.splitlines())
            text = f"class Attack:\n{body}\n"
        yield Member(f"hostile_{path.stem}", "hostile", {f"hostile_{path.stem}.py": text.encode()}, NONE)


def _unreadable(of: Sheet, folder: Path) -> Iterator[Member]:
    book = notebook(of, right(of))
    bomb = _zipped(folder / "x.zip", {"hw1.py": b"#" * (30 << 20)})
    for name, files in {
            "truncated": {"truncated.ipynb": book[:len(book) // 2]},
            "a_picture": {"a_picture.ipynb": b"\x89PNG\r\n" * 99},
            "other_encoding": {"other_encoding.ipynb": book.decode().encode("utf-16")},
            "gigabyte": {"gigabyte.ipynb": b""}, "bomb": {"bomb.zip": bomb},
            "broken_archive": {"broken_archive.zip": b"PK\x03\x04 and no more"}, "document": {"document.docx": b"PK"},
            "no_file": {"no_file/": b""}, "empty_file": {"empty_file.ipynb": b""},
            "no_python": {"syntax.py": b"def f(:\n"},
            "conflict": {"conflict.ipynb": b"<<<<<<< HEAD\n" + book}, "deep": {"deep.ipynb": b"[" * 100_000},
            "a_list": {"a_list.ipynb": b"[1, 2, 3]"}}.items():
        yield Member(next(iter(files)).partition(".")[0].strip("/") or name, "unreadable", files, NONE, "unreadable")


def put(found: list[Member], folder: Path) -> None:
    """Write the class where a learning system would."""
    for member in found:
        for name, data in member.files.items():
            path = folder / name
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            if member.name == "gigabyte":
                with path.open("wb") as file:
                    file.truncate(1 << 30)


def wrong(of: Sheet, found: list[Member], table: dict[str, Any]) -> tuple[list[str], list[str]]:
    """(who is lost, whose marks or status are wrong), in words."""
    rows = {row["student"]: row for row in table["students"]}
    everything = frozenset(test.name for test in of.tests)
    lost = [m.name for m in found if m.name not in rows or rows[m.name]["status"] == "stopped"]
    off = []
    for m in found:
        if m.name in rows:
            passed = frozenset(name for name, points in rows[m.name]["tests"].items() if points)
            wanted = everything if m.passes is None else m.passes
            if passed != wanted or (rows[m.name]["status"] != m.status and m.name not in lost):
                off.append(f"{m.name}: {rows[m.name]['status']}, {sorted(passed ^ wanted)} {rows[m.name]['problem']}")
    return lost, off


# --- runs

def command(folder: Path, out: Path, jobs: int, address: str = "") -> list[str]:
    return [sys.executable, "-c", "from visattn.cli import main; raise SystemExit(main())", "assignment", "grade",
            str(folder), "--assignment", str(folder.parent / records.FILE), "--out", str(out), "--jobs", str(jobs),
            *(["--dask", address] if address else [])]


def timed(call: list[str]) -> float:
    """Seconds of a run, which must come to its end."""
    table = Path(call[call.index("--out") + 1], "scores.json")
    table.unlink(missing_ok=True)
    began = time.perf_counter()
    status = subprocess.run(call, stdout=subprocess.DEVNULL).returncode
    if status not in (0, 1) or not table.exists():
        raise SystemExit(f"{' '.join(call[3:])} ended with {status}")
    return time.perf_counter() - began


def killed(call: list[str], after: float) -> None:
    """A run that is killed at once, with no time to tidy up."""
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(
    students: Annotated[int, typer.Option(help="In the class.")] = 200,
    jobs: Annotated[int, typer.Option(help="Submissions at a time.")] = 2,
    dask: Annotated[int, typer.Option(help="Workers of a local Dask cluster; 0 is none.")] = 0,
    kill: Annotated[bool, typer.Option(help="Also kill a run at a random moment, and start it again.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for the class and its marks.")] = Path("build/classroom"),
    save: Annotated[bool, typer.Option("--save", help="Keep the summary in benchmarks/results.")] = False,
) -> None:
    console, of = Console(width=140), sheet()
    shutil.rmtree(out, ignore_errors=True)
    folder = out / "submissions"
    folder.mkdir(parents=True)
    records.write(of, out / records.FILE)
    with memory.kept(), np.errstate(all="ignore"):
        found = members(of, out, students)
    put(found, folder)
    counts = Counter(m.kind for m in found)
    console.print(f"{len(found)} students: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))

    def table(where: str) -> dict[str, Any]:
        return json.loads((out / where / "scores.json").read_text(encoding="utf-8"))

    seconds, load = timed(command(folder, out / "graded", jobs)), os.getloadavg()
    first = table("graded")
    lost, off = wrong(of, found, first)
    again = timed(command(folder, out / "graded", jobs))
    summary: dict[str, Any] = {
        "date": str(date.today()), "command": "python " + " ".join(["benchmarks/classroom.py", *sys.argv[1:]]),
        "cores": classroom.cores(), "jobs": jobs, "students": len(found), "kinds": dict(counts),
        "seconds": round(seconds, 1), "load of the machine then": round(load[2], 1),
        "seconds of a second run": round(again, 1), "lost": lost, "wrong": off,
        "same table in a second run": table("graded") == first}
    if kill:
        after = random.SystemRandom().uniform(0.1, 0.6) * seconds
        killed(command(folder, out / "killed", jobs), after)
        done = len(list((out / "killed" / classroom.RESULTS).glob("*.json")))
        timed(command(folder, out / "killed", jobs))
        summary |= {"killed after seconds": round(after, 1), "done by then": done,
                    "same table after being killed": table("killed") == first}
    if dask:
        from distributed import LocalCluster

        with LocalCluster(n_workers=dask, threads_per_worker=1, dashboard_address=":0") as cluster:
            took = timed(command(folder, out / "cluster", jobs, cluster.scheduler_address))
        summary |= {"dask workers": dask, "seconds with Dask": round(took, 1),
                    "same table with Dask": table("cluster") == first}
    show = Table(box=None, show_header=False)
    for key, value in summary.items():
        show.add_row(key, json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value)
    console.print(show)
    if save:
        path = HERE / "results" / f"classroom-{summary['date']}.json"
        path.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if lost or off or not all(value for key, value in summary.items() if key.startswith("same")):
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)


__all__ = ["Member", "marks", "members", "put", "sheet", "wrong"]
