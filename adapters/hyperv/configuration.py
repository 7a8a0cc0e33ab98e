"""A machine's configuration as files of its restore point. Imports `adapters.errors`, `adapters.port`, this package.

`machine.json` says what the machine and its disks were; beside it stand the files that Hyper-V keeps of it (.vmcx and
what belongs to it). One of them that cannot be read is named there with the reason: the disks are worth more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from adapters.errors import AdapterError, SourceLimit
from adapters.hyperv.facts import Machine
from adapters.hyperv.places import MachinePlaces
from adapters.hyperv.snapshot import Frozen
from adapters.port import ConfigurationFile

CONFIG_FILE = "machine.json"
FORMAT = 1
MOST_FILE_BYTES = 8 << 20
"""What is larger holds a running machine's memory, which no restore point has."""


def configuration_files(
    machine: Machine, disks: Sequence[Frozen], places: MachinePlaces
) -> tuple[ConfigurationFile, ...]:
    """Collect the files."""
    files: list[ConfigurationFile] = []
    told: list[dict[str, object]] = []
    for name, content, why in _kept(machine, places):
        told.append({"name": name, "stored": content is not None, "why": why})
        if content is not None:
            files.append(ConfigurationFile(name, content))
    document = {
        "format": FORMAT,
        "machine": machine.id,
        "name": machine.name,
        "version": machine.version,
        "node": machine.node,
        "notes": machine.notes,
        "disks": [_disk(disk) for disk in disks],
        "files": told,
    }
    described = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode()
    return (ConfigurationFile(CONFIG_FILE, described), *files)


def _disk(disk: Frozen) -> dict[str, object]:
    file = disk.file
    return {
        "key": disk.fact.key,
        "place": disk.place,
        "path": file.path,
        "virtual_disk_id": file.virtual_disk_id,
        "size_bytes": file.size_bytes,
        "sector_bytes": file.sector_bytes,
        "format": file.format,
    }


def _kept(machine: Machine, places: MachinePlaces) -> Iterator[tuple[str, bytes | None, str]]:
    names: set[str] = set()
    for path in machine.configuration_files:
        name = path.replace("/", "\\").rpartition("\\")[2]
        if not name or name == CONFIG_FILE or name in names:
            continue
        names.add(name)
        try:
            content = places.read_bytes(path)
            if len(content) > MOST_FILE_BYTES:
                raise SourceLimit(f"{name} is no small file", code="file-too-large", why=f"{len(content)} bytes")
        except AdapterError as error:
            yield name, None, str(error)
        else:
            yield name, content, ""
