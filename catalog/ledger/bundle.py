"""The file of a coverage proof, `.proof`: how it is written and read; see FORMAT.md.

Imports `storage.errors` of ours. Reading takes bounded memory, whatever the file claims, and raises Corrupt only.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated
from uuid import UUID

import msgspec
import zstandard
from msgspec import Meta

from catalog.domain.coverage import CoverageReport
from storage.errors import Corrupt, Invalid, Limit

MAGIC = b"holdfast-proof/1\n"
DIGEST_BYTES = 32
MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_PLAIN_BYTES = 64 * 1024 * 1024
MAX_EVENTS = 50_000
MAX_ACCEPTED = 1000
MAX_HASHES = 500_000
MAX_GAPS = 50_000
MAX_RPO_SECONDS = 3660 * 86400
FIRST_YEAR = 1970


class CoverageRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be proven: that the machine was covered in [start, end). `accepted`: disks that may be missing."""

    machine_id: UUID
    start: datetime
    end: datetime
    rpo_seconds: int
    accepted: Annotated[tuple[str, ...], Meta(max_length=MAX_ACCEPTED)] = ()

    @property
    def rpo(self) -> timedelta:
        """The RPO as a span of time."""
        return timedelta(seconds=self.rpo_seconds)


class ProvenEvent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One event as the log stores it; `originator_id` is 16 bytes."""

    position: int
    originator_id: bytes
    version: int
    topic: str
    state: bytes


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the maker of the bundle says; the verifier computes it anew and compares."""

    covered: bool
    points: int
    gaps: Annotated[tuple[tuple[datetime, datetime], ...], Meta(max_length=MAX_GAPS)]
    left_out: Annotated[tuple[tuple[str, int], ...], Meta(max_length=MAX_GAPS)]
    verified_points: int
    damaged_points: int
    deleted_points: int


class Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A proof. `checkpoints` has one note, or an earlier one first and `consistency` leading from it to the other.

    `events` are in the order of their positions; `nodes` are the tree's other hashes, from left to right.
    """

    request: CoverageRequest
    checkpoints: Annotated[tuple[str, ...], Meta(min_length=1, max_length=2)]
    consistency: Annotated[tuple[bytes, ...], Meta(max_length=128)]
    events: Annotated[tuple[ProvenEvent, ...], Meta(min_length=1, max_length=MAX_EVENTS)]
    nodes: Annotated[tuple[bytes, ...], Meta(max_length=MAX_HASHES)]
    claim: Claim


def claim_of(report: CoverageReport) -> Claim:
    """A report in the form in which a bundle carries it."""
    return Claim(
        covered=report.covered,
        points=report.points,
        gaps=tuple((gap.start, gap.end) for gap in report.gaps),
        left_out=tuple((disk.label, disk.points) for disk in report.left_out),
        verified_points=report.verified_points,
        damaged_points=report.damaged_points,
        deleted_points=report.deleted_points,
    )


def encode_bundle(bundle: Bundle) -> bytes:
    """Write a bundle. Raises Limit `bundle-size` when it is larger than any reader accepts."""
    plain = msgspec.msgpack.Encoder(uuid_format="bytes").encode(bundle)
    body = zstandard.ZstdCompressor(level=12, write_content_size=True).compress(plain)
    content = MAGIC + sha256(body).digest() + body
    large = len(plain) > MAX_PLAIN_BYTES or len(content) > MAX_FILE_BYTES
    if large or len(bundle.events) > MAX_EVENTS or len(bundle.nodes) > MAX_HASHES or len(bundle.claim.gaps) > MAX_GAPS:
        raise Limit("the proof would be too large", code="bundle-size", hint="prove a shorter period at a time")
    return content


def decode_bundle(content: bytes) -> Bundle:
    """Read a bundle. Raises Corrupt `bundle-format`."""
    start = len(MAGIC) + DIGEST_BYTES
    if len(content) > MAX_FILE_BYTES or not content.startswith(MAGIC) or len(content) <= start:
        raise malformed("it is no proof of format 1")
    body = memoryview(content)[start:]
    if sha256(body).digest() != content[len(MAGIC) : start]:
        raise malformed("it was damaged or changed")
    try:
        size = zstandard.frame_content_size(body)
        if not 0 < size <= MAX_PLAIN_BYTES:
            raise malformed("its size is out of bounds")
        plain = zstandard.ZstdDecompressor().decompress(body, max_output_size=size, allow_extra_data=False)
        bundle = msgspec.msgpack.decode(plain, type=Bundle)
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise malformed(str(error)) from None
    try:
        check_request(bundle.request)
    except Invalid as error:
        raise malformed(str(error)) from None
    return bundle


def check_request(request: CoverageRequest) -> CoverageRequest:
    """Return a request. Raises Invalid `coverage-period` or `coverage-disks`."""
    zoned = request.start.tzinfo is not None and request.end.tzinfo is not None
    if not zoned or not request.start < request.end or not FIRST_YEAR <= request.start.year <= request.end.year:
        raise Invalid("the period does not end behind its start", code="coverage-period")
    if not 0 < request.rpo_seconds <= MAX_RPO_SECONDS:
        raise Invalid("the RPO is not between a second and ten years", code="coverage-period")
    if len(request.accepted) > MAX_ACCEPTED:
        raise Invalid(f"more than {MAX_ACCEPTED} disks are too many to leave out", code="coverage-disks")
    return request


def malformed(why: str) -> Corrupt:
    """The error of every proof that does not verify."""
    return Corrupt("the proof does not verify", code="bundle-format", why=why)
