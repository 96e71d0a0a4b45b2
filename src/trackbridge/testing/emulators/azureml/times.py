"""Times as Azure's answers tell them."""

from __future__ import annotations

from datetime import datetime, timezone


def moment(seconds: float) -> str:
    """Return a time since 1970, such as ``2026-11-21T14:20:00.1234560Z``."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
