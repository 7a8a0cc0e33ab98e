"""Scripts run on a host: what goes there and comes back, over which connections and how many messages."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from adapters.errors import SourceInvalid, SourceNotFound
from adapters.hyperv.control.runner import Runners
from adapters.secret import Secret
from tests.adapters.hyperv.control.conftest import MakeRunner, StartHost, World
from tests.support.winrm import ScriptFailure
from tests.support.winrm.sealing import FOREIGN

WAYS = [
    pytest.param({}, {}, id="ntlm-https"),
    pytest.param({"tls": False}, {}, id="ntlm-http"),
    pytest.param({}, {"authentication": "basic"}, id="basic-https"),
    pytest.param({}, {"authentication": "credssp"}, id="credssp-https"),
]


@pytest.mark.parametrize(("host_options", "settings"), WAYS)
def test_a_script_gets_its_arguments_and_gives_its_answer(
    start_host: StartHost, runner_of: MakeRunner, host_options: dict[str, object], settings: dict[str, object]
) -> None:
    """Over every way that is allowed, a script longer than a command line arrives whole, and names of any letters."""
    names = ["web 'quoted' \"twice\" `tick` $env:X", "Käse-Server", "日本語", "smile 😀", "", "back\\slash\r\n\0"]
    host = start_host(**host_options)
    runner = runner_of(host, **settings)
    assert runner.run("machines", {"names": names, "depth": {"n": [1]}}) == {
        "host": "hv1",
        "arguments": {"names": names, "depth": {"n": [1]}},
    }
    assert host.calls[0].script == "machines"


def test_accounts_may_have_any_letters(start_host: StartHost, runner_of: MakeRunner) -> None:
    """NTLM takes every name and password; Basic, which has no agreed encoding, refuses them before anything is sent."""
    name, password = FOREIGN
    host = start_host()
    assert runner_of(host, user=name, password=Secret(lambda: password)).run("machines", {})["host"] == "hv1"
    before = host.requests
    with pytest.raises(SourceInvalid) as caught:
        runner_of(host, user=name, password=Secret(lambda: password), authentication="basic").run("machines", {})
    assert caught.value.code == "credentials-not-ascii"
    assert host.requests == before


def test_one_shell_and_one_connection_serve_many_scripts(start_host: StartHost, runner_of: MakeRunner) -> None:
    """A script costs four messages on a shell that is there: Command, Send, Receive and Signal."""
    host = start_host()
    runner = runner_of(host)
    runner.run("machines", {})
    before = host.requests
    for _ in range(5):
        runner.run("machines", {})
    assert host.requests - before == 5 * 4
    assert (host.accepted, host.shells_opened) == (1, 1)
    runner.close()
    assert host.open_shells == 0
    runner.close()


def test_a_long_answer_comes_in_pieces(start_host: StartHost, runner_of: MakeRunner, world: World) -> None:
    """An answer larger than an envelope arrives whole; long arguments do, too."""
    host = start_host(tls=False)
    ranges = [[number * 65536, 65536] for number in range(60_000)]
    world.answers["disk-changes"] = lambda arguments: {"ranges": arguments["ranges"]}
    assert runner_of(host).run("disk-changes", {"ranges": ranges}) == {"ranges": ranges}
    assert host.operations("Receive") > 5
    assert host.operations("Send") > 5


def test_a_scripts_own_failure_is_told_as_such(start_host: StartHost, runner_of: MakeRunner, world: World) -> None:
    """Kind, code and text are the script's; the shell is good for the next script."""

    def fail(arguments: object) -> object:
        raise ScriptFailure("machine-gone", "There is no\nsuch machine\x1b[31m.", kind="not_found")

    world.answers["make-checkpoint"] = fail
    host = start_host()
    runner = runner_of(host)
    with pytest.raises(SourceNotFound) as caught:
        runner.run("make-checkpoint", {})
    assert (caught.value.code, caught.value.why) == ("machine-gone", "There is no such machine [31m.")
    runner.run("machines", {})
    assert host.shells_opened == 1


def test_threads_share_a_runner(start_host: StartHost, runner_of: MakeRunner, world: World) -> None:
    """Scripts of several threads run side by side in shells of their own, and not in more than a few."""
    together = threading.Barrier(4)
    world.answers["wait"] = lambda arguments: (together.wait(60) and arguments) or arguments
    host = start_host()
    runner = runner_of(host)
    with ThreadPoolExecutor(12) as pool:
        numbers = list(pool.map(lambda number: runner.run("wait", {"n": number})["n"], range(12)))
    assert numbers == list(range(12))
    assert host.shells_opened == 4


def test_a_closed_runner_runs_nothing(start_host: StartHost, runner_of: MakeRunner) -> None:
    """After `close` a script is refused here, before anything connects."""
    host = start_host()
    runner = runner_of(host)
    runner.close()
    with pytest.raises(SourceInvalid) as caught:
        runner.run("machines", {})
    assert caught.value.code == "runner-closed"
    assert host.accepted == 0


def test_a_runner_for_each_host(start_host: StartHost, runner_of: MakeRunner) -> None:
    """Runners are made once for each host name, whatever its case, and closed together."""
    hosts = {name: start_host(host=name) for name in ("node1", "node2")}
    runners = Runners(lambda name: runner_of(hosts[name.lower()]))
    assert [runners.of(name).run("machines", {})["host"] for name in ("node1", "NODE2", "Node1")] == [
        "node1",
        "node2",
        "node1",
    ]
    assert runners.of("node1") is runners.of("NODE1")
    runners.close()
    assert [host.open_shells for host in hosts.values()] == [0, 0]
    runners.close()


def test_every_runner_is_closed_when_closing_one_fails() -> None:
    """A runner that cannot be closed keeps no other one open."""
    closed: list[str] = []

    class Runner:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, script: str, arguments: object) -> object:
            raise NotImplementedError

        def close(self) -> None:
            closed.append(self.name)
            raise OSError(self.name)

    runners = Runners(Runner)
    runners.of("a")
    runners.of("b")
    with pytest.raises(OSError, match="a"):
        runners.close()
    assert sorted(closed) == ["a", "b"]
