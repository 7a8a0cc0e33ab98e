"""A simulator of Hyper-V hosts and failover clusters behind our scripts: their state, over real VHDX files in a folder.

It knows what a script is asked and answers, never how PowerShell would run it. `world` is the entrance.
"""
