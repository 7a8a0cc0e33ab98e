"""How the transports reach one virtual disk. Imports this package only."""

from __future__ import annotations

from pathlib import Path

from adapters.xen.session import Session
from adapters.xen.transport.access import VdiAccess


def access_to(
    session: Session,
    uuid: str,
    label: str,
    size_bytes: int,
    runtime_dir: Path,
    image_formats: frozenset[str] = frozenset(),
) -> VdiAccess:
    """Reach the virtual disk with this uuid, through the pool's master and its hosts as they are now."""
    hosts = {str(record["address"]) for record in session.call("host.get_all_records").values()}
    settings = session.settings
    return VdiAccess(
        pool=session,
        uuid=uuid,
        label=label,
        size_bytes=size_bytes,
        host=session.master,
        hosts=frozenset(hosts | {session.master}),
        port=settings.port,
        runtime_dir=runtime_dir,
        connections_per_host=settings.connections_per_host,
        insecure_nbd="insecure_nbd" in settings.transports,
        image_formats=image_formats,
    )
