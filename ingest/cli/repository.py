"""`holdfast init` and `holdfast key`: a repository and its one secret.

Imports `ingest.wiring`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import print_json, say
from ingest.wiring import InitOptions, init_home, load_keys
from storage.files import create_file
from storage.keys import KeyRing

key_app = typer.Typer(help="The repository's key.", no_args_is_help=True)
app.add_typer(key_app, name="key")


@app.command()
def init(
    context: typer.Context,
    chunk_bytes: Annotated[int, typer.Option(help="Chunk size, a power of two; fixed for ever.")] = 256 * 1024,
    compression_level: Annotated[int, typer.Option(min=1, max=19, help="zstd level.")] = 1,
    no_encryption: Annotated[bool, typer.Option("--no-encryption", help="Store chunks in the clear.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Create a repository."""
    home = home_of(context)
    options = InitOptions(chunk_bytes, compression_level, encrypted=not no_encryption)
    config = init_home(home, options)
    if as_json:
        print_json(
            {
                "home": str(home.root),
                "repository_id": config.repository_id,
                "key_id": config.key_id,
                "chunk_bytes": config.chunk_bytes,
                "encrypted": config.encrypted,
            }
        )
        return
    sys.stdout.write(f"{home.root}\n")
    if config.encrypted:
        say("Without its key nothing can be restored. Keep a copy elsewhere: holdfast key export --to FILE")


@key_app.command("export")
def export_key(
    context: typer.Context,
    to: Annotated[Path | None, typer.Option(help="Write it to this new file, mode 0600, not to the screen.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the key as text that `key import` reads back."""
    home = home_of(context)
    keys = load_keys(home, home.read_config())
    if to is not None:
        create_file(to, [keys.export().encode()], partial=to.parent, mode=0o600)
    if as_json:
        print_json({"key_id": keys.key_id, "file": to} if to else {"key_id": keys.key_id, "key": keys.export()})
    elif to is None:
        sys.stdout.write(keys.export())
    else:
        say(f"key {keys.key_id} is in {to}")


@key_app.command("import")
def import_key(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="A file that `key export` wrote; - is standard input.")],
    as_json: JsonOption = False,
) -> None:
    """Put a lost key back; a key that is not this repository's is refused."""
    home = home_of(context)
    config = home.read_config()
    text = sys.stdin.read() if str(source) == "-" else source.read_text()
    keys = KeyRing.import_text(text)
    keys.require(config.key_id)
    keys.save(home.key_file)
    if as_json:
        print_json({"key_id": keys.key_id, "file": home.key_file})
    else:
        say(f"key {keys.key_id} is back in {home.key_file}")
