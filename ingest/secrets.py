"""References to secrets: where a password is, never the password. Read anew at each use, kept nowhere.

Imports `adapters.secret` and `storage.errors`. No error says what was read, nor repeats what might be a password that
somebody typed in the place of a reference.

    env:NAME              an environment variable of this process
    file:PATH             a file that only its owner can read, without one newline at its end
    command:ARGV          what a command prints, without one newline at its end; no shell is involved
    keyring:SERVICE/USER  an entry of the desktop's keyring, where the package `keyring` is installed
"""

from __future__ import annotations

import importlib
import os
import shlex
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from adapters.secret import Secret
from ingest.asking import first_bytes
from storage.errors import Denied, Invalid, NotFound, Unavailable

MAX_BYTES = 64 * 1024
COMMAND_DEADLINE_S = 30.0
HINT = "say where it is: env:NAME, file:PATH, command:ARGV or keyring:SERVICE/USER"


def checked_reference(text: str) -> str:
    """The reference as it is kept, paths made absolute. Raises Invalid, which does not repeat the text."""
    scheme, rest = _split(text)
    if scheme == "file":
        return f"file:{Path(rest).expanduser().absolute()}"
    if scheme == "keyring" and not all(rest.partition("/")):
        raise Invalid("a keyring is asked for SERVICE/USER", code="secret-reference", hint=HINT)
    if scheme == "command":
        _words(rest)
    return text


def secret_of(reference: str, *, environ: Mapping[str, str] | None = None) -> Secret:
    """The secret behind a reference; where it is gone or not well kept shows when it is revealed."""
    scheme, rest = _split(reference)
    read = READERS[scheme]
    return Secret(lambda: _nonempty(read(rest, os.environ if environ is None else environ), reference))


def _split(text: str) -> tuple[str, str]:
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in READERS or not rest:
        raise Invalid(
            "that is no reference to a secret",
            code="secret-reference",
            why="a password on the command line is seen by every user of this host, and stays in its shell's history",
            hint=HINT,
        )
    return scheme, rest


def _nonempty(value: str, reference: str) -> str:
    if not value:
        raise Invalid(f"the secret {reference} is empty", code="secret-empty")
    return value


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None:
        raise NotFound(
            f"the environment has no variable {name}", code="secret-missing", hint="export it before the command runs"
        )
    return value


def _from_file(name: str, _environ: Mapping[str, str]) -> str:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        kind = {FileNotFoundError: NotFound, PermissionError: Denied}.get(type(error), Unavailable)
        raise kind(
            f"the secret's file {name} cannot be read", code="secret-missing", why=error.strerror or ""
        ) from None
    try:
        _check_kept(descriptor, name)
        with open(descriptor, "rb", closefd=False) as file:
            return _text(file.read(MAX_BYTES + 1), f"file:{name}")
    finally:
        os.close(descriptor)


def _check_kept(descriptor: int, name: str) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise Invalid(f"{name} is no file", code="secret-file")
    if found.st_mode & 0o077:
        raise Denied(
            f"the secret in {name} can be read by others",
            code="secret-permissions",
            why=f"its mode is {stat.S_IMODE(found.st_mode):04o}",
            hint=f"chmod 600 {shlex.quote(name)}, and change the secret if others may have read it",
        )


def _from_command(line: str, _environ: Mapping[str, str]) -> str:
    words = _words(line)
    return _text(first_bytes(words, at_most=MAX_BYTES + 1, deadline_s=COMMAND_DEADLINE_S), f"command:{words[0]}")


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    if not words:
        raise Invalid("the command that tells the secret cannot be split into words", code="secret-reference")
    return words


def _from_keyring(name: str, _environ: Mapping[str, str]) -> str:
    service, _, user = name.partition("/")
    try:
        ring = importlib.import_module("keyring")
    except ImportError:
        raise Unavailable(
            "this host's keyring cannot be asked",
            code="keyring-missing",
            why="the package keyring is not installed",
            hint="pip install keyring, or keep the secret in a file: file:PATH",
        ) from None
    try:
        value: str | None = ring.get_password(service, user)
    except ring.errors.KeyringError as error:
        raise Unavailable("the keyring does not answer", code="keyring-locked", why=type(error).__name__) from None
    if value is None:
        raise NotFound(
            f"the keyring has nothing for {user} at {service}",
            code="secret-missing",
            hint=f"keyring set {shlex.quote(service)} {shlex.quote(user)}",
        )
    return value


def _text(data: bytes, where: str) -> str:
    if len(data) > MAX_BYTES:
        raise Invalid(f"{where} is longer than {MAX_BYTES} bytes", code="secret-size")
    try:
        return data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise Invalid(f"{where} is no UTF-8 text", code="secret-text") from None


READERS: Mapping[str, Callable[[str, Mapping[str, str]], str]] = {
    "env": _from_environment,
    "file": _from_file,
    "command": _from_command,
    "keyring": _from_keyring,
}
