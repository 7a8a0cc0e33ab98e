"""Everything about a process that can be bound before it knows its files: death, network, limits, user. Linux only.

Imports this package only. Called in a fork that has one thread: most of it binds the calling thread.
"""

from __future__ import annotations

import os
import resource
import signal
import struct

from catalog.sql.door import kernel
from catalog.sql.door.layers import Layer

CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
CAPSET = {"x86_64": 126, "aarch64": 91}
FIRST_UID = 0x60000000
"""Of uids that nobody hands out; a worker's is this plus its process id, so that no two share one."""
NOBODY = 65534
MAX_OWN_PROCESSES = 128
SPARE_MEMORY_BYTES = 512 << 20
"""What a query's process may use besides DuckDB's own limit: threads' stacks, and what DuckDB does not count."""
SPARE_DESCRIPTORS = 64


def confine(parent: int) -> set[Layer]:
    """Bind this process; return the layers that hold. Ends the process when `parent` is gone."""
    found = {Layer.LIMITS}
    _die_with(parent)
    if leave_network():
        found.add(Layer.NETWORK)
    limit()
    if drop_user():
        found.add(Layer.USER)
    _die_with(parent)  # Changing the user has cleared it.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    return found


def leave_network() -> bool:
    """Move to a network without devices; who is not root needs a user namespace for that."""
    flags = CLONE_NEWNET | CLONE_NEWIPC
    try:
        kernel.unshare(flags if os.geteuid() == 0 else flags | CLONE_NEWUSER)
    except OSError:
        return False
    return True


def limit() -> None:
    """No file may grow, no core is left, no memory is pinned."""
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_MEMLOCK):
        resource.setrlimit(what, (0, 0))


def drop_user() -> bool:
    """Root becomes a user that owns nothing; others stay who they are, without capabilities."""
    if os.getuid() != 0:
        _drop_capabilities()
        return False
    os.setgroups([])
    for user in (FIRST_UID + os.getpid(), NOBODY):
        try:
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        except OSError:
            continue  # Not among the users that this container has.
        resource.setrlimit(resource.RLIMIT_NPROC, (MAX_OWN_PROCESSES, MAX_OWN_PROCESSES))
        return True
    raise OSError("cannot stop being root")


def allow_files(count: int) -> None:
    """Make room for `count` files, each twice (memory maps keep a second descriptor). Raises OSError, ValueError."""
    wanted = 2 * count + SPARE_DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))


class WorkLimits:
    """Bounds on memory and processor time, counted from what is used already; made before files are sealed."""

    def __init__(self) -> None:
        self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)

    def set(self, memory_bytes: int, cpu_seconds: int) -> None:
        """Bound what the process uses from now on."""
        data = self._data_bytes() + memory_bytes + SPARE_MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (data, data))
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime) + cpu_seconds + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    def _data_bytes(self) -> int:
        lines = os.pread(self._status, 65536, 0).splitlines()
        os.close(self._status)
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(b"VmData:"))


def threads() -> int:
    """How many threads this process has."""
    return len(os.listdir("/proc/self/task"))


def _die_with(parent: int) -> None:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _drop_capabilities() -> None:
    """A user namespace gives all of them inside it."""
    header = struct.pack("<Ii", 0x20080522, 0)
    kernel.syscall(CAPSET[os.uname().machine], header, bytes(24))
