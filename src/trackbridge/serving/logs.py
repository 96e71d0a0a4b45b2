"""What a server has to say about failures: one JSON line each, on stderr, or on stdout in a container."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import msgspec

from trackbridge.domain.secrets import redact

TEXT_CHARS_MAX = 16_000
STDERR = 2

_descriptor = STDERR


def log_to(descriptor: int) -> None:
    """Say where lines go from now on, in this process and those that it forks."""
    global _descriptor
    _descriptor = descriptor


def log(message: str, **details: Any) -> None:
    """Write one line, whole or not at all: several processes share the descriptor."""
    content = {"time_ms": time.time_ns() // 1_000_000, "pid": os.getpid(), "message": message}
    content.update({name: _bounded(value) for name, value in details.items() if value is not None})
    line = msgspec.json.encode(content) + b"\n"
    try:
        os.write(_descriptor, line)
    except OSError:
        return  # nobody listens any more; the answer to the request matters more


def _bounded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= TEXT_CHARS_MAX else text[-TEXT_CHARS_MAX:]


class JsonHandler(logging.Handler):
    """Turns records of Python's logging into our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        cause = record.exc_info[1] if record.exc_info else None
        log(
            redact(record.getMessage().strip()),  # libraries tell addresses, and these may be signed
            logger=record.name,
            level=record.levelname,
            error=None if cause is None else redact(f"{type(cause).__name__}: {cause}"),
        )


def take_over_logging() -> None:
    """Let warnings of every library become lines of ours; mlflow's only from errors on.

    mlflow warns at every request that has a column too many.
    """
    root = logging.getLogger()
    root.handlers[:] = [JsonHandler(logging.WARNING)]
    mlflow = logging.getLogger("mlflow")
    mlflow.handlers.clear()
    mlflow.propagate = True
    mlflow.setLevel(logging.ERROR)
    server = logging.getLogger("uvicorn")
    server.setLevel(logging.ERROR)
