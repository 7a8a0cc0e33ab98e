"""The SQL tab: saved questions, answers, limits, files, failures."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Page, expect

from tests.support.web_lab import HOSTILE
from tests.web.conftest import Opener, Watch


@pytest.fixture
def sql(open_page: Opener) -> Page:
    """The tab, as an analyst sees it."""
    page = open_page("analyst", state={"view": "sql"})
    expect(page.locator(".view")).not_to_have_count(0)
    return page


def ask(page: Page, query: str) -> None:
    """Run a query by the keyboard."""
    page.get_by_label("Query", exact=True).fill(query)
    page.get_by_label("Query", exact=True).press("Control+Enter")


def test_saved_questions_are_asked_as_they_are(sql: Page) -> None:
    """There are ten, each with its reason, and each has an answer here."""
    saved = sql.get_by_label("Saved questions")
    assert saved.locator("option").count() == 11
    for number in range(1, 11):
        saved.select_option(index=number)
        expect(sql.locator("#sql .about").last).not_to_be_empty()
        sql.get_by_role("button", name="Run").click()
        expect(sql.locator("#answer").get_by_role("status").first).to_have_text(re.compile(r"^[\d,]+ rows?.*, in"))


def test_answers_are_pages_of_escaped_text(sql: Page) -> None:
    """Markup stays text, 120 rows are three pages, integers are exact, NULL is told from text."""
    ask(sql, "SELECT i, '<b>' || i AS tag, 9007199254740993 AS big, NULL AS nothing FROM range(120) t(i) ORDER BY i")
    answer = sql.locator("#answer")
    expect(answer.locator("tbody tr")).to_have_count(50)
    expect(answer.locator("tbody tr").first).to_have_text(re.compile(r"0<b>09007199254740993NULL"))
    answer.get_by_role("button", name="Next").click()
    answer.get_by_role("button", name="Next").click()
    expect(answer.locator("tbody tr")).to_have_count(20)
    expect(answer.locator(".pager")).to_contain_text("101 to 120 of 120")
    assert "query=SELECT" in sql.url


def test_a_cut_answer_says_so(sql: Page) -> None:
    """Only the first rows are shown, and that is told."""
    ask(sql, "SELECT * FROM range(5000)")
    expect(sql.locator("#answer").get_by_role("status").first).to_contain_text("1,000 rows, cut there")


def test_a_wrong_query_is_a_problem_with_its_code(sql: Page, watch: Watch) -> None:
    """The engine's words, the hint and the code are shown; the next query works."""
    watch.expected.append("400")
    ask(sql, "SELEKT 1")
    expect(sql.locator("#answer .problem code")).to_have_text(re.compile("^sql-"))
    ask(sql, "SELECT 1 AS one")
    expect(sql.locator("#answer tbody tr")).to_have_count(1)


def test_a_query_can_be_stopped(sql: Page) -> None:
    """Stop ends the wait at once."""
    ask(sql, "SELECT count(*) FROM range(100000000000) a")
    sql.get_by_role("button", name="Stop").click()
    expect(sql.locator("#answer")).to_contain_text("Stopped.")


def test_limits_are_the_readers_to_set(sql: Page, watch: Watch) -> None:
    """A statement that takes longer than the seconds given is ended, and the problem says so."""
    watch.expected += ["413", "504", "429", "408"]
    sql.get_by_label("Seconds at most").fill("1")
    ask(sql, "SELECT count(*) FROM range(1000000000000) a")
    expect(sql.locator("#answer .problem code")).to_have_text("sql-time", timeout=20000)


@pytest.mark.parametrize("form", ["CSV", "JSON", "Parquet", "Arrow"])
def test_answers_are_saved_as_files(sql: Page, form: str, tmp_path: Path) -> None:
    """Each form is a file that its readers read, hostile names included, with all rows."""
    sql.get_by_label("Query", exact=True).fill("SELECT name FROM machines ORDER BY name")
    with sql.expect_download() as waiting:
        sql.get_by_role("button", name=form, exact=True).click()
    saved = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(saved)
    data = saved.read_bytes()
    if form == "CSV":
        names = data.decode().splitlines()[1:]
    elif form == "JSON":
        names = [row["name"] for row in json.loads(data)["rows"]]
    elif form == "Parquet":
        names = pq.read_table(io.BytesIO(data)).column("name").to_pylist()
    else:
        names = pa.ipc.open_stream(data).read_all().column("name").to_pylist()
    assert names == sorted([HOSTILE, "files", "web"])


def test_views_are_described(sql: Page) -> None:
    """Each view has its columns, and a first query over it is one click."""
    view = sql.locator(".view").filter(has_text="restore_points").first
    view.locator("summary").click()
    expect(view.locator("tbody tr")).not_to_have_count(0)
    view.get_by_role("button", name="Query restore_points").click()
    expect(sql.get_by_label("Query", exact=True)).to_have_value("SELECT * FROM restore_points LIMIT 100")


def test_a_scoped_caller_sees_its_rows_alone(open_page: Opener) -> None:
    """What is not in scope is not in the answer."""
    page = open_page("scoped", state={"view": "sql"})
    ask(page, "SELECT name FROM machines")
    expect(page.locator("#answer tbody tr")).to_have_count(1)
    expect(page.locator("#answer tbody")).to_contain_text("web")
