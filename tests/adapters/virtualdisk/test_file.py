"""Files of this host: read wholly or not at all, and never through a descriptor that is another file's by now."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from adapters.errors import SourceConflict, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.virtualdisk.file import LocalFile, read_bytes


def test_a_file_is_read_where_asked(tmp_path: Path) -> None:
    """Any range inside comes back."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 100)
    file = LocalFile(str(path))
    assert file.size_bytes == 25600
    assert read_bytes(file, 300, 1000) == (bytes(range(256)) * 100)[300:1300]
    assert read_bytes(file, 0, 0) == b""
    file.close()


def test_a_file_that_became_shorter_is_a_conflict(tmp_path: Path) -> None:
    """What is not there any more is no zeros."""
    path = tmp_path / "file"
    path.write_bytes(bytes(5000))
    file = LocalFile(str(path))
    os.truncate(path, 100)
    with pytest.raises(SourceConflict) as caught:
        read_bytes(file, 0, 5000)
    assert caught.value.code == "file-changed"
    file.close()


def test_closing_is_final_and_harmless_twice(tmp_path: Path) -> None:
    """Nothing is read after closing."""
    path = tmp_path / "file"
    path.write_bytes(bytes(5000))
    file = LocalFile(str(path))
    file.close()
    file.close()
    with pytest.raises(SourceUnavailable):
        read_bytes(file, 0, 1)


def test_closing_waits_for_reads(tmp_path: Path) -> None:
    """Threads that read while the file is closed get their bytes or an error, never another file's bytes."""
    paths = [tmp_path / "mine", tmp_path / "other"]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number + 1]) * 100_000)
    wrong = []

    def look(file: LocalFile) -> None:
        buffer = bytearray(100_000)
        try:
            while True:
                file.pread_into(0, memoryview(buffer))
                wrong.extend({*buffer} - {1})
        except SourceUnavailable:
            pass

    for _ in range(20):
        file = LocalFile(str(paths[0]))
        threads = [threading.Thread(target=look, args=(file,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        file.close()
        other = LocalFile(str(paths[1]))
        for thread in threads:
            thread.join()
        other.close()
    assert wrong == []


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A named pipe nobody writes to does not make us wait; folders and missing files are errors."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(SourceInvalid):
            LocalFile(str(tmp_path / name))
    for name in ("gone", "pipe/gone", "nul\0byte"):
        with pytest.raises(SourceNotFound):
            LocalFile(str(tmp_path / name))
