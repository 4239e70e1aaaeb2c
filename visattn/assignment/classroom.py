"""A class, graded: in processes of its own on this machine, or on the workers of a Dask cluster.

    done = run("submissions", sheet, "graded", jobs=2)
    [graded["points"] for graded in done]

Every submission is read and graded in a worker: one that hangs or dies is ended and reported for its own, and costs no
other.  Results are written one by one, each whole: whatever is there for the same submission, sheet and version is not
done again, so a run that was stopped goes on where it was.  A result depends on the submission and the sheet only.

This file run by itself is a worker: it takes a submission a line, and answers with a line.
"""

import base64
import contextlib
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from visattn import __version__, _atomic
from visattn._extras import need
from visattn.assignment import records, submissions
from visattn.assignment.records import Sheet
from visattn.assignment.submissions import Content, Handed

RESULTS = "results"                             # the folder in OUT with one file for each student
SCHEMA = 1                                      # of these files
PATIENCE = 240.0                                # seconds for an exercise, beside which a submission counts as hung
COMMAND = (sys.executable, "-m", "visattn.assignment.classroom")       # of a worker
TRIES = 2                                       # of one whose worker died: others may have taken its memory
Graded = dict[str, Any]                         # plain values, as JSON has them; see `graded`


class Stopped(RuntimeError):
    """A worker that gave no result; the message says why."""


