"""Settings of sources: each kind reads its own, keeps them as text, and refuses what is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from catalog.home import Home
from ingest import kinds
from ingest.kinds import read_settings
from storage.errors import Invalid, Unavailable
from tests.support.lab import Lab

FINGERPRINT = "ab" * 32
HV = {"host": "hv1.example", "user": "EXAMPLE\\backup", "password": "env:HV_PASSWORD"}
VC = {"host": "vc.example", "user": "backup@vsphere.local", "password": "env:VC_PASSWORD"}


def test_settings_are_kept_as_they_were_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Paths are absolute, fingerprints in one spelling, lists without doubles; what was not said is not there."""
    monkeypatch.chdir(tmp_path)
    assert read_settings("image", {"path": "images"}) == {"path": f"{tmp_path}/images"}
    assert read_settings("qemu", {"qmp": "/run/q"}) == {"qmp": "/run/q"}
    told = {"port": "0443", "fingerprint": FINGERPRINT, "transport": "nbdssl,export,nbdssl", "password": "file:pw"}
    assert read_settings("vmware", VC | told) == {
        "host": "vc.example",
        "user": "backup@vsphere.local",
        "password": f"file:{tmp_path}/pw",
        "port": "443",
        "fingerprint": ":".join(["AB"] * 32),
        "transport": "nbdssl,export",
    }


def test_a_hyperv_source_is_built_as_it_was_said(tmp_path: Path) -> None:
    """What was not said is as the adapter has it, but that plain HTTP has a port of its own."""
    told = {"cluster": "true", "quiesce": "require", "smb-port": "4445", "smb-handles": "2", "share": "vms"}
    made = kinds._hyperv_settings(read_settings("hyperv", HV | told))
    assert (made.host, made.user, made.port, made.cluster) == ("hv1.example", "EXAMPLE\\backup", 5986, True)
    assert (made.consistency, made.smb_port, made.smb_handles, made.smb_share) == ("require", 4445, 2, "vms")
    plain = kinds._hyperv_settings(read_settings("hyperv", HV | {"http": "true", "auth": "kerberos", "legacy": "true"}))
    assert (plain.plain_http, plain.port, plain.authentication, plain.legacy) == (True, 5985, "kerberos", True)
    kinds.build_source(Home(tmp_path), "hv1", "hyperv", HV | told).close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("auth", "digest"), ("quiesce", "sometimes"), ("smb-handles", "17"), ("smb-port", "0"), ("cluster", "no")],
)
def test_a_hyperv_value_that_is_none_is_named(setting: str, value: str) -> None:
    """The error names the option."""
    with pytest.raises(Invalid) as caught:
        read_settings("hyperv", HV | {setting: value})
    assert caught.value.why.startswith(f"--{setting}: ")


def test_a_vddk_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A directory that was mistyped is no reason to read disks another way in silence."""
    assert read_settings("vmware", VC | {"vddk": str(tmp_path)})["vddk"] == str(tmp_path)
    with pytest.raises(Invalid) as caught:
        read_settings("vmware", VC | {"vddk": str(tmp_path / "none")})
    assert caught.value.why == f"--vddk: {tmp_path}/none is no directory"


def test_a_pool_has_several_hosts() -> None:
    """Members and fingerprints come with commas between, one for each host."""
    told = {
        "members": "b.example, 10.0.0.3",
        "fingerprint": f"{FINGERPRINT},{'cd' * 32}",
        "transport": "nbd,insecure_nbd",
    }
    kept = read_settings("xen", VC | told)
    assert kept["members"] == "b.example,10.0.0.3"
    assert kept["fingerprint"] == ",".join([":".join(["AB"] * 32), ":".join(["CD"] * 32)])
    for setting, value in (
        ("transport", "nbdssl"),
        ("members", "a,,b"),
        ("fingerprint", "ab,cd"),
        ("connections", "17"),
    ):
        with pytest.raises(Invalid) as caught:
            read_settings("xen", VC | {setting: value})
        assert caught.value.why.startswith(f"--{setting}: ")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("host", " "),
        ("port", "0"),
        ("port", "65536"),
        ("port", "https"),
        ("fingerprint", "ab:cd"),
        ("transport", "nbdssl,floppy"),
        ("transport", ""),
        ("quiesce", "sometimes"),
        ("connections", "-1"),
    ],
)
def test_a_value_that_is_none_is_named(setting: str, value: str) -> None:
    """The error names the option and what it takes, before anything is asked of the source."""
    with pytest.raises(Invalid) as caught:
        read_settings("vmware", VC | {setting: value})
    assert caught.value.code == "source-settings"
    assert caught.value.why.startswith(f"--{setting}: ")


def test_a_password_on_the_command_line_is_refused_and_not_repeated(lab: Lab) -> None:
    """What looks like a password is no reference; neither the error nor the log has it."""
    secret = "Hunter2-c4n4ry"
    answer = lab.run(
        *["source", "add", "dc1", "--kind", "vmware", "--host", "127.0.0.1", "--user", "ada", "--password", secret]
    )
    assert answer.code == 2
    assert "secret-reference" in answer.err
    assert "env:NAME" in answer.err
    assert secret not in answer.err + answer.out
    assert secret.encode() not in lab.home.event_file.read_bytes()


def test_missing_and_foreign_settings_are_named(lab: Lab) -> None:
    """A kind says which options it lacks and which it does not know."""
    problem = lab.fails(2, "source", "add", "dc1", "--kind", "vmware", "--host", "h", "--path", "/x")
    assert problem["code"] == "source-settings"
    assert problem["detail"] == "missing --password, --user; not known --path"


@pytest.mark.parametrize(
    ("kind", "settings", "packages"),
    [("vmware", VC, ["pyVmomi", "pyVim"]), ("hyperv", HV, ["winrm"]), ("hyperv", HV, ["smbprotocol"])],
)
def test_a_kind_whose_packages_are_missing_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, settings: dict[str, str], packages: list[str]
) -> None:
    """Without the optional package the other kinds work, and this one says what to install."""
    ours = (f"adapters.{kind}.", *(f"{package}." for package in packages))
    for name in [name for name in sys.modules if name.startswith(ours)]:
        monkeypatch.delitem(sys.modules, name)
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Unavailable) as caught:
        kinds.build_source(Home(tmp_path), "dc1", kind, settings)
    assert caught.value.code == "extra-missing"
    assert f"holdfast[{kind}]" in caught.value.hint


def test_a_kind_of_a_later_version_is_told(tmp_path: Path) -> None:
    """A source that another version added, of a kind unknown here, is an error and no crash."""
    with pytest.raises(Invalid) as caught:
        kinds.build_source(Home(tmp_path), "dc1", "hologram", {})
    assert caught.value.code == "source-kind"
