"""Asking an endpoint: by which name, and when a request may be sent again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from trackbridge.errors import InvalidInput, RateLimited, Unavailable
from trackbridge.operations.opening import Opened, UriArgument
from trackbridge.operations.waiting import Pace

SCHEME = "endpoints:/"
PATIENCE_S = 60.0
"""How long a request waits until it is let in, in seconds."""


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """An endpoint's name, and where it is; None is what the caller takes without being told."""

    name: str
    target: UriArgument = None


def endpoint_address(text: str, target: UriArgument = None) -> EndpointAddress:
    """Return what ``wine``, ``endpoints:/wine`` or ``endpoints:/REMOTE/wine`` means.

    Raises:
        InvalidInput: The address has another form, or it and ``target`` name two places.
    """
    if not text.startswith(SCHEME):
        return EndpointAddress(text, target)
    parts = text.removeprefix(SCHEME).split("/")
    if not all(parts) or len(parts) > 2:
        raise InvalidInput(
            f"{text[:120]!r} names no endpoint", hint="write endpoints:/NAME or endpoints:/REMOTE/NAME"
        )
    if len(parts) == 1:
        return EndpointAddress(parts[0], target)
    if target not in (None, parts[0]):
        raise InvalidInput(
            f"{text[:120]!r} and the target {str(target)[:80]!r} name two places", hint="name one of them"
        )
    return EndpointAddress(parts[1], parts[0])


def ask(
    place: Opened,
    endpoint: str,
    payload: bytes,
    *,
    content_type: str,
    deployment: str | None = None,
    patience_s: float = PATIENCE_S,
    pace: Pace | None = None,
) -> bytes:
    """Send one request and return the answer's body.

    It is sent again only where it was certainly not scored: nobody took the connection, or it was refused as
    one too many with the time after which to come back. Never after any other answer, nor when whether it
    arrived is not known.

    Args:
        place: Where the endpoint is.
        endpoint: Its name.
        payload: The body.
        content_type: What it is.
        deployment: Ask this one, whatever its share of the traffic.
        patience_s: How long to try to be let in, in seconds.
        pace: How to wait.

    Raises:
        NotFound: There is no such endpoint or deployment.
        Rejected: The model refuses the payload; the message is the model's.
        RateLimited: Too many requests are waiting.
        Unavailable: Nobody serves.
        TimedOut: No answer came; it may have been scored.
    """
    pace = pace or Pace()
    began_s = pace.clock()
    while True:
        try:
            return place.target.invoke(endpoint, payload, content_type=content_type, deployment=deployment)
        except (RateLimited, Unavailable) as error:
            wait_s = _wait_s(error)
            left_s = patience_s - (pace.clock() - began_s)
            if wait_s is None or wait_s > left_s or left_s <= 0:
                raise
        pace.pause(wait_s)


def _wait_s(error: RateLimited | Unavailable) -> float | None:
    """Return how long to wait before the same request is sent again; None when it must not be."""
    if isinstance(error, RateLimited):
        return error.retry_after_s
    return 0.5 if _was_refused(error) else None


def _was_refused(error: BaseException) -> bool:
    """Tell whether the connection itself was refused, so that nothing was sent."""
    causes = itertools.islice(_causes(error), 20)
    return any(isinstance(cause, ConnectionRefusedError) for cause in causes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
