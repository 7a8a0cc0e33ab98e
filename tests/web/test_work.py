"""Requests, and tasks with live progress, done by a real worker."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.web.conftest import Opener, Site


@pytest.fixture(scope="module")
def worker(site: Site) -> Iterator[None]:
    """A worker of the served home, which restores below the lab's folder."""
    process = site.lab.lab.start("worker", "--restore-to", str(site.lab.lab.root))
    yield
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


def test_a_request_waits_and_can_be_cancelled(open_page: Opener, site: Site) -> None:
    """Without a worker a task waits, is listed, and ends when it is cancelled."""
    page = open_page(state={"view": "point", "point": site.lab.point()})
    page.get_by_role("button", name="Verify").click()
    task = page.locator("#actions .task")
    expect(task).to_contain_text("waiting for a worker")
    page.get_by_role("link", name="Tasks", exact=True).click()
    expect(page.locator("#running .task")).to_have_count(1)
    page.locator("#running").get_by_role("button", name="Cancel").click()
    expect(page.locator("#running .task")).to_contain_text("cancelled")
    expect(page.locator("#ended tbody")).to_contain_text("cancelled", timeout=15000)


def test_a_verification_is_followed_to_its_end(open_page: Opener, site: Site, worker: None) -> None:
    """The worker's progress arrives by events, and the panel then shows the verification."""
    point = site.lab.point(number=1)
    page = open_page(state={"view": "point", "point": point})
    expect(page.locator("#verified")).to_contain_text("It was never read back.")
    page.get_by_role("button", name="Verify").click()
    expect(page.locator("#actions .task .badge")).to_have_text("succeeded", timeout=30000)
    page.reload()
    expect(page.locator("#verified tbody tr")).to_have_count(1)


def test_a_restore_a_backup_and_a_synthetic_full(open_page: Opener, site: Site, worker: None) -> None:
    """Each request of the panel becomes a task that succeeds; the restored file is there."""
    page = open_page(state={"view": "point", "point": site.lab.point()})
    page.get_by_label("Format").select_option("raw")
    page.get_by_label("To", exact=True).fill("drill")
    page.get_by_role("button", name="Restore", exact=True).click()
    outcome = page.locator("#actions .task .badge")
    expect(outcome).to_have_text("succeeded", timeout=30000)
    restored = [path for path in (site.lab.lab.root / "drill").rglob("*") if path.is_file()]
    assert restored[0].stat().st_size == site.lab.web.stat().st_size
    for number, name in ((1, "Back up now"), (2, "Make synthetic full")):
        page.get_by_role("button", name=name).click()
        expect(outcome).to_have_count(number + 1)
        expect(outcome.nth(number)).to_have_text("succeeded", timeout=30000)
    page.get_by_label("To", exact=True).fill("again")
    page.locator("#actions").get_by_role("button", name="Copy as command line").click()
    expect(page.locator("#actions .shelf pre")).to_contain_text("--to again --format raw --disk")
    page.get_by_role("link", name="Tasks", exact=True).click()
    expect(page.locator("#ended tbody tr")).not_to_have_count(0)
    expect(page.locator("#ended tbody")).to_contain_text("synthetic")


def test_the_status_strip_hears_of_work(open_page: Opener, site: Site) -> None:
    """Position, what is kept, the oldest unverified point, ledger, sources and tasks are told."""
    page = open_page()
    strip = page.locator("#status")
    for term in ("Index", "Kept", "Oldest unverified", "Ledger", "Sources", "Tasks"):
        expect(strip.get_by_text(term, exact=True)).to_be_visible()
    expect(strip.locator(".stamp")).to_contain_text("as of event ")
    strip.get_by_role("link").first.click()
    expect(page.locator("#point h2")).to_contain_text("Restore point")
