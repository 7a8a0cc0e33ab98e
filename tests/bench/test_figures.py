"""Tests of how benchmark figures are judged and shown."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import MARKS, markdown
from tests.bench.figures import figure


@pytest.mark.parametrize(
    ("value", "target", "met"),
    [(0.7, ">= 0.70", True), (0.699, ">= 0.70", False), (45, "<= 45", True), (45.1, "<= 45", False), (1, None, None)],
)
def test_a_target_is_judged_before_rounding(value: float, target: str | None, met: bool | None) -> None:
    """A figure meets its target or misses it by what was measured; without a target it does neither."""
    assert figure("x", value, "s", target)["met"] is met


def test_a_nearly_met_target_stays_missed() -> None:
    """Rounding for the reader does not turn a miss into a success."""
    assert figure("x", 0.6999, "ratio", ">= 0.70")["met"] is False


def test_the_readme_shows_misses_and_keeps_its_text() -> None:
    """Only what stands between the marks is replaced, and a missed target is said to be missed."""
    rows = [{**figure("slow", 2.0, "s", "<= 1"), "machine": "m"}, {**figure("no target", 1.0, "s"), "machine": "m"}]
    text = MARKS.sub(lambda _: markdown(rows), "before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    assert "| slow | 2 s | <= 1 | MISSED |" in text
    assert "no target" not in text
    assert "old" not in text
    assert text.startswith("before\n<!-- bench -->\n|")
    assert text.endswith("<!-- /bench -->\nafter\n")
