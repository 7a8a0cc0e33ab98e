"""A XenServer or XCP-ng pool for tests."""

from tests.support.xapi.simulator import XapiSimulator

__all__ = ["XapiSimulator"]
