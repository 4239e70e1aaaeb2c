"""The kill matrix: which of the known mistakes a test-suite notices, and which it lets through.

    matrix = mutate.run("tests")                                    # a path, as pytest takes it
    matrix = mutate.run("grader.py:check", ["attention"])           # or a function of the operator's module

For each mistake the suite runs in a process of its own, in which the operator is imported with that one line changed;
files stay as they are.  A mistake is killed if the suite fails, and survives if it passes.  One run without a change
comes first: it must pass, and it records which functions each test calls.  So each mistake is first shown to the tests
that call the function it is in, the quickest file first, and only where these let it through to the others.

This file run by itself is the process in which a function is called.
"""

import contextlib
import errno
import hashlib
import importlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from visattn import catalogue
from visattn._extras import need
from visattn.check import changes
from visattn.check.processes import ORDER, Processes, Server, loaded, serve

WATCHED = ("visattn.ops.", "visattn.models.")
SETTINGS = ("conftest.py", "pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
PATIENCE = (30.0, 5.0)                  # a mistake may take so many seconds, and so many times what its tests took


class Outcome(NamedTuple):
    """What a suite said to one mistake."""

    op: str                             # the operator that was tested
    of: str                             # the operator whose line is changed: the same, or one that it is made of
    mistake: str
    killed: bool
    by: str                             # the first test that failed; "" of a survivor
    why: str                            # its message in a line; "time"; of a survivor "passes" or "not reached"
    seconds: float
    says: str
    line: str
    instead: str


class Matrix(NamedTuple):
    """What a suite said to every mistake."""

    suite: str
    tests: int                          # of the suite; 1 for a function
    baseline_seconds: float             # the run without a change
    seconds: float                      # all of it, as a watch has it
    outcomes: tuple[Outcome, ...]

    @property
    def survivors(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if not o.killed)

    @property
    def passed(self) -> bool:
        """The suite kills every mistake."""
        return not self.survivors

    def by_operator(self) -> dict[str, list[Outcome]]:
        found: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            found.setdefault(outcome.op, []).append(outcome)
        return found


class Mutant(NamedTuple):
    """One mistake, and the operator it is tested in."""

    op: str                             # dotted
    change: changes.Change

    def outcome(self, by: str, why: str, seconds: float, killed: bool) -> Outcome:
        c = self.change
        return Outcome(_short(self.op), _short(c.op), c.name, killed, by, why, round(seconds, 2), c.says, c.line,
                       c.instead)


Step = Callable[[Outcome | None], None]


def mutants(ops: Iterable[str] | None = None, parts: bool = False) -> list[Mutant]:
    """The mistakes of all operators and models, or of those named; with `parts`, of what these are made of, too.

    Raises LookupError for a name that is neither an operator nor a model, or where none of those named has a mistake.
    """
    chosen = catalogue.select(ops)
    helpers = [] if ops is not None else [m for op in chosen for m in changes.parts(op) if m not in chosen]
    found = [Mutant(op.__name__, change) for op in [*chosen, *dict.fromkeys(helpers)]
             for change in (changes.changes_of(op, "mistake") if parts else changes.own(op.__name__))
             if change.kind == "mistake"]
    if not found:
        raise LookupError(f"no mistake is listed of {', '.join(_short(op.__name__) for op in chosen)}")
    return found


def run(suite: str, ops: Iterable[str] | None = None, *, parts: bool = False, out: Path | None = None,
        jobs: int | None = None, limit: float | None = None, fresh: bool = False,
        start: Callable[[int], None] = lambda total: None, step: Step = lambda outcome: None) -> Matrix:
    """The matrix of one suite.

    suite   a path of pytest's (file, folder, file::test), or `file.py:function` or `module:function`: a function of the
            operator's module that raises, or returns False, where something is wrong
    ops     names of operators; None is all
    parts   also the mistakes of the operators that these are made of
    out     a folder in which every outcome is kept at once, and from which a second run goes on
    jobs    processes at a time; None is one for each core
    limit   seconds for each mistake, after which it counts as killed; None is five times what the tests took, and 30
    fresh   forget what is kept in `out`
    start   called with the number of mistakes, when the suite has passed without any
    step    called with None after the run without a change, then with each outcome

    Raises FileNotFoundError for a suite that is not there, ValueError for one that fails without a change or has no
    tests, LookupError for an unknown operator.
    """
    began = time.monotonic()
    wanted = mutants(ops, parts)
    with tempfile.TemporaryDirectory(prefix="visattn-mutate-") as folder, Processes() as processes:
        judge = _judge(suite, Path(folder), processes, limit)
        judge.jobs = jobs or cores()
        kept = Kept(out, fresh)
        judge.baseline(wanted, kept)
        keys = [f"{judge.key} {_hash(m.op, *m.change, sources(m.op))}" for m in wanted]
        done = {key: Outcome(**kept.lines[key]) for key in keys if key in kept.lines}
        start(len(wanted))
        step(None)
        for outcome in done.values():
            step(outcome)
        todo = {key: m for key, m in zip(keys, wanted, strict=True) if key not in done}
        with ThreadPoolExecutor(judge.jobs) as pool:
            running = {pool.submit(judge.outcome, m): key for key, m in todo.items()}
            try:
                for future in as_completed(running):
                    done[running[future]] = kept.keep(running[future], future.result())
                    step(done[running[future]])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                processes.end()
                raise
        doubtful = judge.doubtful({o.by for o in done.values() if o.killed})
        for key, mutant in zip(keys, wanted, strict=True):
            if done[key].by in doubtful:
                done[key] = kept.keep(key, judge.outcome(mutant, whole=True))
        seconds = time.monotonic() - began
        return Matrix(suite, judge.tests, judge.seconds, seconds, tuple(done[key] for key in keys))


def cores() -> int:
    """How many processes can run at once here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Kept:
    """The lines of a file that grows: what an interrupted run has found is there for the next."""

    def __init__(self, folder: Path | None, fresh: bool) -> None:
        self.path = None if folder is None else Path(folder) / "outcomes.jsonl"
        self.lines: dict[str, Any] = {}
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            self.path.unlink(missing_ok=True)
        whole = b""
        for line in self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else ():
            with contextlib.suppress(ValueError, KeyError, TypeError):     # the last, when it was cut off
                found = json.loads(line)
                self.lines[found["key"]] = found["found"]
                whole += line.rstrip(b"\n") + b"\n"
        self.path.write_bytes(whole)

    def keep(self, key: str, found: Any) -> Any:
        if self.path is not None:
            plain = found._asdict() if isinstance(found, Outcome) else found
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "found": plain}, ensure_ascii=False) + "\n")
        return found


class Judge:
    """A suite, run once without a change and then once for each."""

    def __init__(self, suite: str, folder: Path, processes: Processes, limit: float | None) -> None:
        self.suite, self.folder, self.processes, self.limit = suite, folder, processes, limit
        self.tests, self.seconds = 0, 0.0
        self.jobs = cores()
        self.count = 0
        self.servers: list[Server] = []
        self.free: list[Server] = []
        self.loads: list[str] = []
        self.lock = threading.Lock()

    @cached_property
    def key(self) -> str:
        """What an outcome depends on, beside the mistake: the suite's name and its files."""
        return _hash(type(self).__name__, self.suite, *map(_content, self.files()))

    def files(self) -> Iterator[Path]:
        raise NotImplementedError

    def baseline(self, wanted: list[Mutant], kept: Kept) -> None:
        raise NotImplementedError

    def outcome(self, mutant: Mutant, whole: bool = False) -> Outcome:
        """What the suite says to a mistake; `whole`: in one run of all its tests, as they stand."""
        raise NotImplementedError

    def doubtful(self, killers: set[str]) -> set[str]:
        """Tests that fail without any change where those before them are left out: they need a whole run."""
        return set()

    def command(self, temporary: Path) -> list[str]:
        """What is run; it may write in a folder."""
        raise NotImplementedError

    def carry_out(self, order: dict[str, Any], limit: float | None, alone: bool = False
                  ) -> tuple[int | None, Any, str]:
        """(exit status or None, report or None, what it printed) of a process with an order, or a server's copy."""
        with self.lock:
            self.count += 1
            place = self.folder / str(self.count)
        place.mkdir()
        report, paper, said = place / "report.json", place / "order.json", place / "said.txt"
        paper.write_text(json.dumps(order | {"report": str(report)}), encoding="utf-8")
        if alone or not Server.possible:
            environment = self.environment() | {ORDER: str(paper)}
            status = self.processes.run(self.command(place / "tmp"), environment, said, limit)
        else:
            with self.server() as server:
                status = server.run(str(paper), said, limit)
        answer = json.loads(report.read_text(encoding="utf-8")) if report.exists() else None
        text = said.read_text(encoding="utf-8", errors="replace")
        shutil.rmtree(place, ignore_errors=True)
        return status, answer, text

    @contextlib.contextmanager
    def server(self) -> Iterator[Server]:
        """One that is free; a new one where none is."""
        with self.lock:
            number = len(self.servers)
            server = self.free.pop() if self.free else None
            if server is None:
                server = Server(self.processes, self.command(self.folder / f"tmp{number}"), self.environment(),
                                self.loads, self.folder / f"said{number}.txt")
                self.servers.append(server)
        yield server
        with self.lock:
            self.free.append(server)

    def environment(self) -> dict[str, str]:
        """Nothing is written beside the suite, and every process keeps to one thread."""
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        return threads | os.environ | {
            "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": str(self.folder / "hypothesis")}


class Pytest(Judge):
    """A path of pytest's."""

    def files(self) -> Iterator[Path]:
        path = Path(self.suite.partition("::")[0]).resolve()
        inside = path.rglob("*") if path.is_dir() else path.parent.glob("*.py")
        yield from sorted(f for f in inside if f.is_file() and "__pycache__" not in f.parts)
        for parent in (path if path.is_dir() else path.parent).parents:
            yield from (parent / name for name in SETTINGS if (parent / name).is_file())

    def baseline(self, wanted: list[Mutant], kept: Kept) -> None:
        need("pytest", "test")
        key = f"{self.key} {_hash(*(sources(op.__name__) for op in catalogue.select()))}"
        if key not in kept.lines:
            began = time.monotonic()
            report = self.watched()
            kept.keep(key, report | {"seconds": time.monotonic() - began})
            kept.lines[key] = report | {"seconds": time.monotonic() - began}
        self.report = kept.lines[key]
        self.all: dict[str, dict[str, Any]] = self.report["tests"]
        self.called = {nodeid: frozenset(test["called"]) for nodeid, test in self.all.items()}
        self.tests, self.seconds, self.loads = len(self.all), self.report["seconds"], self.report["loaded"]

    def watched(self) -> dict[str, Any]:
        """The report of all tests without a change: a share of the files in each process, or, where that does not
        pass, everything in one, as it is usually run."""
        order: dict[str, Any] = {"sources": {}, "watch": WATCHED, "tests": None, "files": None, "without": []}
        shares = self.jobs if Path(self.suite).is_dir() else 1
        if shares > 1:
            with ThreadPoolExecutor(shares) as pool:
                told = list(pool.map(lambda i: self.carry_out(order | {"share": [i, shares]}, None, alone=True),
                                     range(shares)))
            parts = [report for status, report, _ in told if status == 0 and report is not None and report["done"]]
            if all(status in (0, 5) for status, *_ in told) and parts:          # 5: nothing was left for it
                return parts[0] | {"tests": {k: v for part in parts for k, v in part["tests"].items()},
                                   "loaded": sorted({name for part in parts for name in part["loaded"]})}
        status, report, said = self.carry_out(order, None, alone=True)
        self.refuse(status, report, said)
        return report

    def refuse(self, status: int | None, report: Any, said: str) -> None:
        """ValueError where the suite does not pass without a change."""
        if status == 0 and report is not None and report["done"]:
            return
        if status == 5:
            raise ValueError(f"{self.suite}: pytest finds no tests there")
        if report is not None and report["failure"]:
            by, why = report["failure"]["by"], report["failure"]["why"]
            raise ValueError(f"the suite fails without any change, so it can judge none: {by}: {why}")
        last = " / ".join(line for line in said.splitlines()[-5:] if line.strip())
        raise ValueError(f"the suite does not run without any change (pytest ends with {status}): {last}")

    def command(self, temporary: Path) -> list[str]:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider",
                   "-p", "visattn.check.mutate_plugin"]
        for plugin, option in (("xdist", ("-n", "0")), ("pytest_cov", ("--no-cov",))):
            there = "PYTEST_DISABLE_PLUGIN_AUTOLOAD" not in os.environ and importlib.util.find_spec(plugin)
            command += option if there else ()
        return [*command, f"--basetemp={temporary}", self.suite]

    def outcome(self, mutant: Mutant, whole: bool = False) -> Outcome:
        change = mutant.change
        source = {change.op: changes.changed_source(change.op, [change])}
        function = f"{change.op}:{changes.function_of(change)}"
        if function.endswith(":"):                              # a line that runs when the module is imported
            reached = [t for t in self.all if any(c.startswith(function) for c in self.called[t])]
        else:
            reached = [t for t in self.all if function in self.called[t]]
        own = f"test_{change.op.rpartition('.')[2]}"            # the file that is about this operator comes first
        parts = [t for t in reached if Path(self.all[t]["file"]).stem == own], reached
        first: list[tuple[list[str] | None, list[str]]] = [(self.ordered(tests), []) for tests in parts if tests]
        others: list[tuple[list[str] | None, list[str]]] = [(None, reached)] if 0 < len(reached) < len(self.all) else []
        began = time.monotonic()
        for tests, without in [(None, [])] if whole else first + others:
            found = self.shown(source, tests, without)
            if found is not None and without and found[0] in self.all and not self.shown(source, [found[0]], []):
                continue                                        # it does not call the function, and failed by chance
            if found is not None:
                return mutant.outcome(*found, time.monotonic() - began, True)
        return mutant.outcome("", "passes" if reached else "not reached", time.monotonic() - began, False)

    def doubtful(self, killers: set[str]) -> set[str]:
        doubtful: set[str] = set()
        while left := [t for t in self.all if t in killers - doubtful]:
            found = self.shown({}, self.ordered(left), [])
            if found is None or found[0] not in killers:
                break
            doubtful.add(found[0])
        return doubtful

    def ordered(self, tests: Iterable[str]) -> list[str]:
        """File by file, the quickest first, each in its own order: its tests may share what one of them made."""
        cost: dict[str, float] = {}
        for test in tests:
            file = self.all[test]["file"]
            cost[file] = cost.get(file, 0.0) + self.all[test]["seconds"]
        return sorted(tests, key=lambda test: (cost[self.all[test]["file"]], self.all[test]["file"]))

    def shown(self, sources: dict[str, str], tests: list[str] | None, without: list[str]) -> tuple[str, str] | None:
        """(the first test that failed, its message) where some of these tests fail with these sources of modules."""
        chosen = tests if tests is not None else [t for t in self.all if t not in set(without)]
        limit = self.limit or PATIENCE[0] + PATIENCE[1] * sum(self.all[t]["seconds"] for t in chosen)
        files = None if tests is None else sorted({self.all[t]["file"] for t in tests})
        order = {"sources": sources, "watch": [], "tests": tests, "files": files, "without": without}
        status, report, said = self.carry_out(order, limit)
        if report is None:
            raise RuntimeError(f"pytest did not begin (exit status {status}): {said[-2000:]}")
        if status == 0 and report["done"]:
            return None
        if report["failure"]:
            return report["failure"]["by"], report["failure"]["why"]
        if status is None:
            return "time", f"not done after {limit:.0f} s"
        if status == 5 and tests is not None:                   # names that change from run to run: all tests, then
            return self.shown(sources, None, [])
        return "crash", f"pytest ends with {status}: " + (said.strip().splitlines() or [""])[-1][:200]


