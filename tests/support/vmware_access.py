"""The access to a frozen disk that the transports' tests use, with whatever a test changes."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.secret import Secret
from adapters.vmware.transport.access import DiskAccess

PASSWORD = "correct horse 'battery' staple"


def disk_access(runtime_dir: Path, **changes: Any) -> DiskAccess:
    """Return an access to `[ds 1] web 01/web 01-000001.vmdk`."""
    access = DiskAccess(
        host="localhost",
        port=443,
        user="backup@vsphere.local",
        password=Secret(lambda: PASSWORD),
        ssl_context=ssl.create_default_context(),
        thumbprint_sha1=":".join(["AB"] * 20),
        cookie=lambda: "the-session",
        vm_moref="vm-16",
        snapshot_moref="snapshot-7",
        datastore="ds 1",
        datacenter_path="DC0",
        path="web 01/web 01.vmdk",
        flat_path="web 01/web 01-flat.vmdk",
        size_bytes=0,
        export_lease=None,
        runtime_dir=runtime_dir,
        vddk_dir=None,
    )
    return replace(access, **changes)
