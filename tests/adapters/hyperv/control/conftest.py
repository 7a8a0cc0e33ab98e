"""A simulated host, and runners of it that know a few made-up scripts: every other line of them is a comment.

Scripts whose names begin with `make-` have an effect; `world.made` counts how often each took place.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from adapters.hyperv.control.scripts import Script, parse
from adapters.hyperv.control.shell import Timing
from adapters.hyperv.control.winrm import WinrmRunner
from adapters.hyperv.settings import HypervSettings
from adapters.secret import Secret
from tests.support.winrm import WinrmSimulator

KERBEROS = all(importlib.util.find_spec(name) for name in ("kerberos", "gssapi", "krb5"))
collect_ignore = [] if KERBEROS else ["test_kerberos.py"]  # test_kerberos_apart has it run where they are

PATIENT = Timing(deadline=60, wait=20, grace=40)


def script(name: str) -> Script:
    """A script longer than any command line."""
    effect = "changes" if name.startswith("make-") else "none"
    head = f"# holdfast-script: {name}\n# version: 1\n# effect: {effect}\nparam($Arguments)\n"
    return parse(head + "# a comment\n" * 1000 + "@{}\n")


class World:
    """Answers with what it was asked, or with what `answers` says."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.answers: dict[str, Callable[[dict[str, Any]], object]] = {}

    def answer(self, host: str, name: str, arguments: dict[str, Any]) -> object:
        """What the host says."""
        self.made[name] += 1
        if name in self.answers:
            return self.answers[name](arguments)
        return {"host": host, "arguments": arguments}


class StartHost(Protocol):
    def __call__(self, **options: Any) -> WinrmSimulator: ...


class MakeRunner(Protocol):
    def __call__(self, host: WinrmSimulator, timing: Timing = PATIENT, /, **settings: Any) -> WinrmRunner: ...


@pytest.fixture
def world() -> World:
    """What the simulated hosts answer."""
    return World()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test, last things first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start_host(stack: ExitStack, world: World) -> StartHost:
    """Start a simulator. At its end no shell is open, and nothing ever went in clear text."""

    def start(**options: Any) -> WinrmSimulator:
        host = stack.enter_context(WinrmSimulator(world.answer, **options))

        def check(kind: object, *_: object) -> None:
            if kind is None:
                assert (host.open_shells, host.clear_bodies) == (0, [])

        stack.push(check)
        return host

    return start


def settings_of(host: WinrmSimulator, /, **settings: Any) -> HypervSettings:
    """Settings that trust a host as it should be, unless something else is said."""
    if not {"ca_file", "fingerprint", "insecure"} & settings.keys():
        settings |= {"ca_file": host.ca_file} if host.fingerprint else {"plain_http": True}
    defaults = {"user": host.user, "password": Secret(lambda: host.password), "port": host.port}
    return HypervSettings(**({"host": host.address} | defaults | settings))


@pytest.fixture
def runner_of(stack: ExitStack) -> MakeRunner:
    """Make a runner for a host; it is closed before the host is."""

    def make(host: WinrmSimulator, timing: Timing = PATIENT, /, **settings: Any) -> WinrmRunner:
        clock = {"clock": settings.pop("clock")} if "clock" in settings else {}
        runner = WinrmRunner(settings_of(host, **settings), timing=timing, load=script, **clock)
        stack.callback(runner.close)
        return runner

    return make
