"""The kinds of source there are: which settings each takes, how they are read, and what it is built from.

Imports `adapters`; this is the only place that knows which kinds there are. Settings are kept as text, in the form
that reading gave them, with references in the place of secrets. A kind whose packages are optional loads them here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from adapters.hyperv.settings import AppConsistency, Authentication, HypervSettings
from adapters.image import ImageSource
from adapters.port import Source
from adapters.qemu.source import QemuSource
from adapters.vmware.settings import TRANSPORTS, Quiesce, VmwareSettings
from adapters.xen.settings import KNOWN_TRANSPORTS, XenSettings
from catalog.home import Home
from ingest.agent.protocol import SOURCE as AGENTS
from ingest.arrays import array_settings, read_array
from ingest.secrets import checked_reference, secret_of
from ingest.sent import SentMachines
from storage.errors import Invalid, Unavailable

Settings = Mapping[str, str]
Read = Callable[[str], str]
"""From what was typed to what is kept; ValueError, with the reason, when it is no such thing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, by the name of its option."""

    name: str
    read: Read
    required: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source. `build` makes its adapter, which asks nothing of the source yet."""

    settings: Sequence[Setting]
    build: Callable[[Home, str, Settings], Source]


def read_settings(kind: str, given: Settings) -> dict[str, str]:
    """The settings as they are kept. Raises Invalid for another kind or setting, and for a value that is none."""
    known = {setting.name: setting for setting in kind_of(kind).settings}
    missing = {name for name, setting in known.items() if setting.required} - given.keys()
    unknown = given.keys() - known.keys()
    if missing or unknown:
        raise Invalid(
            f"a source of kind {kind} needs other settings",
            code="source-settings",
            why="; ".join(
                f"{word} --{', --'.join(sorted(names))}"
                for word, names in (("missing", missing), ("not known", unknown))
                if names
            ),
        )
    return {name: _kept(known[name], value) for name, value in given.items()}


def _kept(setting: Setting, value: str) -> str:
    try:
        return setting.read(value)
    except ValueError as error:
        raise Invalid(
            "a setting of the source is wrong", code="source-settings", why=f"--{setting.name}: {error}"
        ) from None


def kind_of(kind: str) -> Kind:
    """A kind by its name. Raises Invalid."""
    if kind not in KINDS:
        raise Invalid(f"no such kind of source: {kind}", code="source-kind", hint=f"known: {', '.join(sorted(KINDS))}")
    return KINDS[kind]


def build_source(home: Home, name: str, kind: str, settings: Settings) -> Source:
    """The adapter of a source. Raises Invalid, Unavailable when packages that its kind needs are not installed."""
    return kind_of(kind).build(home, name, settings)


def a_text(text: str) -> str:
    """Any text but none."""
    if not text.strip():
        raise ValueError("it is empty")
    return text.strip()


def a_path(text: str) -> str:
    """A path, kept absolute: the next command may run elsewhere."""
    return str(Path(a_text(text)).expanduser().absolute())


def a_directory(text: str) -> str:
    """The path of a directory that is there."""
    path = a_path(text)
    if not Path(path).is_dir():
        raise ValueError(f"{path} is no directory")
    return path


def an_array(text: str) -> str:
    """A file that describes a storage array; its content is kept."""
    return read_array(text, a_path)


def a_fingerprint(text: str) -> str:
    """The SHA-256 of a certificate, kept in pairs of hex digits."""
    plain = text.replace(":", "").strip().upper()
    if not re.fullmatch("[0-9A-F]{64}", plain):
        raise ValueError("a fingerprint is 64 hex digits: the SHA-256 of the server's certificate")
    return ":".join(plain[at : at + 2] for at in range(0, len(plain), 2))


def a_number(at_most: int) -> Read:
    """A number from 1."""

    def read(text: str) -> str:
        if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= at_most:
            raise ValueError(f"{text} is not a number from 1 to {at_most}")
        return str(int(text))

    return read


def fingerprints(text: str) -> str:
    """One fingerprint, or several with commas between: each host of a pool has a certificate of its own."""
    return ",".join(map(a_fingerprint, text.split(",")))


def hosts(text: str) -> str:
    """Names or addresses, with commas between."""
    return ",".join(map(a_text, text.split(",")))


def one_of(*words: str) -> Read:
    """One of a few words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text} is none of: {', '.join(words)}")
        return text

    return read


def some_of(*words: str) -> Read:
    """Several of a few words, with commas between."""

    def read(text: str) -> str:
        return ",".join(dict.fromkeys(map(one_of(*words), text.split(","))))

    return read


def extra_missing(kind: str, package: str) -> Unavailable:
    """The error for a kind whose optional packages are not installed."""
    return Unavailable(
        f"sources of kind {kind} cannot be used here",
        code="extra-missing",
        why=f"the package {package} is not installed",
        hint=f"pip install 'holdfast[{kind}]'",
    )


def _image(home: Home, name: str, settings: Settings) -> Source:
    return ImageSource(name, Path(settings["path"]), home.scratch_dir / name)


def _qemu(home: Home, name: str, settings: Settings) -> Source:
    agent = settings.get("ga")
    return QemuSource(name, Path(settings["qmp"]), home.scratch_dir / name, guest_agent=Path(agent) if agent else None)


def _agents(home: Home, name: str, settings: Settings) -> Source:
    return SentMachines()


def _vmware(home: Home, name: str, settings: Settings) -> Source:
    try:
        from adapters.vmware.source import VmwareSource  # noqa: PLC0415 - pyvmomi is optional, and slow to load
    except ModuleNotFoundError as error:
        raise extra_missing("vmware", error.name or "pyvmomi") from None
    return VmwareSource(name, _vmware_settings(settings), home.scratch_dir / name)


def _vmware_settings(settings: Settings) -> VmwareSettings:
    """The adapter's settings; what was not said is as it has it."""
    read: Mapping[str, tuple[str, Callable[[str], object]]] = {
        "port": ("port", int),
        "ca": ("ca_file", Path),
        "fingerprint": ("fingerprint", str),
        "insecure": ("insecure", bool),
        "transport": ("transports", lambda words: tuple(words.split(","))),
        "quiesce": ("quiesce", str),
        "vddk": ("vddk_dir", Path),
        "connections": ("connections_per_host", int),
        "array": ("array", array_settings),
    }
    return VmwareSettings(settings["host"], settings["user"], secret_of(settings["password"]), **_told(read, settings))


