"""A place that is a bucket with object lock; imports obstore when it is first used.

Objects are created with If-None-Match, so that nothing is replaced; how long nobody can remove them is the bucket's
default retention, which only the store can enforce. Secrets come by reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from catalog.ledger.checkpoint import Checkpoint
from catalog.ledger.places import check_note_bytes, note_name, other_content, size_of
from catalog.ledger.references import resolve
from storage.errors import Corrupt, Denied, HoldfastError, NotFound, Unavailable

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

PATIENCE = timedelta(seconds=15)


class BucketPlace:
    """Checkpoints below a prefix of a bucket."""

    def __init__(self, settings: Mapping[str, str], repository_id: UUID) -> None:
        self._store = _store(settings, f"{settings['prefix']}/{repository_id}".strip("/"))

    def put(self, checkpoint: Checkpoint) -> None:
        """Create a checkpoint, durably; the very same one may be there already. Corrupt if another is."""
        from obstore import exceptions, put  # noqa: PLC0415 - obstore is an extra

        name = note_name(checkpoint.size)
        try:
            put(self._store, name, checkpoint.note.encode(), mode="create", use_multipart=False)
        except exceptions.AlreadyExistsError as error:
            if self.read(checkpoint.size) != checkpoint.note:
                raise other_content(name) from error
        except exceptions.BaseError as error:
            raise _failure(error, f"cannot write {name}") from None

    def sizes(self, since: int = 0) -> Iterator[int]:
        """The sizes of the checkpoints kept there, from `since` on, ascending."""
        from obstore import exceptions, list  # noqa: PLC0415 - obstore is an extra

        start = note_name(since - 1) if since > 0 else None
        try:
            for page in list(self._store, offset=start):
                found = (size_of(str(entry["path"]).rpartition("/")[2]) for entry in page)
                yield from (size for size in found if size is not None)
        except exceptions.BaseError as error:
            raise _failure(error, "cannot list the checkpoints") from None

    def read(self, size: int) -> str:
        """The note of one size. Raises NotFound, Unavailable, Corrupt."""
        from obstore import exceptions, get  # noqa: PLC0415 - obstore is an extra

        name = note_name(size)
        try:
            answer = get(self._store, name)
            if answer.meta["size"] > 1 << 20:
                raise Corrupt(f"{name} is too large for a checkpoint", code="ledger-place-content")
            return check_note_bytes(bytes(answer.bytes()), name)
        except (FileNotFoundError, exceptions.NotFoundError):
            raise NotFound(f"no checkpoint {name}", code="ledger-place-content") from None
        except exceptions.BaseError as error:
            raise _failure(error, f"cannot read {name}") from None


def _store(settings: Mapping[str, str], prefix: str) -> S3Store:
    try:
        from obstore.store import S3Store  # noqa: PLC0415 - obstore is an extra
    except ImportError:
        raise Unavailable(
            "the client of object stores is not installed", code="ledger-place-s3", hint="pip install 'holdfast[s3]'"
        ) from None
    options: S3Config = {
        "region": settings["region"],
        "access_key_id": resolve(settings["access_key"]),
        "secret_access_key": resolve(settings["secret_key"]),
        "checksum_algorithm": "SHA256",
    }
    endpoint = settings.get("endpoint", "")
    if endpoint:
        options["endpoint"] = endpoint
        options["virtual_hosted_style_request"] = False
    return S3Store(
        settings["bucket"],
        prefix=prefix,
        config=options,
        client_options={"timeout": PATIENCE, "connect_timeout": PATIENCE, "allow_http": endpoint.startswith("http://")},
        retry_config={"max_retries": 2, "retry_timeout": PATIENCE},
    )


def _failure(error: Exception, what: str) -> HoldfastError:
    """The store's own words are kept out: they repeat headers and addresses."""
    kind = type(error).__name__
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        return Denied(what, code="ledger-place-denied", why=kind, hint="check the keys and what they may do")
    return Unavailable(what, code="ledger-place-unavailable", why=kind)
