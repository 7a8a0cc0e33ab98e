"""SOAP as vSphere speaks it, read and written with pyvmomi's own (de)serialisers.

Requests become a name, a target and typed arguments; answers and faults become envelopes. Knows no managed objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers.expat import ParserCreate
from xml.sax.saxutils import escape

from pyVmomi import SoapAdapter, vmodl
from pyVmomi.VmomiSupport import (
    F_OPTIONAL,
    GetWsdlMethod,
    GetWsdlNamespace,
    ManagedMethod,
    ManagedObject,
    Object,
    versionMap,
)

NAMESPACE = "urn:vim25"
FETCH = "Fetch"
"""What pyvmomi calls to read one property; no published type has it."""
OLDEST = versionMap["vim25/6.5"]


@dataclass
class Request:
    """A call as it came: `this` names the object."""

    name: str = ""
    this: ManagedObject | None = None
    arguments: dict[str, object] = field(default_factory=dict)


def version_of(action: str | None) -> str:
    """The API version that a request's SOAPAction asks for, such as `"urn:vim25/8.0.3.0"`."""
    return str(versionMap.get((action or "").strip('"').removeprefix("urn:"), OLDEST))


def parse(body: bytes, version: str) -> Request:
    """Read a request. Raises InvalidRequest for what is none."""
    try:
        return _RequestParser(version).parse(body)
    except Exception as error:
        raise vmodl.fault.InvalidRequest(msg=f"Unable to parse the request: {error}") from error


class _RequestParser(SoapAdapter.ExpatDeserializerNSHandlers):  # type: ignore[misc]
    """Follows the envelope down to the method's children, and leaves each of those to pyvmomi."""

    def __init__(self, version: str) -> None:
        super().__init__()
        self._version = version
        self._path: list[str] = []
        self._request = Request()
        self._types: dict[str, type] = {}
        self._pending: tuple[str, SoapAdapter.SoapDeserializer] | None = None

    def parse(self, body: bytes) -> Request:
        self._parser = ParserCreate(namespace_separator=SoapAdapter.NS_SEP)
        self._parser.buffer_text = True
        SoapAdapter.SetHandlers(self._parser, SoapAdapter.GetHandlers(self))
        self._parser.Parse(body, True)
        self._collect()
        return self._request

    def StartElementHandler(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._collect()
        space, _, name = tag.rpartition(SoapAdapter.NS_SEP)
        self._path.append(name)
        if len(self._path) < 3 or self._path[1] != "Body":
            return
        if len(self._path) == 3:
            self._request.name = name
            self._types = parameters(space or NAMESPACE, name)
            return
        self._path.pop()  # the end of this element is seen by the value's own parser
        kind = self._types[name]
        value = SoapAdapter.SoapDeserializer(None, self._version)
        value.Deserialize(self._parser, kind.Item if issubclass(kind, list) else kind, False, self.nsMap)
        self._pending = name, value
        value.StartElementHandler(tag, attributes)

    def EndElementHandler(self, tag: str) -> None:
        self._collect()
        self._path.pop()

    def CharacterDataHandler(self, data: str) -> None:
        pass

    def _collect(self) -> None:
        """Take the value of the child that has just ended."""
        if self._pending is None:
            return
        name, value = self._pending
        self._pending = None
        if name == "_this":
            self._request.this = value.GetResult()
        elif issubclass(self._types[name], list):
            self._request.arguments.setdefault(name, self._types[name]()).append(value.GetResult())  # type: ignore[attr-defined]
        else:
            self._request.arguments[name] = value.GetResult()


def parameters(space: str, method: str) -> dict[str, type]:
    """The types of a method's parameters by name. Raises KeyError for an unknown method."""
    if method == FETCH:
        return {"_this": ManagedObject, "prop": str}
    found: ManagedMethod = GetWsdlMethod(space, method)
    return {"_this": ManagedObject, **{param.name: param.type for param in found.info.params}}


def result_type(method: str) -> type:
    """The declared type of a method's answer; a task's is the task."""
    found: ManagedMethod = GetWsdlMethod(NAMESPACE, method)
    result: type = found.info.result
    return result


def answer(method: str, value: object, result: type, version: str) -> bytes:
    """Write the answer of a call whose declared result is `result`."""
    space = GetWsdlNamespace(version)
    inside = ""
    if value is not None and result is not type(None):
        info = Object(name="returnval", type=result, version=OLDEST, flags=F_OPTIONAL)
        inside = SoapAdapter.SerializeToStr(value, info, version, {**SoapAdapter.SOAP_NSMAP, space: ""})
    return _envelope(f'<{method}Response xmlns="{space}">{inside}</{method}Response>')


def fault_answer(fault: vmodl.MethodFault, version: str) -> bytes:
    """Write a fault."""
    space = GetWsdlNamespace(version)
    info = Object(name=f"{type(fault)._wsdlName}Fault", type=object, version=OLDEST, flags=0)
    detail = SoapAdapter.SerializeFaultDetail(fault, info, version, {**SoapAdapter.SOAP_NSMAP, space: ""})
    return _envelope(
        "<soapenv:Fault><faultcode>ServerFaultCode</faultcode>"
        f"<faultstring>{escape(fault.msg or '')}</faultstring>"
        f"<detail>{detail}</detail></soapenv:Fault>"
    )


def _envelope(body: str) -> bytes:
    return f"{SoapAdapter.XML_HEADER}\n{SoapAdapter.SOAP_START}{body}{SoapAdapter.SOAP_END}".encode()