def _told(read: Mapping[str, tuple[str, Callable[[str], object]]], settings: Settings) -> dict[str, Any]:
    """The fields of an adapter's settings, of those settings that were given."""
    return {field: make(settings[name]) for name, (field, make) in read.items() if name in settings}


def _xen(home: Home, name: str, settings: Settings) -> Source:
    try:
        from adapters.xen.source import XenSource  # noqa: PLC0415 - slow to load
    except ModuleNotFoundError as error:
        raise extra_missing("xen", error.name or "XenAPI") from None
    read: Mapping[str, tuple[str, Callable[[str], object]]] = {
        "port": ("port", int),
        "ca": ("ca_file", Path),
        "fingerprint": ("fingerprint", str),
        "insecure": ("insecure", bool),
        "members": ("members", lambda words: tuple(words.split(","))),
        "transport": ("transports", lambda words: tuple(words.split(","))),
        "connections": ("connections_per_host", int),
        "keep-snapshots": ("keep_snapshots", bool),
    }
    told = XenSettings(settings["host"], settings["user"], secret_of(settings["password"]), **_told(read, settings))
    return XenSource(name, told, home.scratch_dir / ".xen")


def _hyperv(home: Home, name: str, settings: Settings) -> Source:
    try:
        from adapters.hyperv.source import HypervSource  # noqa: PLC0415 - its packages are optional, and slow to load
    except ModuleNotFoundError as error:
        raise extra_missing("hyperv", error.name or "pywinrm") from None
    return HypervSource(name, _hyperv_settings(settings), home.scratch_dir / name)


def _hyperv_settings(settings: Settings) -> HypervSettings:
    """The adapter's settings; what was not said is as it has it, but that plain HTTP has a port of its own."""
    read: Mapping[str, tuple[str, Callable[[str], object]]] = {
        "port": ("port", int),
        "auth": ("authentication", str),
        "ca": ("ca_file", Path),
        "fingerprint": ("fingerprint", str),
        "insecure": ("insecure", bool),
        "http": ("plain_http", bool),
        "cluster": ("cluster", bool),
        "quiesce": ("consistency", str),
        "legacy": ("legacy", bool),
        "smb-port": ("smb_port", int),
        "smb-encrypt": ("smb_encrypt", bool),
        "share": ("smb_share", str),
        "smb-handles": ("smb_handles", int),
    }
    told = _told(read, settings)
    if "http" in settings:
        told.setdefault("port", 5985)
    return HypervSettings(settings["host"], settings["user"], secret_of(settings["password"]), **told)


KINDS: dict[str, Kind] = {
    "image": Kind((Setting("path", a_path, required=True),), _image),
    "qemu": Kind((Setting("qmp", a_path, required=True), Setting("ga", a_path)), _qemu),
    AGENTS: Kind((), _agents),
    "vmware": Kind(
        (
            Setting("host", a_text, required=True),
            Setting("user", a_text, required=True),
            Setting("password", checked_reference, required=True),
            Setting("port", a_number(65_535)),
            Setting("ca", a_path),
            Setting("fingerprint", a_fingerprint),
            Setting("insecure", one_of("true")),
            Setting("transport", some_of(*TRANSPORTS, "nbd")),
            Setting("quiesce", one_of(*get_args(Quiesce))),
            Setting("vddk", a_directory),
            Setting("connections", a_number(64)),
            Setting("array", an_array),
        ),
        _vmware,
    ),
    "hyperv": Kind(
        (
            Setting("host", a_text, required=True),
            Setting("user", a_text, required=True),
            Setting("password", checked_reference, required=True),
            Setting("port", a_number(65_535)),
            Setting("auth", one_of(*get_args(Authentication))),
            Setting("ca", a_path),
            Setting("fingerprint", a_fingerprint),
            Setting("insecure", one_of("true")),
            Setting("http", one_of("true")),
            Setting("cluster", one_of("true")),
            Setting("quiesce", one_of(*get_args(AppConsistency))),
            Setting("legacy", one_of("true")),
            Setting("smb-port", a_number(65_535)),
            Setting("smb-encrypt", one_of("true")),
            Setting("share", a_text),
            Setting("smb-handles", a_number(16)),
        ),
        _hyperv,
    ),
    "xen": Kind(
        (
            Setting("host", a_text, required=True),
            Setting("user", a_text, required=True),
            Setting("password", checked_reference, required=True),
            Setting("port", a_number(65_535)),
            Setting("ca", a_path),
            Setting("fingerprint", fingerprints),
            Setting("insecure", one_of("true")),
            Setting("members", hosts),
            Setting("transport", some_of(*KNOWN_TRANSPORTS)),
            Setting("connections", a_number(16)),
            Setting("keep-snapshots", one_of("true")),
        ),
        _xen,
    ),
}
