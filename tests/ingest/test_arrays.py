"""The file that describes a storage array: its content is kept, with references in the place of secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.errors import SourceInvalid
from adapters.vmware.transport.array.settings import OntapSettings, ReflinkSettings
from ingest.arrays import array_settings
from ingest.kinds import read_settings
from storage.errors import Invalid
from tests.support.lab import Lab

VC = {"host": "vc.example", "user": "backup@vsphere.local", "password": "env:VC_PASSWORD"}
REFLINK = """
driver = "reflink"
root = "/srv/disks"
[datastores]
"ds 1" = "ds1"
[luns]
0200ab = "lun1.img"
"""
ONTAP = """
driver = "ontap"
host = "filer.example"
user = "backup"
password = "PASSWORD"
svm = "svm1"
igroup = "proxies"
portal = "10.0.0.5:3260"
initiator = "iqn.2024-01.invalid.holdfast:proxy"
ca = "filer.pem"
[luns]
0200ab = "/vol/vol1/lun1"
"""


def kept(tmp_path: Path, described: str) -> str:
    """Describe an array in a file, and return what is kept of it."""
    file = tmp_path / "array.toml"
    file.write_text(described)
    return read_settings("vmware", VC | {"array": str(file)})["array"]


def test_the_content_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the adapter is told is what stood in the file when the source was added; paths are absolute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FILER_PASSWORD", "filer-password")
    reflink = array_settings(kept(tmp_path, REFLINK))
    assert reflink.driver == ReflinkSettings(Path("/srv/disks"))
    assert (reflink.datastores, reflink.luns) == ({"ds 1": "ds1"}, {"0200ab": "lun1.img"})
    told = kept(tmp_path, ONTAP.replace("PASSWORD", "env:FILER_PASSWORD"))
    assert json.loads(told)["password"] == "env:FILER_PASSWORD"
    driver = array_settings(told).driver
    assert isinstance(driver, OntapSettings)
    assert (driver.host, driver.port, driver.svm, driver.ca_file) == (
        "filer.example",
        443,
        "svm1",
        tmp_path / "filer.pem",
    )
    assert driver.password.reveal() == "filer-password"


@pytest.mark.parametrize(
    ("described", "why"),
    [
        ("driver = ", "does not describe an array"),
        ("root = '/srv'", "driver"),
        ("driver = 'floppy'", "floppy"),
        ("driver = 'reflink'", "root"),
        (f"colour = 'red'\n{REFLINK}", "unknown field `colour`"),
        ("driver = 'reflink'\nroot = '/srv'\ndatastores = 3", "datastores"),
        (ONTAP.replace("PASSWORD", "env:P") + "[datastores]\nds1 = '/vol/vol1/lun1'", "unknown field `datastores`"),
        ("#" * 70_000, "longer than"),
        ("\udcff", "does not describe an array"),
    ],
)
def test_what_describes_no_array_is_refused(tmp_path: Path, described: str, why: str) -> None:
    """Unknown keys, other types, missing ones, no TOML: each is named with the option, before anything is asked."""
    file = tmp_path / "array.toml"
    file.write_bytes(described.encode(errors="surrogateescape"))
    with pytest.raises(Invalid) as caught:
        read_settings("vmware", VC | {"array": str(file)})
    assert caught.value.code == "source-settings"
    assert caught.value.why.startswith("--array: ")
    assert why in caught.value.why


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A file that cannot be read is the error."""
    with pytest.raises(Invalid, match="No such file"):
        read_settings("vmware", VC | {"array": str(tmp_path / "none.toml")})


def test_an_array_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    """Without a datastore or a LUN there is nothing that the array could be used for."""
    with pytest.raises(SourceInvalid, match="no datastore and no LUN"):
        array_settings(kept(tmp_path, "driver = 'reflink'\nroot = '/srv'"))


def test_a_password_in_the_file_is_refused_and_not_repeated(lab: Lab, tmp_path: Path) -> None:
    """A password in the place of a reference is refused; neither the error nor the log has it."""
    secret = "Hunter2-c4n4ry"
    (tmp_path / "array.toml").write_text(ONTAP.replace("PASSWORD", secret))
    told = [word for name, value in VC.items() for word in (f"--{name}", value)]
    answer = lab.run("source", "add", "dc1", "--kind", "vmware", *told, "--array", tmp_path / "array.toml")
    assert answer.code == 2
    assert "secret-reference" in answer.err
    assert secret not in answer.err + answer.out
    assert secret.encode() not in lab.home.event_file.read_bytes()
