"""What holds for every test: processes that tests start keep the bytecode they compile.

Many tests run the command line in a process of its own; where the environment forbids bytecode, each would compile
every module of ours again before its work begins.
"""

from __future__ import annotations

import os
import sys

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
