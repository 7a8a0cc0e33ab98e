"""NBD's numbers and structures, and the limits we put on them. Imports nothing of ours.

All integers are big-endian. Names follow the specification's section "Values" without the `NBD_` prefix.
"""

from __future__ import annotations

import struct
from typing import Final

INIT_MAGIC: Final = 0x4E42444D41474943  # "NBDMAGIC"
OPTION_MAGIC: Final = 0x49484156454F5054  # "IHAVEOPT"
OPTION_REPLY_MAGIC: Final = 0x0003E889045565A9
REQUEST_MAGIC: Final = 0x25609513
SIMPLE_REPLY_MAGIC: Final = 0x67446698
STRUCTURED_REPLY_MAGIC: Final = 0x668E33EF

GREETING: Final = struct.Struct(">QQH")  # init magic, option magic, handshake flags
CLIENT_FLAGS: Final = struct.Struct(">I")
OPTION: Final = struct.Struct(">QII")  # option magic, option, length
OPTION_REPLY: Final = struct.Struct(">QIII")  # reply magic, option, type, length
INFO_EXPORT_BODY: Final = struct.Struct(">QH")  # size, transmission flags
INFO_BLOCK_SIZE_BODY: Final = struct.Struct(">III")  # minimum, preferred, maximum payload
REQUEST: Final = struct.Struct(">IHHQQI")  # magic, command flags, command, handle, offset, length
SIMPLE_REPLY: Final = struct.Struct(">IIQ")  # magic, error, handle
CHUNK: Final = struct.Struct(">IHHQ")  # magic, flags, type, handle; the length follows
CHUNK_FULL: Final = struct.Struct(">IHHQI")
U16: Final = struct.Struct(">H")
U32: Final = struct.Struct(">I")
U64: Final = struct.Struct(">Q")
LENGTH_OFFSET: Final = struct.Struct(">IQ")
HOLE: Final = struct.Struct(">QI")  # offset, length
ERROR_HEAD: Final = struct.Struct(">IH")  # error, message length
DESCRIPTOR: Final = struct.Struct(">II")  # extent length, status flags

FLAG_FIXED_NEWSTYLE: Final = 1
FLAG_NO_ZEROES: Final = 2

FLAG_HAS_FLAGS: Final = 1 << 0
FLAG_READ_ONLY: Final = 1 << 1
FLAG_SEND_DF: Final = 1 << 7
FLAG_CAN_MULTI_CONN: Final = 1 << 8

OPT_EXPORT_NAME: Final = 1
OPT_ABORT: Final = 2
OPT_LIST: Final = 3
OPT_STARTTLS: Final = 5
OPT_INFO: Final = 6
OPT_GO: Final = 7
OPT_STRUCTURED_REPLY: Final = 8
OPT_LIST_META_CONTEXT: Final = 9
OPT_SET_META_CONTEXT: Final = 10

REP_ACK: Final = 1
REP_SERVER: Final = 2
REP_INFO: Final = 3
REP_META_CONTEXT: Final = 4
REP_ERROR: Final = 1 << 31
REP_ERR_UNSUP: Final = REP_ERROR + 1
REP_ERR_POLICY: Final = REP_ERROR + 2
REP_ERR_INVALID: Final = REP_ERROR + 3
REP_ERR_PLATFORM: Final = REP_ERROR + 4
REP_ERR_TLS_REQD: Final = REP_ERROR + 5
REP_ERR_UNKNOWN: Final = REP_ERROR + 6
REP_ERR_SHUTDOWN: Final = REP_ERROR + 7
REP_ERR_BLOCK_SIZE_REQD: Final = REP_ERROR + 8
REP_ERR_TOO_BIG: Final = REP_ERROR + 9

INFO_EXPORT: Final = 0
INFO_BLOCK_SIZE: Final = 3

CMD_READ: Final = 0
CMD_WRITE: Final = 1
CMD_DISC: Final = 2
CMD_TRIM: Final = 4
CMD_WRITE_ZEROES: Final = 6
CMD_BLOCK_STATUS: Final = 7
CMD_FLAG_DF: Final = 1 << 2
CMD_FLAG_REQ_ONE: Final = 1 << 3

REPLY_FLAG_DONE: Final = 1
REPLY_NONE: Final = 0
REPLY_OFFSET_DATA: Final = 1
REPLY_OFFSET_HOLE: Final = 2
REPLY_BLOCK_STATUS: Final = 5
REPLY_ERROR_BIT: Final = 1 << 15
REPLY_ERROR: Final = REPLY_ERROR_BIT + 1
REPLY_ERROR_OFFSET: Final = REPLY_ERROR_BIT + 2

EPERM: Final = 1
EIO: Final = 5
ENOMEM: Final = 12
EINVAL: Final = 22
ENOSPC: Final = 28
EOVERFLOW: Final = 75
ESHUTDOWN: Final = 108

BASE_ALLOCATION: Final = "base:allocation"
STATE_HOLE: Final = 1
STATE_ZERO: Final = 2

DEFAULT_PORT: Final = 10809
MAX_STRING: Final = 4096  # section "Handshake phase": longer strings may be refused
MAX_OPTION_BYTES: Final = 65536
MAX_OPTION_REPLIES: Final = 16384
MAX_PAYLOAD: Final = 32 << 20
MAX_DESCRIPTORS: Final = 1 << 20
MAX_ERROR_BYTES: Final = 6 + MAX_STRING + 8
MAX_MINIMUM_BLOCK: Final = 65536
MAX_EXPORT_BYTES: Final = (1 << 63) - 1
