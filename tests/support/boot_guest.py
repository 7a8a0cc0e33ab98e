"""A guest that is 512 bytes long: it writes a counter to two disks in turn, for ever.

It boots on SeaBIOS from the first disk and writes one sector to the second (BIOS drive 81h), then the same to
the third (82h). It counts rounds and refused writes in its memory, where QEMU's monitor reads them.
"""

from __future__ import annotations

import struct

ROUNDS_ADDRESS = 0x7E00
ERRORS_ADDRESS = 0x7E04
_ORIGIN = 0x7C00


def boot_sector(lba_mask: int) -> bytes:
    """Assemble the guest; round n writes at sector (n * 128) & `lba_mask`, so 0 means always the same sector."""
    setup = bytes.fromhex("31c0 8ed8 8ec0 8ed0 bc007c")  # segments 0, stack below us
    setup += bytes.fromhex("66c706007e00000000 66c706047e00000000")  # rounds = errors = 0
    write = bytes.fromhex("b80043 cd13 7305 66ff06047e c3")  # int 13h, AH=43h; count an error; ret

    def loop(packet: int) -> bytes:
        code = bytes.fromhex("66ff06007e 66a1007e 66c1e007 6625") + struct.pack("<I", lba_mask)
        code += bytes.fromhex("66a3") + struct.pack("<H", packet + 8)  # the packet's LBA
        code += b"\xbe" + struct.pack("<H", packet)
        for drive, left in ((0x81, 7), (0x82, 2)):
            code += bytes((0xB2, drive, 0xE8)) + struct.pack("<h", left)  # call write, which follows the loop
        return code + bytes((0xEB, 256 - len(code) - 2))

    packet = _ORIGIN + len(setup) + len(loop(0)) + len(write)
    address_packet = struct.pack("<BBHHHQ", 16, 0, 1, ROUNDS_ADDRESS, 0, 0)
    program = setup + loop(packet) + write + address_packet
    return program.ljust(510, b"\0") + b"\x55\xaa"
