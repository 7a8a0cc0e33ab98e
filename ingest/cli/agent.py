"""`holdfast agent`: inside a machine, sends its own backups to a receiver. Imports `ingest.agent`.

It needs no home, no key and no database. Exit codes are those of `holdfast backup`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from catalog.cli.app import JsonOption, app
from catalog.cli.output import print_error, print_json, print_rows, say
from ingest.agent.backup import AgentBackup, default_name, default_state, send
from ingest.agent.connection import KINDS, Receiver
from ingest.agent.hooks import Hooks
from ingest.agent.protocol import SOURCE, PointMade, RunFailed
from ingest.progress import shown
from ingest.secrets import secret_of
from ingest.signals import Interrupted, stop_on_signals
from storage.errors import EXIT_INTERRUPTED, EXIT_PARTIAL

COLUMNS = ["restore_point", "machine", "disk", "level", "cause", "changed_bytes", "read_bytes"]
agent_app = typer.Typer(help="Back up the machine this runs on, from within.", no_args_is_help=True)
app.add_typer(agent_app, name="agent")


@agent_app.callback()
def agent() -> None:
    """Back up the machine this runs on, from within."""


@agent_app.command("backup")
def backup(
    server: Annotated[str, typer.Option(metavar="URL", help="The receiver, https://HOST:PORT.")],
    token: Annotated[str, typer.Option(metavar="REF", help="Where the token is: env:NAME, file:PATH, ...")],
    device: Annotated[list[Path] | None, typer.Option(help="A block device or raw file; repeat for more.")] = None,
    directory: Annotated[Path | None, typer.Option(help="A directory of files, as a tar archive.")] = None,
    name: Annotated[str | None, typer.Option(help="What the machine is called [its host name].")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificates that sign the receiver's, PEM [the system's].")] = None,
    fingerprint: Annotated[str | None, typer.Option(help="SHA-256 of the receiver's certificate, pinned.")] = None,
    snapshot_command: Annotated[
        str | None, typer.Option(help="Makes a snapshot of $HOLDFAST_TARGET; its last line is where to read it.")
    ] = None,
    release_command: Annotated[str | None, typer.Option(help="Removes $HOLDFAST_SNAPSHOT afterwards.")] = None,
    forget_snapshots: Annotated[
        bool, typer.Option("--forget-snapshots", help="What earlier runs left to be released is gone.")
    ] = False,
    freeze_command: Annotated[str | None, typer.Option(help="Freezes file systems, such as: fsfreeze -f /srv")] = None,
    thaw_command: Annotated[str | None, typer.Option(help="Thaws them again.")] = None,
    state: Annotated[Path | None, typer.Option(metavar="DIR", help="What it remembers between runs.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Send everything.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Send a backup of devices or of a directory, and wait for its restore point."""
    wish = AgentBackup(
        name=name or default_name(),
        devices=tuple(path.absolute() for path in device or ()),
        directory=None if directory is None else directory.absolute(),
        state=(state or default_state()).expanduser().absolute(),
        hooks=Hooks(freeze_command, thaw_command, snapshot_command, release_command, forget_snapshots),
        full=full,
    )
    receiver = Receiver(server, ca, fingerprint)
    secret = secret_of(token).reveal().strip()
    warnings: list[str] = []

    def warn(text: str) -> None:
        warnings.append(text)
        say(f"warning: {text}")

    try:
        with stop_on_signals() as stop, shown(time.monotonic) as progress:
            outcome, sent_bytes = send(wish, receiver, secret, progress=progress, stop=stop, notice=_notice, warn=warn)
    except Interrupted:
        say("interrupted: what was stored is kept, and the next run reuses it")
        return EXIT_INTERRUPTED
    if isinstance(outcome, RunFailed):
        error = KINDS[outcome.kind](outcome.what, code=outcome.code, why=outcome.why, hint=outcome.hint)
        return print_error(error, as_json=as_json)
    return _print(wish.name, outcome, sent_bytes, warnings, as_json=as_json)


def _notice(text: str) -> None:
    say(f"note: {text}")


def _print(machine: str, made: PointMade, sent_bytes: int, warnings: list[str], *, as_json: bool) -> int:
    disks: list[dict[str, Any]] = [
        {
            "disk": disk.disk,
            "level": disk.level,
            "cause": disk.cause,
            "size_bytes": disk.size_bytes,
            "changed_bytes": disk.changed_bytes,
            "read_bytes": disk.read_bytes,
        }
        for disk in made.disks
    ]
    left_out = [{"disk": one.label, "reason": one.reason, "way_out": one.way_out} for one in made.left_out]
    if as_json:
        print_json(
            {
                "restore_point": made.restore_point_id.hex,
                "machine": f"{SOURCE}/{machine}",
                "result": made.result,
                "consistency": made.consistency,
                "sent_bytes": sent_bytes,
                "disks": disks,
                "left_out": left_out,
                "warnings": warnings,
            }
        )
    else:
        about = {"restore_point": made.restore_point_id.hex[:12], "machine": machine}
        print_rows([{**about, **disk} for disk in disks], COLUMNS, as_json=False)
    for one in left_out:
        say(f"warning: {one['disk']}: {one['reason']}; {one['way_out']}")
    return EXIT_PARTIAL if made.result == "partial" else 0
