"""Our ONTAP driver and NetApp's own client see the same array, and finish each other's work on it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.vmware.transport.array.test_drivers import LABEL, ontap
from tests.support.ontap_fake import PASSWORD, USER, OntapFake

ROOT = Path(__file__).resolve().parents[5]
PYTHON = ROOT / "build" / "ontap-client" / "bin" / "python"
SCRIPT = ROOT / "tests" / "support" / "ontap_client_script.py"
LUN = "/vol/vol1/lun1"
Client = Callable[[str], dict[str, Any]]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[OntapFake]:
    """A fake ONTAP."""
    with OntapFake(tmp_path / "certificates") as running:
        yield running


@pytest.fixture
def client(fake: OntapFake) -> Client:
    """NetApp's client at the fake, told to list, make or remove; it answers what it then finds."""
    if not PYTHON.exists():
        pytest.skip("make ontap-client sets the environment up")

    def run(do: str) -> dict[str, Any]:
        order = {"host": "localhost", "port": fake.port, "user": USER, "do": do, "label": LABEL}
        done = subprocess.run(
            [PYTHON, SCRIPT],
            input=json.dumps(order),
            env={
                "PATH": os.environ["PATH"],
                "ONTAP_PASSWORD": PASSWORD,
                "REQUESTS_CA_BUNDLE": str(fake.authority.ca_file),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def test_the_vendors_client_finds_and_removes_what_we_made(fake: OntapFake, client: Client) -> None:
    """A snapshot, its clone and the mapping are what NetApp's client takes for them, to the last one."""
    driver = ontap(fake)
    driver.snapshot(LUN, LABEL)
    presented = driver.present(LUN, LABEL)
    found = client("list")
    assert found["snapshots"] == [LABEL]
    assert found["luns"] == [f"/vol/vol1/{LABEL}"]
    lun = presented.lun(None)
    assert found["numbers"] == [lun.lun]
    assert found["targets"] == [lun.target]
    assert client("remove")["snapshots"] == []
    assert list(driver.labels()) == []


def test_we_find_and_remove_what_the_vendors_client_made(fake: OntapFake, client: Client) -> None:
    """What NetApp's client makes in the documented order our driver takes for its own, presents, and takes apart."""
    made = client("make")
    driver = ontap(fake)
    assert list(driver.labels()) == [LABEL]
    assert [driver.present(LUN, LABEL).lun(None).lun] == made["numbers"]
    driver.withdraw(LABEL)
    driver.remove(LABEL)
    assert client("list") == {**made, "snapshots": [], "luns": [], "numbers": []}
