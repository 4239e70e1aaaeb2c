"""Landlock: a process gives up, for good, all access to files except below the paths that it names.

It works for everybody, without privileges or namespaces, from Linux 5.13 on; later kernels add TCP, signals and
abstract sockets to what is given up.  The numbers are those of the kernel's documentation (userspace-api/landlock).
"""

import ctypes
import os

from . import linux

EXECUTE, WRITE, READ, LIST = 1, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, DEVICE = 1 << 14, 1 << 15
CONNECT_AND_BIND = 3
ABSTRACT_SOCKETS_AND_SIGNALS = 3
OF_FILES = EXECUTE | WRITE | READ | TRUNCATE | DEVICE      # the rights that a rule on a file can give


class _Rules(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("files", "net", "scoped")]


class _Below(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def version() -> int:
    """Which version of Landlock the kernel has; 0 if none."""
    try:
        return linux.syscall(linux.LANDLOCK_CREATE, None, 0, 1)
    except OSError:
        return 0


def restrict(read: list[str], listed: list[str], write: list[str]) -> int:
    """Read and run what is below `read`, list the folders `listed`, do all below `write`; nothing else.

    → the version, which says what else was given up: TCP from 4 on, signals to others from 6 on.  OSError if the kernel
    has no Landlock.  The process must have given up gaining privileges (PR_SET_NO_NEW_PRIVS).
    """
    abi = version()
    if not abi:
        raise OSError("the kernel has no Landlock")
    every = (1 << (16 if abi >= 5 else 15 if abi >= 3 else 14 if abi >= 2 else 13)) - 1
    rules = _Rules(every, CONNECT_AND_BIND if abi >= 4 else 0, ABSTRACT_SOCKETS_AND_SIGNALS if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = linux.syscall(linux.LANDLOCK_CREATE, rules, size, 0)
    try:
        for paths, rights in ((read, EXECUTE | READ | LIST), (listed, LIST), (write, every)):
            for path in paths:
                _allow(ruleset, path, rights & every)
        _allow(ruleset, "/dev", (READ | WRITE | LIST | DEVICE) & every)
        linux.syscall(linux.LANDLOCK_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _allow(ruleset: int, path: str, rights: int) -> None:
    """One rule; a path that is not there needs none."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= OF_FILES
        if rights:
            linux.syscall(linux.LANDLOCK_ADD, ruleset, 1, _Below(rights, handle), 0)
    finally:
        os.close(handle)
