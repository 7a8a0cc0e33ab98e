"""How Hyper-V hosts are asked: PowerShell scripts over WinRM.

Imports `adapters.errors`, `adapters.secret` and `adapters.hyperv.settings`. `runner.py` is the border.
"""
