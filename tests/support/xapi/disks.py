"""Virtual disk images: real files, their logs of changes, and the calls on them."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from tests.support.xapi import cbt
from tests.support.xapi.cbt import CbtLog, Logs
from tests.support.xapi.published import PUBLISHED, XapiFailure
from tests.support.xapi.records import Record
from tests.support.xapi.world import Call, World, now

_NOT_ON_METADATA = ("clone", "copy", "disable_cbt", "enable_cbt", "mirror", "resize", "snapshot")
_LIVE = ("snapshot", "clone", "mirror", "enable_cbt", "disable_cbt", "data_destroy", "resize_online")
_FEATURES = {
    "snapshot": "VDI_SNAPSHOT",
    "clone": "VDI_CLONE",
    "resize": "VDI_RESIZE",
    "resize_online": "VDI_RESIZE",
    "destroy": "VDI_DELETE",
    "create": "VDI_CREATE",
    "mirror": "VDI_MIRROR",
    "enable_cbt": "VDI_CONFIG_CBT",
    "disable_cbt": "VDI_CONFIG_CBT",
    "data_destroy": "VDI_CONFIG_CBT",
    "list_changed_blocks": "VDI_CONFIG_CBT",
}


class Disks:
    """The files of all disks, raw and sparse, by the disks' uuids."""

    def __init__(self, world: World, directory: Path) -> None:
        directory.mkdir()
        self._world = world
        self._directory = directory
        self.logs: Logs = {}

    def path(self, vdi: str) -> Path:
        """The file of a disk, by its reference."""
        return self._directory / f"{self._world.records.get('VDI', vdi)['uuid']}.raw"

    def make(self, sr: str, size_bytes: int, **fields: Any) -> str:
        """Make an empty disk and return its reference."""
        name = str(uuid.uuid4())
        fields = {"type": "user", "managed": True, "location": name, **fields}
        ref = self._world.records.create("VDI", uuid=name, SR=sr, virtual_size=size_bytes, **fields)
        with self.path(ref).open("wb") as file:
            file.truncate(size_bytes)
        return ref

    def write(self, vdi: str, offset: int, data: bytes) -> None:
        """Write as a guest does; the log, if there is one, tells."""
        with self._world.records.lock, self.path(vdi).open("r+b") as file:
            size = self._world.records.get("VDI", vdi)["virtual_size"]
            assert offset + len(data) <= size, "a guest cannot write behind its disk"
            os.pwrite(file.fileno(), data, offset)
            log = self.logs.get(self._uuid(vdi))
            if log is not None:
                log.mark(offset, len(data))

    def content(self, vdi: str) -> bytes:
        """All bytes of a disk."""
        with self._world.records.lock:
            return self.path(vdi).read_bytes()

    def grow(self, vdi: str, size_bytes: int) -> None:
        """Make a disk larger."""
        with self._world.records.lock:
            os.truncate(self.path(vdi), size_bytes)
            self._world.records.set("VDI", vdi, virtual_size=size_bytes)
            log = self.logs.get(self._uuid(vdi))
            if log is not None:
                log.resize(size_bytes)

    def copy(self, vdi: str, sr: str, **fields: Any) -> str:
        """Make a disk of the same content, without any log."""
        record = self._world.records.get("VDI", vdi)
        kept = (
            "name_label",
            "name_description",
            "type",
            "sharable",
            "read_only",
            "other_config",
            "sm_config",
            "on_boot",
        )
        made = self.make(sr, record["virtual_size"], **{**{name: record[name] for name in kept}, **fields})
        copy_sparse(self.path(vdi), self.path(made))
        return made

    def snapshot(self, vdi: str) -> str:
        """Freeze a disk: its snapshot takes over the log."""
        record = self._world.records.get("VDI", vdi)
        taken = self.copy(
            vdi,
            record["SR"],
            is_a_snapshot=True,
            snapshot_of=vdi,
            snapshot_time=now(),
            cbt_enabled=record["cbt_enabled"],
        )
        if self._uuid(vdi) in self.logs:
            cbt.snapshot(self.logs, self._uuid(vdi), self._uuid(taken))
        return taken

    def drop_data(self, vdi: str) -> None:
        """Delete the bytes of a disk."""
        self.path(vdi).unlink(missing_ok=True)

    def destroy(self, vdi: str) -> None:
        """Delete a disk with all that is known of it."""
        self.drop_data(vdi)
        if self._uuid(vdi) in self.logs:
            cbt.forget(self.logs, self._uuid(vdi))
        for vbd in self._world.records.find("VBD", VDI=vdi):
            self._world.records.destroy("VBD", vbd)
        self._world.records.destroy("VDI", vdi)

    def track(self, vdi: str, enabled: bool) -> None:
        """Switch the tracking of changes on or off."""
        record = self._world.records.get("VDI", vdi)
        if record["cbt_enabled"] == enabled:
            return
        if enabled:
            self.logs[record["uuid"]] = CbtLog(record["virtual_size"])
        elif record["uuid"] in self.logs:
            cbt.stop(self.logs, record["uuid"])
        self._world.records.set("VDI", vdi, cbt_enabled=enabled)

    def _uuid(self, vdi: str) -> str:
        return str(self._world.records.get("VDI", vdi)["uuid"])


