"""A bootable disk of our own: its first sector reads a message from far inside the disk and ends QEMU.

The message proves that the firmware and the guest read the right bytes; QEMU exits with EXIT_CODE.
"""

from __future__ import annotations

import struct

MESSAGE_SECTOR = 4096
EXIT_CODE = 33  # isa-debug-exit turns the value n into n * 2 + 1


def bootable(size_bytes: int, message: bytes) -> bytes:
    """Return a raw disk that prints `message` on the first serial port when it is booted."""
    packet = struct.pack("<BBHHHQ", 16, 0, 1, 0x7E00, 0, MESSAGE_SECTOR)
    code = bytes.fromhex(
        "31c0 8ed8 8ec0 8ed0 bc007c"  # segments 0, stack below us
        "be407c b442 cd13 7214"  # read the packet's sector with int 13h; on an error stop
        "be007e"  # the message
        "ac 84c0 7406 baf803 ee ebf5"  # out each byte until a zero
        "baf400 b010 ee"  # end QEMU
        "f4 ebfd"
    )
    sector = code.ljust(0x40, b"\x90") + packet
    disk = bytearray(size_bytes)
    disk[:512] = sector.ljust(510, b"\0") + b"\x55\xaa"
    disk[MESSAGE_SECTOR * 512 : MESSAGE_SECTOR * 512 + len(message)] = message
    return bytes(disk)
