"""WS-Management messages as WinRM writes them: requests taken apart, answers and faults put together."""

from __future__ import annotations

import base64
import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

NS = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "a": "http://schemas.xmlsoap.org/ws/2004/08/addressing",
    "w": "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd",
    "x": "http://schemas.xmlsoap.org/ws/2004/09/transfer",
    "rsp": "http://schemas.microsoft.com/wbem/wsman/1/windows/shell",
    "f": "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault",
}
SHELL = NS["rsp"]
CMD = f"{SHELL}/cmd"
_DECLARATIONS = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NS.items())
_ACTIONS = {f"{NS['x']}/Create": "Create", f"{NS['x']}/Delete": "Delete"} | {
    f"{SHELL}/{name}": name for name in ("Command", "Send", "Receive", "Signal")
}


@dataclass(frozen=True)
class Message:
    """One request."""

    operation: str
    id: str
    shell: str
    timeout_seconds: float
    envelope_bytes: int
    options: dict[str, str]
    body: ET.Element

    def text(self, path: str) -> str:
        """The text of an element of the body, empty without it."""
        return self.body.findtext(path, "", NS) or ""

    def attribute(self, path: str, name: str) -> str:
        """An attribute of an element of the body, empty without it."""
        found = self.body.find(path, NS)
        return "" if found is None else found.get(name, "")


def parse(text: bytes) -> Message:
    """Take a request apart. AssertionError for one that WinRM would not understand."""
    root = ET.fromstring(text)  # noqa: S314 - from our own client
    header, body = root.find("s:Header", NS), root.find("s:Body", NS)
    assert header is not None
    assert body is not None
    resource = header.findtext("w:ResourceURI", "", NS)
    assert resource == CMD, f"not a command shell: {resource}"
    action = _ACTIONS.get(header.findtext("a:Action", "", NS))
    assert action is not None, "an unknown action"
    selectors = {node.get("Name"): node.text or "" for node in header.iterfind("w:SelectorSet/w:Selector", NS)}
    seconds = re.fullmatch(r"PT([\d.]+)S", header.findtext("w:OperationTimeout", "PT60S", NS))
    assert seconds is not None
    return Message(
        operation=action,
        id=header.findtext("a:MessageID", "", NS),
        shell=selectors.get("ShellId", ""),
        timeout_seconds=float(seconds[1]),
        envelope_bytes=int(header.findtext("w:MaxEnvelopeSize", "153600", NS)),
        options={node.get("Name", ""): node.text or "" for node in header.iterfind("w:OptionSet/w:Option", NS)},
        body=body,
    )


def answer(message: Message, body: str) -> bytes:
    """An answer to `message`."""
    suffix = {"Create": f"{NS['x']}/Create", "Delete": f"{NS['x']}/Delete"}
    action = suffix.get(message.operation, f"{SHELL}/{message.operation}") + "Response"
    return _envelope(action, message.id, body)


def created(message: Message, shell: str) -> bytes:
    """The answer to Create."""
    selector = f'<w:SelectorSet><w:Selector Name="ShellId">{shell}</w:Selector></w:SelectorSet>'
    return answer(
        message,
        f"<x:ResourceCreated><a:Address>http://host/wsman</a:Address><a:ReferenceParameters><w:ResourceURI>{CMD}"
        f"</w:ResourceURI>{selector}</a:ReferenceParameters></x:ResourceCreated><rsp:Shell><rsp:ShellId>{shell}"
        f"</rsp:ShellId><rsp:ResourceUri>{CMD}</rsp:ResourceUri></rsp:Shell>",
    )


def received(message: Message, command: str, output: Sequence[tuple[str, bytes]], code: int | None) -> bytes:
    """The answer to Receive; `code` is that of a command that has ended."""
    streams = "".join(
        f'<rsp:Stream Name="{name}" CommandId="{command}">{base64.b64encode(content).decode()}</rsp:Stream>'
        for name, content in output
    )
    state = "Running" if code is None else "Done"
    left = "" if code is None else f"<rsp:ExitCode>{code}</rsp:ExitCode>"
    if code is not None:
        streams += "".join(
            f'<rsp:Stream Name="{name}" CommandId="{command}" End="true"/>' for name in ("stdout", "stderr")
        )
    return answer(
        message,
        f"<rsp:ReceiveResponse>{streams}<rsp:CommandState CommandId="
        f'"{command}" State="{SHELL}/CommandState/{state}">{left}</rsp:CommandState></rsp:ReceiveResponse>',
    )


def fault(message_id: str, code: int, text: str) -> bytes:
    """A fault of WinRM's own."""
    return _envelope(
        "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault",
        message_id,
        "<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>w:InternalError</s:Value></s:Subcode>"
        f'</s:Code><s:Reason><s:Text xml:lang="en-US">{escape(text)}</s:Text></s:Reason><s:Detail>'
        f'<f:WSManFault Code="{code}" Machine="host"><f:Message>{escape(text)}</f:Message></f:WSManFault>'
        "</s:Detail></s:Fault>",
    )


def _envelope(action: str, relates_to: str, body: str) -> bytes:
    return (
        f'<s:Envelope xml:lang="en-US" {_DECLARATIONS}><s:Header><a:Action>{action}</a:Action>'
        f"<a:MessageID>uuid:{uuid.uuid4()}</a:MessageID><a:RelatesTo>{escape(relates_to)}</a:RelatesTo></s:Header>"
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()
