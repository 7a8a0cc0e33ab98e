"""A real OpenID provider, oidc-provider on Node.js, with keys that the test knows; and a hostile one."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ROOT = Path(__file__).parents[2]
SERVER = Path(__file__).parent / "oidc_provider" / "server.mjs"
INSTALLED = ROOT / "build" / "oidc-provider"
SECRET = "a client's secret that is no secret"
Jwk = dict[str, Any]


def rsa_jwk(kid: str, bits: int = 2048) -> Jwk:
    """A private RSA key."""
    key = rsa.generate_private_key(65537, bits)
    return {**RSAAlgorithm.to_jwk(key, as_dict=True), "kid": kid, "use": "sig"}


def ec_jwk(kid: str) -> Jwk:
    """A private P-256 key."""
    return {**ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True), "kid": kid, "use": "sig"}


def public(jwk: Jwk) -> Jwk:
    """What a provider tells of a key."""
    return {name: value for name, value in jwk.items() if name not in ("d", "p", "q", "dp", "dq", "qi", "key_ops")}


class Provider:
    """The running provider; `keys` are those it has now."""

    def __init__(self, process: subprocess.Popen[str], clients: Mapping[str, Mapping[str, Any]]) -> None:
        self._process = process
        self._clients = clients
        self.keys: list[Jwk] = []
        self.issuer = ""

    def rotate(self, *keys: Jwk) -> None:
        """Have these keys, and no others."""
        clients = {name: {"secret": SECRET, **client} for name, client in self._clients.items()}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"jwks": {"keys": keys}, "clients": clients}) + "\n")
        self._process.stdin.flush()
        self.issuer = json.loads(self._process.stdout.readline())["issuer"]
        self.keys = list(keys)

    def token(self, client: str, audience: str) -> str:
        """An access token for the API `audience`, by the client credentials grant."""
        answer = httpx.post(
            f"{self.issuer}/token",
            data={"grant_type": "client_credentials", "resource": audience},
            auth=(client, SECRET),
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def stop(self) -> None:
        """End it, as an outage does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@contextmanager
def running_provider(clients: Mapping[str, Mapping[str, Any]], *keys: Jwk) -> Iterator[Provider]:
    """Start the provider; skips where Node.js is missing, and fails where it was not installed."""
    if which("node") is None or which("npm") is None:
        pytest.skip("node or npm is missing")
    assert (INSTALLED / "node_modules" / "oidc-provider").is_dir(), "not installed: make oidc-provider"
    process = subprocess.Popen(
        ["node", "--no-warnings", str(SERVER), str(INSTALLED)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    provider = Provider(process, clients)
    try:
        provider.rotate(*keys)
        yield provider
    finally:
        if process.poll() is None:
            provider.stop()


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve GET requests on loopback with `answer`, and give the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *values: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hung up is what some tests want."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        port = server.server_address[1]
        yield f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
