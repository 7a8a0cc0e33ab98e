"""JSON over HTTPS with a name and a password, for arrays. Imports `adapters.errors` and `adapters.secret` only.

A call is one request, never repeated here: what it was meant to do is looked for by its label instead.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.secret import Secret

_MAX_ANSWER = 8 << 20
_KINDS: dict[int, type[AdapterError]] = {
    400: SourceInvalid,
    401: SourceDenied,
    403: SourceDenied,
    404: SourceNotFound,
    409: SourceConflict,
}


@dataclass(frozen=True, slots=True)
class RestServer:
    """An array's management address. `trust` is the TLS context that knows its certificate."""

    host: str
    port: int
    user: str
    password: Secret = field(repr=False)
    trust: ssl.SSLContext = field(repr=False)
    timeout_seconds: float = 60.0

    def call(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> dict[str, Any]:
        """Return the answer's object. Raises the AdapterError that the status stands for (`array-refused`)."""
        target = quote(path, safe="/") + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        try:
            status, answer = self._exchange(method, target, None if body is None else json.dumps(body))
        except ssl.SSLCertVerificationError as error:
            raise SourceDenied(
                f"The certificate of {self.host} is not trusted", code="certificate-untrusted", why=error.verify_message
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise SourceUnavailable(
                f"The array {self.host} does not answer", code="array-lost", why=type(error).__name__
            ) from None
        return self._object(status, answer)

    def _exchange(self, method: str, target: str, body: str | None) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout_seconds, context=self.trust)
        try:
            basic = base64.b64encode(f"{self.user}:{self.password.reveal()}".encode()).decode()
            headers = {"Authorization": f"Basic {basic}", "Accept": "application/json"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, target, body, headers)
            with connection.getresponse() as response:
                answer = response.read(_MAX_ANSWER + 1)
        finally:
            connection.close()
        if len(answer) > _MAX_ANSWER:
            raise SourceLimit(f"The array {self.host} answers too much", code="array-answer")
        return response.status, answer

    def _object(self, status: int, answer: bytes) -> dict[str, Any]:
        try:
            found = json.loads(answer or b"{}")
        except ValueError:
            found = None
        if not 200 <= status < 300:
            error = found.get("error") if isinstance(found, dict) else None
            words = str(error.get("message", "")) if isinstance(error, dict) else ""
            kind = _KINDS.get(status, SourceUnavailable)
            raise kind(f"The array {self.host} refuses", code="array-refused", why=words or f"status {status}")
        if not isinstance(found, dict):
            raise SourceInvalid(f"The array {self.host} does not answer in JSON objects", code="array-answer")
        return found
