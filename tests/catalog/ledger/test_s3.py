"""Checkpoints in a bucket with object lock, at a real S3 server on the loopback. Needs Go, which builds the server."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from catalog.ledger.checkpoint import Checkpoint
from catalog.ledger.history import BUCKET
from catalog.ledger.s3 import BucketPlace
from storage.errors import Corrupt, Denied, Unavailable
from tests.support.eventually import eventually
from tests.support.go_tools import versitygw
from tests.support.ledger_home import LedgerHome
from tests.support.log_events import notes
from tests.support.recorded import REPOSITORY

pytestmark = pytest.mark.slow
SECRET = "b2xkLWJ1dC1ub3Q"


class Server:
    """One server, one bucket whose objects nobody removes for a day."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="root",
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}),
        )

    def settings(self, **more: str) -> dict[str, str]:
        """Settings of a place."""
        usual = {"bucket": "ledger", "prefix": "holdfast/a", "endpoint": self.endpoint, "region": "us-east-1"}
        return usual | {"access_key": "env:HF_S3_ACCESS", "secret_key": "env:HF_S3_SECRET"} | more


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that listens, with its bucket."""
    program = versitygw()
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("objects", "versions", "sidecar"):
        (tmp_path / name).mkdir()
    process = subprocess.Popen(
        [program, "--port", f"127.0.0.1:{port}", "--access", "root", "--secret", SECRET, "--quiet",
         "posix", "--versioning-dir", tmp_path / "versions", "--sidecar", tmp_path / "sidecar", tmp_path / "objects"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    monkeypatch.setenv("HF_S3_ACCESS", "root")
    monkeypatch.setenv("HF_S3_SECRET", SECRET)
    try:
        eventually(lambda: listens(port), "the S3 server")
        found = Server(f"http://127.0.0.1:{port}")
        found.client.create_bucket(Bucket="ledger", ObjectLockEnabledForBucket=True)
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
        found.client.put_object_lock_configuration(
            Bucket="ledger", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )
        yield found
    finally:
        process.terminate()
        process.wait(timeout=60)


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_published_and_locked(server: Server, lab: LedgerHome) -> None:
    """A checkpoint is created under the bucket's retention: not even the owner's keys remove that version."""
    ledger = lab.ledger()
    ledger.add_place("vault", BUCKET, server.settings())
    lab.log.save(*notes(10))
    event = ledger.publish()
    assert event.failed == ()
    name = f"holdfast/a/{REPOSITORY}/{event.size:020}.note"
    found = server.client.get_object(Bucket="ledger", Key=name)
    assert found["Body"].read().decode() == ledger.latest().note
    with pytest.raises(ClientError, match="AccessDenied"):
        server.client.delete_object(Bucket="ledger", Key=name, VersionId=found["VersionId"])
    lab.log.save(*notes(3, first=11))
    later = ledger.publish()
    assert [kept.checkpoint.size for kept in ledger.kept_by("vault")] == [later.size, event.size]
    assert ledger.check().ok


def test_nothing_is_replaced(server: Server) -> None:
    """The same checkpoint may be put again; another one under its name is Corrupt, and the first one stays."""
    place = BucketPlace(server.settings(), REPOSITORY)
    one, other = Checkpoint(7, b"", b"", "one\n"), Checkpoint(7, b"", b"", "other\n")
    place.put(one)
    place.put(one)
    with pytest.raises(Corrupt):
        place.put(other)
    assert place.read(7) == "one\n"
    for size in (9, 8, 123456):
        place.put(Checkpoint(size, b"", b"", f"{size}\n"))
    assert list(place.sizes()) == [7, 8, 9, 123456]
    assert list(place.sizes(9)) == [9, 123456]


def test_a_roll_back_is_noticed(server: Server, lab: LedgerHome, tmp_path: Path) -> None:
    """A log that was put back to an older copy contradicts the bucket."""
    ledger = lab.ledger()
    ledger.add_place("vault", BUCKET, server.settings())
    ledger.publish()
    lab.copy(tmp_path / "copy")
    lab.log.save(*notes(10))
    ledger.publish()
    lab.roll_back(tmp_path / "copy")
    lab.log.save(*notes(2))
    with pytest.raises(Corrupt) as caught:
        lab.ledger().publish()
    assert caught.value.code == "ledger-rolled-back"


def test_a_server_that_refuses_or_is_away(server: Server, lab: LedgerHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong keys and an absent server fail the place, with no secret in the words."""
    monkeypatch.setenv("HF_S3_WRONG", "not-the-secret")
    wrong = BucketPlace(server.settings(secret_key="env:HF_S3_WRONG"), REPOSITORY)
    with pytest.raises(Denied) as denied:
        wrong.put(Checkpoint(7, b"", b"", "one\n"))
    away = BucketPlace(server.settings(endpoint="http://127.0.0.1:9"), REPOSITORY)
    with pytest.raises(Unavailable) as unavailable:
        list(away.sizes())
    for caught in (denied, unavailable):
        assert "not-the-secret" not in str(caught.value)
        assert SECRET not in str(caught.value)
    ledger = lab.ledger()
    ledger.add_place("vault", BUCKET, server.settings())
    monkeypatch.delenv("HF_S3_SECRET")
    assert ledger.publish().failed == ("vault",)
