"""Numbers of bytes as people write them: ``500``, ``64K``, ``10M``, ``1.5G``; a K is 1,024."""

from __future__ import annotations

import re

import click

_SIZE = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,6})?)\s*(?P<unit>[KMGT]?)(?:i?B)?", re.IGNORECASE)
_BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


class Size(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes of at least one."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes of a text."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        count = int(float(match["number"]) * _BYTES[match["unit"].upper()]) if match else 0
        if count < 1:
            self.fail(f"{value!r} is no size; write for example 64K, 10M or 1.5G", param, ctx)
        return count


SIZE = Size()


def shown_size(count: float) -> str:
    """Return a number of bytes for people: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
