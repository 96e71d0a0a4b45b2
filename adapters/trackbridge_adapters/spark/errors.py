"""Errors of the backend that sees drivers through, as those of Spark's jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trackbridge.errors import BridgeError
from trackbridge_adapters.spark.config import ADAPTER


@contextmanager
def as_ours() -> Iterator[None]:
    """Name this adapter in errors of the other."""
    try:
        yield
    except BridgeError as error:
        error.adapter = ADAPTER
        raise
