"""A repository of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.lab import Lab
from tests.support.memory_source_simulator import Hypervisor
from tests.support.qemu_vm import MISSING_TOOLS, QemuVm, VmDisk

StartVm = Callable[..., QemuVm]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """An empty repository with 64 KiB chunks and 1 MiB packs."""
    return Lab(tmp_path)


@pytest.fixture
def short_lab() -> Iterator[Lab]:
    """The same below a short path, for the sake of QEMU's sockets in it."""
    with TemporaryDirectory(prefix="hf-") as directory:
        yield Lab(Path(directory))


@pytest.fixture
def start_vm() -> Iterator[StartVm]:
    """Start real machines with the given disks; their directories have short paths, for the sake of sockets."""
    if MISSING_TOOLS:
        pytest.skip(f"needs {', '.join(MISSING_TOOLS)}")
    with ExitStack() as stack:

        def start(*disks: VmDisk) -> QemuVm:
            vm = QemuVm(Path(stack.enter_context(TemporaryDirectory(prefix="hf-"))), disks)
            stack.callback(vm.kill)
            vm.start()
            return vm

        yield start


@pytest.fixture
def hypervisor(monkeypatch: pytest.MonkeyPatch) -> Hypervisor:
    """A simulated hypervisor that the command line knows as the kind `memory`."""
    found = Hypervisor()
    found.register(monkeypatch)
    return found
