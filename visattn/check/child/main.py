"""The process that a checked function runs in: it shuts itself in, loads the function, and answers calls.

    python -I -S -c "…; from checked.main import begin; begin()" settings

`begin` is one process that becomes three: one that leaves for new namespaces and waits, the first one in them, which
watches, and the worker, which gives up what it does not need and only then loads what somebody wrote.  Orders come
through standard input, answers leave through standard output; both are moved before the function is loaded, so what
it prints goes elsewhere.  The worker never says whether the function is right: it does not know.
"""

import contextlib
import json
import os
import random
import signal
import sys
import traceback
from typing import Any, BinaryIO, NamedTuple, NoReturn

from . import landlock, limits, linux, namespaces, seccomp

LAYERS = ("namespaces", "landlock", "seccomp", "user")


class Settings(NamedTuple):
    """All that the process must know before it is told whom to call; sent as JSON."""

    layers: tuple[str, ...]         # those of LAYERS that are tried
    limits: limits.Limits
    base: str                       # an empty folder on which a root can be built
    folder: str                     # the function's own, where it starts
    library: str                    # where these files are
    seen: tuple[str, ...]           # files and folders it may read, besides the system's
    hidden: tuple[str, ...]         # what is below those and is not there for it
    instead: dict[str, str]         # folders in whose place others are: copies of what only a superuser could read
    read: tuple[str, ...]           # the same without what is hidden, where all that can be said is what may be read
    listed: tuple[str, ...]         # and the folders whose names may be listed to find it
    path: tuple[str, ...]           # where modules are looked for, besides the standard library
    prefix: str                     # of the virtual environment
    file: str                       # of the function, or ""
    user: int                       # whom a superuser becomes
    addresses: bool                 # whether the addresses of a process are limited
    above: int                      # the check's own process


def begin() -> NoReturn:
    """Read the settings, shut this process in, serve."""
    given = json.loads(sys.argv.pop())
    settings = Settings(*given)
    settings = settings._replace(limits=limits.Limits(*settings.limits))
    os.umask(0o022)
    if os.name != "posix":
        serve(settings, *_channel(), ["not isolated: this system has no limits that could be set"], None)
    source = b""
    with contextlib.suppress(OSError), open(settings.file, "rb") as file:
        source = file.read()                                    # while we may still
    held = namespaces.leave() if linux.HERE and "namespaces" in settings.layers else set()
    if "pids" in held:
        inner = os.fork()
        if inner:
            os.dup2(2, 0)
            os.dup2(2, 1)
            status = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
            os._exit(status if status >= 0 else 128 - status)
        os.setsid()
        with contextlib.suppress(OSError):
            linux.prctl(linux.SET_DEATH_SIGNAL, signal.SIGKILL)
    user = settings.user if os.geteuid() == 0 and "users" not in held and "user" in settings.layers else None
    seen = linux.HERE and "pids" not in held                    # whether /proc is about us
    if "mounts" in held:
        try:
            seen = namespaces.view(settings.base, settings.folder, [*settings.seen, settings.library],
                                   list(settings.hidden), settings.instead, settings.limits.disk, user)
        except OSError:
            held.discard("mounts")
            os.chdir(settings.folder)
    if linux.HERE and "pids" not in held:
        with contextlib.suppress(OSError):
            linux.prctl(linux.SET_SUBREAPER, 1)
    orders, answers = _channel()
    above = os.getpid()
    worker = os.fork()
    if worker:
        os.close(answers)
        limits.watch(worker, settings.limits, "" if "mounts" in held else settings.folder, orders,
                     alone="pids" in held, seen=seen)
    os.setsid()
    with contextlib.suppress(OSError):
        linux.prctl(linux.SET_DEATH_SIGNAL, signal.SIGKILL)
    told = shut_in(settings, held, user, above, seen)
    serve(settings, orders, answers, told, source)


