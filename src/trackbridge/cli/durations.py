"""Lengths of time as people write them: ``90``, ``90s``, ``10m``, ``2h``, ``1d``."""

from __future__ import annotations

import click

from trackbridge.domain.durations import seconds_of
from trackbridge.errors import InvalidInput


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A length of time of more than nothing, as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds of a text."""
        if isinstance(value, (int, float)):
            return float(value)
        try:
            return seconds_of(str(value))
        except InvalidInput as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)


DURATION = Duration()
