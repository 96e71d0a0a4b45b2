"""What a look at a backend or a specification found."""

from __future__ import annotations

from enum import Enum

import msgspec


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
