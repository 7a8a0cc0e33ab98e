"""Chromium over a real server; a page that complains when a test leaves an error, a violation or a foreign request."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.support.web_lab import WebLab, serving

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIOLATIONS = "addEventListener('securitypolicyviolation', (e) => console.error('CSP ' + e.violatedDirective))"

expect.set_options(timeout=20_000)  # milliseconds: other tests may have the processors meanwhile


@dataclass
class Site:
    """A served home."""

    lab: WebLab
    url: str

    def at(self, **state: str) -> str:
        """The address of a view."""
        return f"{self.url}/#" + "&".join(f"{key}={value}" for key, value in state.items())


@dataclass
class Watch:
    """What went wrong in a page; `expected` texts of the console are no fault."""

    host: str
    faults: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def page(self, page: Page) -> None:
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        page.on("dialog", lambda dialog: (self.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(part in text for part in self.expected):
            self.faults.append(f"console {kind}: {text}")

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("blob", "data") and parts.netloc != self.host:
            self.faults.append(f"request to another host: {url}")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """The driver."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium; the tests that need it skip without."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield found
    found.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A served home, for all tests."""
    lab = WebLab(tmp_path_factory.mktemp("web"))
    with serving(lab.lab) as (url, _):
        yield Site(lab, url)


@pytest.fixture
def watch(site: Site) -> Watch:
    """Hears of what goes wrong in the pages of a test."""
    return Watch(urlsplit(site.url).netloc)


Opener = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, site: Site, watch: Watch) -> Iterator[Opener]:
    """Open the page: `open_page(who, state={...}, **context)`; whatever goes wrong in it fails the test."""
    contexts = []

    def opened(
        who: str | None = "admin", *, url: str = "", state: dict[str, str] | None = None, **options: object
    ) -> Page:
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = browser.new_context(**options)  # type: ignore[arg-type]  # whatever Playwright takes
        contexts.append(context)
        context.add_init_script(VIOLATIONS)
        page = context.new_page()
        watch.page(page)
        fragment = dict(state or {})
        if who is not None:
            fragment["token"] = site.lab.tokens.get(who, who)
        page.goto(f"{url or site.url}/#" + "&".join(f"{key}={value}" for key, value in fragment.items()))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not watch.faults


@pytest.fixture
def page(open_page: Opener) -> Page:
    """The page as an admin sees it first."""
    return open_page()
