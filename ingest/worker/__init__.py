"""Doing what was asked for: a worker takes tasks from the log one at a time, and each is done once.

Imports `ingest` and `catalog`. Whoever dies in a task leaves its lock free: another worker takes the task over, and
finds what was finished before.
"""

from ingest.worker.worker import Worker

__all__ = ["Worker"]