def copy_sparse(source: Path, target: Path) -> None:
    """Copy what is not a hole; both files have the same size."""
    with source.open("rb") as reading, target.open("r+b") as writing:
        size, at = os.fstat(reading.fileno()).st_size, 0
        while at < size:
            try:
                start = os.lseek(reading.fileno(), at, os.SEEK_DATA)
            except OSError:
                return  # nothing but a hole is left
            at = os.lseek(reading.fileno(), start, os.SEEK_HOLE)
            while start < at:
                piece = os.pread(reading.fileno(), min(at - start, 1 << 20), start)
                os.pwrite(writing.fileno(), piece, start)
                start += len(piece)


def assert_allowed(world: World, vdi: str, operation: str) -> None:
    """Raise what xapi refuses an operation on a disk with, in its order."""
    record = world.records.get("VDI", vdi)
    attached = [
        vbd
        for vbd in world.records.find("VBD", VDI=vdi, currently_attached=True)
        if not (operation == "list_changed_blocks" and world.is_snapshot_machine(vbd))
    ]
    if attached and operation not in _LIVE:
        raise XapiFailure("VDI_IN_USE", vdi, operation)
    assert_feature(world, record["SR"], operation)
    if record["type"] == "cbt_metadata" and operation in _NOT_ON_METADATA:
        raise XapiFailure("VDI_INCOMPATIBLE_TYPE", vdi, "cbt_metadata")
    if operation == "mirror" and record["cbt_enabled"]:
        raise XapiFailure("VDI_CBT_ENABLED", vdi)
    if operation == "snapshot" and record["sharable"]:
        raise XapiFailure("VDI_IS_SHARABLE", vdi)
    if operation == "data_destroy":
        _assert_metadata_kept(record, vdi)
    if operation in ("enable_cbt", "disable_cbt"):
        _assert_trackable(record, vdi)
    if operation in ("snapshot", "copy", "enable_cbt", "disable_cbt") and record["on_boot"] == "reset":
        raise XapiFailure("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")


def _assert_metadata_kept(record: Record, vdi: str) -> None:
    if not record["is_a_snapshot"]:
        raise XapiFailure("OPERATION_NOT_ALLOWED", f"VDI is not a snapshot: {vdi}")
    if not record["cbt_enabled"]:
        raise XapiFailure("VDI_NO_CBT_METADATA", vdi)


def _assert_trackable(record: Record, vdi: str) -> None:
    if record["is_a_snapshot"]:
        raise XapiFailure("OPERATION_NOT_ALLOWED", f"VDI is a snapshot: {vdi}")
    if record["type"] not in ("user", "system"):
        raise XapiFailure("VDI_INCOMPATIBLE_TYPE", vdi, record["type"])


def assert_feature(world: World, sr: str, operation: str) -> None:
    """Raise SR_OPERATION_NOT_SUPPORTED unless the storage repository's driver can do it."""
    (driver,) = world.records.find("SM", type=world.records.get("SR", sr)["type"])
    feature = _FEATURES.get(operation)
    if feature is not None and feature not in world.records.get("SM", driver)["features"]:
        raise XapiFailure("SR_OPERATION_NOT_SUPPORTED", sr)


def _create(call: Call, given: dict[str, Any]) -> str:
    if given.get("type") == "cbt_metadata":
        raise XapiFailure("VDI_INCOMPATIBLE_TYPE", "", "cbt_metadata")
    fields = PUBLISHED.constructor("VDI", given)
    sr, size_bytes = fields.pop("SR"), fields.pop("virtual_size")
    assert_feature(call.world, sr, "create")
    fields.pop("location", None)
    return call.world.disks.make(sr, size_bytes, **fields)


def _destroy(call: Call, vdi: str) -> None:
    assert_allowed(call.world, vdi, "destroy")
    call.world.disks.destroy(vdi)


