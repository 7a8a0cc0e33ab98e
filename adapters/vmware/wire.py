"""The connection that pyvmomi speaks over. Imports nothing of ours."""

from __future__ import annotations

from http.client import HTTPResponse, HTTPSConnection


class WholeConnection(HTTPSConnection):
    """Closes its last answer with itself.

    An answer that the server ends by hanging up holds the socket, and pyvmomi drops one that it does not understand.
    """

    _answer: HTTPResponse | None = None

    def getresponse(self) -> HTTPResponse:
        """Return the answer, and remember it."""
        self._answer = super().getresponse()
        return self._answer

    def close(self) -> None:
        """Close the connection and what was not read of it."""
        super().close()
        if self._answer is not None:
            self._answer.close()
            self._answer = None
