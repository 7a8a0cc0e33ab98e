"""What callers wait for: the API on a catalog of 200 machines, a year of days and 100 million chunk rows.

The catalog is made once by `tests.support.big_catalog` below build/bench-faces and kept for the next run. The server
is a process of its own, the 20 clients are threads of another; both share this machine's cores. PostgreSQL holds the
rows of a tenth of the machines, in B-trees. Run alone: `python -m tests.bench.bench_faces`.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pyarrow as pa

from catalog.home import Home
from catalog.runtime import Catalog
from storage.errors import HoldfastError
from tests.bench.figures import Figure, figure
from tests.support.big_catalog import Size, make
from tests.support.postgres_peer import postgres, server_folder

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "bench-faces"
CLIENTS = 20
REQUESTS = 40
INHERITED = 20
SAMPLES = 400
PEER_MACHINES = 20
QUARTER = {"from": "2026-04-01T00:00:00Z", "to": "2026-07-01T00:00:00Z", "rpo": "24h"}
ARROW = "application/vnd.apache.arrow.stream"


def run(size: Size = Size(), folder: Path = FOLDER) -> list[Figure]:  # noqa: B008 - a frozen value
    """Measure everything."""
    home = Home(folder / f"home-{size.machines}x{size.days}x{size.changed_blocks}")
    figures = list(_made(home, size))
    digests = _sample(home)
    with _served(home) as server:
        figures += _lists(server, digests)
        figures += _block_map(server)
    figures += _proofs(home)
    figures += _peer(home, folder)
    return figures


def _made(home: Home, size: Size) -> Iterator[Figure]:
    if _usable(home):
        return
    shutil.rmtree(home.root, ignore_errors=True)
    home.root.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    rows = make(home, size)
    yield figure("catalog of a year made: rows recorded and projected", rows / (time.perf_counter() - began), "rows/s")


def _usable(home: Home) -> bool:
    try:
        with Catalog.opened(home) as catalog:
            return catalog.index_trouble() is None
    except HoldfastError:
        return False


def _sample(home: Home) -> list[str]:
    """Digests of random chunks of the machines that PostgreSQL has too."""
    rng = random.Random(3)
    digests: list[str] = []
    with Catalog.opened(home) as catalog:
        for machine in catalog.machines()[:PEER_MACHINES]:
            disk = str(machine.disks[0].disk_id)
            batches = catalog.lake.read("chunks", ["digest"], where={"disk_id": (disk, disk), "seq": (2, None)})
            found = next(iter(batches)).column(0).to_pylist()
            digests += [value.hex() for value in rng.sample(found, min(len(found), SAMPLES // PEER_MACHINES))]
    rng.shuffle(digests)
    return digests


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server listens, and what lets an auditor in."""

    address: str
    headers: dict[str, str]


