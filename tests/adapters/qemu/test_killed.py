"""Our own process is killed at every step of a backup: after reconcile no change is lost and nothing is left."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.qemu.source import QemuSource
from tests.adapters.qemu.conftest import MakeSource, StartVm
from tests.adapters.qemu.test_conformance import QemuHarness
from tests.conformance.source_harness import assert_changes_complete
from tests.support.qemu_backup import frozen, full, machine_of, our_bitmaps, tokens
from tests.support.qemu_vm import MIB, QemuVm, VmDisk

Run = Callable[[int, bool, str], tuple[bool, str | None]]


@contextmanager
def killed_backups(vm: QemuVm) -> Iterator[Run]:
    """Run a backup that dies before its n-th command; return whether it came to its end, and what it committed."""
    paths = [str(path) for path in (vm.qmp_path, vm.directory / "spare", vm.scratch)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.qemu_killed", *paths, "vd0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def run(step: int, commit: bool, base: str) -> tuple[bool, str | None]:
        requests.write(f"{step} {commit} {base}\n")
        requests.flush()
        committed = None
        while (answer := answers.readline().rstrip("\n")) not in ("killed", "done"):
            assert answer.startswith("committed "), answer
            committed = answer.removeprefix("committed ")
        return answer == "done", committed

    try:
        yield run
    finally:
        requests.close()
        answers.close()
        process.wait()


@pytest.mark.parametrize("commit", [True, False])
def test_no_step_loses_a_change(start_vm: StartVm, source_of: MakeSource, commit: bool) -> None:
    """Wherever we are killed, the base in force stays complete; after the commit event the new one is in force."""
    vm = start_vm(VmDisk("vd0", size_bytes=4 * MIB))
    vm.restart("-qmp", f"unix:{vm.directory / 'spare'},server=on,wait=off")
    source = source_of(vm)
    dice = random.Random(5)
    bases, content = full(source, "vd0"), vm.content("vd0")
    step, ended = 6, False  # an inventory comes first, and changes nothing
    with killed_backups(vm) as run:
        while not ended:
            vm.write("vd0", dice.randrange(3 * MIB), dice.randbytes(dice.randrange(1, 3000)))
            before = vm.content("vd0")
            ended, committed = run(step, commit, bases["vd0"])
            assert ended or step < 100
            if committed is not None:
                bases, content = {"vd0": committed}, before
            vm.write("vd0", dice.randrange(3 * MIB), dice.randbytes(dice.randrange(1, 3000)))
            bases, content = next_point(vm, source, bases, content, committed=dice.random() < 0.5)
            step += 1
    assert step > 30


def next_point(
    vm: QemuVm, source: QemuSource, bases: dict[str, str], content: bytes, *, committed: bool
) -> tuple[dict[str, str], bytes]:
    """Reconcile, and check that an incremental rebuilds the disk; return the point that is now in force."""
    machine = machine_of(source)
    source.reconcile(machine, bases)
    assert not QemuHarness.leftovers_of(vm)
    assert len(our_bitmaps(vm, "vd0")) == 1
    assert list(source.reconcile(machine, bases)) == []
    now = vm.content("vd0")
    with frozen(source, bases, committed=committed) as snapshot:
        assert_changes_complete(snapshot.disks["vd0"], content, now)
        return (tokens(snapshot), now) if committed else (bases, content)