def _data_destroy(call: Call, vdi: str) -> None:
    """As xapi does: wait some seconds for whoever still uses the disk."""
    world, records = call.world, call.world.records
    if records.get("VDI", vdi)["type"] == "cbt_metadata":
        return
    assert_allowed(world, vdi, "data_destroy")
    free = records.changed.wait_for(lambda: not records.find("VBD", VDI=vdi), world.data_destroy_seconds)
    if not free:
        raise XapiFailure("VDI_IN_USE", vdi, "data_destroy")
    world.disks.drop_data(vdi)
    records.set("VDI", vdi, type="cbt_metadata")


def _enable_cbt(call: Call, vdi: str) -> None:
    assert_allowed(call.world, vdi, "enable_cbt")
    if call.world.restricts("restrict_cbt"):
        raise XapiFailure("LICENCE_RESTRICTION", "CBT")
    call.world.disks.track(vdi, True)


def _disable_cbt(call: Call, vdi: str) -> None:
    assert_allowed(call.world, vdi, "disable_cbt")
    call.world.disks.track(vdi, False)


def _list_changed_blocks(call: Call, older: str, newer: str) -> str:
    for vdi in (older, newer):
        assert_allowed(call.world, vdi, "list_changed_blocks")
    uuids = [call.world.records.get("VDI", vdi)["uuid"] for vdi in (older, newer)]
    return cbt.changed_blocks(call.world.disks.logs, *uuids)


def _snapshot(call: Call, vdi: str, _driver: dict[str, str]) -> str:
    assert_allowed(call.world, vdi, "snapshot")
    return call.world.disks.snapshot(vdi)


def _clone(call: Call, vdi: str, _driver: dict[str, str]) -> str:
    assert_allowed(call.world, vdi, "clone")
    return call.world.disks.copy(vdi, call.world.records.get("VDI", vdi)["SR"])


def _resize(call: Call, vdi: str, size_bytes: int, operation: str = "resize") -> None:
    assert_allowed(call.world, vdi, operation)
    if size_bytes < call.world.records.get("VDI", vdi)["virtual_size"]:
        raise XapiFailure("VDI_TOO_SMALL", vdi, str(size_bytes))
    call.world.disks.grow(vdi, size_bytes)


def _pool_migrate(call: Call, vdi: str, sr: str, _options: dict[str, str]) -> str:
    """Move a disk of a running machine: another disk takes its place, with another uuid."""
    world = call.world
    assert_allowed(world, vdi, "mirror")
    if not world.records.find("VBD", VDI=vdi, currently_attached=True):
        raise XapiFailure("VDI_NEEDS_VM_FOR_MIGRATE", vdi)
    moved = world.disks.copy(vdi, sr)
    for vbd in world.records.find("VBD", VDI=vdi):
        world.records.set("VBD", vbd, VDI=moved)
    world.disks.destroy(vdi)
    return moved


def _get_nbd_info(call: Call, vdi: str) -> list[dict[str, Any]]:
    """Where a disk is served: on the hosts that have its storage, by the addresses in networks for NBD."""
    records, record = call.world.records, call.world.records.get("VDI", vdi)
    if record["type"] == "cbt_metadata":
        raise XapiFailure("VDI_INCOMPATIBLE_TYPE", vdi, "cbt_metadata")
    networks = {
        ref for ref in records.find("network") if {"nbd", "insecure_nbd"} & set(records.get("network", ref)["purpose"])
    }
    servers = []
    for pbd in records.find("PBD", SR=record["SR"], currently_attached=True):
        host = records.get("PBD", pbd)["host"]
        server = call.world.nbd_servers.get(host)
        addresses = [
            records.get("PIF", pif)["IP"]
            for pif in records.find("PIF", host=host, currently_attached=True)
            if records.get("PIF", pif)["network"] in networks
        ]
        for address in addresses if server is not None else ():
            exportname = f"/{record['uuid']}?session_id={call.session}"
            servers.append(
                {
                    "exportname": exportname,
                    "address": address,
                    "port": server.port,
                    "cert": server.certificate,
                    "subject": server.subject,
                }
            )
    return servers


def _nothing(call: Call, vdi: str) -> None:
    call.world.records.get("VDI", vdi)


HANDLERS = {
    "VDI.create": _create,
    "VDI.destroy": _destroy,
    "VDI.data_destroy": _data_destroy,
    "VDI.enable_cbt": _enable_cbt,
    "VDI.disable_cbt": _disable_cbt,
    "VDI.list_changed_blocks": _list_changed_blocks,
    "VDI.snapshot": _snapshot,
    "VDI.clone": _clone,
    "VDI.resize": _resize,
    "VDI.resize_online": lambda call, vdi, size_bytes: _resize(call, vdi, size_bytes, "resize_online"),
    "VDI.pool_migrate": _pool_migrate,
    "VDI.get_nbd_info": _get_nbd_info,
    "VDI.update": _nothing,
}
