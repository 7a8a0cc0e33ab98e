"""Reads in the dialect of xapi-nbd, which speaks less NBD than others: the same bytes, and the same patience."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import SourceUnavailable
from adapters.port import Extent
from tests.adapters.xen.transport.conftest import DISK, MIB, Lab
from tests.support.xapi.nbd_dialect import DialectServer


def test_the_old_dialect_is_read(lab: Lab, tmp_path: Path) -> None:
    """A host without GO and structured replies is read whole, at any offset."""
    with DialectServer(tmp_path / "old", lab.pool.served) as host:
        lab.info = lambda uuid, session: [host.info(uuid, session)]
        reader = lab.read()
        assert list(reader.extents()) == [Extent(0, len(DISK), zero=False)]
        for offset, length in [(0, len(DISK)), (7 * MIB + 5, 1000), (513, 1)]:
            buffer = bytearray(length)
            reader.pread_into(offset, memoryview(buffer))
            assert buffer == DISK[offset : offset + length]
        assert len(host.entered) == 1
        reader.close()


def test_a_session_that_is_dead_is_a_dropped_connection(lab: Lab, tmp_path: Path) -> None:
    """The host says nothing when it does not know a session: the name is taken anew, and the read goes on."""
    with DialectServer(tmp_path / "old", lab.pool.served) as host:
        stale = lab.pool.id
        answers = iter([stale, stale])
        lab.info = lambda uuid, session: [host.info(uuid, next(answers, session))]
        reader = lab.read()
        lab.pool.log_in_again()
        host.drop_all()
        buffer = bytearray(len(DISK))
        reader.pread_into(0, memoryview(buffer))
        assert buffer == DISK
        assert [stale in name for name in host.entered] == [True, True, False]
        lab.info = lambda uuid, session: [host.info(uuid, stale)]
        host.drop_all()
        with pytest.raises(SourceUnavailable) as error:
            reader.pread_into(0, memoryview(buffer))
        assert error.value.code == "nbd-lost"
        assert stale not in f"{error.value} {error.value!r}"
        reader.close()
