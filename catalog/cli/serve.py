"""`holdfast serve`: the HTTP API and the web page. Imports `catalog.api` and uvicorn.

Standard output has one line, the address, when connections are taken. It runs until it is interrupted.
"""

from __future__ import annotations

import gc
import logging
import socket
import ssl
from pathlib import Path
from types import FrameType
from typing import Annotated

import msgspec
import typer
import uvicorn
from fastapi import FastAPI

from catalog.access.oidc_settings import OidcSettings
from catalog.api.app import create_app
from catalog.api.heads import BoundedHeads
from catalog.api.opening import api_services
from catalog.api.settings import ServeSettings, read_settings
from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import print_json, say
from storage.errors import Invalid

KEEP_ALIVE_SECONDS = 30
GRACE_SECONDS = 5
BACKLOG = 512
GC_THRESHOLD = (50_000, 20, 100)
"""Little that a request makes is a cycle, and the warm tables are much to look through for each few hundred objects."""


@app.command()
def serve(
    context: typer.Context,
    settings_file: Annotated[Path | None, typer.Option("--settings", help="A TOML file; options go before it.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port, 0 for any [8765].")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    plain_http: Annotated[
        bool | None, typer.Option("--plain-http", help="No TLS beyond loopback: something in front encrypts.")
    ] = None,
    oidc_issuer: Annotated[str | None, typer.Option(help="An OIDC provider whose tokens are trusted.")] = None,
    oidc_audience: Annotated[str | None, typer.Option(help="The audience those tokens are for.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the API and the web page."""
    settings = settings_of(
        read_settings(settings_file) if settings_file else ServeSettings(),
        host=host,
        port=port,
        tls_cert=None if tls_cert is None else str(tls_cert),
        tls_key=None if tls_key is None else str(tls_key),
        plain_http=plain_http,
        oidc=_oidc(oidc_issuer, oidc_audience),
    )
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    with (
        api_services(home_of(context), settings) as services,
        listening_socket(settings.host, settings.port) as listening,
    ):
        url = url_of(settings, listening)
        if as_json:
            print_json({"url": url})
        else:
            typer.echo(url)
        if not services.identities.configured:
            say("No token was made yet: whoever uses this machine is admin. holdfast token create --role admin")
        gc.set_threshold(*GC_THRESHOLD)
        server_of(create_app(services), settings).run([listening])


def settings_of(base: ServeSettings, **options: object) -> ServeSettings:
    """`base` with the options that were given. Raises Invalid for half of a pair."""
    given = {name: value for name, value in options.items() if value is not None}
    settings = msgspec.structs.replace(base, **given)
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise Invalid("TLS needs a certificate and its key", code="serve-tls", hint="--tls-cert and --tls-key")
    if settings.tls_cert is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_cert, settings.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise Invalid("the certificate and key cannot be used", code="serve-tls", why=str(error)) from error
    return settings


class Server(uvicorn.Server):
    """Tells the event streams of `served` to end when it is told to end itself."""

    def __init__(self, config: uvicorn.Config, served: FastAPI) -> None:
        super().__init__(config)
        self._served = served

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        self._served.state.stopping = True
        super().handle_exit(sig, frame)


def server_of(served: FastAPI, settings: ServeSettings) -> Server:
    """The server for an application; `run([socket])` it."""
    config = uvicorn.Config(
        served,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=BoundedHeads,
        ws="none",
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return Server(config, served)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that connections to `port` wait at. Raises OSError."""
    made = socket.create_server(
        (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
    )
    # Inherited by each connection: head and body of an answer must not wait for the client's acknowledgement.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def url_of(settings: ServeSettings, listening: socket.socket) -> str:
    """Where the page is."""
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls else 'http'}://{shown}:{port}/"


def _oidc(issuer: str | None, audience: str | None) -> OidcSettings | None:
    if issuer is None and audience is None:
        return None
    if issuer is None or audience is None:
        raise Invalid("OIDC needs an issuer and an audience", code="serve-oidc", hint="--oidc-issuer, --oidc-audience")
    return OidcSettings.parse({"issuer": issuer, "audience": audience})
