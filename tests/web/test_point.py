"""The restore point panel: what it is made of, what was recorded of it, proofs, and requests."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.web.conftest import Opener, Site, Watch


def opened(open_page: Opener, point: str, who: str = "admin") -> Page:
    """The panel of a restore point."""
    page = open_page(who, state={"view": "point", "point": point})
    expect(page.locator("#point h2")).to_contain_text(point[:12])
    return page


def test_disks_have_level_cause_chain_and_provenance(open_page: Opener, site: Site) -> None:
    """An incremental names its chain, and the bar's shares are also text that adds up to the whole."""
    page = opened(open_page, site.lab.point())
    disk = page.locator(".disk")
    expect(disk.locator("h4")).to_contain_text("incremental")
    expect(disk).to_contain_text("compared")
    expect(disk.locator(".chain li")).to_have_count(3)
    expect(disk.get_by_role("img")).to_have_attribute("aria-label", re.compile(r"point 1 supplies \d"))
    shares = disk.locator("tbody td:last-child").all_inner_texts()
    assert len(shares) == 3
    assert abs(sum(float(share.split()[0]) for share in shares) - 100) < 0.3
    disk.locator(".chain a").first.click()
    expect(page.locator("#point h2")).to_contain_text(site.lab.point(number=0)[:12])


def test_verifications_are_told(open_page: Opener, site: Site) -> None:
    """A point that was read back says when, how, and what was found; others say that they never were."""
    page = opened(open_page, site.lab.point(number=0))
    expect(page.locator("#verified tbody tr")).to_have_count(1)
    expect(page.locator("#verified tbody")).to_contain_text("content")
    page = opened(open_page, site.lab.point())
    expect(page.locator("#verified")).to_contain_text("It was never read back.")


def test_left_out_disks_come_with_their_way_out(open_page: Opener, site: Site) -> None:
    """A disk that is not in the point is named, with why and what its owner can do."""
    page = opened(open_page, site.lab.point("files"))
    spared = page.locator(".left-out")
    expect(spared).to_contain_text("broken.qcow2")
    expect(spared).to_contain_text("Way out: ")


def test_a_deleted_point_shows_its_tombstone(open_page: Opener, site: Site) -> None:
    """Who deleted it, and why, stays; a terminal escape in the reason is spelled out; nothing can be asked of it."""
    page = opened(open_page, site.lab.point("files", 0))
    stone = page.locator(".tombstone")
    expect(stone).to_contain_text("This restore point was deleted.")
    expect(stone).to_contain_text("older than 90 days\u27e8U+001B\u27e9[2J")
    expect(page.locator("#actions").get_by_role("button", name="Restore")).to_have_count(0)


def test_every_event_can_be_proven_in_the_browser(open_page: Opener, site: Site) -> None:
    """Leaf, path, root and signature are computed here, and the proven bytes are shown."""
    page = opened(open_page, site.lab.point(), "auditor")
    events = page.locator(".event")
    expect(events.filter(has_text="RestorePointCommitted")).to_have_count(1)
    committed = events.filter(has_text="RestorePointCommitted")
    committed.get_by_role("button", name=re.compile("^Prove event")).click()
    proof = committed.locator(".proof")
    expect(proof).to_contain_text("This event is in the signed record, unaltered.")
    expect(proof.locator(".is-holds")).to_have_count(3)
    proof.get_by_text("What was checked").click()
    expect(proof).to_contain_text(site.lab.point().replace("-", ""))
    other = events.filter(has_text="RunOpened")
    other.get_by_role("button", name=re.compile("^Prove event")).click()
    expect(other.locator(".is-holds")).to_have_count(4)
    expect(other.locator(".proof")).to_contain_text("seen from the first")


def test_a_forged_proof_is_found_out(open_page: Opener, site: Site) -> None:
    """Another event, another position, another signature, another key: none of it verifies."""
    page = opened(open_page, site.lab.point())
    forgeries: list[dict[str, Any]] = [
        {"state": "AA=="},
        {"originator_version": 7},
        {"position": 1},
        {"checkpoint": lambda note: note[:-4] + ("AA" if note[-4:-2] != "AA" else "BB") + note[-2:]},
        {"path": lambda path: path[1:]},
        {"public_key": lambda _: "x+00000000+" + "A" * 44},
    ]

    def forge(route: Route, changes: dict[str, Any]) -> None:
        response = route.fetch()
        body = response.json()
        for key, value in changes.items():
            body[key] = value(body[key]) if callable(value) else value
        route.fulfill(response=response, body=json.dumps(body))

    event = page.locator(".event").filter(has_text="BackupStarted")
    run = event.get_by_role("button", name=re.compile("^Prove event"))
    run.click()
    expect(event.locator(".proof.is-good")).to_have_count(1)
    for changes in forgeries:
        page.route("**/proof", partial(forge, changes=changes))
        run.click()
        expect(event.locator(".proof.is-bad, .problem")).to_have_count(1)
        expect(event.locator(".proof.is-good")).to_have_count(0)
        page.unroute("**/proof")


def test_a_point_that_is_not_there_is_a_problem_with_a_hint(open_page: Opener, watch: Watch) -> None:
    """Title, detail and code of the API's problem are shown."""
    watch.expected.append("404")
    page = open_page(state={"view": "point", "point": "00000000-0000-4000-8000-000000000000"})
    expect(page.locator("#point .problem code")).to_have_text("restore-point-unknown")


def test_roles_see_what_they_may_do(open_page: Opener, site: Site) -> None:
    """An analyst has neither events nor actions; an auditor has events and no actions."""
    page = opened(open_page, site.lab.point(number=0), "analyst")
    expect(page.locator(".disk")).to_have_count(1)
    expect(page.locator("#events")).to_be_hidden()
    expect(page.locator("#actions")).to_be_hidden()
    expect(page.locator("#verified")).to_contain_text("Your role does not see")
    page = opened(open_page, site.lab.point(number=0), "auditor")
    expect(page.locator("#events")).to_be_visible()
    expect(page.locator("#actions")).to_be_hidden()


def test_a_foreign_point_does_not_exist_for_a_scoped_caller(open_page: Opener, site: Site, watch: Watch) -> None:
    """A caller of one machine sees that machine alone."""
    watch.expected.append("404")
    page = open_page("scoped", state={"view": "point", "point": site.lab.point("files")})
    expect(page.locator("#point .problem code")).to_have_text("restore-point-unknown")
    page.get_by_role("link", name="Coverage", exact=True).click()
    expect(page.get_by_role("rowheader")).to_have_count(1)
