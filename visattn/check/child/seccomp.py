"""A filter on system calls: what no function that computes attention has to ask the system for.

It works for everybody from Linux 3.17 on.  A call that is refused fails with EPERM; one that is faked says that it was
done and does nothing.
"""

import ctypes

from . import linux

# The numbers of x86-64 and of 64-bit ARM.
NUMBERS = {
    "socket": (41, 198), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "unshare": (272, 97), "setns": (308, 268),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "bpf": (321, 280),
    "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "userfaultfd": (323, 282), "kill": (62, 129), "tkill": (200, 130),
    "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "setsid": (112, 157), "setpgid": (109, 154),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "utimensat": (280, 88), "futimesat": (261, None), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
}
ALWAYS = ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "unshare", "setns", "mount", "umount2",
          "pivot_root", "chroot", "bpf", "perf_event_open", "io_uring_setup", "keyctl", "add_key", "request_key",
          "userfaultfd")
LEAVING = ("setsid", "setpgid")                             # the process group, by which all is ended
SIGNALS = ("pidfd_send_signal", "rt_sigqueueinfo")
ATTRIBUTES = ("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes",
              "utimensat", "futimesat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr",
              "fremovexattr")                               # of files, which Landlock does not guard

ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, EACCES = 1, 13
EVERYBODY = 2**32 - 1                                       # kill(-1)
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
AT_NUMBER, AT_ARCHITECTURE, AT_FIRST = 0, 4, 16             # where struct seccomp_data has them


class _Step(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Step))]


def steps(no_net: bool, stay: bool, keep_attributes: bool, unharmed: tuple[int, ...]) -> list[_Step]:
    """The filter's program."""
    column = 0 if linux.MACHINE == "x86_64" else 1
    number = {name: both[column] for name, both in NUMBERS.items() if both[column] is not None}
    program = [(LOAD, 0, 0, AT_ARCHITECTURE), (EQUAL, 1, 0, ARCHITECTURE[linux.MACHINE]), (RETURN, 0, 0, KILL),
               (LOAD, 0, 0, AT_NUMBER)]
    if linux.MACHINE == "x86_64":                           # the numbers of x32 are these and a bit
        program += [(AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, FAIL | EPERM)]

    def answer(names: tuple[str, ...], code: int) -> None:
        for name in names:
            if name in number:
                program.extend([(EQUAL, 0, 1, number[name]), (RETURN, 0, 0, FAIL | code)])  # type: ignore[list-item]

    answer(ALWAYS, EPERM)
    if stay:
        answer(LEAVING, 0)                                  # faked: torch's helpers ask for it and need it not
        answer(SIGNALS, EPERM)
        for name in ("kill", "tkill", "tgkill"):            # to these processes, or to all there are
            inner = [(LOAD, 0, 0, AT_FIRST)]
            for pid in (*unharmed, EVERYBODY):
                inner += [(EQUAL, 0, 1, pid), (RETURN, 0, 0, FAIL | EPERM)]
            inner += [(RETURN, 0, 0, ALLOW)]
            program += [(EQUAL, 0, len(inner), number[name]), *inner]  # type: ignore[list-item]
    if keep_attributes:
        answer(ATTRIBUTES, 0)
    if no_net:
        answer(("socket",), EACCES)                         # pairs of sockets, which lead nowhere, stay
    return [_Step(*step) for step in (*program, (RETURN, 0, 0, ALLOW))]


def restrict(*, no_net: bool, stay: bool, keep_attributes: bool, unharmed: tuple[int, ...] = ()) -> None:
    """Refuse what is never needed, and besides:

    no_net              sockets
    stay                leaving the process group (it is faked), and signals to the processes `unharmed`
    keep_attributes     changes of permissions, owners and times of files: they are faked

    OSError if the kernel has no such filters.
    """
    listed = steps(no_net, stay, keep_attributes, tuple(p & EVERYBODY for p in unharmed))
    array = (_Step * len(listed))(*listed)
    linux.prctl(linux.SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.SET_SECCOMP, 2, _Program(len(listed), array))

