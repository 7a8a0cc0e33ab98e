"""The byte in front of a state, and what lies behind it."""

from __future__ import annotations

import os
import threading

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from catalog.log.framing import COMPRESS_FROM_BYTES, MAX_STATE_BYTES, PLAIN, ZSTD, Framing, plain_bytes
from storage.errors import Corrupt, Limit


@given(st.binary(max_size=5000) | st.integers(0, 5000).map(bytes))
def test_frames_come_back(data: bytes) -> None:
    """Any bytes come back, never longer than one byte more, and their size is known before."""
    frame = Framing().compress(data)
    assert Framing().decompress(frame) == data
    assert plain_bytes(frame) == len(data)
    assert len(frame) <= len(data) + 1


def test_small_and_random_states_stay_plain() -> None:
    """Compression is for states of 1 KiB and more that it makes smaller."""
    assert Framing().compress(bytes(COMPRESS_FROM_BYTES - 1))[:1] == PLAIN
    assert Framing().compress(bytes(COMPRESS_FROM_BYTES))[:1] == ZSTD
    assert Framing().compress(os.urandom(100_000))[:1] == PLAIN


def test_states_have_a_largest_size() -> None:
    """What no reader would accept is not written."""
    assert len(Framing().compress(bytes(MAX_STATE_BYTES))) < 10_000
    with pytest.raises(Limit) as caught:
        Framing().compress(bytes(MAX_STATE_BYTES + 1))
    assert caught.value.code == "event-size"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x02abc",
        ZSTD,
        ZSTD + b"no zstd",
        ZSTD + zstandard.ZstdCompressor().compress(bytes(MAX_STATE_BYTES + 1)),
        ZSTD + zstandard.ZstdCompressor(write_content_size=False).compress(bytes(5000)),
        ZSTD + zstandard.ZstdCompressor().compress(bytes(5000))[:-3],
        PLAIN + bytes(MAX_STATE_BYTES + 1),
    ],
    ids=["empty", "unknown form", "no frame", "no zstd", "bomb", "no size", "cut", "large"],
)
def test_other_frames_are_corrupt(frame: bytes) -> None:
    """A frame that is cut, foreign or claims too much is refused before memory is taken for it."""
    with pytest.raises(Corrupt) as caught:
        Framing().decompress(frame)
    assert caught.value.code == "event-frame"


def test_threads_share_a_framing() -> None:
    """One object serves several threads at once."""
    framing, data, wrong = Framing(), [os.urandom(2000) * 50 for _ in range(4)], []

    def work(mine: bytes) -> None:
        wrong.extend(None for _ in range(200) if framing.decompress(framing.compress(mine)) != mine)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
