"""Who asks, found out for many requests by one look at the log. Imports `catalog.access` and `catalog.api`."""

from __future__ import annotations

from catalog.access.caller import Caller
from catalog.access.identity import Identities
from catalog.api.batching import Batched
from catalog.api.pool import in_thread


class Callers:
    """As `Identities.identify`, for one event loop. A provider, which may be slow, is asked in a thread of its own."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._by_log: Batched[tuple[str | None, str], Caller] = Batched(identities.identify_all)

    async def __call__(self, authorization: str | None, address: str) -> Caller:
        """The caller of a request from `address`. Raises Denied, Unavailable."""
        if self._identities.asks_provider(authorization):
            return await in_thread(self._identities.identify, authorization, address)
        return await self._by_log((authorization, address))