@contextmanager
def _served(home: Home) -> Iterator[Server]:
    """A server process and a token of its own."""
    made = json.loads(_holdfast(home, "token", "create", "--role", "auditor", "--expires", "1d", "--json").stdout)
    headers = {"Authorization": f"Bearer {made['secret']}"}
    command = [sys.executable, "-c", "from ingest.cli import main; main()", "--home", str(home.root)]
    server = subprocess.Popen(
        [*command, "serve", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert server.stdout is not None
        yield Server(urlsplit(server.stdout.readline().decode().strip()).netloc, headers)
    finally:
        server.terminate()
        server.wait(30)
        _holdfast(home, "token", "revoke", made["token_id"])


def _lists(server: Server, digests: list[str]) -> Iterator[Figure]:
    machines = [item["machine_id"] for item in _get(server, "/v1/machines?limit=1000")["items"]]
    rng = random.Random(5)
    questions: dict[str, Callable[[], str]] = {
        "newest 100 restore points of a machine": lambda: (
            "/v1/restore-points?" + urlencode({"machine_id": rng.choice(machines), "limit": 100})
        ),
        "coverage of a machine-quarter": lambda: f"/v1/machines/{rng.choice(machines)}/coverage?" + urlencode(QUARTER),
        "chunk references of a digest": lambda: f"/v1/chunks/{rng.choice(digests)}/references",
    }
    asked_once = [f"/v1/chunks/{digest}/references" for digest in digests]
    cold = _storm(server, [asked_once])
    name = "chunk references of a digest, HTTP, 1 client, each digest for the first time, p95"
    yield figure(name, float(np.percentile(cold, 95)) * 1000, "ms")
    for name, question in questions.items():
        _storm(server, [[question() for _ in range(5)] for _ in range(CLIENTS)])
        taken = _storm(server, [[question() for _ in range(REQUESTS)] for _ in range(CLIENTS)])
        yield figure(f"{name}, HTTP, {CLIENTS} clients, p50", float(np.percentile(taken, 50)) * 1000, "ms")
        yield figure(f"{name}, HTTP, {CLIENTS} clients, p95", float(np.percentile(taken, 95)) * 1000, "ms", "<= 100")
    inherited = [f"/v1/chunks/{digest}/references?inherited=true&limit=1" for digest in digests[:INHERITED]]
    taken = _storm(server, [inherited])
    name = "how long a chunk stays where it was written (`inherited`), HTTP, 1 client, 1 row"
    yield figure(f"{name}, p50", float(np.percentile(taken, 50)) * 1000, "ms")


def _storm(server: Server, questions: list[list[str]]) -> list[float]:
    """Ask from one thread a list, each on one connection; return all durations in seconds."""
    gate = threading.Barrier(len(questions))

    def client(paths: list[str]) -> list[float]:
        connection = HTTPConnection(server.address, timeout=60)
        gate.wait()
        taken = []
        for path in paths:
            began = time.perf_counter()
            connection.request("GET", path, headers=server.headers)
            answer = connection.getresponse()
            body = answer.read()
            taken.append(time.perf_counter() - began)
            if answer.status != 200:
                raise AssertionError((path, answer.status, body[:300]))
        connection.close()
        return taken

    with ThreadPoolExecutor(len(questions)) as pool:
        return [one for taken in pool.map(client, questions) for one in taken]


def _get(server: Server, path: str) -> Any:
    connection = HTTPConnection(server.address, timeout=60)
    connection.request("GET", path, headers=server.headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise AssertionError((path, answer.status, body[:300]))
    return json.loads(body)


def _block_map(server: Server) -> Iterator[Figure]:
    """The disk of 1 TiB, at its newest point, read to the end by a client that decodes Arrow."""
    machine = _get(server, "/v1/machines?name=vm-000")["items"][0]["machine_id"]
    point = _get(server, f"/v1/restore-points?machine_id={machine}&limit=1")["items"][0]["restore_point_id"]
    disk = _get(server, f"/v1/restore-points/{point}/disks")["items"][0]["disk_id"]
    rates = []
    for _ in range(4):
        connection = HTTPConnection(server.address, timeout=120)
        began = time.perf_counter()
        connection.request(
            "GET", f"/v1/restore-points/{point}/disks/{disk}/blocks", headers={**server.headers, "Accept": ARROW}
        )
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        rows = sum(batch.num_rows for batch in pa.ipc.open_stream(answer))
        rates.append(rows / (time.perf_counter() - began))
        connection.close()
    yield figure("block map of a 1 TiB disk over HTTP as Arrow, warm", max(rates[1:]), "rows/s", ">= 5000000")
    yield figure("block map of a 1 TiB disk over HTTP as Arrow, first", rates[0], "rows/s")


def _proofs(home: Home) -> Iterator[Figure]:
    bundle = home.root.parent / "quarter.bundle"
    key = home.root.parent / "ledger.vkey"
    key.write_text(_holdfast(home, "ledger", "key").stdout)
    asked = ["--machine", "vm-007", "--from", "2026-04-01", "--to", "2026-07-01", "--rpo", "48h", "-o", str(bundle)]
    _holdfast(home, "ledger", "checkpoint")
    written, checked = [], []
    for _ in range(3):
        bundle.unlink(missing_ok=True)
        began = time.perf_counter()
        _holdfast(home, "prove", "coverage", *asked)
        written.append(time.perf_counter() - began)
        began = time.perf_counter()
        _holdfast(home, "prove", "check", str(bundle), "--key", str(key))
        checked.append(time.perf_counter() - began)
    yield figure("proof bundle of a machine-quarter, the command, written", min(written), "s", "<= 2")
    yield figure("proof bundle of a machine-quarter, the command, checked", min(checked), "s", "<= 1")
    yield figure("proof bundle of a machine-quarter", bundle.stat().st_size / 1e6, "MB", "<= 1")


def _holdfast(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from ingest.cli import main; main()", "--home", str(home.root), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise AssertionError((arguments, done.stderr))
    return done


def _peer(home: Home, folder: Path) -> Iterator[Figure]:
    """Point look-ups in one thread, in this process: ours over all rows, PostgreSQL's over a tenth of them."""
    if server_folder() is None:
        return
    from tests.bench.faces_peer import compare

    with postgres(folder) as connection:
        yield from compare(home, connection, PEER_MACHINES)


if __name__ == "__main__":
    for line in run(Size(*map(int, sys.argv[1:]))):
        print(json.dumps(line))
