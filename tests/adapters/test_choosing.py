"""The choice of a transport: total, deterministic, never a blocked one, every kind accounted for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.choosing import choose
from adapters.errors import SourceInvalid, SourceUnavailable

KINDS = ("fast", "slow", "clear")
WALLS = st.lists(st.sampled_from(["a wall", "a moat"]), unique=True)
BLOCKERS = st.tuples(WALLS, WALLS, WALLS).map(lambda found: dict(zip(KINDS, found, strict=True)))
ALLOWED = st.lists(st.sampled_from(KINDS), unique=True)


@given(BLOCKERS, ALLOWED)
def test_every_kind_is_chosen_or_rejected(blockers: dict[str, list[str]], allowed: list[str]) -> None:
    """Whatever is in the way, the best kind that is allowed and not blocked is chosen, or each blocker is named."""
    able = [kind for kind in KINDS if kind in allowed and not blockers[kind]]
    if not able:
        with pytest.raises(SourceUnavailable, match="vda") as refused:
            choose(blockers, allowed, label="vda", way_out="Build a bridge.")
        assert (refused.value.code, refused.value.hint) == ("no-transport", "Build a bridge.")
        assert all(f"{kind}: " in refused.value.why for kind in KINDS)
        assert all(blocker in refused.value.why for found in blockers.values() for blocker in found)
        return
    choice = choose(blockers, allowed, label="vda", way_out="")
    assert choice == choose(blockers, allowed[::-1], label="vda", way_out="")
    assert choice.kind == able[0]
    assert choice.requested == (allowed[0] if len(allowed) == 1 else None)
    assert [rejected.kind for rejected in choice.rejected] == [kind for kind in KINDS if kind != choice.kind]
    assert all(rejected.why for rejected in choice.rejected)


def test_each_rejection_says_why() -> None:
    """What the settings leave out and what is in the way are said together; of what is only worse, what is better."""
    choice = choose({"fast": [], "slow": [], "clear": ["a wall"]}, ["fast", "slow"], label="vda", way_out="")
    assert {rejected.kind: rejected.why for rejected in choice.rejected} == {
        "slow": "fast is better",
        "clear": "the source's settings do not allow it; a wall",
    }


def test_an_unknown_transport_is_refused() -> None:
    """A kind that does not exist is an error in the settings."""
    with pytest.raises(SourceInvalid, match="smoke"):
        choose(dict.fromkeys(KINDS, ()), ["smoke", "fast"], label="vda", way_out="")
