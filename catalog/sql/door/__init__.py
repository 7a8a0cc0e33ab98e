"""The SQL door: each statement in a process of its own that can reach nothing but the rows it was given.

Start at README.md, then `door.py` (the service's side) and `worker.py` (the other).
"""
