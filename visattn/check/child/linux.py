"""The few system calls of Linux that Python has no name for.

Each raises OSError where the system refuses, and also where it has no such call: another system, an old kernel.
"""

import ctypes
import errno
import os
import sys

SET_DUMPABLE, SET_SECCOMP, SET_SUBREAPER, SET_NO_NEW_PRIVS, SET_DEATH_SIGNAL = 4, 22, 36, 38, 1
NEW_MOUNTS, NEW_NAMES, NEW_IPC, NEW_USERS, NEW_PIDS, NEW_NET = 1 << 17, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30
READ_ONLY, NO_SUID, BIND, DETACH, RECURSIVE, PRIVATE = 1, 2, 1 << 12, 2, 1 << 14, 1 << 18
MACHINE = os.uname().machine if hasattr(os, "uname") else ""
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CAPSET = {"x86_64": 126, "aarch64": 91}
MOUNT_SETATTR, LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 442, 444, 445, 446      # the same everywhere

HERE = sys.platform.startswith("linux") and MACHINE in PIVOT_ROOT and sys.maxsize > 2**32
_libc = ctypes.CDLL(None, use_errno=True) if HERE else None


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(number: int, *args: int | bytes | ctypes.Array | ctypes.Structure | None) -> int:
    """A system call by its number; buffers are passed by address."""
    if _libc is None:
        raise OSError(errno.ENOSYS, "system calls are made on 64-bit Linux only")
    words = []
    for a in args:
        if isinstance(a, (ctypes.Array, ctypes.Structure)):
            words.append(ctypes.cast(ctypes.pointer(a), ctypes.c_void_p))
        else:
            words.append(ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a or 0))     # type: ignore[arg-type]
    return _checked(_libc.syscall(ctypes.c_long(number), *words), f"system call {number}")


def prctl(option: int, value: int, more: ctypes.Structure | None = None) -> None:
    """Change something about this process."""
    if _libc is None:
        raise OSError(errno.ENOSYS, "prctl is Linux's")
    last = ctypes.byref(more) if more is not None else ctypes.c_ulong(0)
    _checked(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), last, ctypes.c_ulong(0), ctypes.c_ulong(0)),
             f"prctl {option}")


def unshare(flags: int) -> None:
    """Leave these namespaces for new ones."""
    if _libc is None:
        raise OSError(errno.ENOSYS, "namespaces are Linux's")
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    if _libc is None:
        raise OSError(errno.ENOSYS, "mounts are made on Linux only")
    _checked(_libc.mount(os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags),
                         data.encode() or None), f"mount on {target}")


def make_root(path: str) -> None:
    """Take `path`, a mount, for the root of everything, and forget the old one."""
    assert _libc is not None
    os.chdir(path)
    syscall(PIVOT_ROOT[MACHINE], b".", b".")
    _checked(_libc.umount2(b".", DETACH), "leaving the old root")
    os.chdir("/")


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "users")]


def read_only(path: str) -> None:
    """Make a mount and all below it read-only, and deaf to set-user-ID bits."""
    at_here, recursively = -100, 0x8000
    attributes = _MountAttributes(READ_ONLY | NO_SUID, 0, 0, 0)
    syscall(MOUNT_SETATTR, at_here, os.fsencode(path), recursively, attributes, ctypes.sizeof(attributes))


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def drop_capabilities() -> None:
    """Keep no privilege of the superuser, whoever we are."""
    syscall(CAPSET[MACHINE], _CapHeader(0x20080522, 0), (ctypes.c_uint32 * 6)())
