"""How the emulator says no."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Refused(Exception):
    """Azure refuses a request.

    Args:
        status: Of the HTTP answer.
        code: Azure's name of the error, such as ``ResourceNotFound`` or ``UserError``.
        message: Azure's words.
        details: Further errors, each with ``code``, ``message`` and perhaps ``target``.
        headers: Of the answer, such as ``Retry-After``.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Iterable[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message
        self.details = [dict(detail) for detail in details]
        self.headers = dict(headers or {})


def not_found(what: str, name: str, where: str) -> Refused:
    """Return the refusal of what is not there, in the words of the workspace's services."""
    return Refused(404, "UserError", f"{what} {name} not found in {where}")
