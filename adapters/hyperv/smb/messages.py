"""What is asked about an open file beside its data. Imports smbprotocol and this package."""

from __future__ import annotations

from typing import Any

from smbprotocol.file_info import FileDispositionInformation, FileEndOfFileInformation, FileRenameInformation
from smbprotocol.open import SMB2SetInfoRequest

from adapters.hyperv.smb.handle import Handle


def set_size(handle: Handle, size_bytes: int) -> None:
    """Set a file's size."""
    size = FileEndOfFileInformation()
    size["end_of_file"] = size_bytes
    handle.exchange(_setting(size))


def delete(handle: Handle) -> None:
    """Delete a file or an empty folder, as soon as nobody has it open."""
    disposition = FileDispositionInformation()
    disposition["delete_pending"] = True
    handle.exchange(_setting(disposition))


def rename(handle: Handle, path: str) -> None:
    """Give it another path within its share; never that of something that is there."""
    name = FileRenameInformation()
    name["replace_if_exists"] = False
    name["file_name"] = path
    handle.exchange(_setting(name))


def _setting(information: Any) -> SMB2SetInfoRequest:
    request = SMB2SetInfoRequest()
    request["info_type"] = information.INFO_TYPE
    request["file_info_class"] = information.INFO_CLASS
    request["buffer"] = information.pack()
    return request
