"""References to secrets: read where they point, refused where they are no reference, never repeated."""

from __future__ import annotations

import os
import pickle
import shlex
import sys
import traceback
import types
from pathlib import Path

import pytest

from ingest.asking import first_bytes
from ingest.secrets import checked_reference, secret_of
from storage.errors import Denied, HoldfastError, Invalid, Limit, NotFound, Unavailable

CANARY = "c4n4ry-Passw0rd"
PYTHON = shlex.quote(sys.executable)


def _said(error: BaseException) -> str:
    """All that an error could end up saying: itself, its hints, what it came from."""
    trace = "".join(traceback.format_exception(error))
    return f"{trace} {error!r} {getattr(error, 'why', '')} {getattr(error, 'hint', '')}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with the secret that only its owner can read."""
    path = tmp_path / "password"
    path.write_text(CANARY + "\n")
    path.chmod(0o600)
    return path


def test_each_kind_of_reference_leads_to_the_secret(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment, a file, a command and a keyring give the same secret, without the newline at its end."""
    asked = []
    ring = types.ModuleType("keyring")
    ring.get_password = lambda *about: asked.append(about) or CANARY  # type: ignore[attr-defined,func-returns-value]  # a stand-in
    monkeypatch.setitem(sys.modules, "keyring", ring)
    references = ["env:VC_PASSWORD", f"file:{file}", f"command:cat {shlex.quote(str(file))}", "keyring:vc/ops/ada"]
    for reference in references:
        secret = secret_of(checked_reference(reference), environ={"VC_PASSWORD": CANARY})
        assert secret.reveal() == CANARY
        assert CANARY not in f"{secret} {secret!r}"
        with pytest.raises(TypeError):
            pickle.dumps(secret)
    assert asked == [("vc", "ops/ada")]


def test_only_one_newline_is_taken_away(file: Path) -> None:
    """A secret may end in spaces, and in a newline of its own."""
    file.write_text("two \n\n")
    assert secret_of(f"file:{file}").reveal() == "two \n"
    file.write_text("none ")
    assert secret_of(f"file:{file}").reveal() == "none "


def test_a_secret_is_read_anew_each_time(file: Path) -> None:
    """A password that was rotated is found without touching the source."""
    secret = secret_of(f"file:{file}")
    assert secret.reveal() == CANARY
    file.write_text("next")
    assert secret.reveal() == "next"


@pytest.mark.parametrize("text", [CANARY, f"pass:{CANARY}", "env:", ":x", "", f"https://{CANARY}@host"])
def test_what_is_no_reference_is_refused_and_not_repeated(text: str) -> None:
    """A password in the place of a reference is refused with a hint, and no error says it again."""
    with pytest.raises(Invalid) as caught:
        checked_reference(text)
    assert caught.value.code == "secret-reference"
    assert "env:NAME" in caught.value.hint
    assert CANARY not in _said(caught.value)


@pytest.mark.parametrize("text", ["keyring:service", "keyring:/user", "command:'", "command: "])
def test_a_reference_that_leads_nowhere_is_refused(text: str) -> None:
    """What cannot be taken apart is told when the source is added, not at night."""
    with pytest.raises(Invalid) as caught:
        checked_reference(text)
    assert caught.value.code == "secret-reference"


def test_paths_are_kept_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file is found from wherever the next command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    assert checked_reference("file:password") == f"file:{tmp_path}/password"
    assert checked_reference("file:~/password") == f"file:{tmp_path}/ada/password"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_file_that_others_can_read_is_refused(file: Path, mode: int) -> None:
    """A secret that others may have read is no secret: the error says so, and how to mend it."""
    file.chmod(mode)
    with pytest.raises(Denied) as caught:
        secret_of(f"file:{file}").reveal()
    assert caught.value.code == "secret-permissions"
    assert "chmod 600" in caught.value.hint
    assert CANARY not in _said(caught.value)


def test_what_is_not_there_has_its_own_error(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing variable, file, program, package or entry, an empty secret and a pipe: a code each, no chain."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    os.mkfifo(tmp_path / "pipe", 0o600)
    empty = tmp_path / "empty"
    empty.touch(mode=0o600)
    cases: list[tuple[str, type[HoldfastError], str]] = [
        ("env:NOWHERE", NotFound, "secret-missing"),
        (f"file:{tmp_path}/nowhere", NotFound, "secret-missing"),
        (f"file:{tmp_path}/pipe", Invalid, "secret-file"),
        (f"file:{tmp_path}", Invalid, "secret-file"),
        (f"file:{empty}", Invalid, "secret-empty"),
        ("command:/nowhere/at/all", NotFound, "command-missing"),
        ("keyring:vc/ada", Unavailable, "keyring-missing"),
    ]
    for reference, kind, code in cases:
        with pytest.raises(kind) as caught:
            secret_of(reference, environ={}).reveal()
        assert caught.value.code == code, reference
        assert caught.value.__cause__ is None


def test_a_keyring_without_the_entry_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that is not there is not an empty password."""
    ring = types.ModuleType("keyring")
    ring.get_password = lambda *about: None  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "keyring", ring)
    with pytest.raises(NotFound) as caught:
        secret_of("keyring:vc/ada").reveal()
    assert caught.value.code == "secret-missing"


def test_a_failing_command_says_nothing_of_its_output() -> None:
    """What a command wrote, on either channel, before it failed is in no error."""
    script = f"import sys; sys.stderr.write({CANARY!r}); print({CANARY!r}); sys.exit(3)"
    with pytest.raises(Unavailable) as caught:
        secret_of(f"command:{PYTHON} -c {shlex.quote(script)}").reveal()
    assert caught.value.code == "command-failed"
    assert "3" in caught.value.why
    assert CANARY not in _said(caught.value)


def test_no_shell_sees_the_command(tmp_path: Path) -> None:
    """What a shell would take for another command is one more argument."""
    told = secret_of(f"command:echo one; touch {tmp_path}/made").reveal()
    assert told == f"one; touch {tmp_path}/made"
    assert not (tmp_path / "made").exists()


def test_a_command_that_never_ends_is_ended() -> None:
    """A silent program, and one that writes without end, do not hold a backup up."""
    with pytest.raises(Limit) as caught:
        first_bytes(["sleep", "600"], at_most=10, deadline_s=0.1)
    assert caught.value.code == "command-deadline"
    with pytest.raises(Invalid) as invalid:
        secret_of("command:yes").reveal()
    assert invalid.value.code == "secret-size"


def test_a_command_that_hands_its_output_on_is_ended_too() -> None:
    """A program that left a child behind with its output open does not outlive the deadline."""
    with pytest.raises(Limit):
        first_bytes(["sh", "-c", "sleep 600 & exit 0"], at_most=10, deadline_s=0.2)


def test_text_only(file: Path) -> None:
    """Bytes that are no text are refused, unseen."""
    file.write_bytes(b"\xff\xfe" + CANARY.encode())
    with pytest.raises(Invalid) as caught:
        secret_of(f"file:{file}").reveal()
    assert caught.value.code == "secret-text"
    assert CANARY not in _said(caught.value)
