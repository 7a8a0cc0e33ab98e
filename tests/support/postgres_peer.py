"""A PostgreSQL of our own for the length of a block: a fresh cluster, a Unix socket, no TCP."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path

SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "2GB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "8GB",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


def server_folder() -> Path | None:
    """Where `initdb` and `pg_ctl` are; None when no server is installed."""
    found = sorted(glob("/usr/lib/postgresql/*/bin/initdb"))
    where = found[-1] if found else shutil.which("initdb")
    return Path(where).resolve().parent if where else None


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Start a cluster below `folder` and yield how to connect to it; it refuses to run as root, so it does not."""
    programs = server_folder()
    if programs is None:
        raise FileNotFoundError("no PostgreSQL server is installed")
    owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="pg-", dir=folder) as made:
        root = Path(made)
        if owner:
            account = pwd.getpwnam("postgres")
            os.chown(root, account.pw_uid, account.pw_gid)
        data = root / "data"
        _run([*owner, programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"])
        options = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in SETTINGS.items())
        control = [*owner, programs / "pg_ctl", "-D", data, "-w"]
        _run([*control, "-o", f"-k {root} {options}", "-l", root / "log", "start"])
        try:
            yield f"host={root} user=postgres dbname=postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"])


def _run(command: list[str | Path]) -> None:
    subprocess.run(command, check=True, capture_output=True, cwd="/")
