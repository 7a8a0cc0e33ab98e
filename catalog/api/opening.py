"""Opens everything that the API needs over one home, and closes it again. Imports `catalog` and `storage`.

The SQL door opens first: it forks. Without one the API serves all the rest, and says what is missing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from uuid import UUID, uuid4

from catalog.access.identity import Identities
from catalog.access.journal import AccessJournal
from catalog.access.oidc import OidcVerifier
from catalog.access.tokens import TokenBook
from catalog.api.follower import Follower
from catalog.api.paging import service_key
from catalog.api.services import ApiServices
from catalog.api.settings import ServeSettings
from catalog.api.warmth import Warmth
from catalog.home import Home
from catalog.ledger.ledger import Ledger
from catalog.projections.projector import Projector
from catalog.projections.tables import TABLES
from catalog.queries.reads import CatalogReads
from catalog.runtime import Catalog, utc_now
from catalog.segments.ship import shipped
from catalog.segments.store import names_in
from catalog.sql.door.door import DoorLimits, SqlDoor
from catalog.tasks.book import TaskBook
from storage.errors import Denied, Unavailable
from storage.lake import Lake
from storage.objects.local import LocalObjects

logger = logging.getLogger(__name__)


@contextmanager
def api_services(
    home: Home,
    settings: ServeSettings,
    *,
    clock: Callable[[], datetime] = utc_now,
    random: Callable[[int], bytes] = os.urandom,
    new_id: Callable[[], UUID] = uuid4,
    with_door: bool = True,
) -> Iterator[ApiServices]:
    """All services over `home`, the index up to the log and followed from here on.

    Raises NotFound, Invalid, Corrupt for the home, and Denied where `settings` would let strangers in.
    """
    with ExitStack() as stack:
        door = _opened_door(stack, settings) if with_door else None
        catalog = stack.enter_context(Catalog.opened(home, clock=clock))
        catalog.catch_up()
        repository, log = catalog.config.repository_id, catalog.log
        reads = stack.enter_context(closing(CatalogReads(catalog.lake, catalog.index_resolver(), clock=clock)))
        tokens = TokenBook(log, repository, clock, random)
        oidc = None if settings.oidc is None else stack.enter_context(OidcVerifier.opened(settings.oidc, clock))
        identities = Identities(tokens, oidc, clock, local_ok=settings.loopback)
        check_reach(settings, configured=identities.configured)
        journal = stack.enter_context(AccessJournal(log, repository, new_id(), clock))
        projecting = stack.enter_context(closing(Lake.open(home.lake_dir, TABLES, clock=clock)))
        projector = Projector(log, projecting)
        ledger = Ledger(log, home, clock)
        follower = Follower(
            log,
            lambda: projector.catch_up(lambda *_: _adopt(reads)),
            reads.refresh,
            lambda: _publish(ledger, home),
            poll_seconds=settings.limits.follow_seconds,
        )
        stack.callback(follower.stop)
        follower.start()
        warmth = Warmth(reads)
        stack.callback(warmth.stop)
        warmth.start()
        yield ApiServices(
            catalog=catalog,
            reads=reads,
            follower=follower,
            identities=identities,
            journal=journal,
            tokens=tokens,
            tasks=TaskBook(log, repository, clock, new_id),
            ledger=ledger,
            door=door,
            clock=clock,
            service_key=service_key(home.service_key_file, random),
            settings=settings,
        )


def check_reach(settings: ServeSettings, *, configured: bool) -> None:
    """Raise Denied where other machines could connect without being asked who they are, or could listen."""
    if settings.loopback:
        return
    if not configured:
        raise Denied(
            f"without a token or an identity provider this serves loopback only, not {settings.host}",
            code="serve-unprotected",
            hint="holdfast token create --role admin, or --oidc-issuer",
        )
    if not settings.tls and not settings.plain_http:
        raise Denied(
            f"tokens would travel unencrypted to {settings.host}",
            code="serve-plain",
            hint="--tls-cert and --tls-key, or --plain-http behind something that encrypts",
        )


def _opened_door(stack: ExitStack, settings: ServeSettings) -> SqlDoor | None:
    try:
        return stack.enter_context(SqlDoor(DoorLimits(workers=settings.limits.questions)))
    except Unavailable as error:
        logger.warning("no SQL door: %s", error)
        return None


def _publish(ledger: Ledger, home: Home) -> None:
    """A checkpoint when one is due, over what workers have shipped: the service has no key to ship anything itself."""
    ledger.publish_if_due(lambda: shipped(names_in(LocalObjects(home.store_dir))))


def _adopt(reads: CatalogReads) -> None:
    reads.refresh()
