"""Questions of the reading side, typed: from the index, and where it must work without one, from the log.

May import `catalog` and `storage`. Start at `reads.py`; nothing is imported here, for `names` must load fast.
"""
