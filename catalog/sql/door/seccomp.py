"""Seccomp filters: which calls the kernel answers to a query's process at all. Imports this package only.

A filter can't be taken off. `install` binds the calling thread and all threads it starts from then on.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from catalog.sql.door import kernel
from catalog.sql.door.syscalls import MACHINES, Machine

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCH, ARGUMENTS = 0, 4, 16
"""Places in the kernel's seccomp_data."""
ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE, ABSENT = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
X32 = 0x40000000
CLONE_THREAD = 0x00010000
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
SECCOMP_MODE_FILTER = 2
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}

Step = tuple[int, int, int, int]
"""code, jump if true, jump if not, value"""


def sealing_filter(machine: Machine) -> list[Step]:
    """Refuse what SYSCALLS name, new processes, and every way of opening a file but for reading."""
    steps = _begin(machine)
    for number in machine.denied:
        steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    for number in machine.absent:
        steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ABSENT)]
    steps += _if_flags(machine.clone, 0, CLONE_THREAD, then=ALLOW, otherwise=REFUSE)
    steps += _if_flags(machine.openat, 2, WRITING, then=REFUSE, otherwise=ALLOW)
    if machine.open is not None:
        steps += _if_flags(machine.open, 1, WRITING, then=REFUSE, otherwise=ALLOW)
    return [*steps, (RETURN, 0, 0, ALLOW)]


def no_open_filter(machine: Machine) -> list[Step]:
    """Refuse to open any file at all: what takes Landlock's place where the kernel has none."""
    steps = _begin(machine)
    for number in (machine.open, machine.openat):
        if number is not None:
            steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    return [*steps, (RETURN, 0, 0, ALLOW)]


def install(steps: list[Step]) -> None:
    """Put a filter on the calling thread, which must have NO_NEW_PRIVS. Raises OSError."""
    kernel.prctl(kernel.PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(_program(steps)))


def install_everywhere(steps: list[Step]) -> None:
    """Put a filter on all threads of the process. Raises OSError, also when one thread can't follow."""
    call = SECCOMP_CALL[os.uname().machine]
    program = ctypes.byref(_program(steps))
    unlike = kernel.syscall(call, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, program)
    if unlike:
        raise OSError(errno.EBUSY, f"thread {unlike} keeps another filter")


def this_machine() -> Machine | None:
    """The architecture that runs this; None when its numbers are not known."""
    return MACHINES.get(os.uname().machine) if ctypes.sizeof(ctypes.c_void_p) == 8 else None


def _begin(machine: Machine) -> list[Step]:
    steps = [(LOAD, 0, 0, ARCH), (EQUAL, 1, 0, machine.audit_arch), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    if machine.open is not None:
        # x86_64's kernel also answers the numbers of x32, a second table that names the same calls.
        steps += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL)]
    return steps


def _if_flags(number: int, argument: int, flags: int, *, then: int, otherwise: int) -> list[Step]:
    """Decide one call by the low half of an argument."""
    return [
        (EQUAL, 0, 4, number),
        (LOAD, 0, 0, ARGUMENTS + 8 * argument),
        (ANY_BIT, 0, 1, flags),
        (RETURN, 0, 0, then),
        (RETURN, 0, 0, otherwise),
    ]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _program(steps: list[Step]) -> _Program:
    return _Program(len(steps), b"".join(struct.pack("<HBBI", *step) for step in steps))
