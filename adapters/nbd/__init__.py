"""NBD in Python: a pipelined client that trusts no server, and a read-only server.

Start with `client.py` and `server.py`. Imports nothing of ours but `adapters.errors` and `adapters.port`.
Specification: doc/proto.md of the NetworkBlockDevice project; section names in docstrings are its own.
"""

from adapters.nbd.address import TcpAddress, UnixAddress, parse_address
from adapters.nbd.client import NbdClient, Status
from adapters.nbd.protocol import BASE_ALLOCATION
from adapters.nbd.reader import NbdReader
from adapters.nbd.served import Limits, ServedDisk
from adapters.nbd.server import NbdServer
from adapters.nbd.tls import TlsPolicy

__all__ = [
    "BASE_ALLOCATION",
    "Limits",
    "NbdClient",
    "NbdReader",
    "NbdServer",
    "ServedDisk",
    "Status",
    "TcpAddress",
    "TlsPolicy",
    "UnixAddress",
    "parse_address",
]
