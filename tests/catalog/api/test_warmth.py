"""Reading ahead: it is done without being asked, does no harm when it fails, and ends when it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from catalog.api.warmth import Warmth
from catalog.queries.reads import CatalogReads
from catalog.runtime import Catalog
from storage.errors import Corrupt
from tests.support.api_home import ApiHome


@pytest.fixture
def reads(tmp_path: Path) -> Iterator[CatalogReads]:
    """Reads that nobody asked anything yet."""
    with Catalog.opened(ApiHome.made(tmp_path).home) as catalog:
        catalog.catch_up()
        with closing(CatalogReads(catalog.lake, catalog.index_resolver())) as made:
            yield made


def test_what_first_questions_need_is_read(reads: CatalogReads) -> None:
    """Behind it the largest of the small tables and the runs of the events are in memory."""
    assert "disk_points" not in reads._warm._tables
    warmth = Warmth(reads)
    warmth.start()
    warmth._thread.join(30)
    assert "disk_points" in reads._warm._tables
    assert reads._runs._runs.position == reads.position
    warmth.stop()


def test_a_failure_is_told_to_the_log_alone(
    reads: CatalogReads, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be read is a line in the service's log, and its end."""

    def broken(*_: object) -> None:
        raise Corrupt("no", code="index-file")

    monkeypatch.setattr(reads, "point_disks", broken)
    warmth = Warmth(reads)
    warmth.start()
    warmth._thread.join(30)
    assert "index-file" in caplog.text
    warmth.stop()
    assert not warmth._thread.is_alive()
