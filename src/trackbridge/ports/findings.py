"""What a look at a backend or a specification found."""

from __future__ import annotations

from enum import Enum

import msgspec

CREDENTIALS = "credentials"
"""The subject of findings about who the user is, and may do: with an error of it, doctor exits with 6."""


class Severity(str, Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One result of ``bridge doctor``: what was looked at, what was found, and the fix."""

    severity: Severity
    subject: str
    message: str
    fix: str = ""
