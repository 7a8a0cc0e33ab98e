"""The page's files as the API serves them: read once, each with its media type and a strong ETag.

Imports nothing of ours. `PAGE_HEADERS` belong on every one of them: they forbid what the page does not do, such as
loading from another host, inline scripts, and turning text into markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)

PAGE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: what it is and which bytes; `etag` stands in quotes, as the header wants it."""

    media_type: str
    content: bytes
    etag: str


@cache
def assets() -> Mapping[str, Asset]:
    """Every file of the page by its URL path: `/`, and `/assets/...` for the rest."""
    found: dict[str, Asset] = {}
    _collect(files("catalog.web").joinpath("page"), "", found)
    found["/"] = found.pop("/assets/index.html")
    return MappingProxyType(found)


def _collect(folder: Traversable, prefix: str, found: dict[str, Asset]) -> None:
    for entry in folder.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            _collect(entry, name, found)
            continue
        media_type = MEDIA_TYPES.get(name[name.rfind(".") :])
        if media_type is not None:
            content = entry.read_bytes()
            found[f"/assets{name}"] = Asset(media_type, content, f'"{sha256(content).hexdigest()[:32]}"')
