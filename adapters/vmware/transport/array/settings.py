"""What we are told of a storage array: how it is reached, and which of its volumes hold which disks.

Imports `adapters.errors` and `adapters.secret` only. Nothing of the array is guessed: a disk whose place is not named
here is not on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adapters.errors import SourceInvalid
from adapters.secret import Secret


@dataclass(frozen=True, slots=True)
class ReflinkSettings:
    """Copy-on-write file systems of this machine: volumes are btrfs subvolumes, or single files, below `root`."""

    root: Path


@dataclass(frozen=True, slots=True)
class OntapSettings:
    """A storage VM of NetApp ONTAP: volumes are LUNs, `/vol/VOLUME/LUN`.

    `igroup` knows us by our iSCSI name `initiator`; clones are read at `portal` (`host:port`). `ca_file` is the PEM
    bundle that signs the array's certificate, the system's authorities without.
    """

    host: str
    user: str
    password: Secret = field(repr=False)
    svm: str
    igroup: str
    portal: str
    initiator: str
    port: int = 443
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ArraySettings:
    """An array and its volumes: `datastores` by their names, raw `luns` by vSphere's id of them (lunUuid)."""

    driver: ReflinkSettings | OntapSettings
    datastores: Mapping[str, str] = field(default_factory=dict)
    luns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.datastores and not self.luns:
            raise _invalid("no datastore and no LUN is named that it holds")
        if self.datastores and self.luns_only:
            raise _invalid("it presents LUNs, and the files of a datastore on a LUN (VMFS) cannot be read here")

    @property
    def name(self) -> str:
        """What the array is called in choices and errors."""
        return "ontap" if isinstance(self.driver, OntapSettings) else "reflink"

    @property
    def luns_only(self) -> bool:
        """Whether clones are LUNs, never folders of files."""
        return isinstance(self.driver, OntapSettings)


def _invalid(why: str) -> SourceInvalid:
    return SourceInvalid("The settings of the storage array are wrong", code="array-settings", why=why)
