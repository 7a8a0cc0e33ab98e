"""The simulated hosts behind real sockets: WinRM with NTLM over TLS for each node, and one real Samba for their files.

Nodes have loopback addresses of their own and, as our settings want it, the same port.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.hyperv.settings import HypervSettings
from adapters.secret import Secret
from tests.support.hyperv.world import HypervWorld
from tests.support.samba_server import PASSWORD, samba_server
from tests.support.winrm import WinrmSimulator

_ATTEMPTS = 5


@dataclass(frozen=True)
class Served:
    """Where the hosts are, and whom they let in."""

    host: str
    port: int
    smb_port: int
    user: str
    ca_file: Path
    simulators: tuple[WinrmSimulator, ...]
    password: str = PASSWORD

    def settings(self, **others: Any) -> HypervSettings:
        """Settings that reach them."""
        password = Secret(lambda: self.password)
        where = {"port": self.port, "smb_port": self.smb_port, "ca_file": self.ca_file}
        return HypervSettings(self.host, self.user, password, **where | others)


@contextmanager
def served(world: HypervWorld) -> Iterator[Served]:
    """Serve a world. At the end no shell is open, and nothing went in clear text."""
    world.addresses = {node: f"127.0.0.{number}" for number, node in enumerate(world.nodes, 1)}
    drive = world.storage.root / "C"
    drive.mkdir(parents=True, exist_ok=True)
    interfaces = " ".join(f"{address}/8" for address in world.addresses.values())
    with ExitStack() as stack:
        simulators = _simulators(world, stack)
        samba = stack.enter_context(samba_server({"C$": drive}, options={"interfaces": interfaces}))
        with open(os.environ["NTLM_USER_FILE"], "a") as accounts:
            accounts.write(f":{samba.user}:{PASSWORD}\n")
        first = simulators[0]
        yield Served(first.address, first.port, samba.port, samba.user, first.ca_file, simulators)
        assert [simulator.open_shells for simulator in simulators] == [0] * len(simulators)
        assert [body for simulator in simulators for body in simulator.clear_bodies] == []


def _simulators(world: HypervWorld, stack: ExitStack) -> tuple[WinrmSimulator, ...]:
    """One for each node; another port is tried when the first one's is taken at the others' addresses."""
    for _ in range(_ATTEMPTS):
        with ExitStack() as started:
            made: list[WinrmSimulator] = []
            try:
                for node, address in world.addresses.items():
                    port = made[0].port if made else 0
                    beside = made[0] if made else None
                    simulator = WinrmSimulator(
                        world.answer, host=node, address=address, port=port, names=(address,), beside=beside
                    )
                    made.append(started.enter_context(simulator))
            except OSError:
                continue
            stack.push(started.pop_all())
            return tuple(made)
    raise RuntimeError("no port is free at all of the nodes' addresses")
