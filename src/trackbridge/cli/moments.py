"""Moments as people write them: ``2026-11-01``, ``2026-11-01T09:30``, or how long ago: ``7d``, ``2h``."""

from __future__ import annotations

import datetime
import time

import click

from trackbridge.cli.durations import DURATION


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A time as milliseconds since 1970; dates without a zone are in UTC."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the milliseconds of a text."""
        if isinstance(value, int):
            return value
        text = str(value).strip()
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            return self._ago(text, param, ctx)
        zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.timezone.utc)
        return int(zoned.timestamp() * 1000)

    def _ago(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            seconds = DURATION.convert(text, param, ctx)
        except click.UsageError:
            self.fail(f"{text!r} is no time; write for example 2026-11-01 or 7d", param, ctx)
        return int((time.time() - seconds) * 1000)


MOMENT = Moment()
