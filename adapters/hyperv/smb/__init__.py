"""Files of Hyper-V hosts and file servers over SMB 3, through smbprotocol.

Imports `adapters.errors`, `adapters.hostlimit`, `adapters.port`, `adapters.virtualdisk` and the settings. Every message
is signed or encrypted, guests are refused, and no path leaves the folders that it was allowed to be in.
"""
