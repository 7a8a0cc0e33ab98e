"""Secrets are in no file of the home, no log line, no answer and no process's arguments or environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from catalog.access.caller import Role
from tests.support.api_lab import ApiLab, Server, served

PATHS = ("/openapi.json", "/metrics", "/healthz", "/v1/whoami", "/v1/tokens", "/v1/events?limit=1000", "/v1/nothing")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiLab]:
    """A home."""
    with closing(ApiLab(tmp_path_factory.mktemp("secrets"))) as lab:
        yield lab


@pytest.fixture(scope="module")
def server(lab: ApiLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its server."""
    with served(lab.lab.home.root, tmp_path_factory.mktemp("log")) as server:
        yield server


def family(pid: int) -> Iterator[int]:
    """A process and all its descendants; one that ends meanwhile is left out."""
    yield pid
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from family(int(child))


def started_with(pid: int) -> Iterator[bytes]:
    """The arguments and the environment of a process, while it lives."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for name in ("cmdline", "environ"):
            yield Path(f"/proc/{pid}/{name}").read_bytes()


def files(*roots: Path) -> Iterator[Path]:
    """All files below these."""
    for root in roots:
        yield from (path for path in root.rglob("*") if path.is_file())


def test_a_token_is_nowhere_but_where_it_was_shown(lab: ApiLab, server: Server) -> None:
    """Used rightly, or put into a URL, a header, a body or a statement by mistake: it is neither kept nor repeated."""
    secret = lab.token("canary", Role.ADMIN)
    half = secret[36:]
    asked = [server.ask("GET", path, secret) for path in PATHS]
    asked += [
        server.ask("GET", f"/v1/machines?token={secret}", secret),
        server.ask("GET", f"/v1/machines/{secret}", secret),
        server.ask("GET", f"/v1/search?q={secret}", secret),
        server.ask("GET", f"/{secret}", secret),
        server.ask("GET", "/v1/whoami", None, **{"X-Api-Key": secret, "Cookie": f"token={secret}"}),
        server.ask("GET", "/v1/whoami", secret + "x"),
        server.ask("POST", "/v1/sql", secret, {"query": f"FROM nothing SELECT '{secret}'"}),
        server.ask("POST", "/v1/sql", secret, {"query": f"SELEC '{secret}'"}),
        server.ask("POST", "/v1/tokens", secret, {"name": secret, "role": "admin"}),
        server.ask("POST", "/v1/tokens", secret, {"name": "x", "role": secret}),
        server.ask("POST", "/v1/backups", secret, {"source": secret}),
    ]
    asked.append(server.ask("GET", "/v1/events?limit=1000&newest_first=true", secret))
    for answer in asked:
        # A problem's `instance` is the path that its caller asked for.
        if half not in answer.request.url.path:
            assert half not in f"{answer.text} {dict(answer.headers)}", answer.request.url
    told = [words for pid in family(server.process.pid) for words in started_with(pid)]
    assert told
    assert not any(half.encode() in words for words in told)
    for path in files(lab.lab.home.root, server.log.parent):
        assert half.encode() not in path.read_bytes(), path


def test_no_key_of_the_home_is_told(lab: ApiLab, server: Server) -> None:
    """Neither the keys' bytes nor their text are in an answer, the log or an event."""
    secret = lab.token("reader", Role.ADMIN)
    said = "".join(server.ask("GET", path, secret).text for path in PATHS) + server.log.read_text()
    keys = list(files(lab.lab.home.key_file.parent))
    assert keys
    for key in keys:
        raw = key.read_bytes()
        assert os.stat(key).st_mode & 0o077 == 0
        for form in (raw.hex(), raw.decode("latin-1").strip()):
            assert form not in said, key
