"""A machine with an agent as a source: what the flow asks of the port becomes questions to the agent.

Imports `adapters.port`, `ingest.agent.protocol` and this package. What an agent says is checked as any peer's: extents
ascend inside the disk, and nobody can make the flow wait or walk without end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from adapters.errors import SourceConflict, SourceInvalid, SourceNotFound
from adapters.port import (
    BlockReader,
    ConfigurationFile,
    Consistency,
    DiskFact,
    DiskSnapshot,
    Extent,
    Leftover,
    MachineFact,
    Snapshot,
    SnapshotRequest,
    SourceFact,
    Tracked,
    TransportChoice,
    Untracked,
)
from ingest.agent import protocol as said
from ingest.agent.protocol import FRAME_BYTES, OfferedDisk, OpenRun
from ingest.receiver.copying import BaseOf, Copying
from ingest.receiver.exchange import Exchange
from ingest.receiver.failures import printable


class AgentSource:
    """One run's source: the one machine whose agent opened it. `token` is what the new base will be called."""

    kind = said.SOURCE

    def __init__(self, request: OpenRun, exchange: Exchange, token: str, *, chunk_bytes: int, base_of: BaseOf) -> None:
        self._request = request
        self._base_of = base_of
        self._exchange = exchange
        self._token = token
        self._chunk_bytes = chunk_bytes
        self._cleaned = request.cleaned
        self.left_out: tuple[said.LeftOut, ...] = ()

    @property
    def consistency(self) -> Consistency:
        """What the agent was told to reach."""
        return self._request.asked

    def check(self) -> SourceFact:
        """Answer what is known of the agent."""
        return SourceFact("Holdfast agent", f"protocol {self._request.protocol}", ("sends its own backups",))

    def inventory(self) -> Sequence[MachineFact]:
        """The one machine."""
        name = self._request.machine
        return [MachineFact(name, name, tuple(self._fact(disk) for disk in self._request.disks))]

    def snapshot(self, machine: MachineFact, request: SnapshotRequest) -> Snapshot:
        """What the agent has frozen already. Raises SourceNotFound for a machine or disk that is not its own."""
        offered = {disk.key: disk for disk in self._request.disks}
        if machine.key != self._request.machine or not request.bases.keys() <= offered.keys():
            raise SourceNotFound("The agent has no such machine or disk", code="disk-not-found")
        disks = {key: self._disk(offered[key], base) for key, base in request.bases.items()}
        return AgentSnapshot(self, request.label, self._request, disks, self._exchange)

    def reconcile(self, machine: MachineFact, keep: Mapping[str, str]) -> Sequence[Leftover]:
        """Tell what the agent cleaned up before it opened the run; it keeps its bases by itself."""
        cleaned, self._cleaned = self._cleaned, ()
        return [Leftover(printable(one.what), printable(one.action)) for one in cleaned]

    def close(self) -> None:
        """Nothing is held here."""

    def _disk(self, offered: OfferedDisk, base: str | None) -> AgentDisk:
        known = base is not None and base in offered.tokens
        copying = Copying(self._base_of(offered.key) if known else None, self._chunk_bytes)
        return AgentDisk(self._fact(offered), offered, base if known else None, self._token, self._exchange, copying)

    def _fact(self, disk: OfferedDisk) -> DiskFact:
        return DiskFact(
            key=disk.key,
            label=printable(disk.key),
            size_bytes=disk.size_bytes,
            identity=printable(disk.identity),
            tracking="compare",
            granularity_bytes=self._chunk_bytes,
        )


class AgentSnapshot:
    """The disks as the agent froze them, or found them."""

    configuration: Sequence[ConfigurationFile] = ()

    def __init__(
        self,
        source: AgentSource,
        label: str,
        request: OpenRun,
        disks: Mapping[str, AgentDisk],
        exchange: Exchange,
    ) -> None:
        self.label = label
        self.consistency: Consistency = request.consistency
        self.fallback_cause: str | None = request.fallback_cause
        self.disks: Mapping[str, DiskSnapshot] = disks
        self._source = source
        self._exchange = exchange
        self._released = False

    def confirm(self) -> None:
        """Have the agent say that it was one moment, and what is missing all the same."""
        confirmed = self._exchange.ask(said.Confirmed, lambda number: said.AskConfirm(number=number))
        self._source.left_out = confirmed.left_out

    def release(self, *, committed: bool) -> None:
        """Tell the agent to let go; one that is gone does so when it next starts, and until then that is pending.

        Nothing is asked of it afterwards: who still reads gets SourceConflict.
        """
        if self._released:
            return
        self._exchange.ask(said.Released, lambda number: said.AskRelease(number=number, committed=committed))
        self._released = True
        self._exchange.end(SourceConflict("The snapshot was released", code="agent-released"))


