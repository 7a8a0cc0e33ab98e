"""Giving machines back to a pool: a new machine of its stored configuration, or one disk in place.

Imports `adapters.errors`, `adapters.port` and `adapters.xen`.
"""
