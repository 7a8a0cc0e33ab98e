"""Runs a Jupyter notebook with a kernel of another environment, and prints it with its outputs as JSON.

python -m tests.support.run_notebook NOTEBOOK KERNEL_PYTHON
"""

from __future__ import annotations

import json
import sys
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient


class Kernels(AsyncKernelManager):
    """Starts kernels of one interpreter, over Unix sockets."""

    python = sys.executable

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Start ipykernel in that interpreter."""
        return [self.python, "-m", "ipykernel_launcher", "-f", self.connection_file]


def main(path: str, python: str) -> None:
    """Run every cell; the first that fails ends it."""
    notebook: Any = nbformat.read(path, as_version=4)
    kernels = Kernels(kernel_name="python3", transport="ipc")
    kernels.python = python
    NotebookClient(notebook, km=kernels, timeout=60, resources={"metadata": {"path": "."}}).execute()
    json.dump(notebook, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
