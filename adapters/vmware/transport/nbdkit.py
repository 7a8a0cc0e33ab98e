"""What nbdkit and its vddk plugin say, and whether they are there. Imports `adapters.errors` only.

The texts are those of nbdkit's own source (plugins/vddk/vddk.c, server/plugins.c), versions 1.20 to 1.34.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from adapters.errors import AdapterError, SourceDenied, SourceUnavailable

UNREPORTED = "vddk-unreported"
"""The transport of a reader whose nbdkit does not say what VDDK took."""

NO_NBDKIT = "nbdkit is not installed"
_NO_PLUGIN = "nbdkit has no vddk plugin (Debian does not package it; Fedora, RHEL and Ubuntu do)"
_NO_LIBRARY = "nbdkit does not find VDDK's library in the directory that the settings name"
_PROBE_SECONDS = 30.0
_MAX_LOG = 4 << 20
_TRANSPORT = re.compile(r"debug: transport mode: (\S+)")
_ERROR = re.compile(r"^nbdkit: .*?\berror: (.*)$", re.MULTILINE)
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TMPDIR")


def vddk_missing(vddk_dir: Path | None) -> str | None:
    """Say what is missing for VDDK on this machine, None when nothing is."""
    if vddk_dir is None or not vddk_dir.is_dir():
        return "no VDDK directory is given" if vddk_dir is None else f"{vddk_dir} is no directory"
    command = ["nbdkit", "vddk", "--dump-plugin", f"libdir={vddk_dir}"]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=False, env=environment())
    except FileNotFoundError:
        return NO_NBDKIT
    except subprocess.TimeoutExpired:
        return "nbdkit does not answer"
    if b"cannot open plugin" in answer.stderr:
        return _NO_PLUGIN
    return _NO_LIBRARY if answer.returncode or b"vddk_library_version=" not in answer.stdout else None


def reported_transport(log: str) -> str:
    """Find what VDDK took: nbdkit says it when it opens the disk, before it answers the client."""
    found = _TRANSPORT.findall(log)
    return found[-1] if found else UNREPORTED


def text(log: Path) -> str:
    """Read what nbdkit wrote; more than a few MiB is more than an opening takes."""
    with open(log, "rb") as file:
        return file.read(_MAX_LOG).decode(errors="replace")


def refusal(what: str, log: str) -> AdapterError:
    """Translate why a disk was not opened."""
    if "cannot open plugin" in log:
        return absent(_NO_PLUGIN)
    if "libvixDiskLib" in log and "cannot open shared object" in log:
        return absent(_NO_LIBRARY)
    why = "; ".join(dict.fromkeys(_ERROR.findall(log)[-3:])) or "nbdkit gave no reason"
    if "thumbprint" in why:
        return SourceDenied(what, code="certificate-untrusted", why=why)
    if "user name or password" in why or "permission" in why:
        return SourceDenied(what, code="vddk-denied", why=why, hint="Check the backup's role and its password.")
    return SourceUnavailable(what, code="vddk-open", why=why, hint="Allow another transport to do without this one.")


def absent(why: str) -> SourceUnavailable:
    """Build the error of a machine without VDDK."""
    return SourceUnavailable(
        "VDDK cannot be used",
        code="vddk-missing",
        why=why,
        hint="Install nbdkit with its vddk plugin, unpack VMware's VDDK and name its directory in the settings.",
    )


def environment() -> dict[str, str]:
    """Return what a child may know: no variable of ours, which may be a password."""
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
