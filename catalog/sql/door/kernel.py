"""The C library's prctl, syscall and unshare, which Python does not have. Imports nothing of ours."""

from __future__ import annotations

import ctypes
import os

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, first: int = 0, second: object = 0) -> None:
    """Raise OSError when the kernel refuses."""
    if _libc.prctl(option, *_whole([first, second, 0, 0])) != 0:
        _raise("prctl")


def syscall(number: int, *arguments: object) -> int:
    """Return what the kernel returns. Raises OSError."""
    result = int(_libc.syscall(*_whole([number, *arguments])))
    if result < 0:
        _raise(f"syscall {number}")
    return result


def unshare(flags: int) -> None:
    """Leave namespaces for new ones (Python has it from 3.12 on only). Raises OSError."""
    if _libc.unshare(flags) != 0:
        _raise("unshare")


def _whole(arguments: list[object]) -> list[object]:
    """Integers as whole registers: the rest of one that is passed as a C int is anybody's guess."""
    return [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]


def _raise(what: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")
