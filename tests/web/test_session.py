"""Signing in and out, tokens that end, and a server that goes away and comes back."""

from __future__ import annotations

import signal
import socket

import pytest
from playwright.sync_api import expect

from tests.support.web_lab import serving
from tests.web.conftest import Opener, Site, Watch


def test_the_token_leaves_the_address_and_lasts_for_the_tab(open_page: Opener, site: Site) -> None:
    """It is taken out of the address at once, survives a reload, and is in no storage that outlives the tab."""
    page = open_page("auditor")
    expect(page.locator(".who")).to_contain_text("auditor (auditor)")
    assert "hf_" not in page.url
    page.reload()
    expect(page.locator(".who")).to_contain_text("auditor (auditor)")
    assert site.lab.tokens["auditor"] not in page.evaluate("JSON.stringify(localStorage) + document.cookie")


def test_signing_in_by_the_keyboard(open_page: Opener, site: Site, watch: Watch) -> None:
    """Without a token there is a form; a wrong token is a problem, a right one opens what was asked for."""
    watch.expected.append("401")
    page = open_page(None, state={"view": "sql"})
    expect(page.get_by_label("Token")).to_be_focused()
    field = page.get_by_label("Token").element_handle()
    page.keyboard.type("hf_wrong")
    page.keyboard.press("Enter")
    # That there was no token at all was a problem, too: until the answer is there another Enter does nothing.
    expect(page.locator(".problem code")).to_have_text("token-unknown")
    expect(page.locator(".problem .hint")).not_to_be_empty()
    assert field.evaluate("field => field.isConnected"), "what is typed before the answer is lost"
    page.get_by_label("Token").fill(site.lab.tokens["analyst"])
    page.keyboard.press("Enter")
    expect(page.get_by_label("Query", exact=True)).to_be_visible()


def test_a_revoked_token_leads_back_to_the_form(open_page: Opener, site: Site, watch: Watch) -> None:
    """When a token ends, the page says why and keeps the place."""
    watch.expected.append("401")
    made = site.lab.lab.json("token", "create", "--name", "leaving", "--role", "auditor")
    page = open_page(made["secret"], state={"view": "tasks"})
    expect(page.locator("#running")).to_be_visible()
    site.lab.lab.ok("token", "revoke", made["token_id"])
    page.reload()
    expect(page.locator(".sign-in .problem code")).to_have_text("token-revoked")
    page.get_by_label("Token").fill(site.lab.tokens["auditor"])
    page.keyboard.press("Enter")
    expect(page.locator("#running")).to_be_visible()


def test_signing_out_forgets_the_token(open_page: Opener) -> None:
    """After it the form is there, and a reload brings nothing back."""
    page = open_page("auditor")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_role_without_sql_has_no_such_view(open_page: Opener, site: Site) -> None:
    """A view that the role may not use is not offered, and its address leads to the coverage."""
    secret = site.lab.lab.json("token", "create", "--name", "restorer", "--role", "restorer")["secret"]
    page = open_page(secret, state={"view": "sql"})
    expect(page.get_by_role("grid")).to_be_visible()
    expect(page.get_by_role("link", name="SQL")).to_have_count(0)


@pytest.mark.slow
def test_the_server_goes_away_and_comes_back(open_page: Opener, site: Site, watch: Watch) -> None:
    """The page says so within seconds, keeps what it shows, and goes on by itself when the server is back."""
    watch.expected += ["ERR_CONNECTION", "ERR_EMPTY", "Failed to load resource"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    watch.host = f"127.0.0.1:{port}"
    with serving(site.lab.lab, port) as (url, process):
        page = open_page(url=url)
        expect(page.get_by_role("grid")).to_be_visible()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        expect(page.locator(".away code")).to_have_text("server-unreachable", timeout=15000)
        expect(page.get_by_role("grid")).to_be_visible()
        page.get_by_role("link", name="Tasks", exact=True).click()
        expect(page.locator("#running .problem")).to_be_visible()
    with serving(site.lab.lab, port):
        expect(page.locator(".away")).to_be_hidden(timeout=15000)
        expect(page.locator("#running .problem")).to_have_count(0)
        expect(page.locator("#running .empty")).to_be_visible()
