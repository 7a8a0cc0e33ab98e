"""A simulator of WinRM, named so everywhere; begin with `simulator`."""

from tests.support.winrm.faults import Faults
from tests.support.winrm.powershell import ScriptFailure
from tests.support.winrm.simulator import WinrmSimulator

__all__ = ["Faults", "ScriptFailure", "WinrmSimulator"]
