"""A process that asks a Hyper-V host for one disk's change list and says what that took. Run by `bench_hyperv`.

`python -m tests.bench.hyperv_peer SETTINGS` with a JSON object of host, port, user, ca_file and size_bytes; the
password is read from PEER_PASSWORD. Prints a JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from adapters.hyperv.calls import Calls
from adapters.hyperv.changes import changed_areas
from adapters.hyperv.control.winrm import WinrmRunner
from adapters.hyperv.settings import HypervSettings
from adapters.port import Tracked
from adapters.secret import Secret
from tests.support.peak_memory import peak_kib, settled_kib


def main() -> None:
    """Collect the list once."""
    told = json.loads(sys.argv[1])
    settings = HypervSettings(
        told["host"],
        told["user"],
        Secret(lambda: os.environ["PEER_PASSWORD"]),
        port=told["port"],
        ca_file=Path(told["ca_file"]),
    )
    runner = WinrmRunner(settings)
    calls = Calls(runner)
    try:
        calls.changes("C:\\VMs\\large.vhdx", "rctX:warm", 0, 65536)
        at_rest = settled_kib()
        began, worked = time.perf_counter(), time.process_time()
        tracking, areas = changed_areas(
            lambda offset, length: calls.changes("C:\\VMs\\large.vhdx", "rctX:1", offset, length), told["size_bytes"]
        )
        answer = {
            "tracked": isinstance(tracking, Tracked),
            "areas": len(areas),
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - worked,
            "peak_kib": peak_kib(),
            "at_rest_kib": at_rest,
        }
    finally:
        runner.close()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
