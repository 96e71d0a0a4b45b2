"""How the emulator says no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refused(Exception):
    """AWS refuses a request.

    Args:
        code: AWS's name of the error, such as ``ValidationException``.
        message: AWS's words.
        status: Of the HTTP answer.
        fields: Further members of the error's body.
    """

    def __init__(
        self, code: str, message: str, status: int = 400, *, fields: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status
        self.fields = dict(fields or {})
