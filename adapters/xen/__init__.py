"""XenServer and XCP-ng pools as backup sources: XenAPI for control, NBD over TLS for data.

Imports `adapters.errors`, `adapters.port`, `adapters.secret`, `adapters.nbd`, `adapters.virtualdisk` and this package.
"""
