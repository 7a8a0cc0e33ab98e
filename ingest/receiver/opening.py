"""Opens what the agents' door needs over one home, and closes it again. Imports this package, `catalog` and `ingest`.

Only tokens let anybody in here, on loopback too. The source of all agents' machines is recorded when it is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from catalog.access.identity import Identities
from catalog.access.journal import AccessJournal
from catalog.access.tokens import TokenBook
from catalog.api.settings import ServeSettings
from catalog.home import Home
from ingest.receiver.app import Door
from ingest.receiver.limits import Limits
from ingest.receiver.runs import Runs
from ingest.sources import add_agents
from ingest.wiring import opened
from storage.errors import Denied


@contextmanager
def opened_door(home: Home, settings: ServeSettings, limits: Limits) -> Iterator[Door]:
    """The door over `home`; its runs end with the block.

    Raises NotFound, Invalid, Corrupt for the home, Denied for its key, or where tokens would travel unencrypted.
    """
    if not settings.loopback and not settings.tls:
        raise Denied(
            f"tokens and data would travel unencrypted to {settings.host}",
            code="receive-plain",
            hint="--tls-cert and --tls-key",
        )
    with opened(home) as services, ExitStack() as stack:
        add_agents(services)
        repository, log, clock = services.config.repository_id, services.log, services.clock
        tokens = TokenBook(log, repository, clock, os.urandom)
        journal = stack.enter_context(AccessJournal(log, repository, uuid4(), clock))
        runs = Runs(home, repository, services.keys, limits, uuid4)
        stack.callback(runs.stop)
        identities = Identities(tokens, None, clock, local_ok=False)
        yield Door(runs, identities, journal, limits, services.config.chunk_bytes)
