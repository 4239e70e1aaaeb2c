"""Somebody's function, called from here: in a process of its own that is shut in, or in this one if it is trusted.

    with launch(Spec(file="student.py", op="softmax", arguments=("x",)), Limits(call=5)) as function:
        function.accepts                # how it can be called, or why not
        function.isolation              # what protects from it here, in words
        answer = function.call({"x": x}, {}, None, dtype="float32")

The other process is given arguments only: the right answer is computed here and is nowhere for it to be found.  What
it sends back is arrays, looked at byte by byte before they are any; it has no way to say that it is right.  Whatever
it does (raises, hangs, dies, prints, sends what nobody asked for) is a Problem in an Answer, never an exception.  The
protections, one by one, are in `child/main.py`.
"""

import contextlib
import json
import os
import random
import secrets
import selectors
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from visattn.check.child import main as child
from visattn.check.child import wire
from visattn.check.child.limits import Limits, how_it_ended, reason
from visattn.check.child.raised import described
from visattn.check.child.records import Accepts, Answer, Problem, Spec

__all__ = ["Limits", "Runner", "launch", "trusted"]

CHILD = Path(child.__file__).parent
PACKAGE = CHILD.parents[1]                          # visattn itself, which is not there for the function
COPIED = 1000, 64 << 20                             # files and bytes, where a folder must be copied to be read
PRINTED = 2000                                      # of what the function prints last, for messages
# What other processes may know of ours: how to find libraries and graphics cards, and no secrets.
PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES",
          "HIP_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "KERAS_BACKEND",
          "JAX_PLATFORMS", "JAX_ENABLE_X64", "XLA_FLAGS", "XLA_PYTHON_CLIENT_PREALLOCATE", "NUMBA_ENABLE_CUDASIM",
          "TRITON_INTERPRET", "SYSTEMROOT", "COMSPEC", "PATHEXT", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE")


class Runner:
    """A function that can be called; a context manager."""

    accepts = Accepts()
    isolation: tuple[str, ...] = ()
    ended: Problem | None = None                    # why it can answer no more

    def call(self, args: dict[str, np.ndarray], options: dict[str, Any], dy: list[np.ndarray] | None, *, dtype: str,
             layout: str = "contiguous", repeat: int = 2) -> Answer:
        """What the function answers, as `Target.call` says."""
        raise NotImplementedError

    def close(self) -> None:
        """End the function's process, if it has one, and all that it started; remove its folder."""

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 at: TracebackType | None) -> None:
        self.close()


def launch(spec: Spec, limits: Limits | None = None, trust: bool = False, *,
           layers: tuple[str, ...] = child.LAYERS) -> Runner:
    """The function that `spec` names, loaded in a process of its own, or in this one with `trust`.

    layers    which protections to try; one that is in the way of a driver can be left out

    A function that cannot be loaded is no exception: `accepts.problem` says why, and every call answers with it.
    """
    limits = limits or Limits()
    if spec.file and not os.path.isfile(spec.file):
        what = "it is a folder" if os.path.isdir(spec.file) else "there is no such file"
        return _Unloaded(f"{spec.file}: {what}")
    return _here(spec, None, None) if trust else _Child(spec, limits, layers)


def trusted(spec: Spec, forward: Callable | None = None, backward: Callable | None = None) -> Runner:
    """Functions at hand, called in this process: no protection, and a debugger reaches them."""
    return _here(spec, forward, backward)


class _Unloaded(Runner):
    """A function that is not there."""

    def __init__(self, problem: str, isolation: tuple[str, ...] = ()):
        self.accepts, self.isolation = Accepts(problem=problem), isolation

    def call(self, args: dict[str, np.ndarray], options: dict[str, Any], dy: list[np.ndarray] | None, *, dtype: str,
             layout: str = "contiguous", repeat: int = 2) -> Answer:
        return Answer(problems=(Problem("raised", self.accepts.problem),))


