"""Files and folders of a real Samba: listed, looked at, made, renamed and removed, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceDenied, SourceInvalid, SourceLimit, SourceNotFound
from adapters.hostlimit import places_at
from adapters.hyperv.smb.faults import ServerBusy
from adapters.hyperv.smb.files import Entry, FileFact, SmbFiles
from adapters.hyperv.smb.handle import Handle
from adapters.hyperv.smb.paths import unc_of
from adapters.hyperv.smb.patience import Patience
from adapters.secret import Secret
from tests.support.samba_server import HOST, Samba, samba_server

DRIVE = rf"\\{HOST}\C$"


def test_a_configuration_file_is_read_whole(files: SmbFiles, drive: Path) -> None:
    """A file in a folder whose name is not ASCII comes back as it is, an empty one as nothing."""
    (drive / "Büro 中").mkdir()
    (drive / "Büro 中" / "m.vmcx").write_bytes(bytes(range(256)) * 999)
    (drive / "empty").touch()
    assert files.read_bytes(rf"{DRIVE}\Büro 中\m.vmcx") == bytes(range(256)) * 999
    assert files.read_bytes(rf"{DRIVE}\empty") == b""


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_busy_server_is_asked_once_more(
    files: SmbFiles, drive: Path, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    """A server that lacks memory for a moment costs no backup; one that goes on lacking it is told."""
    (drive / "m.vmcx").write_bytes(b"content")
    opened, left = Handle.__init__, [ServerBusy("busy", code="smb-server-busy")] * refusals

    def refused(handle: Handle, *arguments: Any) -> None:
        if left:
            raise left.pop()
        opened(handle, *arguments)

    monkeypatch.setattr(Handle, "__init__", refused)
    if refusals == 1:
        assert files.read_bytes(rf"{DRIVE}\m.vmcx") == b"content"
    else:
        with pytest.raises(SourceLimit):
            files.read_bytes(rf"{DRIVE}\m.vmcx")


def test_a_large_file_is_not_read_whole(files: SmbFiles, drive: Path) -> None:
    """Above the limit nothing is read: a saved state can be as large as the machine's memory."""
    (drive / "m.vmrs").write_bytes(bytes(11))
    assert files.read_bytes(rf"{DRIVE}\m.vmrs", at_most=11) == bytes(11)
    with pytest.raises(SourceLimit) as refused:
        files.read_bytes(rf"{DRIVE}\m.vmrs", at_most=10)
    assert refused.value.code == "smb-file-too-large"


def test_a_folder_is_listed(files: SmbFiles, drive: Path) -> None:
    """Everything in a folder is listed, also when it takes several answers; sizes and kinds are told."""
    (drive / "sub").mkdir()
    names = [f"disk with a rather long name, number {number:04}.vhdx" for number in range(900)]
    for name in names:
        (drive / name).write_bytes(b"four")
    listed = files.list(DRIVE)
    assert sorted(entry.name for entry in listed) == sorted([*names, "sub"])
    assert Entry(names[7], 4, is_folder=False) in listed
    assert files.stat(rf"{DRIVE}\sub").is_folder
    assert files.stat(rf"{DRIVE}\{names[0]}") == FileFact(4, is_folder=False)
    assert files.exists(rf"{DRIVE}\{names[0]}")
    assert not files.exists(rf"{DRIVE}\sub")


def test_what_is_missing_is_told_apart(files: SmbFiles, drive: Path) -> None:
    """A missing file, folder or share, and a folder in a file's place, have codes of their own."""
    (drive / "sub").mkdir()
    codes = {}
    for path in (rf"{DRIVE}\none", rf"{DRIVE}\none\none", rf"\\{HOST}\D$\file", rf"{DRIVE}\sub"):
        with pytest.raises(AdapterError) as refused:
            files.open(path)
        codes[path] = (type(refused.value), refused.value.code)
    assert list(codes.values()) == [
        (SourceNotFound, "smb-file-missing"),
        (SourceNotFound, "smb-file-missing"),
        (SourceNotFound, "smb-share-missing"),
        (SourceInvalid, "smb-not-a-file"),
    ]
    assert not files.exists(rf"{DRIVE}\none")
    with pytest.raises(SourceNotFound) as absent:  # not "no such file": the share is what to look at
        files.exists(rf"\\{HOST}\D$\file")
    assert absent.value.code == "smb-share-missing"


def test_nothing_is_overwritten(files: SmbFiles, drive: Path) -> None:
    """A file or folder that is there is never made anew, nor replaced by a rename: SourceConflict, and it stays."""
    (drive / "a").write_bytes(b"mine")
    (drive / "b").write_bytes(b"other")
    for attempt in (
        lambda: files.create(rf"{DRIVE}\a"),
        lambda: files.create_folder(rf"{DRIVE}\a"),
        lambda: files.rename(rf"{DRIVE}\b", rf"{DRIVE}\a"),
    ):
        with pytest.raises(SourceConflict) as refused:
            attempt()
        assert refused.value.code == "smb-file-exists"
    assert (drive / "a").read_bytes() == b"mine"


