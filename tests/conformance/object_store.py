"""What every object store must do. A backend's test class inherits the suite and gives a fixture `objects`.

class TestMyObjects(ObjectStoreSuite):
    @pytest.fixture
    def objects(self) -> ObjectStore: ...
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from storage.errors import Conflict, Corrupt, Invalid, NotFound
from storage.objects.port import ObjectStore


def views(*parts: bytes) -> list[memoryview]:
    """Buffers as `put` takes them."""
    return [memoryview(part) for part in parts]


def content(objects: ObjectStore, name: str) -> bytes:
    """All bytes of an object."""
    buffer = bytearray(objects.stat(name).size_bytes)
    objects.read_into(name, 0, memoryview(buffer))
    return bytes(buffer)


class ObjectStoreSuite:
    """The guarantees of `storage/objects/port.py`."""

    def test_an_object_is_its_buffers_in_order(self, objects: ObjectStore) -> None:
        """What was put from several buffers, empty ones among them, is read back as one."""
        objects.put("packs/3f/one", *views(b"head", b"", b"body" * 5000, b"tail"))
        assert content(objects, "packs/3f/one") == b"head" + b"body" * 5000 + b"tail"
        assert objects.stat("packs/3f/one").name == "packs/3f/one"

    def test_any_range_is_readable(self, objects: ObjectStore) -> None:
        """A read fills the whole buffer from any offset, up to the last byte."""
        objects.put("a", *views(bytes(range(200))))
        for offset, length in ((0, 200), (7, 11), (199, 1), (200, 0)):
            buffer = bytearray(length)
            objects.read_into("a", offset, memoryview(buffer))
            assert bytes(buffer) == bytes(range(200))[offset : offset + length]

    @pytest.mark.parametrize(("offset", "length"), [(0, 4), (3, 1), (2, 2), (99, 1)])
    def test_a_read_past_the_end_is_corrupt(self, objects: ObjectStore, offset: int, length: int) -> None:
        """An object that ends before the buffer is full is reported, not padded."""
        objects.put("a", *views(b"abc"))
        with pytest.raises(Corrupt) as caught:
            objects.read_into("a", offset, memoryview(bytearray(length)))
        assert caught.value.code == "object-truncated"

    def test_the_tail_comes_with_the_size(self, objects: ObjectStore) -> None:
        """The tail is cut to what is there, and the size is the whole object's."""
        objects.put("a", *views(b"0123456789"))
        assert objects.read_tail("a", 4) == (10, b"6789")
        assert objects.read_tail("a", 10) == objects.read_tail("a", 64) == (10, b"0123456789")

    def test_an_object_never_changes(self, objects: ObjectStore) -> None:
        """A second put under the same name is a conflict and leaves the first one's bytes."""
        objects.put("a", *views(b"first"))
        with pytest.raises(Conflict) as caught:
            objects.put("a", *views(b"second"))
        assert caught.value.code == "object-exists"
        assert content(objects, "a") == b"first"

    def test_one_of_many_creators_wins(self, objects: ObjectStore) -> None:
        """Of writers that race for a name exactly one succeeds, and the object is that one's, whole."""
        candidates = [bytes([number]) * 70_000 for number in range(12)]

        def attempt(body: bytes) -> bytes | None:
            try:
                objects.put("packs/aa/raced", *views(body))
            except Conflict:
                return None
            return body

        with ThreadPoolExecutor(6) as pool:
            winners = [body for body in pool.map(attempt, candidates) if body is not None]
        assert winners == [content(objects, "packs/aa/raced")]

    def test_an_empty_object_exists(self, objects: ObjectStore) -> None:
        """An object of no bytes is listed, has size 0 and can be read."""
        objects.put("empty")
        assert objects.read_tail("empty", 10) == (0, b"")
        assert [found.size_bytes for found in objects.list("")] == [0]

    def test_what_is_missing_is_not_found(self, objects: ObjectStore) -> None:
        """Every operation on a missing object raises NotFound with one code."""
        objects.put("a/b", *views(b"x"))
        for name in ("a", "a/c", "a/b/c", "z"):
            for operation in (
                lambda name=name: objects.read_into(name, 0, memoryview(bytearray(1))),
                lambda name=name: objects.read_tail(name, 1),
                lambda name=name: objects.stat(name),
                lambda name=name: objects.delete(name),
            ):
                with pytest.raises(NotFound) as caught:
                    operation()
                assert caught.value.code == "object-missing"
        assert content(objects, "a/b") == b"x"

    def test_a_deleted_object_is_gone(self, objects: ObjectStore) -> None:
        """After a delete the name is free, and neighbours are untouched."""
        objects.put("a/b", *views(b"x"))
        objects.put("a/c", *views(b"y"))
        objects.delete("a/b")
        with pytest.raises(NotFound):
            objects.stat("a/b")
        objects.put("a/b", *views(b"again"))
        assert content(objects, "a/b") == b"again"
        assert content(objects, "a/c") == b"y"

    def test_a_listing_is_in_name_order(self, objects: ObjectStore) -> None:
        """Names come sorted as whole strings, so `/` sorts between `.` and `0`, at every prefix."""
        names = ["a", "b-c", "b.c", "b/c", "b/c.d", "b/ca/x", "b/cb", "b0", "packs/00/11", "packs/0f/22", "packs/f0/33"]
        for name in reversed(names):
            objects.put(name, *views(name.encode()))
        for prefix in ("", "b", "b/", "b/c", "b/ca/", "packs/", "packs/0", "packs/f0/3", "zzz", "b/c/none"):
            expected = sorted(name for name in names if name.startswith(prefix))
            found = list(objects.list(prefix))
            assert [entry.name for entry in found] == expected
            assert [entry.size_bytes for entry in found] == [len(name) for name in expected]

    def test_the_store_tells_when(self, objects: ObjectStore) -> None:
        """`modified_at` is an aware time near the put, the same in stat and list."""
        objects.put("a", *views(b"x"))
        stat = objects.stat("a")
        assert abs(datetime.now(UTC) - stat.modified_at) < timedelta(minutes=10)
        assert list(objects.list("a")) == [stat]

    @pytest.mark.parametrize(
        "name",
        ["", ".", "..", "/a", "a/", "a//b", "a/../b", "../a", "a/.b", ".partial/x", "A", "a b", "a\n", "ä", "a" * 600],
    )
    def test_a_name_stays_in_its_place(self, objects: ObjectStore, name: str) -> None:
        """A name that could mean another place or be unportable is refused by every operation."""
        for operation in (
            lambda: objects.put(name, *views(b"x")),
            lambda: objects.read_into(name, 0, memoryview(bytearray(1))),
            lambda: objects.read_tail(name, 1),
            lambda: objects.stat(name),
            lambda: objects.delete(name),
        ):
            with pytest.raises(Invalid) as caught:
                operation()
            assert caught.value.code == "object-name"

    @pytest.mark.parametrize("prefix", ["/", "../", "a/../", ".partial", "a/.p", "a//"])
    def test_a_prefix_stays_in_its_place(self, objects: ObjectStore, prefix: str) -> None:
        """A listing can't start outside the store or at what is unfinished."""
        with pytest.raises(Invalid):
            list(objects.list(prefix))

    def test_cleaning_spares_whole_objects(self, objects: ObjectStore) -> None:
        """Removing partial writes of any age removes no object."""
        objects.put("a/b", *views(b"x"))
        assert objects.clean_partial(timedelta(0)) == 0
        assert content(objects, "a/b") == b"x"
