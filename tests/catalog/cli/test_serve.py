"""`holdfast serve`, in a process of its own."""

from __future__ import annotations

import http.client
import json
import signal
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.api_home import ApiHome
from tests.support.lab import holdfast, start_holdfast


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """It prints its address when it takes connections, ends event streams when it is told to stop, and stops."""
    made = ApiHome.made(tmp_path)
    process = start_holdfast("--home", made.home.root, "serve", "--port", "0", "--json")
    try:
        assert process.stdout is not None
        text = "".join(process.stdout.readline().decode() for _ in range(3))
        address = urlsplit(json.loads(text)["url"])
        assert address.hostname == "127.0.0.1"
        connection = http.client.HTTPConnection("127.0.0.1", address.port or 0, timeout=30)
        connection.request("GET", "/v1/events/stream?after=1")
        stream = connection.getresponse()
        assert stream.readline().startswith(b"id: ")
        process.send_signal(signal.SIGTERM)
        stream.read()
        stream.close()
        connection.close()
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode in (0, 130)


def test_it_does_not_serve_strangers(tmp_path: Path) -> None:
    """Without a token or a provider it refuses to listen beyond loopback, and says what to do."""
    home = ApiHome.made(tmp_path).home.root
    answer = holdfast("--home", home, "serve", "--host", "0.0.0.0", "--port", "0", "--json")  # noqa: S104 - refused
    assert answer.code == 6
    assert answer.problem()["code"] == "serve-unprotected"


def test_settings_that_are_wrong_are_refused(tmp_path: Path) -> None:
    """Unknown settings, half a pair of TLS files, and files that do not exist are refused."""
    home = ApiHome.made(tmp_path).home.root
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("hots = '127.0.0.1'\n")
    for arguments, code in (
        (["--settings", wrong], "settings-invalid"),
        (["--settings", tmp_path / "none.toml"], "settings-missing"),
        (["--tls-cert", tmp_path / "cert.pem"], "serve-tls"),
        (["--oidc-issuer", "https://id.example"], "serve-oidc"),
    ):
        answer = holdfast("--home", home, "serve", *arguments, "--json")
        assert answer.problem()["code"] == code
