"""Narrow screens, zoom, dark and light, the keyboard alone, and headers that forbid what the page does not do."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from catalog.web.assets import PAGE_HEADERS
from tests.web.conftest import Opener, Site

SCREENS = Path(__file__).parents[2] / "build" / "screens"
VIEWS = ("coverage", "point", "tasks", "sql", "evidence", "search")
GROUND = "getComputedStyle(document.body).backgroundColor"
CONTRAST = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => { const [r, g, b] = rgb.map((v) => { const s = v / 255;
    return s <= 0.03928 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c.slice(0, 3); } return [255, 255, 255]; };
  const poor = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const style = getComputedStyle(e);
    if (!own || !e.offsetParent || e.disabled || style.backgroundImage !== "none" || style.opacity < 1) continue;
    const [a, b] = [light(numbers(style.color).slice(0, 3)), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(e.className + ": " + e.textContent.slice(0, 30));
  }
  return poor;
}"""


def shown(page: Page, site: Site, view: str) -> None:
    """Go to a view and wait until it has what it shows."""
    page.goto(site.at(view=view, point=site.lab.point(), q="web"))
    expect(page.locator("main .panel").first).to_be_visible()
    expect(page.locator('[aria-busy="true"]')).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_views_fit_and_can_be_read(open_page: Opener, site: Site, scheme: str, width: int) -> None:
    """No view scrolls sideways, and text has a contrast of 4.5:1 or more, in both schemes."""
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    expect(page.get_by_role("grid")).to_be_visible()
    SCREENS.mkdir(parents=True, exist_ok=True)
    for view in VIEWS:
        shown(page, site, view)
        page.screenshot(path=SCREENS / f"{view}-{width}-{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        assert page.evaluate(CONTRAST) == [], view


def test_a_zoom_of_200_percent_fits(open_page: Opener, site: Site) -> None:
    """Half the width at twice the size is what a zoomed reader has."""
    page = open_page(viewport={"width": 640, "height": 400}, device_scale_factor=2)
    for view in VIEWS:
        shown(page, site, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= 640, view


def test_colours_follow_the_system_and_the_switch(open_page: Opener) -> None:
    """Dark for those who prefer it; the switch wins and is remembered."""
    page = open_page(color_scheme="dark")
    expect(page.get_by_role("grid")).to_be_visible()
    dark = page.evaluate(GROUND)
    page.get_by_role("button", name="Colours: system").click()
    page.get_by_role("button", name="Colours: dark").click()
    light = page.evaluate(GROUND)
    assert light != dark
    page.reload()
    expect(page.get_by_role("button", name="Colours: light")).to_be_visible()
    assert page.evaluate(GROUND) == light


def test_nothing_moves_for_those_who_do_not_want_it(open_page: Opener) -> None:
    """With reduced motion there is no transition."""
    page = open_page(reduced_motion="reduce")
    expect(page.get_by_role("grid")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.panel > .body')).transitionDuration") in ("0s", "")


def test_the_keyboard_alone_goes_from_the_grid_to_a_proof(open_page: Opener) -> None:
    """Skip link, grid, day, restore point, proof: without a pointer, with a visible focus all the way."""
    page = open_page("auditor")
    expect(page.get_by_role("grid")).to_be_visible()

    def tab_to(role: str, name: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            here = page.locator(":focus")
            assert here.count() == 1
            label = here.get_attribute("aria-label") or here.inner_text()
            found = here.get_attribute("role") or here.evaluate("e => e.tagName.toLowerCase()")
            if found == role and re.search(name, label):
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
                return
        raise AssertionError(f"the tab key never came to {role} {name}")

    tab_to("a", "Skip to the content")
    page.keyboard.press("Enter")
    tab_to("gridcell", "")
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#day tbody tr")).not_to_have_count(0)
    tab_to("a", r"^\d\d:\d\d:\d\dZ$")
    page.keyboard.press("Enter")
    expect(page.locator(".event")).not_to_have_count(0)
    tab_to("button", "^Prove event")
    page.keyboard.press("Enter")
    expect(page.locator(".proof.is-good")).to_be_visible()


def test_the_page_is_served_with_its_headers_and_etag(site: Site) -> None:
    """Every file forbids inline code and other hosts, and is not sent twice."""
    for path in ("/", "/assets/js/main.js", "/assets/style/base.css"):
        with urllib.request.urlopen(site.url + path) as answer:  # noqa: S310 - our own server
            assert {name: answer.headers[name] for name in PAGE_HEADERS} == dict(PAGE_HEADERS)
            etag = answer.headers["ETag"]
        request = urllib.request.Request(site.url + path, headers={"If-None-Match": etag})  # noqa: S310 - as above
        with pytest.raises(urllib.error.HTTPError) as again:
            urllib.request.urlopen(request)  # noqa: S310 - as above
        assert again.value.code == 304
        again.value.close()
