"""The search box, and evidence to take away."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Page, expect

from catalog.batches import decode_chunks
from catalog.domain.events import ChunksRecorded
from tests.support.web_lab import HOSTILE
from tests.web.conftest import Opener, Site


def find(page: Page, text: str) -> None:
    """Search by the keyboard, from anywhere."""
    page.locator("body").click()
    page.keyboard.press("/")
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def test_a_machine_is_found_by_a_part_of_its_name(page: Page) -> None:
    """The way leads to the machine, and from there to its restore points."""
    expect(page.get_by_role("grid")).to_be_visible()
    find(page, "we")
    page.locator("#results").get_by_role("link", name="web").click()
    expect(page.locator("#results h2")).to_have_text("Machine web")
    page.locator("#results tbody a").first.click()
    expect(page.locator("#point h2")).to_contain_text("of web")


def test_a_point_is_found_by_the_start_of_its_identifier(page: Page, site: Site) -> None:
    """Eight digits are enough."""
    expect(page.get_by_role("grid")).to_be_visible()
    find(page, site.lab.point()[:8])
    page.locator("#results tbody a").first.click()
    expect(page.locator("#point h2")).to_contain_text(site.lab.point()[:12])


def test_a_digest_names_everything_that_holds_the_chunk(page: Page, site: Site) -> None:
    """How far the damage of a chunk reaches: machine, disk, points."""
    event = site.lab.lab.of_type(ChunksRecorded)[0]
    digest = bytes(decode_chunks(event.batch).digests[0]).hex()
    expect(page.get_by_role("grid")).to_be_visible()
    find(page, digest)
    expect(page.locator("#results")).to_contain_text("If it is damaged, these restore points are.")
    expect(page.locator("#results tbody tr")).not_to_have_count(0)


def test_a_time_finds_the_points_up_to_it(page: Page) -> None:
    """A day lists what was there at its end; a day long ago lists nothing."""
    expect(page.get_by_role("grid")).to_be_visible()
    find(page, datetime.now(UTC).date().isoformat())
    expect(page.locator("#results tbody tr")).not_to_have_count(0)
    page.get_by_role("searchbox").fill("2001-01-01")
    page.keyboard.press("Enter")
    expect(page.locator("#results .empty")).to_be_visible()


def test_nothing_found_says_what_can_be_asked(page: Page) -> None:
    """A text that names nothing is answered with what would."""
    expect(page.get_by_role("grid")).to_be_visible()
    find(page, "no such thing")
    expect(page.locator("#results .empty")).to_contain_text("a part of a machine's name")


def test_evidence_is_checked_and_taken_away(open_page: Opener, site: Site, tmp_path: Path) -> None:
    """Coverage is told, the bundle is saved, and it verifies offline with the public key alone.

    Its period ends now, so that the check rightly says that the last events could have been left out.
    """
    page = open_page("auditor", state={"view": "evidence"})
    page.get_by_label("Machine").select_option(label="lab/web")
    today = datetime.now(UTC).date().isoformat()
    page.get_by_label("From", exact=True).fill(today)
    page.get_by_role("button", name="Check coverage").click()
    expect(page.locator(".verdict")).to_contain_text("covered")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download evidence").click()
    assert re.fullmatch(rf"holdfast-lab-web-{today}-{today}\.bundle", waiting.value.suggested_filename)
    saved = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(saved)
    told = page.locator("#evidence .result code", has_text="prove check").inner_text()
    key = tmp_path / "ledger.pub"
    key.write_text(site.lab.lab.ok("ledger", "key").out)
    given = {saved.name: saved, "KEY": key}
    checked = site.lab.lab.run(*(given.get(word, word) for word in shlex.split(told)[1:]))
    assert checked.code == 1
    assert "no event of the machine behind the period is there yet" in checked.err


def test_a_hostile_name_is_text_everywhere(page: Page) -> None:
    """Markup in a name is shown as it is, a change of direction and unseen characters by their code points."""
    told = "<img src=x onerror=alert(1)>\u27e8U+202E\u27e9\u27e8U+200B\u27e9gpj"
    assert HOSTILE not in told
    header = page.get_by_role("rowheader").filter(has_text="onerror")
    expect(header).to_contain_text(told)
    page.get_by_role("gridcell", name=re.compile("onerror.*Present")).click()
    expect(page.locator("#day h2")).to_contain_text(told)
    page.locator("#day tbody a").first.click()
    expect(page.locator("#point h2")).to_contain_text(told)
    page.locator("#disks").get_by_role("button", name="Copy as command line").click()
    page.locator("#events").get_by_role("button", name="Copy as command line").click()
    expect(page.locator("#events .shelf pre")).to_contain_text("\\U0000202e")
    page.get_by_role("link", name="Evidence", exact=True).click()
    expect(page.get_by_label("Machine").locator("option").filter(has_text="onerror")).to_contain_text(told)
    assert page.locator("img[src='x']").count() == 0
