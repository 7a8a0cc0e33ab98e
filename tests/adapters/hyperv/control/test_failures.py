"""What goes wrong on the way: nothing is run twice that must not be, no shell stays open, and every error is told."""

from __future__ import annotations

import itertools

import pytest

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.hyperv.control.failures import clean, script_error
from adapters.hyperv.control.shell import Timing
from adapters.hyperv.control.winrm import WinrmRunner
from tests.adapters.hyperv.control.conftest import PATIENT, MakeRunner, StartHost, World
from tests.support.eventually import eventually
from tests.support.winrm import WinrmSimulator
from tests.support.winrm.faults import (
    ACCESS_DENIED,
    QUOTA_OPERATIONS,
    SHELL_NOT_FOUND,
    Action,
    CutAfter,
    CutBefore,
    Fault,
    Status,
    StaySilent,
)

HASTY = Timing(deadline=1, wait=1, grace=40)


def refusal(runner: WinrmRunner, script: str = "machines") -> AdapterError:
    """What a script ends with."""
    with pytest.raises(AdapterError) as caught:
        runner.run(script, {})
    return caught.value


# --- replies that are lost ---


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("action", [CutBefore(), CutAfter()])
@pytest.mark.parametrize("operation", ["Create", "Command", "Send", "Receive", "Signal"])
def test_a_reading_script_survives_a_lost_connection(
    start_host: StartHost, runner_of: MakeRunner, operation: str, action: Action, tls: bool
) -> None:
    """Wherever the connection ends, a script without an effect is run again, and answers."""
    host = start_host(tls=tls)
    runner = runner_of(host)
    host.faults.add(operation, action)
    assert runner.run("machines", {})["host"] == "hv1"
    host.faults.add(operation, action)
    assert runner.run("machines", {})["host"] == "hv1"
    if (operation, action) == ("Create", CutAfter()):
        runner.close()
        host.forget_shells()  # nobody was told its name: it ends when idle


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("operation", "action", "told", "made"),
    [
        ("Create", CutBefore(), "connection-lost", 0),
        ("Create", CutAfter(), "connection-lost", 0),
        ("Command", CutBefore(), "connection-lost", 0),
        ("Command", CutAfter(), "connection-lost", 0),
        ("Send", CutBefore(), "reply-lost", 0),
        ("Send", CutAfter(), None, 1),
        ("Send", Fault(995), "reply-lost", 0),
        ("Send", Fault(ACCESS_DENIED), "winrm-denied", 0),
        ("Receive", CutBefore(), None, 1),
        ("Receive", CutAfter(), "reply-lost", 1),
        ("Signal", CutBefore(), None, 1),
        ("Signal", CutAfter(), None, 1),
    ],
)
def test_an_effect_takes_place_once_at_most(
    start_host: StartHost,
    runner_of: MakeRunner,
    world: World,
    operation: str,
    action: Action,
    told: str | None,
    made: int,
    tls: bool,
) -> None:
    """An effect is never asked for twice: its answer is found, or `reply-lost` says that nobody knows."""
    host = start_host(tls=tls)
    never_starts = operation == "Send" and made == 0
    runner = runner_of(host, HASTY if never_starts else PATIENT)
    host.faults.add(operation, action)
    if told is None:
        assert runner.run("make-checkpoint", {})["host"] == "hv1"
    else:
        error = refusal(runner, "make-checkpoint")
        assert error.code == told
        assert "at the host" in error.hint or told != "reply-lost"
    assert world.made["make-checkpoint"] == made
    if (operation, action) == ("Create", CutAfter()):
        host.forget_shells()  # nobody was told its name: it ends when idle


def test_a_shell_that_is_gone_is_opened_again(start_host: StartHost, runner_of: MakeRunner, world: World) -> None:
    """After a restart of the service the next script, with an effect or without, runs in a new shell, and once."""
    host = start_host()
    runner = runner_of(host)
    for name in ("machines", "make-checkpoint", "machines"):
        runner.run(name, {})
        host.forget_shells()
    assert host.shells_opened == 3
    assert world.made == {"machines": 2, "make-checkpoint": 1}


