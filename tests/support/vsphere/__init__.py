"""A simulator of vSphere, named so everywhere; begin with `simulator`."""

from tests.support.vsphere.simulator import VsphereSimulator

__all__ = ["VsphereSimulator"]
