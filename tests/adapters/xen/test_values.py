"""Numbers that travel as strings."""

from __future__ import annotations

from xmlrpc.client import Binary, DateTime

import pytest

from adapters.errors import SourceInvalid
from adapters.xen.values import NUMBERS, typed, wire
from tests.support.xapi.published import PUBLISHED


def test_the_table_of_numbers_is_the_published_one() -> None:
    """Pitfall 31: every field that XenAPI publishes as an integer, of the classes we read, is taken for one."""
    for kind, fields in NUMBERS.items():
        published = {
            name
            for name, entry in PUBLISHED.classes[kind].items()
            if entry.type == "int" or entry.type.endswith("-> int) map")
        }
        assert fields == published, kind


@pytest.mark.parametrize(
    ("method", "answer", "expected"),
    [
        ("VDI.get_record", {"virtual_size": "8796093022208", "uuid": "1"}, {"virtual_size": 1 << 43, "uuid": "1"}),
        ("VDI.get_all_records", {"r": {"virtual_size": "1"}}, {"r": {"virtual_size": 1}}),
        ("VM.get_domid", "-1", -1),
        ("VM.get_name_label", "12", "12"),
        ("SM.get_features", {"VDI_CONFIG_CBT": "1"}, {"VDI_CONFIG_CBT": 1}),
        ("VDI.get_nbd_info", [{"port": "10809", "cert": ""}], [{"port": 10809, "cert": ""}]),
        ("VM.get_record", {"snapshot_time": DateTime("20260102T03:04:05Z")}, {"snapshot_time": "20260102T03:04:05Z"}),
        ("VM.get_other_config", {"a": "1", "b": [Binary(b"x")]}, {"a": "1", "b": [b"x"]}),
    ],
)
def test_answers_are_typed(method: str, answer: object, expected: object) -> None:
    """Pitfall 31: integers come as strings and leave as integers, but only where XenAPI declares integers."""
    assert typed(method, answer) == expected


DEEP: list[object] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("VDI.get_record", {"virtual_size": "large"}),
        ("VDI.get_record", "no record"),
        ("VDI.get_all_records", []),
        ("VDI.get_all_records", {"r": 1}),
        ("VDI.get_nbd_info", [1]),
        ("VM.get_domid", []),
        ("VM.get_domid", "9" * 10_000),
        ("VM.get_other_config", DEEP),
    ],
)
def test_other_answers_are_refused(method: str, answer: object) -> None:
    """What is not what XenAPI declares is an error, never a guess."""
    with pytest.raises(SourceInvalid) as caught:
        typed(method, answer)
    assert caught.value.code == "answer-unreadable"


def test_arguments_travel_as_strings() -> None:
    """Pitfall 31: integers are sent as strings, in records, too; truths and fractions stay what they are."""
    assert wire({"size": 1 << 43, "flag": True, "list": [1, 2.5], "map": {"n": -1}}) == {
        "size": "8796093022208",
        "flag": True,
        "list": ["1", 2.5],
        "map": {"n": "-1"},
    }
    with pytest.raises(TypeError):
        wire({"none": None})
