"""nbdkit's plugin of the NBD proxy, as text: it runs inside nbdkit, in the system's Python.

It asks the proxy which file an export's name opens, by a unix socket that takes a name and answers with a path, or
nothing; and serves the file, its holes as zeros where asked to.
"""

PLUGIN = """
import errno
import os
import socket

import nbdkit

API_VERSION = 2
settings = {"holes": "yes"}


def config(key, value):
    settings[key] = value


def thread_model():
    return nbdkit.THREAD_MODEL_PARALLEL


def open(readonly):
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(settings["asked"])
        asking.sendall(nbdkit.export_name().encode())
        asking.shutdown(socket.SHUT_WR)
        path = b""
        while piece := asking.recv(4096):
            path += piece
    if not path:
        raise RuntimeError("no such session or disk")
    return os.open(path, os.O_RDONLY)


def close(handle):
    os.close(handle)


def get_size(handle):
    return os.fstat(handle).st_size


def can_multi_conn(handle):
    return True


def can_extents(handle):
    return settings["holes"] == "yes"


def pread(handle, buffer, offset, flags):
    view = memoryview(buffer)
    while view:
        count = os.preadv(handle, [view], offset)
        if not count:
            raise RuntimeError("the disk became shorter")
        view, offset = view[count:], offset + count


def extents(handle, count, offset, flags):
    found, end = [], offset + count
    while offset < end:
        try:
            data = min(os.lseek(handle, offset, os.SEEK_DATA), end)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = end
        if data > offset:
            found.append((offset, data - offset, nbdkit.EXTENT_HOLE | nbdkit.EXTENT_ZERO))
        offset = data
        if offset < end:
            hole = min(os.lseek(handle, offset, os.SEEK_HOLE), end)
            found.append((offset, hole - offset, 0))
            offset = hole
    return found
"""
