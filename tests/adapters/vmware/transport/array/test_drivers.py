"""Every array driver keeps the port's promises: btrfs and XFS for real, ONTAP on a fake of its REST API."""

from __future__ import annotations

import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceDenied,
    SourceInvalid,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.secret import Secret
from adapters.vmware.transport.array.ontap import OntapArray, OntapPlace
from adapters.vmware.transport.array.port import ArrayDriver, Presented, folder_of
from adapters.vmware.transport.array.reflink import ReflinkArray
from adapters.vmware.transport.array.rest import RestServer
from adapters.vmware.transport.san import IscsiLun, open_lun
from tests.support.iscsi_target import IscsiTarget, iscsi_target
from tests.support.loop_filesystem import loop_filesystem
from tests.support.ontap_fake import PASSWORD, USER, OntapFake

KIB = 1 << 10
LABEL = "holdfast-run-1"
OLD, NEW = os.urandom(256 * KIB), os.urandom(256 * KIB)
DISK = "web 01/web 01-flat.vmdk"


@dataclass
class Array:
    """A driver with one volume whose content is OLD; `write` makes it NEW, `read` reads a clone."""

    driver: ArrayDriver
    volume: str
    write: Callable[[], object]
    path: str | None
    runtime_dir: Path

    def read(self, presented: Presented) -> bytes:
        """Read the disk that was presented."""
        lun = presented.lun(self.path)
        reader = open_lun(lun, len(OLD), "array_snapshot", self.runtime_dir, machine="m", host="h", label="l")
        buffer = bytearray(len(OLD))
        reader.pread_into(0, memoryview(buffer))
        reader.close()
        return bytes(buffer)


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """File systems, mounted when they are first asked for."""
    with ExitStack() as stack:
        made: dict[str, Path] = {}

        def mount(kind: str) -> Path:
            if kind not in made:
                made[kind] = stack.enter_context(loop_filesystem(kind, tmp_path_factory.mktemp(kind)))
            return made[kind]

        yield mount


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[OntapFake]:
    """A fake ONTAP."""
    with OntapFake(tmp_path / "certificates") as running:
        yield running


def ontap(fake: OntapFake, portal: str = "127.0.0.1:3260", password: str = PASSWORD) -> OntapArray:
    """The driver for it."""
    trust = ssl.create_default_context(cafile=str(fake.authority.ca_file))
    server = RestServer("localhost", fake.port, USER, Secret(lambda: password), trust)
    place = OntapPlace("svm1", "proxies", portal, "iqn.2024-01.invalid.holdfast:proxy")
    return OntapArray(server, place, sleep=lambda _: None)


@pytest.fixture(params=["btrfs subvolume", "btrfs file", "xfs file"])
def array(request: pytest.FixtureRequest, mounts: Callable[[str], Path], tmp_path: Path) -> Array:
    """A real driver on a real file system."""
    kind, what = request.param.split()
    root = Path(tempfile.mkdtemp(dir=mounts(kind)))
    if what == "subvolume":
        subprocess.run(["btrfs", "-q", "subvolume", "create", root / "ds1"], check=True)
        disk = root / "ds1" / DISK
        disk.parent.mkdir()
    else:
        disk = root / "lun1.img"
    disk.write_bytes(OLD)
    volume, path = ("ds1", DISK) if what == "subvolume" else ("lun1.img", None)
    return Array(ReflinkArray(root), volume, lambda: disk.write_bytes(NEW), path, tmp_path / "run")


def test_the_moment_is_kept(array: Array) -> None:
    """A clone shows the volume as it was when the snapshot was taken, whatever was written since."""
    driver = array.driver
    driver.snapshot(array.volume, LABEL)
    array.write()
    assert array.read(driver.present(array.volume, LABEL)) == OLD


def test_asking_again_changes_nothing(array: Array) -> None:
    """A second snapshot under a label is the first one, a second clone too, and what is gone can be removed."""
    driver = array.driver
    driver.snapshot(array.volume, LABEL)
    array.write()
    driver.snapshot(array.volume, LABEL)
    assert driver.present(array.volume, LABEL) == driver.present(array.volume, LABEL)
    assert array.read(driver.present(array.volume, LABEL)) == OLD
    assert list(driver.labels()) == [LABEL]
    for _ in range(2):
        driver.withdraw(LABEL)
        driver.remove(LABEL)
    assert list(driver.labels()) == []


def test_a_snapshot_with_a_clone_stays(array: Array) -> None:
    """The snapshot cannot be removed below its clone."""
    driver = array.driver
    driver.snapshot(array.volume, LABEL)
    driver.present(array.volume, LABEL)
    with pytest.raises(SourceConflict):
        driver.remove(LABEL)
    driver.withdraw(LABEL)
    driver.remove(LABEL)


def test_what_is_not_there_is_told(array: Array) -> None:
    """No snapshot, no volume: each is an error and leaves nothing."""
    with pytest.raises(SourceNotFound):
        array.driver.present(array.volume, LABEL)
    with pytest.raises(SourceNotFound):
        array.driver.snapshot("none", LABEL)
    assert list(array.driver.labels()) == []


@pytest.mark.parametrize("label", ["other", "holdfast-../../x", "holdfast-a b", "holdfast-" + "x" * 200])
def test_labels_that_are_not_ours_are_refused(array: Array, label: str) -> None:
    """A driver acts on our labels only."""
    for act in (array.driver.withdraw, array.driver.remove):
        with pytest.raises(SourceInvalid):
            act(label)


def test_volumes_outside_are_refused(array: Array) -> None:
    """A volume's name leads nowhere but below the root."""
    with pytest.raises(SourceInvalid):
        array.driver.snapshot("../../..", LABEL)