def _here(spec: Spec, forward: Callable | None, backward: Callable | None) -> Runner:
    isolation = ("none: it runs in this process",)
    from visattn.check.child.target import Target

    try:
        return _Trusted(Target(spec, forward, backward), isolation)
    except (Exception, SystemExit) as error:
        return _Unloaded(described(error, (spec.file,)), isolation)


class _Trusted(Runner):
    """A function in this process."""

    def __init__(self, target: Any, isolation: tuple[str, ...]):
        self.target, self.accepts, self.isolation = target, target.accepts, isolation

    def call(self, args: dict[str, np.ndarray], options: dict[str, Any], dy: list[np.ndarray] | None, *, dtype: str,
             layout: str = "contiguous", repeat: int = 2) -> Answer:
        try:
            return self.target.call(args, options, dy, dtype=dtype, layout=layout, repeat=repeat)
        except (Exception, SystemExit) as error:
            return Answer(problems=(Problem("raised", described(error, (self.target.spec.file,))),))


class _Ended(Exception):
    """The process can answer no more; carries the Problem."""

    def __init__(self, kind: str, says: str):
        super().__init__(says)
        self.problem = Problem(kind, says)


class _Child(Runner):
    """A function in a process of its own."""

    def __init__(self, spec: Spec, limits: Limits, layers: tuple[str, ...]):
        self.limits, self.spent, self.calls = limits, 0.0, 0
        self.temporary = tempfile.mkdtemp(prefix="visattn-")
        try:
            settings = _settings(spec, limits, layers, self.temporary)
            self.process, self.channel = _start(settings, self.temporary)
        except BaseException:
            _remove(self.temporary)
            raise
        try:
            self._open(spec)
        except BaseException:
            self.close()
            raise

    def _open(self, spec: Spec) -> None:
        deadline = time.monotonic() + self.limits.start
        nonce = _nonce()
        try:
            table = spec._asdict() | {"file": os.path.realpath(spec.file) if spec.file else ""}
            self.channel.send(wire.pack({"kind": "open", "nonce": nonce, "spec": table}), deadline)
            ready = self._next("ready", nonce, deadline)
            told = ready.get("isolation")
            if not (isinstance(told, list) and all(isinstance(t, str) for t in told)):
                raise wire.Forged("isolation that is not texts")
            self.isolation = ("a process of its own, in an empty folder, with none of your environment", *told, (
                f"time: {self.limits.start:g} s to load it, {self.limits.first:g} s for its first call, "
                f"{self.limits.call:g} s for each other, {self.limits.total:g} s for all"))
            self.accepts = wire.accepts_from(self._next("accepts", nonce, deadline).get("record"))
        except _Late:
            self._end(Problem("resource", f"it was not loaded within {self.limits.start:g} s"))
        except wire.Forged as error:
            self._end(Problem("forged", f"its process sent {error} where it was to say how it is called"))
        except OSError:
            self._died()
        if self.ended:
            self.accepts = Accepts(problem=self.ended.says)

    def call(self, args: dict[str, np.ndarray], options: dict[str, Any], dy: list[np.ndarray] | None, *, dtype: str,
             layout: str = "contiguous", repeat: int = 2) -> Answer:
        """What the function answers, as `Target.call` says; a Problem if it does not answer in time, or dies."""
        if self.ended:
            again = "in a call before: " if self.calls else ""
            return Answer(problems=(self.ended._replace(says=again + self.ended.says),))
        if self.accepts.problem:
            return Answer(problems=(Problem("raised", self.accepts.problem),))
        nonce, began = _nonce(), time.monotonic()
        each = self.limits.call if self.calls else self.limits.first
        allowed = min(each, self.limits.total - self.spent)
        self.calls += 1
        try:
            parts = wire.pack({"kind": "call", "nonce": nonce, "args": args, "options": options, "dy": dy,
                               "how": {"dtype": dtype, "layout": layout, "repeat": repeat}})
            self.channel.send(parts, began + allowed)
            answer = wire.answer_from(self._next("answer", nonce, began + allowed).get("record"))
        except _Late:
            self._end(Problem("resource", f"it did not answer within {each:g} s" if allowed == each else
                              f"all its calls together took more than {self.limits.total:g} s"))
        except wire.Forged as error:
            self._end(Problem("forged", f"its process sent {error} where it was to send arrays"))
        except OSError:
            self._died()
        took = time.monotonic() - began
        self.spent += took
        if self.ended:
            return Answer(problems=(self.ended,), seconds=took)
        return answer._replace(seconds=min(answer.seconds, took))

    def _next(self, kind: str, nonce: str, deadline: float) -> dict[str, Any]:
        """The next message, if it is what was asked for."""
        message = wire.read(lambda count: self.channel.take(count, deadline), self.limits.answer)
        if message.get("kind") != kind or message.get("nonce") != nonce:
            raise wire.Forged("an answer to nothing that was asked")
        return message

    def _died(self) -> None:
        """The channel broke: say why, after a moment in which the process may still tell."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        status = self.process.poll()
        self.channel.drain()
        if status is None:
            return self._end(Problem("forged", "it closed the pipe through which it was to answer"))
        status = 128 - status if status < 0 else status
        why = reason(status, self.limits)
        if why:
            return self._end(Problem("resource", why))
        if status == 128 + getattr(signal, "SIGXCPU", -1):
            return self._end(Problem("resource", "it used more processor time than it may"))
        last = self.channel.printed()
        return self._end(Problem("crash", how_it_ended(status) + (f"; it had printed: {last}" if last else "")))

    def _end(self, problem: Problem) -> None:
        self.ended = problem
        self._kill()

    def _kill(self) -> None:
        """End the process and all below it."""
        self.channel.hang_up()                      # the watch ends those that have left the group, then itself
        if os.name == "posix" and not child.linux.HERE:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(3)
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                if os.name == "posix":
                    os.killpg(self.process.pid, signal.SIGKILL)
                else:
                    self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the function's process and all that it started; remove its folder."""
        if self.process.poll() is None:
            self._kill()
        if self.ended is None:
            self.ended = Problem("crash", "it was closed")
        self.channel.close()
        _remove(self.temporary)


