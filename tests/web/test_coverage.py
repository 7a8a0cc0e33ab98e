"""Coverage: the grid, its keyboard, the day, and where the reader is."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.web.conftest import Opener, Site


def test_grid_shows_each_machines_days_in_words(page: Page) -> None:
    """A cell has a letter and a label, the label names machine, day, state and points."""
    cell = page.get_by_role("gridcell", name=re.compile(r"^web, .*: Verified, 3 points$"))
    expect(cell).to_have_text("V")
    expect(page.get_by_role("gridcell", name=re.compile(r"^files, .*: Partial"))).to_have_text("\u00bd")
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "4")
    expect(page.locator(".legend")).to_contain_text("Damaged")


def test_one_cell_is_in_the_tab_order_and_arrows_move_it(page: Page) -> None:
    """The grid is one stop of the tab key; arrows, Home and End move within it, Enter opens the day."""
    grid = page.get_by_role("grid")
    expect(grid.locator('[tabindex="0"]')).to_have_count(1)
    grid.locator('[tabindex="0"]').focus()
    for key in ("ArrowDown", "ArrowDown", "Home", "End"):
        page.keyboard.press(key)
    focused = page.locator(":focus")
    expect(focused).to_have_attribute("aria-label", re.compile("^web, "))
    expect(grid.locator('[tabindex="0"]')).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#day tbody tr")).to_have_count(3)
    expect(page.locator(":focus")).to_have_attribute("aria-label", re.compile("^web, "))


def test_a_click_opens_the_day_and_the_link_to_it_can_be_shared(page: Page, open_page: Opener) -> None:
    """The address names machine and day, never the token, and shows another reader the same."""
    page.get_by_role("gridcell", name=re.compile("^web, .*Verified")).click()
    expect(page.locator("#day h2")).to_contain_text("Restore points of web on")
    assert "machine=" in page.url
    assert "hf_" not in page.url
    other = open_page("auditor", state=dict(part.split("=") for part in page.url.split("#")[1].split("&")))
    expect(other.locator("#day tbody tr")).to_have_count(3)
    assert "token" not in other.url


def test_months_can_be_chosen(page: Page) -> None:
    """Another range of months is another grid, and the way back leads to the first."""
    before = page.get_by_role("columnheader").count()
    expect(page.get_by_role("grid")).to_be_visible()
    before = page.get_by_role("columnheader").count()
    page.get_by_label("From").select_option(index=0)
    expect(page.get_by_role("columnheader").nth(40)).to_have_count(0)
    assert page.get_by_role("columnheader").count() < before
    page.go_back()
    expect(page.get_by_role("columnheader")).to_have_count(before)


def test_a_year_at_most_is_asked_for(page: Page) -> None:
    """From a month of three years ago on, the range ends after twelve months."""
    expect(page.get_by_role("grid")).to_be_visible()
    page.get_by_label("From").select_option(index=35)
    expect(page.locator("#coverage .problem")).to_have_count(0)
    assert page.locator("#coverage select").nth(1).evaluate("e => e.selectedIndex") == 24


def test_200_machines_of_a_quarter_are_one_grid(open_page: Opener, site: Site) -> None:
    """18,000 cells are there, rows out of sight cost no layout, and keys reach the last of them."""
    page = open_page("auditor")
    expect(page.get_by_role("grid")).to_be_visible()
    days = [f"2026-{month:02}-{day:02}" for month, last in ((7, 31), (8, 31), (9, 30)) for day in range(1, last + 1)]
    cells = [{"day": day, "state": "present", "points": 1, "verified": 0, "partial": 0} for day in days]
    rows = [
        {
            "machine_id": str(n),
            "machine": f"m{n}",
            "source": "s",
            "first_seen_at": "2026-01-01T00:00:00Z",
            "days": cells,
        }
        for n in range(200)
    ]
    answer = {"items": rows, "next": None, "position": 9, "lag": 0}
    page.route("**/v1/coverage?**", lambda route: route.fulfill(json=answer, headers={"Catalog-Position": "9"}))
    page.goto(site.at(**{"from": "2026-07", "to": "2026-09"}))
    grid = page.get_by_role("grid")
    expect(grid.locator(".cell")).to_have_count(200 * len(days), timeout=30000)
    last = grid.locator(".row").last
    assert last.evaluate("e => getComputedStyle(e).contentVisibility") == "auto"
    grid.locator('[tabindex="0"]').focus()
    page.keyboard.press("Control+End")
    expect(page.locator(":focus")).to_have_attribute("aria-label", "m199, 30 Sep: Present, 1 point")
    expect(page.locator(":focus")).to_be_in_viewport()


def test_days_before_a_machine_was_seen_are_not_missing_backups(page: Page) -> None:
    """A machine that was not known yet has no gap."""
    expect(page.get_by_role("gridcell", name=re.compile("^web, .*Not yet seen")).first).to_be_attached()
    expect(page.get_by_role("gridcell", name=re.compile("^web, .*Missing"))).to_have_count(0)


def test_as_of_an_early_event_the_page_shows_what_was_known_then(page: Page, site: Site) -> None:
    """The whole page goes to a position, says so, and comes back."""
    expect(page.get_by_role("gridcell", name=re.compile("^web, .*Verified"))).to_be_visible()
    page.get_by_label("As of").fill("9")
    page.get_by_label("As of").press("Enter")
    expect(page.locator("#coverage .stamp")).to_contain_text("as of event 9,")
    expect(page.get_by_role("gridcell", name=re.compile("^web, .*Verified"))).to_have_count(0)
    assert "as_of=9" in page.url
    page.get_by_role("link", name="Tasks", exact=True).click()
    assert "as_of=9" in page.url
    page.get_by_role("button", name="Now").click()
    assert "as_of" not in page.url


def test_as_of_nonsense_is_told_at_once(page: Page) -> None:
    """What is neither a position nor a time is not sent."""
    page.get_by_label("As of").fill("yesterday")
    page.get_by_label("As of").press("Enter")
    expect(page.locator(".as-of .note")).to_contain_text("An event's number, or a time")
    assert "as_of" not in page.url


def test_copied_commands_name_the_token_and_do_not_hold_it(page: Page, site: Site) -> None:
    """The curl command has $HOLDFAST_TOKEN in it, and the command line is the same question."""
    panel = page.locator("#coverage")
    panel.get_by_role("button", name="Copy as curl").click()
    shown = panel.locator(".shelf pre")
    expect(shown).to_contain_text("$HOLDFAST_TOKEN")
    expect(shown).to_contain_text(f"{site.url}/v1/coverage?from=")
    expect(shown).not_to_contain_text("hf_")
    panel.get_by_role("button", name="Copy as command line").click()
    expect(shown).to_contain_text("holdfast sql 'SELECT source, machine, day, state FROM coverage")
