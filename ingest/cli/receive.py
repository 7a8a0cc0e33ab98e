"""`holdfast receive`: the door for agents. Imports `ingest.receiver` and uvicorn.

Standard output has one line, the address, when connections are taken. It runs until it is interrupted.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from catalog.api.settings import ServeSettings
from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import print_json
from catalog.cli.serve import listening_socket, settings_of, url_of
from ingest.receiver.app import Door, create_app
from ingest.receiver.gate import Server
from ingest.receiver.limits import Limits
from ingest.receiver.opening import opened_door

PORT = 8766
GRACE_SECONDS = 5


@app.command()
def receive(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port, 0 for any.")] = PORT,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM; needed beyond loopback.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Receive the backups that agents send, until it is told to go."""
    settings = settings_of(
        ServeSettings(host=host, port=port),
        tls_cert=None if tls_cert is None else str(tls_cert),
        tls_key=None if tls_key is None else str(tls_key),
    )
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    with (
        opened_door(home_of(context), settings, Limits()) as door,
        listening_socket(settings.host, settings.port) as listening,
    ):
        url = url_of(settings, listening)
        if as_json:
            print_json({"url": url})
        else:
            typer.echo(url)
        server_of(door, settings).run([listening])


def server_of(door: Door, settings: ServeSettings) -> uvicorn.Server:
    """The server for a door; `run([socket])` it."""
    config = uvicorn.Config(
        create_app(door),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http="httptools",
        ws="none",
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_keep_alive=math.ceil(door.limits.keep_alive),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return Server(config, door)
