"""Processes that end when they should, and copies of one that has loaded what takes long to load.

    with Processes() as processes:
        server = Server(processes, command, environment, loads=["numpy"], said=Path("said.txt"))
        status = server.run("order.json", Path("printed.txt"), limit=30.0)

The command calls `serve()` when it is ready: there it waits for orders, and each is carried out by a copy of the
process, in which `serve` returns and the environment's VISATTN_ORDER is the order.  Where processes cannot be copied
(Server.possible is False), `Processes.run` starts a new one, in which `serve` returns at once.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

ORDER, LOADS = "VISATTN_ORDER", "VISATTN_SERVES"
SLOW = ("numpy", "numpy.testing", "jaxtyping", "hypothesis", "hypothesis.strategies", "typer", "rich.console",
        "matplotlib.figure", "matplotlib.backends.backend_agg", "scipy.special", "PIL.Image", "sklearn", "jax", "torch")


class Processes:
    """Processes that are ended with all their children when time is up, or we are."""

    def __init__(self) -> None:
        self.groups: set[int] = set()
        self.servers: list[subprocess.Popen[str]] = []
        self.ended = False

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        for server in self.servers:
            server.communicate()

    def end(self) -> None:
        self.ended = True
        for group in list(self.groups):
            _kill(group)

    @contextlib.contextmanager
    def group(self, number: int) -> Iterator[None]:
        """A process and those it starts, ended at the end."""
        self.groups.add(number)
        try:
            if self.ended:
                raise InterruptedError("stopped")
            yield
        finally:
            _kill(number)
            self.groups.discard(number)

    def run(self, command: list[str], environment: dict[str, str], said: Path, limit: float | None) -> int | None:
        """The exit status, or None if it was ended after `limit` seconds; what it says goes to a file."""
        with said.open("wb") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                                       env=environment, start_new_session=True)
        with process, self.group(process.pid):
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                _kill(process.pid)
                return None


class Server:
    """A process that has loaded what takes long, and makes a copy of itself for each order."""

    possible = sys.platform == "linux"

    def __init__(self, processes: Processes, command: list[str], environment: dict[str, str], loads: list[str],
                 said: Path) -> None:
        self.processes, self.command, self.said = processes, command, said
        self.environment = environment | {LOADS: " ".join(loads)}
        self.process: subprocess.Popen[str] | None = None        # begun with the first order

    def run(self, order: str, said: Path, limit: float | None) -> int | None:
        """As `Processes.run`."""
        if self.process is None:
            with self.said.open("wb") as printed:
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed, text=True,
                    env=self.environment, start_new_session=True)
            self.processes.groups.add(self.process.pid)
            self.processes.servers.append(self.process)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([order, str(said)]) + "\n")
        self.process.stdin.flush()
        number = self.process.stdout.readline()
        if not number.strip().isdecimal():
            said_before = self.said.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"{' '.join(self.command[:3])} did not begin: {number}{said_before[-2000:]}")
        late = threading.Event()

        def end() -> None:
            late.set()
            _kill(int(number))

        timer = threading.Timer(limit or threading.TIMEOUT_MAX, end)
        timer.daemon = True
        timer.start()
        with self.processes.group(int(number)):
            status = self.process.stdout.readline()
            timer.cancel()
        return None if late.is_set() else int(status or -9)


def _kill(group: int) -> None:
    """End a process that leads a group, and those it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(group, signal.SIGKILL)
        else:
            os.kill(group, signal.SIGTERM)


def loaded() -> list[str]:
    """What this process has loaded that takes long: what a server may load before its first order."""
    return [name for name in SLOW if name in sys.modules]


def serve() -> None:
    """Take orders for as long as there are any; return in each copy of this process that has one to carry out."""
    if LOADS not in os.environ:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in os.environ[LOADS].split():
            import_module(name)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order, said = json.loads(line)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")             # of what was loaded some would rather not be copied
            process = os.fork()
        if process == 0:
            os.setsid()
            printed = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for there, here in ((os.open(os.devnull, os.O_RDONLY), 0), (printed, 1), (printed, 2)):
                os.dup2(there, here)
            os.environ[ORDER] = order
            del os.environ[LOADS]
            return
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    os._exit(0)
