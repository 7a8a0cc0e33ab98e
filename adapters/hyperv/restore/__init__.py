"""Giving machines and disks back to Hyper-V hosts.

Imports `adapters.errors`, `adapters.port`, `adapters.virtualdisk` and the package around it.
"""
