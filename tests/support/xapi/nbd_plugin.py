"""nbdkit's plugin of the NBD proxy, as text: it runs inside nbdkit, in the system's Python.

It asks the proxy which file an export's name opens, by a unix socket that takes a line with the name and answers with a
line with a path, or an empty one; the socket stays open as long as the disk is. Holes are told as zeros where asked to.
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
    asking = socket.socket(socket.AF_UNIX)
    try:
        asking.connect(settings["asked"])
        with asking.makefile("rw") as lines:
            print(nbdkit.export_name(), file=lines, flush=True)
            path = lines.readline().strip()
        if not path:
            raise RuntimeError("no such session or disk")
        return os.open(path, os.O_RDONLY), asking
    except BaseException:
        asking.close()
        raise


def close(handle):
    os.close(handle[0])
    handle[1].close()


def get_size(handle):
    return os.fstat(handle[0]).st_size


def can_multi_conn(handle):
    return True


def can_extents(handle):
    return settings["holes"] == "yes"


def pread(handle, buffer, offset, flags):
    view = memoryview(buffer)
    while view:
        count = os.preadv(handle[0], [view], offset)
        if not count:
            raise RuntimeError("the disk became shorter")
        view, offset = view[count:], offset + count


def extents(handle, count, offset, flags):
    found, end = [], offset + count
    while offset < end:
        try:
            data = min(os.lseek(handle[0], offset, os.SEEK_DATA), end)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = end
        if data > offset:
            found.append((offset, data - offset, nbdkit.EXTENT_HOLE | nbdkit.EXTENT_ZERO))
        offset = data
        if offset < end:
            hole = min(os.lseek(handle[0], offset, os.SEEK_HOLE), end)
            found.append((offset, hole - offset, 0))
            offset = hole
    return found
"""
