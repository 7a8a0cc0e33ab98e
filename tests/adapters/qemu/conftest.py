"""Real QEMU machines for the adapter's tests."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapters.qemu.source import QemuSource
from tests.support.qemu_vm import MISSING_TOOLS, QemuVm, VmDisk

StartVm = Callable[..., QemuVm]
MakeSource = Callable[..., QemuSource]


@pytest.fixture
def start_vm() -> Iterator[StartVm]:
    """Start machines with the given disks; their directories have short paths, for the sake of sockets."""
    if MISSING_TOOLS:
        pytest.skip(f"needs {', '.join(MISSING_TOOLS)}")
    with ExitStack() as stack:

        def start(*disks: VmDisk, arguments: tuple[str, ...] = ()) -> QemuVm:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hf-")))
            vm = QemuVm(directory, disks, arguments=arguments)
            stack.callback(vm.kill)
            vm.start()
            return vm

        yield start


@pytest.fixture
def source_of() -> Iterator[MakeSource]:
    """Make sources that are closed at the end of the test."""
    with ExitStack() as stack:

        def make(vm: QemuVm, *, scratch: Path | None = None, reserve: int = 1 << 20, **more: object) -> QemuSource:
            source = QemuSource("vm", vm.qmp_path, scratch or vm.scratch, scratch_reserve_bytes=reserve, **more)
            stack.callback(source.close)
            return source

        yield make
