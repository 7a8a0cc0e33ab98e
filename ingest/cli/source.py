"""`holdfast source`: where machines come from.

Imports `ingest.sources`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from catalog.cli.app import JsonOption, app
from catalog.cli.output import print_record, print_rows, say
from ingest.cli.index import follow
from ingest.cli.work import working
from ingest.inventory import discover
from ingest.sources import add_source, connected, remove_source

source_app = typer.Typer(help="Where machines come from.", no_args_is_help=True)
app.add_typer(source_app, name="source")


@source_app.command("add")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What to call the source.")],
    kind: Annotated[str, typer.Option(help="image, qemu, vmware, hyperv or xen.")],
    path: Annotated[str | None, typer.Option(help="image: the directory of images.")] = None,
    qmp: Annotated[str | None, typer.Option(help="qemu: its QMP socket.")] = None,
    ga: Annotated[str | None, typer.Option(help="qemu: the guest agent's socket, to quiesce file systems.")] = None,
    host: Annotated[
        str | None, typer.Option(help="vmware: the vCenter or ESXi host; hyperv: a host; xen: the pool's master.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="vmware, hyperv, xen: who signs on there.")] = None,
    password: Annotated[
        str | None,
        typer.Option(metavar="REF", help="Where the password is: env:NAME, file:PATH, command:ARGV, keyring:S/USER."),
    ] = None,
    port: Annotated[str | None, typer.Option(help="vmware, xen [443], hyperv [5986]: the port.")] = None,
    ca: Annotated[str | None, typer.Option(metavar="FILE", help="Trust what these certificates sign.")] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256",
            help="Trust the one certificate with this fingerprint; xen: one for each host, with commas.",
        ),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Trust whoever answers.")] = False,
    transport: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="vmware, xen: only these ways to the disks; repeatable.")
    ] = None,
    quiesce: Annotated[str | None, typer.Option(help="vmware, hyperv: require, prefer or never.")] = None,
    vddk: Annotated[str | None, typer.Option(metavar="DIR", help="vmware: where VMware's disk library is.")] = None,
    connections: Annotated[
        str | None, typer.Option(help="vmware, xen: connections to one host at a time, for disks [8, 16].")
    ] = None,
    members: Annotated[
        str | None,
        typer.Option(metavar="HOSTS", help="xen: other hosts of the pool, with commas, should the master go."),
    ] = None,
    keep_snapshots: Annotated[
        bool,
        typer.Option(
            "--keep-snapshots", help="xen: where no changes are tracked, leave the last snapshot to compare with."
        ),
    ] = False,
    array: Annotated[
        str | None, typer.Option(metavar="FILE", help="vmware: the storage array that holds disks, described in TOML.")
    ] = None,
    cluster: Annotated[bool, typer.Option("--cluster", help="hyperv: all nodes of the host's cluster.")] = False,
    auth: Annotated[str | None, typer.Option(help="hyperv: ntlm, kerberos, credssp or basic [ntlm].")] = None,
    http: Annotated[bool, typer.Option("--http", help="hyperv: over HTTP, messages encrypted.")] = False,
    legacy: Annotated[bool, typer.Option("--legacy", help="hyperv: hosts before Windows Server 2016.")] = False,
    share: Annotated[
        str | None, typer.Option(help="hyperv: a share with a folder for each drive, in place of C$ and the like.")
    ] = None,
    smb_port: Annotated[str | None, typer.Option(help="hyperv: the port of SMB [445].")] = None,
    smb_encrypt: Annotated[bool, typer.Option("--smb-encrypt", help="hyperv: refuse SMB without encryption.")] = False,
    smb_handles: Annotated[str | None, typer.Option(help="hyperv: files opened at once for each disk [4].")] = None,
    as_json: JsonOption = False,
) -> None:
    """Add a source, after it answered, and list its machines."""
    settings = _typed(context.params, besides=("name", "kind", "as_json"))
    with working(context) as services:
        add_source(services, name, kind, settings)
        with connected(services, name) as source:
            found = discover(services, name, source)
        follow(services)
    rows = [
        {"machine": fact.name, "disks": len(fact.disks), "size_bytes": sum(disk.size_bytes for disk in fact.disks)}
        for fact, _ in found
    ]
    print_rows(rows, ["machine", "disks", "size_bytes"], as_json=as_json)


def _typed(given: Mapping[str, object], besides: Collection[str]) -> dict[str, str]:
    """Options as settings: a flag is true, several values have commas between, what was not said is none."""
    said = {name.replace("_", "-"): value for name, value in given.items() if name not in besides}
    return {
        name: "true" if value is True else ",".join(value) if isinstance(value, list | tuple) else str(value)
        for name, value in said.items()
        if value not in (None, False, (), [])
    }


@source_app.command("list")
def list_sources(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the sources."""
    with working(context) as services:
        rows = [
            {"source": state.name, "kind": state.kind, "settings": dict(state.settings)}
            for state in services.catalog.sources()
            if not state.removed
        ]
    print_rows(rows, ["source", "kind", "settings"], as_json=as_json)


@source_app.command("check")
def check(context: typer.Context, name: str, as_json: JsonOption = False) -> None:
    """Ask a source whether a backup could begin."""
    with working(context) as services, connected(services, name) as source:
        fact = source.check()
    print_record({"source": name, **asdict(fact)}, as_json=as_json)


@source_app.command("remove")
def remove(context: typer.Context, name: str, as_json: JsonOption = False) -> None:
    """Stop backing a source up; its restore points stay."""
    with working(context) as services:
        remove_source(services, name)
        follow(services)
    if as_json:
        print_record({"source": name, "removed": True}, as_json=True)
    else:
        say(f"{name} is removed; its restore points stay")