def test_folders_and_files_are_made_renamed_and_removed(files: SmbFiles, drive: Path) -> None:
    """A folder is removed only when it is empty, a file is renamed within its share only."""
    files.create_folder(rf"{DRIVE}\vm")
    files.create(rf"{DRIVE}\vm\part", 5).close()
    files.rename(rf"{DRIVE}\vm\part", rf"{DRIVE}\vm\disk.vhdx")
    assert (drive / "vm" / "disk.vhdx").read_bytes() == bytes(5)
    with pytest.raises(SourceConflict) as refused:
        files.rename(rf"{DRIVE}\vm\disk.vhdx", rf"\\{HOST}\D$\disk.vhdx")
    assert refused.value.code == "smb-rename"
    with pytest.raises(SourceConflict) as refused:
        files.delete(rf"{DRIVE}\vm")
    assert refused.value.code == "smb-folder-not-empty"
    files.delete(rf"{DRIVE}\vm\disk.vhdx")
    files.delete(rf"{DRIVE}\vm")
    assert list(drive.iterdir()) == []
    with pytest.raises(SourceNotFound):
        files.delete(rf"{DRIVE}\vm")


def test_a_symbolic_link_leads_nowhere(files: SmbFiles, drive: Path, tmp_path: Path) -> None:
    """A link on the share that points out of it is not followed."""
    (tmp_path / "secret").write_bytes(b"secret")
    (drive / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(AdapterError):
        files.open(rf"{DRIVE}\link")


def test_a_dfs_root_is_read(drive: Path) -> None:
    """A share that is the root of a DFS namespace is read like others; a link in it is refused, and says so."""
    (drive / "sub").mkdir()
    (drive / "sub" / "a").write_bytes(b"content")
    (drive / "elsewhere").symlink_to("msdfs:other.server\\share")
    with samba_server({"C$": drive}, share_options={"msdfs root": "yes"}) as samba:
        files = SmbFiles(samba.settings())
        assert files.read_bytes(rf"{DRIVE}\sub\a") == b"content"
        with pytest.raises(SourceInvalid) as refused:
            files.open(rf"{DRIVE}\elsewhere\a")
        assert refused.value.code == "smb-dfs"
        files.close()


def test_an_ipv6_server_is_reached(samba: Samba, drive: Path) -> None:
    """A server may be an IPv6 address, with or without brackets."""
    if not samba.has_ipv6:
        pytest.skip("no IPv6 loopback here")
    (drive / "a").write_bytes(b"content")
    files = SmbFiles(samba.settings())
    for server in ("::1", "[::1]"):
        assert files.read_bytes(unc_of(r"C:\a", server, None)) == b"content"
    files.close()


def test_a_refused_user_is_told(samba: Samba, drive: Path) -> None:
    """A wrong password, an unknown user and a share that is not ours are SourceDenied, and name no password."""
    wrong = "not-the-password-17"
    for others in ({"password": Secret(lambda: wrong)}, {"user": "nobody-of-this-name"}):
        files = SmbFiles(samba.settings(**others))
        with pytest.raises(SourceDenied) as refused:
            files.list(DRIVE)
        files.close()
        assert refused.value.code == "smb-logon"
        assert wrong not in f"{refused.value!r} {refused.value} {refused.value.hint}"
    with samba_server({"C$": drive}, share_options={"valid users": "nobody"}) as other:
        files = SmbFiles(other.settings())
        with pytest.raises(SourceDenied) as refused:
            files.list(DRIVE)
        files.close()
        assert refused.value.code == "smb-denied"


def test_a_server_that_is_not_there_is_told(samba: Samba) -> None:
    """No connection is SourceUnavailable at once: nobody waits for a server before it was ever there."""
    slept: list[float] = []
    files = SmbFiles(samba.settings(smb_port=9), patience=Patience(sleep=slept.append))
    with pytest.raises(AdapterError) as refused:
        files.open(rf"{DRIVE}\a")
    files.close()
    assert (refused.value.kind, refused.value.code, slept) == ("unavailable", "smb-connect", [])
    assert "--smb-port" in refused.value.hint


def test_connections_are_shared_and_given_back(samba: Samba, drive: Path) -> None:
    """Files of a server share its sessions; all sources together have so many places there, and leave them."""
    for name in ("a", "b"):
        (drive / name).write_bytes(bytes(100))
    places = places_at("smb", HOST, samba.port, 16)
    files = SmbFiles(samba.settings(smb_handles=3))
    opened = [files.open(rf"{DRIVE}\{name}") for name in ("a", "b")]
    for file in opened * 6:
        file.pread_into(0, memoryview(bytearray(100)))
    assert (len(samba.sessions), places.open) == (3, 3)
    for file in opened:
        file.close()
    files.close()
    assert places.open == 0


def test_few_places_make_few_sessions(samba: Samba, drive: Path) -> None:
    """Where a server has one place left, a file is read over one session instead of waiting for more."""
    (drive / "a").write_bytes(bytes(100))
    places = places_at("smb", HOST, samba.port, 16)
    for _ in range(15):
        places.enter()
    files = SmbFiles(samba.settings(smb_handles=4))
    file = files.open(rf"{DRIVE}\a")
    for _ in range(6):
        file.pread_into(0, memoryview(bytearray(100)))
    assert len(samba.sessions) == 1
    file.close()
    files.close()
    for _ in range(15):
        places.leave()
