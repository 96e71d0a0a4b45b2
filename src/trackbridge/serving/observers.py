"""What is told about every answered request; metrics and capture listen, and more can."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from trackbridge.serving.answers import Answer


class Answered(NamedTuple):
    """One answered request of ``/invocations``; ``duration_s`` is from its head to its answer."""

    request_id: str
    content_type: str
    body: bytes
    answer: Answer
    duration_s: float


OnAnswered = Callable[[Answered], None]
"""Called in the event loop after each answer was sent; must return at once and never raise."""
