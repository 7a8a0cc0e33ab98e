"""Objects in memory keep the common guarantees."""

from __future__ import annotations

import pytest

from tests.conformance.object_store import ObjectStoreSuite
from tests.support.memory_objects import MemoryObjects


class TestMemoryObjects(ObjectStoreSuite):
    @pytest.fixture
    def objects(self) -> MemoryObjects:
        return MemoryObjects()
