"""Namespaces of Linux: no network, no other processes, and a file system in which only what is needed is there.

    new = leave()                       # while this process has one thread; children are in the new ones
    if "pids" in new and os.fork(): …   # the first child is the namespace's process 1
    view(…)                             # in that child: the new root

A superuser needs no user namespace; everybody else gets one, where the system allows that (some distributions and most
containers do not).
"""

import contextlib
import os

from . import linux

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/sys", "/nix/store", "/gnu/store", "/opt/rocm",
          "/run/opengl-driver")
DEVICES = ("null", "zero", "full", "random", "urandom", "kfd", "dxg")
GRAPHICS = ("nvidia", "dri")                    # whatever begins so
FACTS = ("cpuinfo", "meminfo", "stat", "version")       # of /proc, where a new one is refused


def leave() -> set[str]:
    """Leave all namespaces for new ones; → which, empty where the system does not let us."""
    flags = linux.NEW_MOUNTS | linux.NEW_PIDS | linux.NEW_NET | linux.NEW_IPC | linux.NEW_NAMES
    new = {"mounts", "pids", "net"}
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            linux.unshare(flags)
            return new
    user, group = os.geteuid(), os.getegid()
    try:
        linux.unshare(flags | linux.NEW_USERS)
    except OSError:
        return set()
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:
            file.write(line)
    return new | {"users"}


def view(base: str, folder: str, seen: list[str], hidden: list[str], instead: dict[str, str], disk: int,
         user: int | None) -> bool:
    """Make a new root, read-only but for `folder`; → whether /proc is one of our own.

    base      an empty folder to build it on
    folder    the only one that can be written: kept in memory, `disk` bytes at most, and gone when the last process is
    seen      files and folders that are there, at their places
    hidden    what is below them and is not: an empty folder or file in its place
    instead   folders in whose place others are
    user      who owns `folder`, or None for who we are

    OSError where the system refuses; nothing has changed then for other processes.
    """
    linux.mount("none", "/", "", linux.RECURSIVE | linux.PRIVATE)
    linux.mount("tmpfs", base, "tmpfs", linux.NO_SUID, "mode=755,size=16m")
    for name in ("empty", "proc", "dev/shm"):
        os.makedirs(f"{base}/{name}", mode=0o755)
    _shut(f"{base}/nothing")
    for path in [p for p in SYSTEM if os.path.exists(p)] + seen:
        _show(base, path)
    for path, other in instead.items():
        os.makedirs(base + path, exist_ok=True)
        linux.mount(other, base + path, "", linux.BIND)
    for name in sorted(os.listdir("/dev")):
        if name in DEVICES or name.startswith(GRAPHICS):
            _show(base, f"/dev/{name}")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
                         ("stderr", "/proc/self/fd/2")):
        os.symlink(target, f"{base}/dev/{name}")
    for path in hidden:
        if os.path.isdir(base + path):
            linux.mount(f"{base}/empty", base + path, "", linux.BIND)
        elif os.path.exists(base + path):
            linux.mount(f"{base}/nothing", base + path, "", linux.BIND)
    os.makedirs(base + folder, exist_ok=True)
    try:
        linux.mount("proc", f"{base}/proc", "proc", linux.NO_SUID)
        own = True
    except OSError:
        own = False
        for name in FACTS:
            with contextlib.suppress(OSError):
                _show(base, f"/proc/{name}")
    linux.read_only(base)
    owner = "" if user is None else f",uid={user},gid={user}"
    linux.mount("tmpfs", base + folder, "tmpfs", linux.NO_SUID, f"mode=700,size={disk},nr_inodes=20000{owner}")
    linux.mount("tmpfs", f"{base}/dev/shm", "tmpfs", linux.NO_SUID, f"mode=1777,size={disk},nr_inodes=20000")
    linux.make_root(base)
    return own


def _shut(path: str) -> None:
    """An empty file."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o444))


def _show(base: str, path: str) -> None:
    """The file or folder at its place in the new root; of a symbolic link, the link and what it leads to."""
    path = os.path.normpath(path)
    real = os.path.realpath(path)
    if not os.path.exists(real):
        return
    if real != path and not os.path.lexists(base + path):
        os.makedirs(os.path.dirname(base + path), mode=0o755, exist_ok=True)
        os.symlink(real, base + path)
    if os.path.exists(base + real) and os.path.samefile(base + real, real):
        return                                                  # it came with a folder above it
    if os.path.isdir(real):
        os.makedirs(base + real, mode=0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(base + real), mode=0o755, exist_ok=True)
        if not os.path.exists(base + real):
            _shut(base + real)
    linux.mount(real, base + real, "", linux.BIND | linux.RECURSIVE)
