"""The simulated pool as another client sees it: Vates' xen-api on Node.js, which knows nothing of ours."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from shutil import which

import pytest

from tests.adapters.xen.conftest import StartPool
from tests.support.xapi.building import MachineSpec

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "tests" / "support" / "xen_api_client" / "client.mjs"
INSTALLED = ROOT / "build" / "xen-api-client"

pytestmark = pytest.mark.skipif(which("node") is None or which("npm") is None, reason="node and npm are missing")


@pytest.mark.parametrize("transport", ["json-rpc", "xml-rpc"])
def test_another_client_works_on_the_simulator(start_pool: StartPool, transport: str) -> None:
    """An independent client logs in at a member, is sent to the master, lists, calls by tasks and follows events."""
    assert (INSTALLED / "node_modules" / "xen-api").is_dir(), "not installed: make xen-api-client"
    pool = start_pool([MachineSpec("web")], hosts=2)
    order = {
        "url": f"https://127.0.0.2:{pool.port}",
        "user": pool.user,
        "password": pool.password,
        "transport": transport,
        "machine": "web",
    }
    done = subprocess.run(
        ["node", "--no-warnings", str(CLIENT), str(INSTALLED)],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(pool.ca_file)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    saw = json.loads(done.stdout)
    (taken,) = pool.records.find("VM", name_label="theirs")
    assert saw["snapshot"] == {"ref": taken, "name": "theirs", "isSnapshot": True, "of": True}
    assert pool.record("VM", pool.vm("renamed"))["snapshots"] == [taken]
    assert saw["size"] == (4 << 20 if transport == "json-rpc" else str(4 << 20))
    assert (saw["pool"], saw["failure"]["code"]) == ("pool", "OPERATION_NOT_ALLOWED")
    assert pool.calls["event.from"] > 0
