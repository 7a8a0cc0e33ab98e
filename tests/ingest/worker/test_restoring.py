"""What a restored directory says of itself, now and for ever."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import msgspec

from ingest.worker.restoring import Manifest, RestoredImage, encoded

GOLDEN = Path(__file__).parents[2] / "golden" / "restore" / "restore.json"
WRITTEN = Manifest(
    task=UUID("0b5c6f0a-51cc-4d9c-b8b1-6d2f3e0a0006"),
    restore_point=UUID("0b5c6f0a-51cc-4d9c-b8b1-6d2f3e0a0005"),
    machine=UUID("0b5c6f0a-51cc-4d9c-b8b1-6d2f3e0a0002"),
    images=(RestoredImage(file="sda.raw", format="raw", size_bytes=4 << 20, data_bytes=2 << 20),),
)


def test_the_file_is_written_as_it_always_was() -> None:
    """What was written by the first version is written by this one."""
    assert encoded(WRITTEN) == GOLDEN.read_bytes()


def test_files_of_later_versions_are_read() -> None:
    """A field that is not known yet does not hide the others."""
    later = GOLDEN.read_bytes().replace(b'"task"', b'"later": [1], "task"')
    assert msgspec.json.decode(later, type=Manifest) == WRITTEN
