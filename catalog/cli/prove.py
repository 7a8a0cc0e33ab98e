"""`holdfast prove`: a file that proves a machine's backups, and its check on any machine.

Imports `catalog`; the check imports no database and opens no home.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import print_record, say
from catalog.ledger.bundle import MAX_FILE_BYTES, CoverageRequest
from catalog.ledger.note import VerifierKey
from catalog.ledger.verdict import BundleVerdict, check_bundle
from storage.errors import EXIT_GAPS, Invalid, NotFound
from storage.files import create_file

if TYPE_CHECKING:
    from catalog.domain.coverage import CoverageReport

_SPAN = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

prove_app = typer.Typer(help="Proofs that hold without this catalog.", no_args_is_help=True)
app.add_typer(prove_app, name="prove")


@prove_app.command("coverage")
def coverage(
    context: typer.Context,
    machine: Annotated[str, typer.Option(help="NAME, SOURCE/NAME or identifier.")],
    since: Annotated[str, typer.Option("--from", metavar="D", help="First day (UTC), or a time with its zone.")],
    until: Annotated[str, typer.Option("--to", metavar="D", help="Last day (UTC), or the time at which it ends.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write; it must not exist.")],
    rpo: Annotated[str, typer.Option(help="How old the newest restore point may ever be: 90m, 24h, 7d.")] = "24h",
    accept_left_out: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="A disk that restore points may lack; repeat for more.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Write a file that proves what backups a machine had; anyone with the public key can check it."""
    from catalog.ledger.ledger import Ledger  # noqa: PLC0415 - a check needs neither
    from catalog.runtime import Catalog, utc_now  # noqa: PLC0415 - a check needs neither

    home = home_of(context)
    with Catalog.opened(home) as catalog:
        request = CoverageRequest(
            machine_id=catalog.machine_named(machine).machine_id,
            start=moment(since, end=False),
            end=moment(until, end=True),
            rpo_seconds=span_seconds(rpo),
            accepted=tuple(accept_left_out or ()),
        )
        ledger = Ledger(catalog.log, home, utc_now)
        content, key = ledger.prove_coverage(request), ledger.public_key()
    verdict = check_bundle(content, key)
    create_file(output, [content], partial=output.absolute().parent)
    return _told(verdict, as_json=as_json, file=output)


@prove_app.command("check")
def check(
    bundle: Annotated[Path, typer.Argument(metavar="FILE", help="What `prove coverage` wrote.")],
    key: Annotated[str, typer.Option(help="The public key, or a file that holds it.")],
    as_json: JsonOption = False,
) -> int:
    """Check a proof with the public key only. Exit 0: covered; 1: proven, but not covered; 4: does not verify."""
    with _opened(bundle) as file:
        content = file.read(MAX_FILE_BYTES + 1)
    return _told(check_bundle(content, key_text(key)), as_json=as_json, file=bundle)


def moment(text: str, *, end: bool) -> datetime:
    """A day (its start, or its end) or a time with a zone. Raises Invalid `time`."""
    try:
        if len(text) == len("2026-07-01"):
            return datetime.combine(date.fromisoformat(text) + timedelta(days=end), time(), UTC)
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise _bad_time(text) from error
    if when.tzinfo is None:
        raise _bad_time(text)
    return when.astimezone(UTC)


def span_seconds(text: str) -> int:
    """A span of time such as 90m, 24h or 7d. Raises Invalid `span`."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise Invalid(f"{text[:40]!r} is no span of time", code="span", hint="90m, 24h or 7d")
    return int(found[1]) * _SECONDS[found[2]]


def key_text(given: str) -> str:
    """A public key as text: given as such, or the name of a file that holds it."""
    path = Path(given)
    if "+" in given and not path.is_file():
        return given
    with _opened(path) as file:
        return str(VerifierKey.parse(file.read(4096).decode(errors="replace")))


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", code="file-missing") from error


def _told(verdict: BundleVerdict, *, as_json: bool, file: Path) -> int:
    found = verdict.report
    record: dict[str, Any] = {
        "passed": verdict.passed,
        "machine": list(verdict.names) if as_json else ", ".join(verdict.names),
        "machine_id": verdict.request.machine_id,
        "start": found.start,
        "end": found.end,
        "rpo_seconds": verdict.request.rpo_seconds,
        "accepted_left_out": list(verdict.request.accepted),
        "complete": verdict.complete,
        **_counts(found, as_json=as_json),
        "events": verdict.events,
        "checkpoint_size": verdict.checkpoints[-1].size,
        "checkpoint_root": verdict.checkpoints[-1].root,
        "earlier_checkpoint_size": verdict.checkpoints[0].size if len(verdict.checkpoints) > 1 else None,
        "key": str(verdict.key),
        "file": file,
    }
    print_record(record, as_json=as_json)
    for gap in found.gaps:
        say(f"not covered from {gap.start:%Y-%m-%dT%H:%M:%SZ} to {gap.end:%Y-%m-%dT%H:%M:%SZ}")
    if not verdict.complete:
        say("no event of the machine behind the period is there yet, so the last ones in it could have been left out")
    return 0 if verdict.passed else EXIT_GAPS


def _counts(found: CoverageReport, *, as_json: bool) -> dict[str, Any]:
    left_out = {disk.label: disk.points for disk in found.left_out}
    gaps = [{"start": gap.start, "end": gap.end} for gap in found.gaps]
    return {
        "restore_points": found.points,
        "verified_points": found.verified_points,
        "damaged_points": found.damaged_points,
        "deleted_points": found.deleted_points,
        "known_from": found.known_from,
        "left_out": left_out,
        "gaps": gaps if as_json else len(gaps),
    }


def _bad_time(text: str) -> Invalid:
    return Invalid(f"{text[:40]!r} is no time", code="time", hint="2026-07-01, or 2026-07-01T00:00:00Z")
