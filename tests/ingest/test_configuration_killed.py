"""Processes killed while they store a machine's configuration: no point without it, and the next run goes on."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from adapters.port import ConfigurationFile
from catalog.configuration import configuration_of
from catalog.domain import events as ev
from tests.support.lab import CHUNK, REPOSITORY, Lab
from tests.support.memory_source_simulator import Hypervisor

CONTENT = b"d" * (3 * CHUNK)
NVRAM = bytes(range(256)) * 300
KILLED = """
import os, signal, sys
from adapters.port import ConfigurationFile
from ingest import configuration, flow, kinds
from ingest.cli.main import main, register
from tests.support.memory_source_simulator import Hypervisor, MemorySource
register(sys.argv[2:])
hypervisor = Hypervisor()
nvram = ConfigurationFile("web.nvram", bytes(range(256)) * 300)
hypervisor.add("web", b"d" * (3 * 65536), configuration=(nvram,))
kinds.KINDS["memory"] = kinds.Kind((), lambda *_: MemorySource(hypervisor))

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "before the packs":
    configuration._stored = die
elif sys.argv[1] == "before the event":
    configuration._record = die
else:
    flow.MachineBackup._commit = die
del sys.argv[1]
main()
"""


@pytest.mark.parametrize("moment", ["before the packs", "before the event", "before the commit"])
def test_a_kill_leaves_a_configuration_or_no_point(lab: Lab, hypervisor: Hypervisor, moment: str) -> None:
    """Killed there, there is no restore point; the next run makes one, whose configuration is whole and verifies."""
    machine = hypervisor.add("web", CONTENT, configuration=(ConfigurationFile("web.nvram", NVRAM),))
    lab.ok("source", "add", "dc1", "--kind", "memory")
    command = [sys.executable, "-c", KILLED, moment, "--home", str(lab.home.root), "backup", "dc1"]
    killed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert lab.of_type(ev.RestorePointCommitted) == []
    assert len(lab.of_type(ev.ConfigurationRecorded)) == (moment == "before the commit")
    record = lab.backup_one(target="dc1")
    (made,) = lab.of_type(ev.RestorePointCommitted)
    with lab.services() as services:
        kept = configuration_of(services.log, made.run_id)
    assert kept is not None
    assert [part.name for part in kept.files] == ["web.nvram"]
    lab.ok("restore", record["restore_point"], "--configuration", "--to", lab.root / "out")
    assert (lab.root / "out" / "web.nvram").read_bytes() == NVRAM
    assert lab.restored(record["restore_point"]) == bytes(machine.disks["disk-0"].content)
    lab.ok("verify")
    assert [event.outcome for event in lab.of_type(ev.RunClosed)] == ["interrupted", "completed"]