class Function(Judge):
    """A plain function that is called with the operator's module."""

    def files(self) -> Iterator[Path]:
        place = self.suite.rpartition(":")[0]
        if place.endswith(".py"):
            yield Path(place).resolve()
            return
        with on_path(os.getcwd()):
            try:
                spec = importlib.util.find_spec(place)
            except ImportError:
                spec = None
        if spec is None or spec.origin is None:
            raise FileNotFoundError(errno.ENOENT, "no such file or module", place)
        yield Path(spec.origin)

    def baseline(self, wanted: list[Mutant], kept: Kept) -> None:
        for op in dict.fromkeys(m.op for m in wanted):
            status, report, said = self.call(op, None, alone=not self.loads)
            if report is None:
                raise ValueError(f"{self.suite} did not come to an end on {_short(op)} as it stands "
                                 f"(exit status {status}) {(said.strip().splitlines() or [''])[-1]}")
            if not report["accepts"]:
                raise ValueError(f"{self.suite} rejects {_short(op)} without any change, so it can judge none: "
                                 + report["why"])
            self.seconds += report["seconds"]
            self.loads = self.loads or [*report["loaded"], *dict.fromkeys(m.op for m in wanted)]
        self.tests = 1

    def outcome(self, mutant: Mutant, whole: bool = False) -> Outcome:
        began = time.monotonic()
        status, report, said = self.call(mutant.op, mutant.change)
        seconds = time.monotonic() - began
        name = self.suite.rpartition(":")[2]
        if report is not None:
            return mutant.outcome("" if report["accepts"] else name, report["why"], seconds, not report["accepts"])
        if status is None:
            return mutant.outcome("time", "not done in time", seconds, True)
        return mutant.outcome("crash", f"exit status {status} {(said.strip().splitlines() or [''])[-1]}", seconds, True)

    def call(self, op: str, change: changes.Change | None, alone: bool = False) -> tuple[int | None, Any, str]:
        order = {"suite": self.suite, "op": op, "change": change}
        limit = self.limit or PATIENCE[0] + PATIENCE[1] * self.seconds
        return self.carry_out(order, limit, alone)

    def command(self, temporary: Path) -> list[str]:
        return [sys.executable, "-m", "visattn.check.mutate"]


