"""Which form an Accept header gets."""

from __future__ import annotations

import pytest

from catalog.answers import AnswerFormat
from catalog.api.negotiate import chosen_format
from storage.errors import Invalid


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, AnswerFormat.JSON),
        ("", AnswerFormat.JSON),
        ("*/*", AnswerFormat.JSON),
        ("text/csv", AnswerFormat.CSV),
        ("TEXT/CSV; charset=utf-8", AnswerFormat.CSV),
        ("text/csv;q=0.2, application/x-ndjson;q=0.9", AnswerFormat.NDJSON),
        ("application/json;q=0.1, */*;q=0.5", AnswerFormat.NDJSON),
        ("application/*;q=0, text/*", AnswerFormat.CSV),
        ("image/png, application/vnd.apache.parquet", AnswerFormat.PARQUET),
        ("text/html, */*;q=0.8", AnswerFormat.JSON),
    ],
)
def test_the_heaviest_form_is_chosen(accept: str | None, chosen: AnswerFormat) -> None:
    """The most specific range gives a form its weight; of equals the first offered is taken."""
    assert chosen_format(accept) is chosen


@pytest.mark.parametrize("accept", ["image/png", "*/*;q=0", "text/csv;q=0", "text/csv;q=x", ";;,,"])
def test_what_cannot_be_accepted_is_refused(accept: str) -> None:
    """When no form is acceptable the answer is a refusal that lists the forms there are."""
    with pytest.raises(Invalid) as caught:
        chosen_format(accept)
    assert caught.value.code == "not-acceptable"
    assert "text/csv" in caught.value.hint
