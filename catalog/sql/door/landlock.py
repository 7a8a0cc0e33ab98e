"""Landlock: which files a query's process may open, and no network. Imports this package only.

Binds the calling thread and all threads it starts from then on; can't be taken off or widened.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from catalog.sql.door import kernel

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
READ_FILE = 1 << 2
PATH_BENEATH = 1
CGROUP_FILES = ("/proc/self/cgroup", "/sys/fs/cgroup")
"""DuckDB aborts when it can see, and not read, what limits its memory."""


def abi() -> int:
    """The version of Landlock that the kernel speaks; 0 for none."""
    try:
        return kernel.syscall(CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


def restrict(descriptors: Iterable[int]) -> None:
    """Let the process read the files behind `descriptors` and those that DuckDB starts with; nothing else.

    The process must have NO_NEW_PRIVS. Raises OSError.
    """
    version = abi()
    ruleset = kernel.syscall(CREATE_RULESET, *_handled(version), 0)
    try:
        for path in CGROUP_FILES:
            _allow_path(ruleset, path)
        for descriptor in descriptors:
            _allow(ruleset, descriptor)
        kernel.syscall(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _handled(version: int) -> tuple[bytes, int]:
    """Everything that this version can refuse: files, TCP (4), abstract sockets and signals (6)."""
    files = (1 << 13) - 1
    for since, right in ((2, 13), (3, 14), (5, 15)):
        files |= (1 << right) if version >= since else 0
    attributes = struct.pack("<QQQ", files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    return attributes[:size], size


def _allow_path(ruleset: int, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _allow(ruleset, descriptor)
    finally:
        os.close(descriptor)


def _allow(ruleset: int, descriptor: int) -> None:
    kernel.syscall(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("<Qi", READ_FILE, descriptor), 0)
