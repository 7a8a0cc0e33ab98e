"""The file that describes a storage array: TOML in, what is kept of it out, and the adapter's settings from that.

Imports the adapter's settings and `ingest.secrets`. What is kept is the content, not the
file's name: the file may go. A password is a reference, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from adapters.vmware.transport.array.settings import ArraySettings, OntapSettings, ReflinkSettings
from ingest.secrets import checked_reference, secret_of

MAX_BYTES = 64 * 1024

Volumes = dict[str, str]


class _Reflink(msgspec.Struct, tag_field="driver", tag="reflink", forbid_unknown_fields=True, omit_defaults=True):
    """Copy-on-write file systems of this machine."""

    root: str
    datastores: Volumes = {}
    luns: Volumes = {}


class _Ontap(msgspec.Struct, tag_field="driver", tag="ontap", forbid_unknown_fields=True, omit_defaults=True):
    """A storage VM of NetApp ONTAP."""

    host: str
    user: str
    password: str
    svm: str
    igroup: str
    portal: str
    initiator: str
    luns: Volumes
    port: int = 443
    ca: str | None = None


_Array = _Reflink | _Ontap


def read_array(name: str, a_path: Callable[[str], str]) -> str:
    """Read the file; return what is kept, one line of JSON. Raises ValueError, Invalid for a password that is none."""
    described = _decoded(Path(a_path(name)))
    if isinstance(described, _Ontap):
        described.password = checked_reference(described.password)
        described.ca = a_path(described.ca) if described.ca is not None else None
    else:
        described.root = a_path(described.root)
    return msgspec.json.encode(described, order="sorted").decode()


def array_settings(kept: str) -> ArraySettings:
    """What the adapter is told of the array. Raises SourceInvalid for an array that holds nothing."""
    described = msgspec.json.decode(kept, type=_Array)
    if isinstance(described, _Reflink):
        return ArraySettings(ReflinkSettings(Path(described.root)), described.datastores, described.luns)
    driver = OntapSettings(
        host=described.host,
        user=described.user,
        password=secret_of(described.password),
        svm=described.svm,
        igroup=described.igroup,
        portal=described.portal,
        initiator=described.initiator,
        port=described.port,
        ca_file=Path(described.ca) if described.ca is not None else None,
    )
    return ArraySettings(driver, luns=described.luns)


def _decoded(path: Path) -> _Reflink | _Ontap:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} is longer than {MAX_BYTES} bytes")
    try:
        found: _Reflink | _Ontap = msgspec.toml.decode(content, type=_Array)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} does not describe an array: {error}") from None
    return found