class AgentDisk:
    """One disk of the agent."""

    choice: TransportChoice | None = None

    def __init__(
        self,
        fact: DiskFact,
        offered: OfferedDisk,
        base: str | None,
        token: str,
        exchange: Exchange,
        copying: Copying,
    ) -> None:
        self.fact = fact
        self.base_token: str | None = token
        self._base = base
        self.tracking: Tracked | Untracked = Untracked(offered.lost) if base is None else Tracked()
        self._transport = f"agent-{offered.transport}"
        self._exchange = exchange
        self._copying = copying

    def changes(self) -> Iterator[Extent]:
        """Yield the blocks that the agent found changed. Raises SourceInvalid unless it has the base."""
        base = self._base
        if base is None:
            raise SourceInvalid("The agent does not have the base", code="not-tracked")

        def ask(number: int, start: int) -> said.Question:
            return said.AskChanges(number=number, disk=self.fact.key, base=base, start=start)

        return _paged(self._exchange, ask, self.fact.size_bytes)

    def open(self) -> BlockReader:
        """Open a reader; there is nothing behind it but the exchange."""
        return AgentReader(self.fact.key, self.fact.size_bytes, self._transport, self._exchange, self._copying)


class AgentReader:
    """Reads by asking, a frame at most at once."""

    def __init__(self, disk: str, size_bytes: int, transport: str, exchange: Exchange, copying: Copying) -> None:
        self.size_bytes = size_bytes
        self.transport = transport
        self._disk = disk
        self._exchange = exchange
        self._copying = copying
        self._copies = True

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk. Raises SourceInvalid when the agent leaves a gap.

        Who asks for this reads a full, which is to owe nothing to what the agent remembers: from here on all is sent.
        """
        self._copies = False

        def ask(number: int, start: int) -> said.Question:
            return said.AskExtents(number=number, disk=self._disk, start=start)

        position = 0
        for extent in _paged(self._exchange, ask, self.size_bytes):
            if extent.start != position:
                raise _nonsense(f"nothing is said of the bytes from {position}")
            position = extent.end
            yield extent
        if position != self.size_bytes:
            raise _nonsense(f"nothing is said of the bytes from {position}")

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer`. Raises SourceInvalid past the end."""
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid(
                f"A read of {len(buffer)} bytes at {offset} is outside the disk",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        while buffer:
            part = buffer[:FRAME_BYTES]
            self._fill(offset, part)
            buffer, offset = buffer[len(part) :], offset + len(part)

    def close(self) -> None:
        """Nothing is held."""

    def _fill(self, offset: int, part: memoryview) -> None:
        answer = self._exchange.fetch(self._disk, offset, len(part), copy=self._copies and self._copying.possible)
        if not isinstance(answer, bytes) and not self._copying.copy(answer.blocks, offset, part):
            answer = self._exchange.fetch(self._disk, offset, len(part), copy=False)
        if isinstance(answer, bytes):
            part[:] = answer


def _paged(exchange: Exchange, build: Callable[[int, int], said.Question], size_bytes: int) -> Iterator[Extent]:
    """Walk an answer in pages. Each must bring the walk on, and what it says must ascend inside the disk."""
    start: int | None = 0
    position = 0
    while start is not None:
        begun = start
        page = exchange.ask(said.Extents, partial(_from, build, begun))
        until = size_bytes if page.next is None else page.next
        if not begun < until <= size_bytes:
            raise _nonsense(f"a page from {begun} ends at {until}")
        for first, length, zero in page.extents:
            if first < max(position, begun) or length < 1 or first + length > until:
                raise _nonsense(f"an extent of {length} bytes at {first}")
            position = first + length
            yield Extent(first, length, zero)
        start = page.next


def _from(build: Callable[[int, int], said.Question], start: int, number: int) -> said.Question:
    return build(number, start)


def _nonsense(why: str) -> SourceInvalid:
    return SourceInvalid("The agent contradicts itself", code="agent-extents", why=why)
