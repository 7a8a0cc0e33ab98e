"""A stand-in for nbdkit's vddk plugin, run by the real nbdkit: it checks its arguments and serves a file.

`stand_in=FOLDER` is where it finds `disk` and `knobs.json`, and writes down what it was told; there is no VDDK here.
"""
# ruff: noqa: D103, T201

import builtins
import json
import os
import sys

import nbdkit

API_VERSION = 2
KNOWN = {"libdir", "server", "port", "user", "password", "thumbprint", "vm", "snapshot", "transports", "file"}
told = {}
knobs = {}


def thread_model():
    return nbdkit.THREAD_MODEL_PARALLEL


def dump_plugin():
    print("vddk_default_libdir=/usr/lib/vmware-vix-disklib\nvddk_library_version=8")


def config(key, value):
    if key == "stand_in":
        told["stand_in"] = value
    elif key not in KNOWN:
        raise RuntimeError(f"unknown parameter '{key}'")
    elif key == "password":
        if not value.startswith("-"):
            raise RuntimeError("the password must come by a file descriptor")
        told["password_read"] = os.read(int(value[1:]), 4096).decode()
    else:
        told[key] = value


def config_complete():
    missing = (KNOWN - {"password"}) - told.keys()
    if missing:
        raise RuntimeError(f"remote connection requested, missing parameter: {sorted(missing)[0]}")
    with builtins.open(os.path.join(told["stand_in"], "knobs.json")) as text:
        knobs.update(json.load(text))


def open(readonly):
    with builtins.open(os.path.join(told["stand_in"], "told.json"), "w") as out:
        json.dump({**told, "readonly": readonly, "environment": sorted(os.environ)}, out)
    if knobs.get("refuse"):
        print(f"nbdkit: vddk[1]: error: {knobs['refuse']}", file=sys.stderr, flush=True)
        raise RuntimeError("refused")
    if knobs.get("transport", True):
        nbdkit.debug("transport mode: " + (knobs.get("transport") or told["transports"]))
    return os.open(os.path.join(told["stand_in"], "disk"), os.O_RDONLY)


def get_size(handle):
    return os.fstat(handle).st_size


def block_size(handle):
    return (512, 4096, 0xFFFFFFFF)


def can_extents(handle):
    return True


def extents(handle, count, offset, flags):
    found, end = [], min(offset + count, get_size(handle))
    while offset < end:
        block = os.pread(handle, 65536, offset)
        kind = 0 if any(block) else nbdkit.EXTENT_HOLE | nbdkit.EXTENT_ZERO
        found.append((offset, len(block), kind))
        offset += len(block)
    return found


def pread(handle, buf, offset, flags):
    if offset >= knobs.get("broken_from", 1 << 62):
        nbdkit.set_error(5)
        raise RuntimeError("VixDiskLib_Read: The operation was aborted")
    if offset >= knobs.get("dies_from", 1 << 62):
        os.kill(os.getpid(), 9)
    os.preadv(handle, [buf], offset)
