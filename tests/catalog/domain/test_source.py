"""Sources come, go, and come again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from catalog.domain.events import RunOpened, SourceAdded, SourceRemoved
from catalog.domain.source import SourceState
from storage.errors import Conflict, Corrupt

ADDED: dict[str, Any] = {"name": "lab", "kind": "qemu", "settings": {"socket": "/run/qmp"}}


def test_no_events_are_no_source() -> None:
    """An empty stream is no source."""
    assert SourceState.fold([]) is None


def test_a_source_can_be_removed_and_added_again(make: Any) -> None:
    """Removing keeps what it was; adding again takes the new settings."""
    added, removed = make(SourceAdded, **ADDED), make(SourceRemoved, name="lab")
    again = make(SourceAdded, name="lab", kind="image", settings={})
    state = SourceState.fold([added])
    assert state is not None
    assert (state.name, state.kind, state.settings, state.removed) == ("lab", "qemu", {"socket": "/run/qmp"}, False)
    gone = state.apply(removed)
    assert (gone.kind, gone.removed, gone.version) == ("qemu", True, 2)
    back = gone.apply(again)
    assert (back.kind, back.removed, back.version) == ("image", False, 3)


def test_what_cannot_happen_to_a_source(make: Any) -> None:
    """Adding what exists, removing what is gone, and events of other streams are conflicts."""
    state = SourceState.begin(make(SourceAdded, **ADDED))
    with pytest.raises(Conflict) as caught:
        state.apply(make(SourceAdded, **ADDED))
    assert caught.value.code == "source-exists"
    removed = msgspec.structs.replace(make(SourceRemoved, name="lab"), originator_version=2)
    with pytest.raises(Conflict) as caught:
        state.apply(removed).apply(msgspec.structs.replace(removed, originator_version=3))
    assert caught.value.code == "source-removed"
    with pytest.raises(Conflict) as caught:
        state.apply(msgspec.structs.replace(removed, originator_id=removed.originator_id.__class__(int=9)))
    assert caught.value.code == "event-stream"
    with pytest.raises(Conflict) as caught:
        state.apply(msgspec.structs.replace(removed, originator_version=4))
    assert caught.value.code == "event-version"


def test_a_recorded_contradiction_is_corrupt(make: Any) -> None:
    """What may not be recorded is, once it is in the log, a log that cannot be trusted."""
    opened = make(RunOpened, run_id=make(SourceRemoved, name="lab").originator_id, label="x")
    with pytest.raises(Corrupt) as caught:
        SourceState.fold([opened])
    assert caught.value.code == "event-unexpected"
