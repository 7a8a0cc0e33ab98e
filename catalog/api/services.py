"""What the API works with: the parts of the open catalog, made once for a process and shared by all requests.

Imports `catalog`. No part is optional but the SQL door, which does not open where a layer of its seal is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from catalog.access.identity import Identities
from catalog.access.journal import AccessJournal
from catalog.access.tokens import TokenBook
from catalog.api.settings import ServeSettings
from catalog.ledger.ledger import Ledger
from catalog.queries.reads import CatalogReads
from catalog.runtime import Catalog
from catalog.sql.door.door import SqlDoor
from catalog.tasks.book import TaskBook

if TYPE_CHECKING:
    from catalog.api.follower import Follower


@dataclass(frozen=True, slots=True)
class ApiServices:
    """One of each part."""

    catalog: Catalog
    reads: CatalogReads
    follower: Follower
    identities: Identities
    journal: AccessJournal
    tokens: TokenBook
    tasks: TaskBook
    ledger: Ledger
    door: SqlDoor | None
    clock: Callable[[], datetime]
    service_key: bytes
    settings: ServeSettings