class _Late(Exception):
    """Nothing came in time."""


class _Channel:
    """The parent's ends of what connects both: nothing here waits longer than it is told."""

    def __init__(self, orders: socket.socket, answers: socket.socket, prints: socket.socket):
        self.orders, self.answers, self.prints = orders, answers, prints
        for end in (orders, answers, prints):
            end.setblocking(False)
        self.tail, self.silent = b"", False

    def _wait(self, end: socket.socket, event: int, deadline: float) -> None:
        """Until this end may be ready; what was printed is taken away meanwhile."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise _Late
        with selectors.DefaultSelector() as ready:
            ready.register(end, event)
            if not self.silent:
                ready.register(self.prints, selectors.EVENT_READ)
            if any(key.fileobj is self.prints for key, _ in ready.select(left)):
                self.drain(1)

    def drain(self, times: int = 64) -> None:
        """Take away what was printed, and keep the end of it."""
        for _ in range(times):
            try:
                data = self.prints.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.silent = True
                return
            self.tail = (self.tail + data)[-PRINTED:]

    def printed(self) -> str:
        """The last lines that it printed."""
        lines = wire.text(self.tail.decode(errors="replace").strip()).splitlines()
        return " / ".join(line.strip() for line in lines[-3:])

    def send(self, parts: list[bytes | memoryview], deadline: float) -> None:
        """Write a message; _Late if the other side does not take it, OSError if it is gone."""
        for piece in wire.chunks(parts):
            while piece:
                try:
                    piece = piece[self.orders.send(piece):]
                except BlockingIOError:
                    self._wait(self.orders, selectors.EVENT_WRITE, deadline)

    def take(self, count: int, deadline: float) -> bytes:
        """The next `count` bytes; _Late if they do not come, OSError if the other side is gone."""
        got, left = [], count
        while left:
            try:
                data = self.answers.recv(min(left, 1 << 20))
            except BlockingIOError:
                self._wait(self.answers, selectors.EVENT_READ, deadline)
                continue
            if not data:
                raise ConnectionError("nothing more will come")
            got.append(data)
            left -= len(data)
        return b"".join(got)

    def hang_up(self) -> None:
        """No more orders: an honest process ends, and the watch ends the others."""
        with contextlib.suppress(OSError):
            self.orders.shutdown(socket.SHUT_RDWR)      # it hangs up even if a fork of ours still has the socket
        self.orders.close()

    def close(self) -> None:
        for end in (self.orders, self.answers, self.prints):
            end.close()


def _start(settings: child.Settings, temporary: str, pumped: bool = os.name != "posix") -> \
        tuple[subprocess.Popen, _Channel]:
    """The process, and what connects us.

    pumped    the process has pipes, and threads carry between them and our sockets: for systems whose processes
              cannot be given sockets
    """
    os.mkdir(settings.folder)
    os.mkdir(settings.base)
    shutil.copytree(CHILD, f"{settings.library}/checked")
    if os.name == "posix":
        os.chmod(temporary, 0o711)                  # so that another user reaches the folders in it
        os.chmod(settings.base, 0o755)
        for folder in (settings.library, *settings.instead.values()):
            _open_up(folder)
        if os.geteuid() == 0:
            os.chmod(settings.folder, 0o1777)
    folder = settings.folder
    environment = {name: os.environ[name] for name in PASSED if name in os.environ}
    environment |= {"HOME": folder, "USERPROFILE": folder, "TMPDIR": folder, "TMP": folder, "TEMP": folder,
                    "USER": "nobody", "LOGNAME": "nobody", "PYTHONUTF8": "1"}
    environment.setdefault("OMP_NUM_THREADS", str(min(os.cpu_count() or 1, 4)))     # not one for each of 128 cores
    code = "import sys; sys.path.insert(0, sys.argv.pop()); from checked import main; del sys.path[0]; main.begin()"
    command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", code, json.dumps(settings), settings.library]
    pairs = [socket.socketpair() for _ in range(3)]
    ours, theirs = zip(*pairs)
    given: list[Any] = [subprocess.PIPE] * 3 if pumped else list(theirs)
    try:
        process = subprocess.Popen(command, stdin=given[0], stdout=given[1], stderr=given[2], cwd=folder,
                                   env=environment, start_new_session=os.name == "posix")
    except BaseException:
        for end in (*ours, *theirs):
            end.close()
        raise
    if pumped:
        pipes = (process.stdin, process.stdout, process.stderr)
        for pipe, end, outward in zip(pipes, theirs, (False, True, True)):
            threading.Thread(target=_pump, args=(pipe, end, outward), daemon=True).start()
    else:
        for end in theirs:
            end.close()
    return process, _Channel(*ours)


def _pump(pipe: Any, end: socket.socket, outward: bool) -> None:
    """Carry bytes from a process's pipe to a socket, or the other way, until one of them ends."""
    with contextlib.suppress(OSError, ValueError), pipe, end:
        if outward:
            while data := pipe.read1(1 << 16):
                end.sendall(data)
        else:
            while data := end.recv(1 << 16):
                pipe.write(data)
                pipe.flush()