def _channel() -> tuple[int, int]:
    """Standard input and output under other numbers; in their place nothing to read, and where errors go."""
    orders, answers = (_elsewhere(number) for number in (0, 1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return orders, answers


def _elsewhere(number: int) -> int:
    """A copy of a file descriptor at a number that is not guessed at first sight, and that programs do not inherit."""
    try:
        import fcntl
    except ImportError:                                         # Windows
        import msvcrt

        msvcrt.setmode(number, os.O_BINARY)                     # type: ignore[attr-defined]
        return os.dup(number)
    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, random.SystemRandom().randrange(64, 200))


def shut_in(settings: Settings, held: set[str], user: int | None, above: int, seen: bool) -> list[str]:
    """Give up what the function does not need; → what protects from it, and what does not, in words."""
    most, viewed, net, pids = settings.limits, "mounts" in held, "net" in held, "pids" in held
    counted = 0
    if user is not None:
        user = _become(user, [] if viewed else [os.__file__, *settings.path, settings.file])
    if user is None and "users" not in held and linux.HERE:
        counted = limits.tasks_of_user()
    bounded = limits.bound(most, addresses=settings.addresses, counted=counted)
    if linux.HERE:
        with contextlib.suppress(OSError):
            linux.drop_capabilities()
        for option, value in ((linux.SET_NO_NEW_PRIVS, 1), (linux.SET_DUMPABLE, 1)):
            with contextlib.suppress(OSError):
                linux.prctl(option, value)

    abi = 0
    if linux.HERE and "landlock" in settings.layers:
        here = ["/"] if viewed else [*settings.read, settings.library, f"/proc/{os.getpid()}",
                                     *(f"/proc/{name}" for name in namespaces.FACTS)]
        with contextlib.suppress(OSError):
            abi = landlock.restrict(here, list(settings.listed), [settings.folder, *(["/dev/shm"] if viewed else [])])
    filtered = False
    if linux.HERE and "seccomp" in settings.layers:
        with contextlib.suppress(OSError):
            seccomp.restrict(no_net=not net, stay=not pids, keep_attributes=not viewed,
                             unharmed=(above, -above, settings.above, -settings.above))
            filtered = True

    def first(*choices: tuple[object, str]) -> str:
        return next(says for holds, says in choices if holds)

    watched = "what its processes hold in memory is watched"
    return [
        first((net, "network: none, in a namespace of its own"),
              (filtered, "network: none, seccomp refuses sockets"),
              (abi >= 4, "network: no TCP, by Landlock; not isolated otherwise"),
              (True, "network: not isolated")),
        first((viewed, "files: it sees the system, Python and the function's folder; it writes its own, in memory"),
              (abi, "files: it reads the system, Python and the function's folder, and writes its own, by Landlock"),
              (True, "files: not isolated")),
        first((viewed or abi, "visattn: not there to be read"),
              (True, "visattn: not isolated, only its import and opening are refused")),
        first((pids, "processes: it sees only its own, and all end with it, in a namespace"),
              (linux.HERE and filtered, "processes: all end with it; it cannot leave its group"),
              (linux.HERE, "processes: all below it end with it, unless it ends the watch first"),
              (True, "processes: not isolated, only its group is ended")),
        first((user is not None, "user: one of its own, without privileges"),
              ("users" in held, "user: yours, in a namespace, without privileges"),
              (linux.HERE and os.geteuid() == 0, "user: root, without privileges"),
              (True, "user: yours")),
        first(("memory" in bounded, f"memory: {limits.size(most.memory)} a process"
                                    + (f"; {watched}" if seen else "")),
              (seen, f"memory: {watched}, {limits.size(most.memory)}"),
              (True, "memory: not isolated")),
        "limits: " + (", ".join(bounded) or "none"),
    ]


def _become(user: int, needed: list[str]) -> int | None:
    """Become this user for good, if it can still read what is needed; → who we are, None if nothing has changed."""
    needed = [path for path in needed if os.path.exists(path)]
    for candidate in (user, 65534):
        try:
            os.setegid(candidate)
            os.seteuid(candidate)
        except OSError:                                         # not a user of this container
            continue
        readable = all(os.access(path, os.R_OK, effective_ids=True) for path in needed)
        os.seteuid(0)
        os.setegid(0)
        if not readable:
            return None
        with contextlib.suppress(OSError):
            os.setgroups([])
        os.setresgid(candidate, candidate, candidate)
        os.setresuid(candidate, candidate, candidate)
        return candidate
    return None


def serve(settings: Settings, orders: int, answers: int, told: list[str], source: bytes | None) -> NoReturn:
    """Load the function that the first order names, and answer calls until there are no more orders."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path += [p for p in settings.path if p not in sys.path]
    sys.prefix = sys.exec_prefix = settings.prefix
    os.chdir(settings.folder)
    from . import raised, wire
    from .records import Accepts, Answer, Problem, Spec

    inlet = os.fdopen(orders, "rb", closefd=False)
    # Taken now, so that what the function does to these modules later changes nothing here.
    leave, write, flush, describe = os._exit, os.write, _flush, raised.described

    def words(error: BaseException) -> str:
        try:
            return describe(error, files)
        except BaseException:                                   # its text raises what is no Exception
            return type(error).__name__

    pack, chunks, read, message_of = wire.pack, wire.chunks, wire.read, wire.message_of

    def send(parts: list) -> None:
        for piece in chunks(parts):
            while piece:
                piece = piece[write(answers, piece):]

    def packed(kind: str, record: Any) -> list:
        return pack({"kind": kind, "nonce": order["nonce"], "record": message_of(record)})

    order = read(lambda n: _exactly(inlet, n), sys.maxsize)
    spec = Spec(**order["spec"])
    send(pack({"kind": "ready", "nonce": order["nonce"], "isolation": told}))

    target, files = None, (spec.file,)
    try:
        if source is not None and spec.file:
            spec = spec._replace(file=_where(spec.file, source, settings.folder))
        _refuse(settings)
        if settings.file:
            sys.path.insert(0, os.path.dirname(settings.file))
        sys.argv[:], files = [spec.file], (spec.file,)
        from .target import Target

        target = Target(spec)
        accepts = target.accepts
    except BaseException as error:
        accepts = Accepts(problem=words(error))
    flush()
    try:
        send(packed("accepts", accepts))
        while True:
            order = read(lambda n: _exactly(inlet, n), sys.maxsize)
            try:
                if target is None:
                    raise RuntimeError(accepts.problem)
                answer = target.call(order["args"], order["options"], order["dy"], **order["how"])
                parts = packed("answer", answer)
                if sum(len(p) for p in parts) > settings.limits.answer:
                    raise MemoryError(f"its answer is larger than {limits.size(settings.limits.answer)}")
            except BaseException as error:
                kind = "resource" if isinstance(error, MemoryError) else "raised"
                parts = packed("answer", Answer(problems=(Problem(kind, words(error)),)))
            flush()
            send(parts)
    except EOFError:
        leave(0)
    except BaseException:
        traceback.print_exc()
        leave(1)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    """So many bytes; EOFError if there are no more."""
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _flush() -> None:
    """What the function printed leaves this process."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()


def _where(file: str, source: bytes, folder: str) -> str:
    """The function's file, or a copy of it where we may no longer read it."""
    with contextlib.suppress(OSError), open(file, "rb"):
        return file
    os.makedirs(f"{folder}/copy", exist_ok=True)
    copy = f"{folder}/copy/{os.path.basename(file)}"
    with open(copy, "wb") as out:
        out.write(source)
    return copy


def _refuse(settings: Settings) -> None:
    """Refuse to import or open visattn from here on: a hurdle, where nothing better holds."""
    hidden = tuple(settings.hidden)

    def look(event: str, args: tuple[Any, ...]) -> None:
        if event == "import" and isinstance(args[0], str) and args[0].partition(".")[0] == "visattn":
            raise ModuleNotFoundError("visattn is not there for a function that is checked", name="visattn")
        if event == "open" and isinstance(args[0], str) and hidden and os.path.abspath(args[0]).startswith(hidden):
            raise PermissionError(f"{args[0]} is not there for a function that is checked")

    if hidden:
        sys.addaudithook(look)
