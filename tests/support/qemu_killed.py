"""A process that backs up a machine and is killed (SIGKILL) just before its n-th QMP command.

`python -m tests.support.qemu_killed QMP CONTROL SCRATCH DISK` reads lines `STEP COMMIT BASE` and forks one such process
for each. It prints `killed` or `done`; before that `committed TOKEN` if the backup had reached its commit.
Just before it dies it writes to the disk through CONTROL, as a guest would meanwhile.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from adapters.port import SnapshotRequest, Tracked
from adapters.qemu.qmp import Json, Qmp
from adapters.qemu.source import QemuSource


def main(qmp: Path, control: Path, scratch: Path, disk: str) -> None:
    """Serve requests from standard input."""
    for line in sys.stdin:
        step, commit, base = line.rstrip("\n").split(" ", 2)
        pid = os.fork()
        if pid == 0:
            _die_before(int(step), control, disk)
            _back_up(QemuSource("vm", qmp, scratch, scratch_reserve_bytes=0), disk, base, commit=commit == "True")
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or status == 0, status
        print("killed" if os.WIFSIGNALED(status) else "done", flush=True)  # noqa: T201 - this is its answer


def _die_before(step: int, control: Path, disk: str) -> None:
    given = 0
    execute = Qmp._execute

    def counted(client: Qmp, command: str, arguments: Json | None) -> object:
        nonlocal given
        given += command != "query-status"  # the scratch guard's, which comes at any time
        if given == step:
            given += 1
            _write(control, disk, step)
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(client, command, arguments)

    Qmp._execute = counted  # type: ignore[method-assign,assignment] # the point of this process


def _write(control: Path, disk: str, step: int) -> None:
    """Write 512 bytes at a place and with a pattern that differ from step to step."""
    line = f'qemu-io -d /machine/peripheral/{disk}/virtio-backend "write -P {step % 255 + 1} {step * 65536 + 512} 512"'
    client = Qmp(control)
    client.query("human-monitor-command", str, {"command-line": line})
    client.close()


def _back_up(source: QemuSource, disk: str, base: str, *, commit: bool) -> None:
    (machine,) = source.inventory()
    snapshot = source.snapshot(machine, SnapshotRequest("holdfast-killed", {disk: base or None}))
    frozen = snapshot.disks[disk]
    frozen.open().close()
    if isinstance(frozen.tracking, Tracked):
        list(frozen.changes())
    snapshot.confirm()
    if commit:
        print("committed", frozen.base_token, flush=True)  # noqa: T201 - this is its answer
    snapshot.release(committed=commit)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
