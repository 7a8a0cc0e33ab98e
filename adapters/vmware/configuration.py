"""A machine's configuration as files of its restore point. Imports `adapters.errors`, `adapters.port` and this package.

`config.json` is the ConfigInfo of the snapshot; beside it stand the vmx, nvram and other small files of the
machine. Secrets are left out, and named in it as left out; so is what changes without anybody changing it, so that the
same machine gives the same JSON.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

from pyVmomi.VmomiJSONEncoder import VmomiJSONEncoder

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceLimit, SourceNotFound, SourceUnavailable
from adapters.port import ConfigurationFile
from adapters.vmware.faults import translated
from adapters.vmware.inventory import Machine
from adapters.vmware.places import split_file
from adapters.vmware.session import Session
from adapters.vmware.transport.folder import folder_target
from adapters.vmware.transport.limits import connections_of, hang_up

CONFIG_FILE = "config.json"
FORMAT = 1
MOST_FILE_BYTES = 4 << 20
KEPT_TYPES = frozenset({"config", "nvram", "extendedConfig"})

_VOLATILE = frozenset({"changeId", "changeVersion", "modified", "changeTrackingEnabled", "dynamicType"})
_SECRET = re.compile(
    r"passw|secret|token|credential|private|keysafe|encryption\.data|dataFileKey|^guestinfo\.", re.IGNORECASE
)
_LINE = re.compile(rb"^[ \t]*(?P<key>[^\s=#]+)[ \t]*=")


def configuration_files(
    session: Session, machine: Machine, config: Any, layout: Any, datacenter_path: str
) -> tuple[ConfigurationFile, ...]:
    """Collect the files. One that cannot be read is named in `config.json` with the reason."""
    files: list[ConfigurationFile] = []
    told: list[dict[str, object]] = []
    for name, content, why in _small_files(session, machine, layout, datacenter_path):
        told.append({"name": name, "stored": content is not None, "why": why})
        if content is not None:
            files.append(ConfigurationFile(name, content))
    return (ConfigurationFile(CONFIG_FILE, encode(machine, config, told)), *files)


def encode(machine: Machine, config: Any, files: list[dict[str, object]]) -> bytes:
    """Write `config.json`: sorted, without unset values."""
    withheld: list[str] = []
    plain = _cleaned(json.loads(json.dumps(config, cls=VmomiJSONEncoder, strip_dynamic=True)), withheld)
    document = {
        "format": FORMAT,
        "machine": machine.key,
        "name": machine.name,
        "config": plain,
        "files": files,
        "withheld": sorted(withheld),
    }
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode()


def without_secrets(vmx: bytes) -> bytes:
    """A vmx file without the lines that hold secrets."""
    return b"".join(line for line in vmx.splitlines(keepends=True) if not _is_secret_line(line))


def _is_secret_line(line: bytes) -> bool:
    match = _LINE.match(line)
    return match is not None and _SECRET.search(match["key"].decode(errors="replace")) is not None


def _cleaned(value: Any, withheld: list[str]) -> Any:
    if isinstance(value, list):
        items = [_cleaned(item, withheld) for item in value]
        keyed = all(isinstance(item, dict) and item.get("_vimtype") == "vim.option.OptionValue" for item in items)
        return sorted(items, key=lambda item: str(item.get("key"))) if keyed else items
    if not isinstance(value, dict):
        return value
    if value.get("_vimtype") == "vim.option.OptionValue" and _SECRET.search(str(value.get("key"))):
        withheld.append(str(value.get("key")))
        return {"_vimtype": value["_vimtype"], "key": value.get("key")}
    if value.get("_vimtype") == "vim.vApp.PropertyInfo" and str(value.get("type", "")).startswith("password"):
        withheld.append(f"vApp property {value.get('id')}")
        value = {key: item for key, item in value.items() if key not in ("value", "defaultValue")}
    kept = ((key, _cleaned(item, withheld)) for key, item in value.items() if key not in _VOLATILE)
    return {key: item for key, item in kept if item is not None and item not in ([], {})}


def _small_files(
    session: Session, machine: Machine, layout: Any, datacenter_path: str
) -> Iterator[tuple[str, bytes | None, str]]:
    names: set[str] = set()
    for file in sorted(getattr(layout, "file", None) or (), key=lambda file: str(file.name)):
        if file.type not in KEPT_TYPES:
            continue
        datastore, path = split_file(file.name)
        name = path.rpartition("/")[2]
        if not name or name == CONFIG_FILE or name in names:
            continue
        names.add(name)
        try:
            with connections_of(session.settings, machine.host).one():
                content = read_file(session, datastore, path, datacenter_path)
        except AdapterError as error:
            yield name, None, str(error)
        else:
            yield name, without_secrets(content) if file.type == "config" else content, ""


def read_file(session: Session, datastore: str, path: str, datacenter_path: str) -> bytes:
    """Read a small file of a datastore through `/folder`. Raises SourceLimit for one that is not small."""
    session.touch()
    target, name = folder_target(datastore, path, datacenter_path), f"[{datastore}] {path}"
    settings = session.settings
    connection = http.client.HTTPSConnection(
        settings.host, settings.port, timeout=session.timing.call_seconds, context=session.context
    )
    try:
        with translated(f"{name} cannot be read", session.host):
            connection.request("GET", target, headers={"Cookie": f"vmware_soap_session={session.cookie()}"})
            with connection.getresponse() as response:
                content = response.read(MOST_FILE_BYTES + 1)
        return _accepted(name, response.status, content)
    finally:
        hang_up(connection)


def _accepted(name: str, status: int, content: bytes) -> bytes:
    if status == http.client.NOT_FOUND:
        raise SourceNotFound(f"{name} is not there", code="file-missing")
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        raise SourceDenied(
            f"{name} may not be read",
            code="permission-missing",
            why=f"HTTP status {status}",
            hint="Give the user Datastore.Browse and Datastore.FileManagement on the datastore.",
        )
    if status != http.client.OK:
        kind = SourceUnavailable if status >= http.client.INTERNAL_SERVER_ERROR else SourceInvalid
        raise kind(f"{name} cannot be read", code="file-refused", why=f"HTTP status {status}")
    if len(content) > MOST_FILE_BYTES:
        raise SourceLimit(f"{name} is no small file", code="file-too-large", why=f"more than {MOST_FILE_BYTES} bytes")
    return content
