"""A secret that is read when it is used, and shown by nothing. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn


class Secret:
    """A credential behind `read`, which is asked anew at every use: it may come from a file that is rotated."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    def reveal(self) -> str:
        """Return the secret itself. The caller hands it on at once and keeps it nowhere."""
        return self._read()

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret does not leave its process")
