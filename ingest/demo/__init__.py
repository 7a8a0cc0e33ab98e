"""The guided tour: a machine is backed up, changed, resolved, restored and compared, with the real parts.

Imports `ingest` and `adapters.qemu`. Everything happens below one directory that is made anew.
"""

from ingest.demo.tour import run_demo

__all__ = ["run_demo"]
