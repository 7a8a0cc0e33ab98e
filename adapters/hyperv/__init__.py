"""Hyper-V hosts and clusters as backup sources: WMI through WinRM for control, SMB for data.

Imports `adapters.errors`, `adapters.port`, `adapters.secret`, `adapters.virtualdisk` and this package.
"""
