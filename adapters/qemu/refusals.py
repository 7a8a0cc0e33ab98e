"""What a QMP error means to us: QEMU's class and words become one of the seven kinds.

Imports `adapters.errors` only. Most errors have the class GenericError, so the words must be matched; what
no rule knows stays `qemu-refused` with QEMU's own words.
"""

from __future__ import annotations

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceNotFound,
    SourceUnavailable,
)

_CLASSES: dict[str, tuple[type[AdapterError], str, str]] = {
    "CommandNotFound": (SourceInvalid, "qemu-too-old", "QEMU 5.2 or newer is needed."),
    "DeviceNotFound": (SourceNotFound, "qemu-no-device", ""),
    "DeviceNotActive": (SourceConflict, "qemu-no-job", ""),
}
_WORDS: tuple[tuple[str, type[AdapterError], str, str], ...] = (
    (
        "NBD server already running",
        SourceConflict,
        "nbd-server-busy",
        "A QEMU process has one NBD server and somebody else uses it: end the other backup, or run nbd-server-stop.",
    ),
    ("in use", SourceConflict, "qemu-busy", "Wait for the other block job or backup of this machine, or end it."),
    ("is busy", SourceConflict, "qemu-busy", "Wait for the other block job or backup of this machine, or end it."),
    ("not found", SourceNotFound, "qemu-no-device", ""),
    ("Cannot find device", SourceNotFound, "qemu-no-device", ""),
    (
        "Permission denied",
        SourceDenied,
        "scratch-denied",
        "The user that QEMU runs as needs write permission on the scratch directory.",
    ),
    (
        "No such file or directory",
        SourceInvalid,
        "scratch-missing",
        "QEMU must see the scratch directory under the same path as we do.",
    ),
    ("No space left", SourceLimit, "scratch-full", "Free space in the scratch directory, or choose another one."),
    ("UNIX socket path", SourceInvalid, "socket-path-long", "Put the QMP socket into a directory with a shorter path."),
    ("Input/output error", SourceUnavailable, "qemu-io-error", ""),
)


def refusal(command: str, error_class: str, words: str) -> AdapterError:
    """Return the error that stands for QEMU's refusal of `command`."""
    kind, code, hint = _CLASSES.get(error_class) or next(
        ((kind, code, hint) for mark, kind, code, hint in _WORDS if mark in words),
        (SourceInvalid, "qemu-refused", ""),
    )
    return kind(f"QEMU refused {command}", code=code, why=words, hint=hint)
