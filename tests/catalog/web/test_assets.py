"""The page's files: complete, typed, small, and without a thing from another host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from catalog.web.assets import MEDIA_TYPES, PAGE_HEADERS, assets

PAGE = Path(__file__).parents[3] / "catalog" / "web" / "page"
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file())
MAX_LINES = 250


def test_every_file_of_the_page_is_served() -> None:
    """What lies in the page's folder is served, byte for byte, under /assets, and the page itself as /."""
    served = {path: asset.content for path, asset in assets().items()}
    expected = {f"/assets/{path.relative_to(PAGE)}": path.read_bytes() for path in FILES}
    expected["/"] = expected.pop("/assets/index.html")
    assert served == expected


def test_etags_are_of_the_content() -> None:
    """Two files have the same ETag only if they have the same bytes."""
    by_etag = {asset.etag: asset.content for asset in assets().values()}
    assert len(by_etag) == len({asset.content for asset in assets().values()})
    assert all(re.fullmatch(r'"[0-9a-f]{32}"', etag) for etag in by_etag)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_are_small_and_typed(path: Path) -> None:
    """A file of the page has a known media type, at most 250 lines, and says at its top what it is for."""
    text = path.read_text()
    assert path.suffix in MEDIA_TYPES
    assert len(text.splitlines()) <= MAX_LINES
    assert max(map(len, text.splitlines())) <= 120
    if path.suffix in (".js", ".css"):
        assert text.startswith(("/*", "// "))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_another_host_or_from_markup(path: Path) -> None:
    """No file names another host, turns text into markup, or carries an inline script or style."""
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    for forbidden in ("http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert forbidden not in text, forbidden
    if path.suffix == ".html":
        assert not re.search(r"<style|\sstyle=|\son\w+=", text)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


def test_headers_forbid_other_hosts_and_inline_code() -> None:
    """The policy allows this host alone and nothing inline."""
    policy = PAGE_HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
