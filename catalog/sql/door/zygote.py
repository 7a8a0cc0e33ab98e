"""The process that workers are forks of: everything imported, nothing known, never doing anything but forking.

Started as `python -I` with no environment, directory, input or output of the service. For each byte on its socket
it takes a descriptor, the worker's channel, and answers with the worker's process id and pidfd. Ends with the
service, whose end of the socket closes however it dies; its workers die with it.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import struct
from typing import NoReturn

from catalog.sql.door import worker
from catalog.sql.door.engine import load_encoders

PID = struct.Struct("<i")
REAP_SECONDS = 1.0


def main(control_descriptor: int) -> NoReturn:
    """Fork until the service is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=control_descriptor)
    load_encoders()
    gc.freeze()
    own = os.getpid()
    while True:
        _reap()
        if not select.select([control], [], [], REAP_SECONDS)[0]:
            continue
        asked, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not asked:
            os._exit(0)
        child = os.fork()
        if child == 0:
            control.close()
            worker.live(socket.socket(fileno=descriptors[0]), own)
        os.close(descriptors[0])
        pidfd = os.pidfd_open(child)
        socket.send_fds(control, [PID.pack(child)], [pidfd])
        os.close(pidfd)


def _reap() -> None:
    """Bury the dead. Only here: a child not waited for keeps its process id, so that its pidfd is its own."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return