def test_a_plain_folder_is_refused(mounts: Callable[[str], Path]) -> None:
    """A folder that cannot be frozen at one moment is no volume."""
    folder = mounts("btrfs") / "plain"
    folder.mkdir()
    with pytest.raises(SourceInvalid, match="one moment"):
        ReflinkArray(folder.parent).snapshot("plain", LABEL)


def test_a_file_system_without_reflinks_is_told(tmp_path: Path) -> None:
    """Where blocks cannot be shared the driver says so and leaves nothing."""
    (tmp_path / "lun1.img").write_bytes(OLD)
    driver = ReflinkArray(tmp_path)
    if subprocess.run(["cp", "--reflink=always", "lun1.img", "copy"], cwd=tmp_path, check=False).returncode == 0:
        pytest.skip("the file system of the tests has reflinks")
    with pytest.raises(SourceInvalid) as refused:
        driver.snapshot("lun1.img", LABEL)
    assert refused.value.code == "array-no-reflink"
    assert list(driver.labels()) == []


@pytest.mark.parametrize("path", [None, "", "/etc/passwd", "../x", "a/../../x"])
def test_a_clone_shows_its_own_files_only(tmp_path: Path, path: str | None) -> None:
    """A path that is missing or leads out of the clone is refused, as is a symlink out of it."""
    with pytest.raises(SourceInvalid):
        folder_of(tmp_path).lun(path)
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(SourceInvalid):
        folder_of(tmp_path).lun("link")


VOLUME = "/vol/vol1/lun1"


def test_ontap_presents_a_clone(fake: OntapFake) -> None:
    """The clone is made in the LUN's own volume out of the snapshot, mapped to us, and found again."""
    driver = ontap(fake)
    driver.snapshot(VOLUME, LABEL)
    presented = driver.present(VOLUME, LABEL)
    assert presented == driver.present(VOLUME, LABEL)
    assert presented.lun("whatever") == IscsiLun(
        "127.0.0.1:3260", fake.target, 0, initiator="iqn.2024-01.invalid.holdfast:proxy"
    )
    assert [lun["name"] for lun in fake.luns] == ["/vol/vol1/lun1", f"/vol/vol1/{LABEL}"]
    driver.snapshot(VOLUME, LABEL)
    assert len(fake.snapshots) == 1
    assert driver.labels() == [LABEL]
    with pytest.raises(SourceConflict):
        driver.remove(LABEL)
    for _ in range(2):
        driver.withdraw(LABEL)
        driver.remove(LABEL)
    assert (len(fake.luns), fake.maps, fake.snapshots, driver.labels()) == (1, [], [], [])


@pytest.mark.parametrize("lost", range(3))
def test_ontap_survives_a_lost_reply(fake: OntapFake, lost: int) -> None:
    """When the answer to an acting call is lost, asking again finds what was done."""
    driver = ontap(fake)
    fake.faults.extend([""] * lost + ["lost-reply"])

    def take() -> Presented:
        driver.snapshot(VOLUME, LABEL)
        return driver.present(VOLUME, LABEL)

    with pytest.raises(SourceUnavailable) as refused:
        take()
    assert refused.value.code == "array-lost"
    take()
    assert (len(fake.snapshots), len(fake.luns), len(fake.maps)) == (1, 2, 1)


def test_ontap_tells_why_a_job_failed(fake: OntapFake) -> None:
    """A job that fails is an error in the array's words."""
    fake.faults.append("job-fails")
    with pytest.raises(SourceUnavailable, match="aggregate is offline"):
        ontap(fake).snapshot(VOLUME, LABEL)


@pytest.mark.parametrize(
    ("status", "kind"), [("403", SourceDenied), ("409", SourceConflict), ("500", SourceUnavailable)]
)
def test_ontap_s_refusals_are_translated(fake: OntapFake, status: str, kind: type[AdapterError]) -> None:
    """A status is the kind of error that it stands for, with the array's message."""
    fake.faults.append(status)
    with pytest.raises(kind, match="refused on request"):
        ontap(fake).snapshot(VOLUME, LABEL)


def test_ontap_s_password_is_not_told(fake: OntapFake) -> None:
    """A wrong password is refused, and stands in no error."""
    with pytest.raises(SourceDenied) as refused:
        ontap(fake, password="wrong-one").labels()
    assert "wrong-one" not in f"{refused.value!r} {refused.value}"
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("volume", ["lun1", "/vol/vol1", "/vol/vol1/../vol2/lun", "/vol/none/lun1"])
def test_ontap_s_volumes_are_luns(fake: OntapFake, volume: str) -> None:
    """What is no LUN's path, or in no volume, is refused."""
    with pytest.raises((SourceInvalid, SourceNotFound)):
        ontap(fake).snapshot(volume, LABEL)
    assert not fake.snapshots


@pytest.fixture
def target(tmp_path: Path) -> Iterator[IscsiTarget]:
    """A real iSCSI target, which stands for the array's data path."""
    (tmp_path / "clone.raw").write_bytes(OLD)
    with iscsi_target(tmp_path / "clone.raw") as running:
        yield running


def test_an_ontap_clone_is_read_over_iscsi(fake: OntapFake, target: IscsiTarget, tmp_path: Path) -> None:
    """What the driver presents is read over real iSCSI: the fake's answers lead to a real target."""
    fake.target, fake.on_clone = target.target, lambda _: 1
    driver = ontap(fake, portal=target.portal)
    driver.snapshot(VOLUME, LABEL)
    array = Array(driver, VOLUME, lambda: None, None, tmp_path / "run")
    assert array.read(driver.present(VOLUME, LABEL)) == OLD
