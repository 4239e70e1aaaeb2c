"""What the process of a checked function may use, and the watch that ends it and all that it has started.

    limits = Limits(call=5)             # seconds; everything else as it is
    told = bound(limits, …)             # in that process, before the function is loaded: → what holds, in words
    watch(worker, limits, …)            # in the process above it: never returns
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn

if os.name == "posix":
    import resource


class Limits(NamedTuple):
    """Seconds, bytes and counts."""

    start: float = 120.0            # to load the function: a framework may need long
    first: float = 120.0            # for the first call: it may compile
    call: float = 20.0              # for every other call
    total: float = 300.0            # for all calls together
    memory: int = 8 << 30           # addresses of one process, and what all its processes hold in memory
    processes: int = 512            # and threads, together
    file: int = 256 << 20           # the largest file
    disk: int = 512 << 20           # all files together
    opened: int = 256               # files at once
    answer: int = 256 << 20         # the arrays of one answer


MEMORY, CROWD, DISK = 121, 122, 123             # exit statuses of the watch; every other is the function's
REASONS = {MEMORY: "it used more memory than {memory}", CROWD: "it started more than {processes} processes",
           DISK: "it wrote more than {disk} of files"}
EVERY = 0.1                                     # seconds between two looks of the watch


def size(count: float) -> str:
    """Bytes as people say them: "8 GiB"."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.3g} {unit}"


def reason(status: int, limits: Limits) -> str:
    """Why the watch ended it, or "" if it did not."""
    return REASONS.get(status, "").format(memory=size(limits.memory), processes=limits.processes,
                                          disk=size(limits.disk))


def bound(limits: Limits, *, addresses: bool, counted: int) -> list[str]:
    """Set the limits of this process and its children; → those that the system took.

    addresses    limit the addresses too: a graphics card's driver reserves more than there is memory
    counted      processes that the system counts with ours, because they are the same user's
    """
    if os.name != "posix":
        return []
    seconds = int(limits.start + limits.total) + 1
    wanted = [("processor time", "RLIMIT_CPU", seconds * min(os.cpu_count() or 1, 16)),
              ("file size", "RLIMIT_FSIZE", limits.file), ("open files", "RLIMIT_NOFILE", limits.opened),
              ("core files", "RLIMIT_CORE", 0), ("processes", "RLIMIT_NPROC", limits.processes + counted)]
    if addresses:
        wanted.append(("memory", "RLIMIT_AS", limits.memory))
    held = []
    for what, name, most in wanted:
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(OSError, ValueError):          # macOS refuses some
            resource.setrlimit(kind, (most, most))
            if not (what == "processes" and os.geteuid() == 0):     # the system does not count root's
                held.append(what)
    return held


def tasks_of_user() -> int:
    """How many threads this user has: RLIMIT_NPROC counts them all where we are not users of our own."""
    count, me = 0, os.getuid()
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if name.isdigit() and os.stat(f"/proc/{name}").st_uid == me:
                    count += len(os.listdir(f"/proc/{name}/task"))
    return count


def family(top: int) -> list[int]:
    """All processes below `top`, from /proc; those that lost their parent belong to the nearest subreaper."""
    found, new = [], [top]
    while new:
        pid = new.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                    children = [int(child) for child in file.read().split()]
                    found += children
                    new += children
    return found


def held(pids: list[int]) -> int:
    """Bytes of memory that these processes hold, each page that they share with others left out."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:
            fields = file.read().split()
            pages += int(fields[1]) - int(fields[2])
    return pages * os.sysconf("SC_PAGE_SIZE")


def written(folder: str, most: int) -> int:
    """Bytes of all files below `folder`; it stops counting soon after `most`, and counts a file as 4 KiB at least."""
    total, new = 0, [folder]
    while new and total <= most:
        with contextlib.suppress(OSError), os.scandir(new.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += max(entry.stat(follow_symlinks=False).st_blocks * 512, 4096)
                    if entry.is_dir(follow_symlinks=False):
                        new.append(entry.path)
                if total > most:
                    break
    return total


def watch(worker: int, limits: Limits, folder: str, orders: int, *, alone: bool, seen: bool) -> NoReturn:
    """Wait until the worker ends, uses too much, or nobody is there to give it orders; then end all below and exit.

    folder    whose files are counted; "" if the system limits them
    orders    the reading end of the pipe that orders come through: it hangs up when the check is gone
    alone     we are the first process of a PID namespace: all others end with us
    seen      /proc shows us and what is below us
    """
    hung_up = select.poll()
    hung_up.register(orders, 0)                             # no event but those that cannot be left out
    status, look_at_files = 0, 0.0
    while True:
        try:
            pid, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == worker:
            status = os.waitstatus_to_exitcode(code)
            break
        if pid:
            continue
        if hung_up.poll(EVERY * 1000):
            break
        below = family(os.getpid()) if seen else []
        if len(below) > limits.processes:
            status = CROWD
        elif held(below) > limits.memory:
            status = MEMORY
        elif folder and time.monotonic() > look_at_files:
            began = time.monotonic()
            if written(folder, limits.disk) > limits.disk:
                status = DISK
            look_at_files = time.monotonic() + 5 * (time.monotonic() - began)
        if status:
            break
    if not alone:
        end(worker)
    os._exit(status if status >= 0 else 128 - status)


def end(worker: int, look: Callable[[], list[int]] = lambda: family(os.getpid())) -> None:
    """Kill the worker's group and every process below us, again until none is left."""
    for _ in range(200):
        with contextlib.suppress(OSError):
            os.killpg(worker, signal.SIGKILL)
        below = look()
        for pid in below:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not below:
            return
        time.sleep(0.005)


def how_it_ended(status: int) -> str:
    """A process's exit status in words: "it was ended by SIGSEGV"."""
    if status > 128:
        try:
            return f"it was ended by {signal.Signals(status - 128).name}"
        except ValueError:
            pass
    return f"it ended its process with exit status {status}"