def test_a_shell_that_goes_while_a_script_runs(start_host: StartHost, runner_of: MakeRunner, world: World) -> None:
    """An effect whose shell is gone is not asked for again; a reading script is, once."""
    host = start_host()
    runner = runner_of(host)
    host.faults.add("Receive", Fault(SHELL_NOT_FOUND), times=2)
    assert refusal(runner, "make-checkpoint").code == "reply-lost"
    assert runner.run("machines", {})["host"] == "hv1"
    assert world.made == {"machines": 2, "make-checkpoint": 1}
    host.forget_shells()  # the simulator only pretended that they were gone


# --- time ---


@pytest.mark.parametrize(
    ("script", "code"), [("wait", "script-deadline"), ("make-wait", "reply-lost")], ids=["reading", "effect"]
)
def test_a_script_that_hangs_is_ended(
    start_host: StartHost, runner_of: MakeRunner, world: World, script: str, code: str
) -> None:
    """At our deadline the script is told to terminate, its shell is closed, and the error says so."""
    host = start_host()
    host.faults.hang = {script}
    error = refusal(runner_of(host, HASTY), script)
    assert (type(error), error.code) == (SourceUnavailable, code)
    assert "in time" in str(error)
    assert (host.operations("Signal"), host.operations("Delete"), host.open_shells) == (1, 1, 0)


def test_waiting_longer_than_an_operation_is_no_failure(
    start_host: StartHost, runner_of: MakeRunner, world: World
) -> None:
    """An operation that times out at the host is asked again until our deadline: long scripts are read to their end."""
    host = start_host()
    world.answers["wait"] = lambda arguments: seen_twice(host) or {"done": True}
    runner = runner_of(host, Timing(deadline=60, wait=1, grace=40))
    assert runner.run("wait", {}) == {"done": True}


def seen_twice(host: WinrmSimulator) -> None:
    """Wait until output was asked for twice."""
    eventually(lambda: host.operations("Receive") >= 2, "a second question for output")


@pytest.mark.parametrize("operation", ["Create", "Command", "Receive"])
def test_a_silent_host_is_an_error_and_no_wait(start_host: StartHost, runner_of: MakeRunner, operation: str) -> None:
    """A host that takes a message and says nothing is given up, and its shell is closed over another connection."""
    host = start_host()
    host.faults.add(operation, StaySilent(), times=2)
    assert refusal(runner_of(host, Timing(deadline=30, wait=1, grace=3))).code == "server-silent"


def test_nobody_listens(start_host: StartHost, runner_of: MakeRunner) -> None:
    """A port where nothing answers is told as such."""
    host = start_host()
    error = refusal(runner_of(host, port=1))
    assert error.code == "server-unreachable"
    assert "listener" in error.hint


# --- what interrupts us ---


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_no_shell(
    start_host: StartHost, runner_of: MakeRunner, interruption: type[BaseException]
) -> None:
    """Whatever is raised while a script runs, the script is ended, its shell deleted, and the error goes on."""
    host = start_host()
    host.faults.hang = {"wait"}
    ticks = itertools.count()

    def clock() -> float:
        if host.operations("Receive") > 1:
            host.faults.hang = set()
            raise interruption
        return next(ticks) / 1000

    with pytest.raises(interruption):
        runner_of(host, Timing(deadline=60, wait=1, grace=40), clock=clock).run("wait", {})
    assert (host.operations("Signal"), host.operations("Delete"), host.open_shells) == (1, 1, 0)


# --- what the host refuses ---


def test_the_quota_of_shells_is_a_limit(start_host: StartHost, runner_of: MakeRunner) -> None:
    """One shell more than the host allows is told with what to do."""
    host = start_host()
    host.faults.max_shells = 0
    error = refusal(runner_of(host), "make-checkpoint")
    assert (type(error), error.code) == (SourceLimit, "winrm-quota")
    assert "MaxShellsPerUser" in error.hint


@pytest.mark.parametrize(
    ("action", "kind", "code"),
    [
        (Fault(QUOTA_OPERATIONS), SourceLimit, "winrm-quota"),
        (Fault(ACCESS_DENIED), SourceDenied, "winrm-denied"),
        (Fault(1726), SourceUnavailable, "winrm-fault"),
        (Status(503), SourceUnavailable, "not-winrm"),
        (Status(200), SourceUnavailable, "not-winrm"),
        (Status(200, b"<x/>"), SourceUnavailable, "not-winrm"),
        (Status(500, b"\xff\xfe"), SourceUnavailable, "not-winrm"),
        (Status(200, b"x" * (5 << 20)), SourceLimit, "answer-too-large"),
    ],
)
def test_each_refusal_has_its_code(
    start_host: StartHost, runner_of: MakeRunner, action: Action, kind: type[AdapterError], code: str
) -> None:
    """Faults of WinRM and pages that are none of its own are told apart; before a script starts they are no doubt."""
    for operation in ("Create", "Command"):
        host = start_host()
        host.faults.add(operation, action, times=3)
        error = refusal(runner_of(host), "make-checkpoint")
        assert (type(error), error.code) == (kind, code)