def _settings(spec: Spec, limits: Limits, layers: tuple[str, ...], temporary: str) -> child.Settings:
    """What the process is told before it is told whom to call."""
    file = os.path.realpath(spec.file) if spec.file else ""
    path = [p for p in map(os.path.realpath, filter(None, sys.path)) if os.path.exists(p) and not _is_ours(p)]
    if spec.module and not file:
        with contextlib.suppress(ImportError, ValueError, AttributeError):
            found = find_spec(spec.module.partition(".")[0])
            places = (found.submodule_search_locations or [found.origin or ""]) if found else []
            for place in places:
                if os.path.exists(place):
                    path.append(os.path.dirname(os.path.realpath(place)))
    path = list(dict.fromkeys(path))
    needed = [sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable)), *path]
    seen = list(dict.fromkeys([*needed, *([os.path.dirname(file)] if file else [])]))
    hidden = list({os.path.realpath(PACKAGE), *(f"{p}/visattn" for p in seen if os.path.isdir(f"{p}/visattn/ops"))})
    if file:
        hidden += [entry.path for entry in os.scandir(os.path.dirname(file))
                   if entry.name.startswith(".") and not any(_below(p, entry.path) for p in needed)]
    instead = {}
    if file and os.name == "posix" and os.geteuid() == 0 and not _for_everybody(file):
        instead[os.path.dirname(file)] = f"{temporary}/beside"
        _copy(os.path.dirname(file), f"{temporary}/beside", os.path.basename(file))
    read, listed = _without([*child.namespaces.SYSTEM, *seen], hidden)
    graphics = any(os.path.exists(f"/dev/{name}") for name in ("nvidiactl", "kfd", "dxg"))
    user = 1 << 30 | random.SystemRandom().getrandbits(29)
    return child.Settings(
        layers, limits, f"{temporary}/root", f"{temporary}/work", f"{temporary}/library", tuple(seen), tuple(hidden),
        instead, tuple(read), tuple(listed), tuple(path), sys.prefix, file, user,
        not (graphics and spec.framework != "numpy"), os.getpid())


