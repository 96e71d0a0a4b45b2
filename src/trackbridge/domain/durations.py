"""Lengths of time as people write them: ``90``, ``90s``, ``10m``, ``2h``, ``1d``."""

from __future__ import annotations

import re

from trackbridge.errors import InvalidInput

_LENGTH = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,6})?)\s*(?P<unit>ms|[smhd]?)")
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """Return the seconds of a length of time.

    Raises:
        InvalidInput: The text is none, or one of nothing.
    """
    match = _LENGTH.fullmatch(text.strip())
    seconds = float(match["number"]) * _SECONDS[match["unit"]] if match else 0.0
    if seconds <= 0:
        raise InvalidInput(f"{text[:80]!r} is no length of time", hint="write for example 30s, 10m or 2h")
    return seconds


def length_text(seconds: float) -> str:
    """Return a length of time as people write it, in the largest unit that holds it whole: ``10m``."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"