def _judge(suite: str, folder: Path, processes: Processes, limit: float | None) -> Judge:
    place, colon, name = suite.rpartition(":")
    if colon and name.isidentifier() and not place.endswith(":"):
        if place.endswith(".py") and not Path(place).is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)
        return Function(suite, folder, processes, limit)
    if not Path(suite.partition("::")[0]).exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), suite.partition("::")[0])
    return Pytest(suite, folder, processes, limit)


def sources(module: str) -> str:
    """The source of an operator and of all it is made of."""
    op = importlib.import_module(module)
    return "".join(changes.changed_source(m.__name__, ()) for m in (op, *changes.parts(op)))


def _hash(*parts: Any) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:20]


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _short(module: str) -> str:
    return module.rpartition(".")[2]


@contextlib.contextmanager
def on_path(folder: str | os.PathLike[str]) -> Iterator[None]:
    """A folder from which modules can be imported meanwhile."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def load(suite: str) -> Callable[[Any], Any]:
    """The function that "file.py:function" or "module:function" names; LookupError where there is none."""
    place, _, name = suite.rpartition(":")
    if place.endswith(".py"):
        sys.path.insert(0, str(Path(place).resolve().parent))
        spec = importlib.util.spec_from_file_location(Path(place).stem, place)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise LookupError(f"{place} has no function {name}")
    return function


def accepts(function: Callable[[Any], Any], op: Any) -> tuple[bool, str]:
    """(does the function accept this operator, what it says): it rejects by raising, or by returning False."""
    try:
        answer = function(op)
        accepted = answer is None or bool(answer)
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        return False, f"{type(error).__name__}: {said}"[:300]
    return accepted, "passes" if accepted else "returns False"


def _child() -> None:
    """Call a function with an operator, changed or not, and write what it says."""
    serve()
    order = json.loads(Path(os.environ[ORDER]).read_text(encoding="utf-8"))
    op = importlib.import_module(order["op"])
    if order["change"] is not None:
        op = changes.changed(op, changes.Change(*order["change"]))
    began = time.monotonic()
    try:
        function = load(order["suite"])
    except Exception as error:
        accepted, why = False, f"{type(error).__name__}: {error}"
    else:
        accepted, why = accepts(function, op)
    report = {"accepts": accepted, "why": why, "seconds": time.monotonic() - began, "loaded": loaded()}
    Path(order["report"]).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    _child()
