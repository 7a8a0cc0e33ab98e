"""A process that asks a vSphere for the changed areas of one disk and says what that took. Run by `bench_vmware_areas`.

`python -m tests.bench.areas_peer SETTINGS` with a JSON object of host, port, user, ca_file and base tokens; the
password is read from PEER_PASSWORD. Prints a JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from adapters.port import SnapshotRequest
from adapters.secret import Secret
from adapters.vmware.settings import VmwareSettings
from adapters.vmware.source import VmwareSource
from tests.support.peak_memory import peak_kib, settled_kib


def main() -> None:
    """Take a snapshot on the given bases, go through its changes once, release it."""
    told = json.loads(sys.argv[1])
    settings = VmwareSettings(
        told["host"],
        told["user"],
        Secret(lambda: os.environ["PEER_PASSWORD"]),
        port=told["port"],
        ca_file=Path(told["ca_file"]),
    )
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        source = VmwareSource("vc", settings, Path(folder))
        (machine,) = source.inventory()
        bases = told["bases"] or {disk.key: None for disk in machine.disks}
        at_rest = settled_kib()
        began, worked = time.perf_counter(), time.process_time()
        snapshot = source.snapshot(machine, SnapshotRequest("holdfast-bench", bases))
        tokens = {key: disk.base_token for key, disk in snapshot.disks.items()}
        changed = [sum(1 for _ in disk.changes()) for disk in snapshot.disks.values()] if told["bases"] else []
        answer = {
            "bases": tokens,
            "areas": sum(changed),
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - worked,
            "peak_kib": peak_kib(),
            "at_rest_kib": at_rest,
        }
        snapshot.release(committed=True)
        source.close()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
