"""The WinRM simulator is right by other clients than ours: pypsrp, and pywinrm as it comes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pypsrp.exceptions import AuthenticationError
from pypsrp.exceptions import WSManFaultError as PsrpFault
from pypsrp.shell import Process, SignalCode, WinRS
from pypsrp.wsman import WSMan
from winrm.exceptions import WinRMOperationTimeoutError, WSManFaultError
from winrm.protocol import Protocol

from tests.support.winrm import WinrmSimulator
from tests.support.winrm.faults import QUOTA_SHELLS, SHELL_NOT_FOUND


def nothing(host: str, script: str, arguments: object) -> object:
    """A world in which nothing is asked."""
    raise AssertionError(script)


def client(host: WinrmSimulator, *, tls: bool, auth: str = "ntlm", password: str | None = None) -> WSMan:
    """An independent client that encrypts every message."""
    return WSMan(
        host.address,
        port=host.port,
        ssl=tls,
        auth=auth,
        username=host.user,
        password=password or host.password,
        encryption="always",
        cert_validation=str(host.ca_file) if tls else False,
        no_proxy=True,
    )


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("auth", ["ntlm", "negotiate"])
def test_an_independent_client_runs_a_command(tls: bool, auth: str) -> None:
    """pypsrp, with every message encrypted, gets the output and the exit code, and leaves no shell."""
    with WinrmSimulator(nothing, tls=tls) as host:
        with client(host, tls=tls, auth=auth) as wsman, WinRS(wsman) as shell:
            process = Process(shell, "echo", ["hello"])
            process.invoke()
            process.signal(SignalCode.TERMINATE)
            assert (process.rc, process.stdout.decode().strip(), process.stderr) == (0, "hello", b"")
            assert host.open_shells == 1
        assert host.open_shells == 0
        assert host.clear_bodies == []


def test_an_independent_client_is_refused_with_a_wrong_password() -> None:
    """NTLM is real: the password is checked."""
    with (
        WinrmSimulator(nothing, tls=False) as host,
        client(host, tls=False, password="wrong") as wsman,
        pytest.raises(AuthenticationError),
        WinRS(wsman),
    ):
        pass


def test_both_clients_meet_the_quota_and_the_lost_shell() -> None:
    """Faults are SOAP faults with the codes of Windows, as both clients read them."""
    with WinrmSimulator(nothing, tls=False) as host:
        host.faults.max_shells = 1
        with client(host, tls=False) as wsman, WinRS(wsman) as shell:
            with pytest.raises(PsrpFault) as full, WinRS(wsman):
                pass
            assert full.value.code == QUOTA_SHELLS
            host.forget_shells()
            with pytest.raises(PsrpFault) as gone:
                Process(shell, "hostname").invoke()
            assert gone.value.code == SHELL_NOT_FOUND
            shell.opened = False


@pytest.fixture
def plain_protocol() -> Callable[[WinrmSimulator], Protocol]:
    """Pywinrm as it comes."""

    def make(host: WinrmSimulator) -> Protocol:
        return Protocol(
            f"http://{host.address}:{host.port}/wsman",
            transport="ntlm",
            username=host.user,
            password=host.password,
            proxy=None,
            server_cert_validation="ignore",
            operation_timeout_sec=1,
            read_timeout_sec=60,
        )

    return make


def test_pywinrm_runs_a_command_and_waits_for_none(plain_protocol: Callable[[WinrmSimulator], Protocol]) -> None:
    """A command that waits for its standard input is an operation timeout; a line cmd.exe cannot take is its error."""
    with WinrmSimulator(nothing, tls=False) as host:
        protocol = plain_protocol(host)
        shell = protocol.open_shell()
        try:
            output = protocol.get_command_output(shell, protocol.run_command(shell, "hostname"))
            assert output == (b"hv1\r\n", b"", 0)
            waiting = protocol.run_command(shell, "powershell", ["-Command", "-"])
            with pytest.raises(WinRMOperationTimeoutError):
                protocol.get_command_output_raw(shell, waiting)
            protocol.cleanup_command(shell, waiting)
            long = protocol.run_command(shell, "echo", ["x" * 9000])
            assert b"too long" in protocol.get_command_output(shell, long)[1]
        finally:
            protocol.close_shell(shell)
        with pytest.raises(WSManFaultError):
            plain_protocol(host).close_shell(shell)
        assert host.clear_bodies == []


def test_many_clients_at_once() -> None:
    """Connections are served side by side, and none is left when the simulator closes."""
    with WinrmSimulator(nothing, tls=True) as host:

        def run(number: int) -> str:
            with client(host, tls=True) as wsman, WinRS(wsman) as shell:
                process = Process(shell, "echo", [str(number)])
                process.invoke()
                return process.stdout.decode().strip()

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(run, range(32))) == [str(number) for number in range(32)]
        assert host.open_shells == 0
