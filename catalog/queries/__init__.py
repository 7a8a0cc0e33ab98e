"""Questions of the reading side, typed: from the index, and where it must work without one, from the log.

May import `catalog` and `storage`. Nothing is imported here: only `index` needs DuckDB.
"""
