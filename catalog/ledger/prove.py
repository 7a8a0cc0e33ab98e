"""Making a coverage proof from the log. Imports `catalog.log` and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from catalog.domain.events import Event, RestorePointCommitted
from catalog.ledger.bundle import Bundle, CoverageRequest, ProvenEvent, check_request, claim_of, encode_bundle
from catalog.ledger.checkpoint import Checkpoint
from catalog.ledger.decode import decode_event
from catalog.ledger.evidence import collect, report
from catalog.log import EventLog
from catalog.log.chain import StoredRow
from storage.errors import NotFound

if TYPE_CHECKING:
    from catalog.ledger.ledger import Ledger

Row = tuple[StoredRow, Event]


def prove_coverage(ledger: Ledger, log: EventLog, request: CoverageRequest) -> bytes:
    """The bundle for a request. Raises NotFound `machine-unknown`, Invalid `machine-unknown-then`, Limit, Corrupt."""
    check_request(request)
    upto = log.position()
    machine = _bracketed(_rows(log, request, upto), request)
    chosen = sorted([*machine, *_verifications(log, machine, upto)], key=lambda row: row[0].position)
    found = collect([event for _, event in chosen], request)
    claim = claim_of(report(found, request))
    checkpoints = _checkpoints(ledger, request, least=chosen[-1][0].position, upto=upto)
    newest = checkpoints[-1]
    return encode_bundle(
        Bundle(
            request=request,
            checkpoints=tuple(checkpoint.note for checkpoint in checkpoints),
            consistency=tuple(ledger.consistency(checkpoints[0].size, newest.size)),
            events=tuple(_proven(row) for row, _ in chosen),
            nodes=tuple(ledger.multiproof([row.position for row, _ in chosen], newest.size)),
            claim=claim,
        )
    )


def _rows(log: EventLog, request: CoverageRequest, upto: int) -> list[Row]:
    rows = [_decoded(row) for row in log.evidence.stream(request.machine_id) if row.position <= upto]
    if not rows:
        raise NotFound(f"there is no machine {request.machine_id}", code="machine-unknown")
    return rows


def _bracketed(rows: Sequence[Row], request: CoverageRequest) -> Sequence[Row]:
    """The events that can matter, with the one before and the one behind them."""
    reach = request.start - request.rpo
    first = next((at for at, (_, event) in enumerate(rows) if event.recorded_at >= reach), len(rows))
    last = max((at for at, (_, event) in enumerate(rows) if event.recorded_at < request.end), default=-1)
    return rows[max(first - 1, 0) : last + 2]


def _verifications(log: EventLog, machine: Sequence[Row], upto: int) -> list[Row]:
    points = [event.restore_point_id for _, event in machine if isinstance(event, RestorePointCommitted)]
    rows = (row for point in points for row in log.evidence.stream(point))
    return [_decoded(row) for row in rows if row.position <= upto]


def _checkpoints(ledger: Ledger, request: CoverageRequest, *, least: int, upto: int) -> list[Checkpoint]:
    """The newest published one, or one made now if that does not reach; before it the first since the period began."""
    published = ledger.status().published_size or 0
    newest = ledger.checkpoint_at(published if published >= least else upto)
    first = ledger.first_published_since(request.start)
    if first is None or first.size >= newest.size:
        return [newest]
    return [ledger.checkpoint_at(first.size), newest]


def _decoded(row: StoredRow) -> Row:
    return row, decode_event(row.originator_id, row.originator_version, row.topic, row.state)


def _proven(row: StoredRow) -> ProvenEvent:
    return ProvenEvent(row.position, row.originator_id.bytes, row.originator_version, row.topic, row.state)
