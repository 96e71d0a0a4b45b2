"""Names that assets can have, as Microsoft's published API says it (mfe.json 2024-04-01)."""

from __future__ import annotations

import re

from trackbridge.testing.emulators.azureml.refusal import Refused

PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}$"
_PATTERN = re.compile(PATTERN)


def check_name(what: str, name: str) -> str:
    """Return a name that can be given.

    Raises:
        Refused: It cannot.
    """
    if not _PATTERN.fullmatch(name):
        raise Refused(
            400, "ValidationError", f"The {what} name {name[:300]!r} does not match the pattern {PATTERN}"
        )
    return name
