"""The bootstrap and the scripts that only read, on a Windows host of yours, where the environment names one.

HOLDFAST_HYPERV is its host (HOLDFAST_HYPERV_PORT its port), HOLDFAST_HYPERV_USER and HOLDFAST_HYPERV_PASSWORD log in,
HOLDFAST_HYPERV_AUTH says how, HOLDFAST_HYPERV_FINGERPRINT is the SHA-256 of its certificate. Nothing is changed there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from adapters.errors import AdapterError, SourceLimit
from adapters.hyperv.control.scripts import Script, load, parse
from adapters.hyperv.control.winrm import WinrmRunner
from adapters.hyperv.settings import HypervSettings
from adapters.secret import Secret

HOST = os.environ.get("HOLDFAST_HYPERV")

_HEAD = "# holdfast-script: {}\n# version: 1\n# effect: none\nparam($Arguments)\n"
_PROBES = {
    "probe-echo": "@{ text = $Arguments.text; one = @($Arguments.one); none = @(); big = [uint64]4294967296 }\n",
    "probe-two": "1\n2\n",
    "probe-stop": "Stop-Script 'limit' 'too-many' 'There are too many.'\n",
    "probe-missing": "Get-CimInstance -Namespace root/cimv2 -ClassName Holdfast_NoSuchClass\n",
    "probe-wql": "@{ quoted = (ConvertTo-Wql $Arguments.text) }\n",
}


def probe(name: str) -> Script:
    """One of the package's scripts, or of those above."""
    return parse(_HEAD.format(name) + "# a comment\n" * 1000 + _PROBES[name]) if name in _PROBES else load(name)


if HOST is not None:

    @pytest.fixture(scope="module")
    def runner() -> Iterator[WinrmRunner]:
        """A runner of your host."""
        settings = HypervSettings(
            HOST,
            os.environ["HOLDFAST_HYPERV_USER"],
            Secret(lambda: os.environ["HOLDFAST_HYPERV_PASSWORD"]),
            port=int(os.environ.get("HOLDFAST_HYPERV_PORT", "5986")),
            authentication=os.environ.get("HOLDFAST_HYPERV_AUTH", "ntlm"),
            fingerprint=os.environ["HOLDFAST_HYPERV_FINGERPRINT"],
        )
        runner = WinrmRunner(settings, load=probe)
        yield runner
        runner.close()

    def test_any_text_goes_there_and_back(runner: WinrmRunner) -> None:
        """Letters of all kinds survive, a list of one stays a list, and an empty one a list."""
        text = "Käse 日本 😀 'quoted' \"twice\" `tick` $env:X \\ \r\n"
        answer = runner.run("probe-echo", {"text": text, "one": ["x"]})
        assert answer == {"text": text, "one": ["x"], "none": [], "big": 1 << 32}
        assert runner.run("probe-wql", {"text": "a'b\\c"}) == {"quoted": "'a\\'b\\\\c'"}

    def test_failures_are_told(runner: WinrmRunner) -> None:
        """A script's own failure, an error of WMI, and a script that writes more than one object."""
        with pytest.raises(SourceLimit) as own:
            runner.run("probe-stop", {})
        assert own.value.code == "too-many"
        for name, code in (("probe-missing", "not-supported"), ("probe-two", "script-output")):
            with pytest.raises(AdapterError, match=name) as other:
                runner.run(name, {})
            assert other.value.code == code

    def test_the_host_and_its_machines_are_read(runner: WinrmRunner) -> None:
        """What a host is, and its machines; another machine's identifier finds none."""
        assert runner.run("about", {})["version"]
        assert isinstance(runner.run("machines", {"machine": None, "planned": False})["items"], list)
        nobody = "00000000-0000-0000-0000-000000000000"
        assert runner.run("machines", {"machine": nobody, "planned": False})["items"] == []