def run(path: str | Path, sheet: Sheet, out: str | Path, *, jobs: int | None = None, dask: str = "",
        limit: float | None = None, start: Callable[[int], None] = lambda total: None,
        step: Callable[[Graded], None] = lambda graded: None) -> list[Graded]:
    """The results of all submissions, by student; in OUT/results one file for each.

    jobs    workers at a time; None is one for each core
    dask    the address of a scheduler: its workers grade, instead of processes here
    limit   seconds for one submission; None is what its exercises may take
    start   called with the number of submissions
    step    called with each result

    Raises what `submissions.collect` does, OSError for a folder that cannot be written, MissingPackage without Dask.
    """
    handed = submissions.collect(path, sheet)
    folder = Path(out, RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    files = {student: f"{name}.json" for student, name in file_names(each.student for each in handed).items()}
    whole = records.as_json(sheet)
    limit = limit or 60 + PATIENCE * len({test.exercise for test in sheet.tests})
    start(len(handed))
    done: dict[str, Graded] = {}

    def todo() -> Iterator[Order]:
        """What is not done yet, read when its turn comes."""
        for each in handed:
            contents = submissions.contents(each)
            key = digest(sheet, each, contents)
            kept = _kept(folder / files[each.student], key)
            if kept is not None:
                done[each.student] = kept
                step(kept)
            else:
                yield Order(whole, each.student, [_packed(c) for c in contents], list(each.notes), key)

    with (_cluster(dask, limit) if dask else _workers(jobs or cores(), limit)) as (submit, most):
        for order, answer in _answers(todo(), submit, most):
            done[order.student] = _atomic_json(folder / files[order.student], {**answer, "key": order.key})
            step(done[order.student])
    return [done[each.student] for each in handed]


class Order(NamedTuple):
    """One submission for a worker: plain values only."""

    sheet: dict[str, Any]
    student: str
    files: list[tuple[str, str, float, str]]    # name, bytes as base64, last changed, problem
    notes: list[str]
    key: str


def graded(order: Order) -> Graded:
    """What a submission earns, as plain values: what is said below, in the process that calls.

    | field | |
    |---|---|
    | `schema` | 1 |
    | `student` | as the folder of submissions has it |
    | `status` | "graded"; "unreadable": there is nothing to grade; "stopped": its worker hung or died |
    | `problem` | why, in a sentence; "" of what is graded |
    | `points` | of all tests that passed |
    | `outcomes` | of every test: test, passed, says, mistakes |
    | `notes` | what was repaired, and what an instructor should look at |
    | `written` | answers in words, by question |
    | `code` | what was graded |
    | `pages` | of every exercise, the checker's report as a part of a page |
    | `reads` | of every exercise, where to read on |
    """
    from visattn.assignment import grading, reading
    from visattn.check import report

    sheet = records.from_json(order.sheet)
    contents = [Content(name, base64.b64decode(data), when, problem) for name, data, when, problem in order.files]
    submission = reading.read(order.student, contents, sheet, order.notes)
    found = grading.grade(sheet, submission)
    shown = {name: r._replace(isolation=(), seconds=0.0) for name, r in found.reports.items()
             if r.verdict != "unsupported"}                         # of what is not written there is nothing to show
    return {"schema": SCHEMA, "student": order.student, "status": "unreadable" if submission.problem else "graded",
            "problem": submission.problem, "points": found.points, "outcomes": [o._asdict() for o in found.outcomes],
            "notes": list(found.notes), "written": found.written, "code": submission.code,
            "pages": {name: report.html(r, whole_page=False) for name, r in shown.items()},
            "reads": {name: list(dict.fromkeys(p.suspect.see for p in r.parts if p.suspect and p.suspect.see))
                      for name, r in shown.items()}}


def stopped(order: Order, why: str) -> Graded:
    """The result of a submission that has none."""
    tests = records.from_json(order.sheet).tests
    outcomes = [{"test": test.name, "passed": False, "says": why, "mistakes": []} for test in tests]
    return {"schema": SCHEMA, "student": order.student, "status": "stopped", "problem": why, "points": 0,
            "outcomes": outcomes, "notes": list(order.notes), "written": {}, "code": "", "pages": {}, "reads": {}}


def cores() -> int:
    """How many processes can run at once here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- what is kept

def digest(sheet: Sheet, handed: Handed, contents: list[Content]) -> str:
    """What a result depends on: the submission, the sheet, and what grades it."""
    found = hashlib.sha256(f"{SCHEMA} {__version__}".encode())
    found.update(json.dumps([records.as_json(sheet), handed.student, handed.notes], sort_keys=True).encode())
    found.update(repr([c.name for c in sorted(contents, key=lambda c: c.when)]).encode())      # the newest may count
    for content in contents:
        found.update(f"{content.name!r} {content.problem!r} {len(content.data)}".encode())
        found.update(content.data)
    return found.hexdigest()


def file_names(students: Iterable[str]) -> dict[str, str]:
    """{student: the name of a file, without its ending}, which any system takes."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for student in students:
        name = re.sub(r"[^\w.-]+", "_", student, flags=re.ASCII).strip("._")[:80]
        if not name or name != student or name.casefold() in taken:
            name = f"{name or 'student'}-{hashlib.sha256(student.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
        taken.add(name.casefold())
        found[student] = name
    return found


def _kept(path: Path, key: str) -> Graded | None:
    """A result that is there and current; one that a worker did not bring is asked for again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    current = isinstance(found, dict) and found.get("key") == key and found.get("status") != "stopped"
    return found if current else None


def _atomic_json(path: Path, value: Graded) -> Graded:
    _atomic.write(path, (json.dumps(value, indent=1, ensure_ascii=True) + "\n").encode())
    return json.loads(json.dumps(value))


def _packed(content: Content) -> tuple[str, str, float, str]:
    return content.name, base64.b64encode(content.data).decode(), content.when, content.problem


# --- workers

def _answers(todo: Iterator[Order], submit: Callable[[Order], Any], most: int) -> Iterator[tuple[Order, Graded]]:
    """Each order with its answer, as they come; few are on their way at a time, for each holds its files."""
    running: dict[Any, Order] = {}
    try:
        while True:
            while len(running) < most and (order := next(todo, None)) is not None:
                running[submit(order)] = order
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                order = running.pop(future)
                try:
                    answer = future.result()
                except Exception as error:                  # a machine of a cluster that is gone, say
                    answer = stopped(order, f"its worker is gone: {' '.join(str(error).split())[:300]}")
                yield order, answer
    finally:
        for future in running:
            future.cancel()


@contextlib.contextmanager
def _workers(jobs: int, limit: float) -> Iterator[tuple[Callable[[Order], Future[Graded]], int]]:
    """(submit, how many at a time) on this machine."""
    with Workers() as workers, ThreadPoolExecutor(jobs) as pool:
        try:
            yield lambda order: pool.submit(workers.graded, order, limit), jobs
        except BaseException:
            workers.end()
            raise


@contextlib.contextmanager
def _cluster(address: str, limit: float) -> Iterator[tuple[Callable[[Order], Any], int]]:
    """The same on a Dask cluster; each of its workers has processes as those here."""
    client_of = need("distributed", "classroom").Client
    try:
        client = client_of(address, timeout=20)
    except (OSError, ValueError, TimeoutError) as error:
        raise OSError(f"--dask: no scheduler answers at {address}: {' '.join(str(error).split())[:200]}") from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise OSError(f"--dask: the scheduler at {address} has no workers")
        pool = client.get_executor(pure=False)

        def submit(order: Order) -> Any:
            return pool.submit(_on_cluster, tuple(order), limit)

        yield submit, 2 * threads


def _on_cluster(order: tuple[Any, ...], limit: float) -> Graded:
    """What a Dask worker calls."""
    return _of_this_process().graded(Order(*order), limit)


@cache
def _of_this_process() -> "Workers":
    return Workers()


class Workers:
    """Processes that grade, started as they are asked for and used again; a context manager."""

    def __init__(self) -> None:
        self.free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self.all: set[Worker] = set()
        self.lock = threading.Lock()
        self.ended = False

    def graded(self, order: Order, limit: float) -> Graded:
        """The result of one submission, whatever becomes of the process that grades it."""
        why = ""
        for _ in range(TRIES):
            worker = self._one()
            try:
                answer = worker.ask(order, limit)
            except Stopped as error:
                self._gone(worker)
                why = str(error)
                if worker.late or self.ended:
                    break
            else:
                self.free.put(worker)
                return answer
        return stopped(order, why)

    def _one(self) -> "Worker":
        with contextlib.suppress(queue.Empty):
            return self.free.get_nowait()
        worker = Worker()
        with self.lock:
            self.all.add(worker)
            if self.ended:
                worker.end()
        return worker

    def _gone(self, worker: "Worker") -> None:
        worker.end()
        with self.lock:
            self.all.discard(worker)

    def end(self) -> None:
        """End all of them at once, whatever they are doing."""
        with self.lock:
            self.ended = True
            workers = list(self.all)
        for worker in workers:
            worker.end()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Worker:
    """One process that grades, and the folder in which it keeps what it needs meanwhile."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="visattn-class-")
        self.late = False
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [*COMMAND, self.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | one | {"TMPDIR": self.folder}, start_new_session=True)

    def ask(self, order: Order, limit: float) -> Graded:
        """The result of one submission.  Raises Stopped."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        timer = threading.Timer(limit, self._time_is_up)
        timer.daemon = True
        timer.start()
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except (OSError, ValueError):
            line = b""
        finally:
            timer.cancel()
        if self.late:
            raise Stopped(f"it was not graded within {limit:.0f} s")
        if not line.endswith(b"\n"):
            raise Stopped(f"the process that graded it ended ({self._status()})")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = {"fault": "its answer is no JSON"}
        if "fault" in answer:
            raise Stopped(f"grading it failed: {answer['fault']}")
        return answer

    def _time_is_up(self) -> None:
        self.late = True
        self._kill()

    def _status(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        code = self.process.poll()
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return signal.Signals(-code).name
        return f"exit status {code}"

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def end(self) -> None:
        self._kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _serve() -> None:
    """Grade a submission a line, as long as there are any."""
    from visattn.check import memory

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)                                           # what anything prints is no answer
    with memory.kept():
        for line in sys.stdin.buffer:
            try:
                answer = graded(Order(*json.loads(line)))
            except Exception as error:                      # a fault of ours is that submission's, and no other's
                answer = {"fault": f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]}
            answers.write(json.dumps(answer, allow_nan=False).encode() + b"\n")
            answers.flush()


if __name__ == "__main__":
    try:
        _serve()
    finally:
        shutil.rmtree(sys.argv[1], ignore_errors=True)      # nobody else may be left to do it
