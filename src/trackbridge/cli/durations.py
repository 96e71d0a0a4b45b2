"""Lengths of time as people write them: ``90``, ``90s``, ``10m``, ``2h``, ``1d``."""

from __future__ import annotations

import re

import click

_LENGTH = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,6})?)\s*(?P<unit>ms|[smhd]?)")
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A length of time of more than nothing, as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds of a text."""
        if isinstance(value, (int, float)):
            return float(value)
        match = _LENGTH.fullmatch(str(value).strip())
        seconds = float(match["number"]) * _SECONDS[match["unit"]] if match else 0.0
        if seconds <= 0:
            self.fail(f"{value!r} is no length of time; write for example 30s, 10m or 2h", param, ctx)
        return seconds


DURATION = Duration()