def _is_ours(path: str) -> bool:
    """Whether visattn is imported from this folder, and it is not one in which all packages are."""
    return Path(path) == PACKAGE.parent.resolve() and Path(path).name not in ("site-packages", "dist-packages")


def _for_everybody(file: str) -> bool:
    """Whether users who own neither can read a file and the folder that it is in."""
    return os.stat(file).st_mode & 0o004 != 0 and os.stat(os.path.dirname(file)).st_mode & 0o005 == 0o005


def _copy(folder: str, to: str, first: str) -> None:
    """Copy a folder for everybody to read: one file in any case, and others up to a count and size, links as links."""
    os.mkdir(to)
    shutil.copyfile(f"{folder}/{first}", f"{to}/{first}")
    left, room = COPIED
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in sorted(folders) if not name.startswith((".", "__pycache__"))]
        there = os.path.join(to, os.path.relpath(at, folder))
        os.makedirs(there, exist_ok=True)
        for name in sorted(files):
            source, target = os.path.join(at, name), os.path.join(there, name)
            kind = os.lstat(source)
            if name.startswith(".") or os.path.lexists(target) or kind.st_size > room:
                continue
            if stat.S_ISREG(kind.st_mode) or stat.S_ISLNK(kind.st_mode):
                shutil.copyfile(source, target, follow_symlinks=False)
                left, room = left - 1, room - kind.st_size
            if left <= 0:
                return


def _open_up(folder: str) -> None:
    """Let everybody read what we made."""
    for at, _, files in os.walk(folder):
        os.chmod(at, 0o755)
        for name in files:
            if not os.path.islink(os.path.join(at, name)):
                os.chmod(os.path.join(at, name), 0o644)


def _below(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def _without(paths: list[str], hidden: list[str]) -> tuple[list[str], list[str]]:
    """What can be read below these paths when something is hidden, and the folders whose names must be listed."""
    read, listed = [], []
    for path in paths:
        if any(_below(path, h) for h in hidden) or not os.path.exists(path):
            continue
        if any(_below(h, path) for h in hidden) and os.path.isdir(path):
            listed.append(path)
            with contextlib.suppress(OSError):
                more = _without([entry.path for entry in os.scandir(path)], hidden)
                read += more[0]
                listed += more[1]
        else:
            read.append(path)
    return read, listed


def _remove(folder: str) -> None:
    """The folder and all in it, however deep, and whatever permissions were set there."""
    with contextlib.suppress(OSError, RecursionError):
        return shutil.rmtree(folder)
    for command in (["chmod", "-R", "u+rwX", folder], ["rm", "-rf", folder]):
        with contextlib.suppress(OSError):
            subprocess.run(command, check=False, capture_output=True)
    return shutil.rmtree(folder, ignore_errors=True)


def _nonce() -> str:
    return secrets.token_hex(16)
