"""Objects in memory keep the common guarantees."""

from __future__ import annotations

import pytest

from storage.objects.memory import MemoryObjects
from tests.conformance.object_store import ObjectStoreSuite


class TestMemoryObjects(ObjectStoreSuite):
    @pytest.fixture
    def objects(self) -> MemoryObjects:
        return MemoryObjects()