# --- what a script writes ---


def test_progress_records_are_no_error(start_host: StartHost, runner_of: MakeRunner) -> None:
    """CLIXML on the standard error with exit code 0, and noise before the answer, change nothing."""
    host = start_host()
    host.faults.progress = True
    host.faults.noise = b"\xef\xbb\xbfActive code page: 65001\r\nHOLDFAST-BEGIN 0000 3:AAA"
    assert runner_of(host).run("machines", {})["host"] == "hv1"


@pytest.mark.parametrize(("script", "made"), [("machines", 2), ("make-checkpoint", 1)])
@pytest.mark.parametrize("truncated", [1, 30])
def test_an_answer_that_is_cut_off_is_none(
    start_host: StartHost, runner_of: MakeRunner, world: World, script: str, made: int, truncated: int
) -> None:
    """Half an answer is never taken for one: a reading script is run once more, an effect is `reply-lost`."""
    host = start_host()
    host.faults.truncate = truncated
    error = refusal(runner_of(host), script)
    assert error.code == ("answer-unreadable" if script == "machines" else "reply-lost")
    assert world.made[script] == made


def test_something_else_than_an_answer(start_host: StartHost, runner_of: MakeRunner) -> None:
    """What stands in the place of an answer is told in one clean line."""
    host = start_host()
    host.faults.garbage = b"powershell.exe\x1b[2J is\r\nblocked by policy " + b"x" * 5000
    error = refusal(runner_of(host))
    assert error.code == "answer-unreadable"
    assert error.why.startswith("exit code 0: powershell.exe [2J is blocked by policy xxx")
    assert len(error.why) < 600


@pytest.mark.parametrize(("script", "code"), [("machines", "answer-too-large"), ("make-checkpoint", "reply-lost")])
def test_an_answer_has_a_bound(start_host: StartHost, runner_of: MakeRunner, script: str, code: str) -> None:
    """More than the bound is not taken into memory: the script is ended and its shell closed."""
    host = start_host()
    host.faults.oversize = 4 << 20
    assert refusal(runner_of(host, Timing(answer_bytes=1 << 20)), script).code == code
    assert host.operations("Receive") < 20
    assert host.open_shells == 0


# --- errors of Windows ---


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"kind": "limit", "code": "too-many", "message": "m"}, SourceLimit, "too-many"),
        ({"kind": "nonsense", "code": "x"}, SourceUnavailable, "script-failed"),
        ({"hresult": -2147024891}, SourceDenied, "access-refused"),
        ({"hresult": 0x80041002}, SourceNotFound, "object-missing"),
        ({"hresult": 0x80070020}, SourceConflict, "file-locked"),
        ({"hresult": 0x80131500, "native": "AccessDenied"}, SourceDenied, "access-refused"),
        ({"native": "InvalidNamespace"}, SourceInvalid, "not-supported"),
        ({"hresult": 0x8007000E}, SourceLimit, "host-memory"),
        ({"hresult": "x", "native": 7, "message": None}, SourceUnavailable, "script-failed"),
        ({}, SourceUnavailable, "script-failed"),
    ],
)
def test_an_error_of_windows_is_told_by_its_number_or_name(
    error: dict[str, object], kind: type[AdapterError], code: str
) -> None:
    """The script's own kind and code count first, then the HRESULT, then the CIM error's name."""
    told = script_error(error, "machines", "hv1")
    assert (type(told), told.code) == (kind, code)


def test_a_scripts_own_failure_says_what_to_do_next() -> None:
    """Scripts carry no advice; what is known of their codes is added here."""
    told = script_error({"kind": "invalid", "code": "cluster-missing", "message": "m"}, "cluster-nodes", "hv1")
    assert "--cluster" in told.hint


def test_words_of_others_are_cleaned() -> None:
    """One line, no control characters, no more than a few hundred letters."""
    assert clean("a\r\n\tb\x1b[31m\u202ec\x00") == "a b [31m c"
    assert len(clean("x" * 100_000)) == 500
