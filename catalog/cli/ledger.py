"""`holdfast ledger`: the key, the places, checkpoints now, and whether the log is still the one that was signed.

Imports `catalog`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import print_json, print_record, print_rows, say
from catalog.cli.prove import key_text
from catalog.ledger.check import Kept
from catalog.ledger.checkpoint import read_checkpoint
from catalog.ledger.history import BUCKET, DIRECTORY
from catalog.ledger.ledger import Ledger
from catalog.ledger.note import VerifierKey
from catalog.ledger.places import check_note_bytes
from catalog.ledger.references import check_reference
from catalog.runtime import Catalog, utc_now
from storage.errors import EXIT_CODES, EXIT_PARTIAL, Invalid

ledger_app = typer.Typer(
    help="Tamper-evident history: signed checkpoints and where they are kept.", no_args_is_help=True
)
place_app = typer.Typer(help="Places outside the database where checkpoints are kept.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")
ACCESS_KEY, SECRET_KEY = "env:AWS_ACCESS_KEY_ID", "env:AWS_SECRET_ACCESS_KEY"
ledger_app.add_typer(place_app, name="place")


@contextmanager
def opened_ledger(context: typer.Context) -> Iterator[Ledger]:
    """Open the ledger of the home at hand."""
    home = home_of(context)
    with Catalog.opened(home) as catalog:
        yield Ledger(catalog.log, home, utc_now)


@ledger_app.command("key")
def key(
    context: typer.Context,
    renew: Annotated[bool, typer.Option("--renew", help="Make a new key: the old one is lost for good.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the public key: give it to whoever will check checkpoints and proofs."""
    with opened_ledger(context) as ledger:
        text = ledger.renew_key() if renew else ledger.public_key()
    if as_json:
        print_json({"public_key": text})
    else:
        sys.stdout.write(text + "\n")


@ledger_app.command("status")
def status(context: typer.Context, as_json: JsonOption = False) -> int:
    """Say what was published, when, and which places fail."""
    with opened_ledger(context) as ledger:
        found = ledger.status()
    record: dict[str, Any] = {
        "size": found.size,
        "published_at": found.published_at,
        "published_size": found.published_size,
        "age_seconds": None if found.age is None else int(found.age.total_seconds()),
        "places": [asdict(place) for place in found.places],
    }
    if not as_json:
        record["places"] = ", ".join(f"{one.name}{' (failing)' if one.failing else ''}" for one in found.places)
    print_record(record, as_json=as_json)
    return EXIT_PARTIAL if any(place.failing for place in found.places) else 0


@ledger_app.command("checkpoint")
def checkpoint(context: typer.Context, as_json: JsonOption = False) -> int:
    """Sign the log as it is now, keep that at every place, and print it."""
    with opened_ledger(context) as ledger:
        published = ledger.publish()
        note = ledger.checkpoint_at(published.size).note
    if as_json:
        record = {
            "size": published.size,
            "root": published.root,
            "places": published.places,
            "failed": published.failed,
        }
        print_json(record | {"note": note})
    else:
        sys.stdout.write(note)
    for name in published.failed:
        say(f"{name} did not take it; it is tried again")
    return EXIT_PARTIAL if published.failed else 0


@ledger_app.command("check")
def check(
    context: typer.Context,
    checkpoint_file: Annotated[Path | None, typer.Option("--checkpoint", help="Compare with this one only.")] = None,
    place: Annotated[str | None, typer.Option(help="Compare with what this place keeps only.")] = None,
    public_key: Annotated[str | None, typer.Option("--key", help="The key that signed it, not the home's own.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Recompute the log from its events and compare it with every checkpoint."""
    if checkpoint_file and place:
        raise Invalid("name a checkpoint or a place, not both", code="usage")
    with opened_ledger(context) as ledger:
        kept = None
        if checkpoint_file is not None:
            verifier = VerifierKey.parse(key_text(public_key) if public_key else ledger.public_key())
            note = check_note_bytes(checkpoint_file.read_bytes(), str(checkpoint_file))
            kept = [Kept(str(checkpoint_file), read_checkpoint(note, verifier))]
        elif place is not None:
            kept = ledger.kept_by(place)
        found = ledger.check(kept)
    record: dict[str, Any] = {"ok": found.ok, "events": found.events, "checkpoints": found.checkpoints}
    if as_json:
        print_json(record | {"findings": [asdict(finding) for finding in found.findings]})
    else:
        print_record(record, as_json=False)
        if not found.ok:
            print_rows([asdict(one) for one in found.findings], ["where", "first", "last", "problem"], as_json=False)
    return 0 if found.ok else EXIT_CODES["corrupt"]


@place_app.command("add")
def add_place(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    directory: Annotated[
        Path | None, typer.Option("--dir", help="A directory that exists, best on another host.")
    ] = None,
    s3: Annotated[
        str | None, typer.Option("--s3", metavar="BUCKET[/PREFIX]", help="A bucket with object lock.")
    ] = None,
    endpoint: Annotated[str, typer.Option(help="URL of the S3 service, if it is not Amazon's.")] = "",
    region: Annotated[str, typer.Option(help="Region of the bucket.")] = "us-east-1",
    access_key: Annotated[str, typer.Option(help="Reference to the access key.")] = ACCESS_KEY,
    secret_key: Annotated[str, typer.Option(help="Reference to the secret key.")] = SECRET_KEY,
    as_json: JsonOption = False,
) -> None:
    """Keep checkpoints at one more place; secrets are given as env:NAME, file:PATH or command:PROGRAM."""
    if (directory is None) == (s3 is None):
        raise Invalid("a place is a directory or a bucket", code="usage", hint="--dir PATH, or --s3 BUCKET/PREFIX")
    if directory is not None:
        kind, settings = DIRECTORY, {"path": str(directory.expanduser().absolute())}
    else:
        bucket, _, prefix = (s3 or "").partition("/")
        kind, settings = BUCKET, {"bucket": bucket, "prefix": prefix, "endpoint": endpoint, "region": region}
        settings |= {"access_key": check_reference(access_key), "secret_key": check_reference(secret_key)}
    with opened_ledger(context) as ledger:
        ledger.add_place(name, kind, settings)
    print_record({"name": name, "kind": kind, "settings": settings}, as_json=as_json)


@place_app.command("list")
def list_places(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the places."""
    with opened_ledger(context) as ledger:
        rows = [asdict(place) for place in ledger.status().places]
    print_rows(rows, ["name", "kind", "kept_size", "failing", "settings"], as_json=as_json)


@place_app.command("remove")
def remove_place(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The place.")],
    as_json: JsonOption = False,
) -> None:
    """Stop keeping checkpoints at a place; those that are there stay."""
    with opened_ledger(context) as ledger:
        ledger.remove_place(name)
    print_record({"removed": name}, as_json=as_json)
