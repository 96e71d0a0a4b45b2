"""A person at a terminal is told when a call takes long because it is tried again."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trackbridge.cli.terminal import clear_line

if TYPE_CHECKING:
    from trackbridge.cli.output import Output

LOG = "trackbridge.calls"


@contextlib.contextmanager
def told_waits(output: Output) -> Iterator[None]:
    """Show on stderr what the call pipeline says of long waits, while the block runs.

    Nothing is shown with ``--json``, or where stderr is no terminal: a program needs no patience.
    """
    if output.as_json or not sys.stderr.isatty():
        yield
        return
    import logging

    class Handler(logging.Handler):
        last = ""

        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if text != self.last:  # calls that run side by side fail together
                clear_line(sys.stderr)
                output.note(text)
            self.last = text

    logger, handler = logging.getLogger(LOG), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
