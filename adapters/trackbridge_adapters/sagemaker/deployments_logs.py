"""What the containers of an endpoint wrote, as CloudWatch has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from trackbridge.domain.jobs import LogChunk
from trackbridge.domain.page_tokens import listing_of, place_of, token_of
from trackbridge.domain.secrets import redact
from trackbridge.errors import NotFound
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.jobs_logs import EVENTS_MAX, PIECE_CHARS_MAX, ROUNDS_MAX

GROUP = "/aws/sagemaker/Endpoints/"
LAST_EVENTS = 50
_TAIL_CHARS = 600


def read_piece(
    clients: Clients, endpoint: str, variants: Iterable[str], cursor: str, *, place: str, is_gone: bool
) -> LogChunk:
    """Return a piece of the log of a deployment.

    Args:
        clients: Of the place.
        endpoint: SageMaker's name.
        variants: SageMaker's names of the deployment.
        cursor: Where to go on; "" is the beginning.
        place: The place's URI.
        is_gone: Whether the deployment is there no more.

    Raises:
        NotFound: It is not there, and never was.
        InvalidInput: The cursor was not given out for this deployment.
    """
    names = sorted(variants)
    operation = "deployments.read_logs"
    listing = listing_of("read_logs", place, endpoint, names)
    flat = place_of(cursor or None, listing, adapter=ADAPTER, operation=operation, types=(str,)) or []
    tokens = dict(zip(flat[1::2], flat[2::2], strict=False))
    streams = list(_streams(clients, endpoint, names))
    if is_gone and not streams:
        raise NotFound(
            f"there was no deployment {names[0][:80]} of {endpoint[:80]}",
            adapter=ADAPTER,
            operation=operation,
            hint="'bridge endpoints list' names what is there",
        )
    texts: list[str] = []
    is_whole = True
    for stream in streams:
        if sum(map(len, texts)) >= PIECE_CHARS_MAX:
            is_whole = False
            break
        lines, tokens[stream], is_at_end = read_stream(clients, GROUP + endpoint, stream, tokens.get(stream))
        is_whole = is_whole and is_at_end
        texts.extend(f"{line}\n" for line in lines)
    text = "".join(texts)
    flat = [part for stream in sorted(tokens) for part in (stream, tokens[stream])]
    return LogChunk(text=text, cursor=token_of(listing, ["", *flat]), done=is_gone and not text and is_whole)


def last_lines(clients: Clients, endpoint: str, variants: Iterable[str]) -> str:
    """Return the last words of a deployment's newest container, on one line, redacted; "" without any."""
    newest = None
    for variant in variants:
        for stream in streams_of(clients, GROUP + endpoint, f"{variant}/"):
            if newest is None or stream.get("lastEventTimestamp", 0) >= newest.get("lastEventTimestamp", 0):
                newest = stream
    if newest is None:
        return ""
    told = clients.call(
        "logs",
        "GetLogEvents",
        logGroupName=GROUP + endpoint,
        logStreamName=newest["logStreamName"],
        limit=LAST_EVENTS,
        startFromHead=False,
    )
    lines = [str(event["message"]).strip() for event in told["events"]]
    text = redact(" | ".join(line for line in lines if line))  # before a cut hides what marks a secret
    return text[-_TAIL_CHARS:]


def _streams(clients: Clients, endpoint: str, variants: Iterable[str]) -> Iterator[str]:
    for variant in variants:
        for stream in streams_of(clients, GROUP + endpoint, f"{variant}/"):
            yield str(stream["logStreamName"])


def streams_of(clients: Clients, group: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield the streams of a group whose names begin so, in order of name."""
    token: str | None = None
    while True:
        named: dict[str, Any] = {} if token is None else {"nextToken": token}
        try:
            answer = clients.call(
                "logs", "DescribeLogStreams", logGroupName=group, logStreamNamePrefix=prefix, **named
            )
        except NotFound:  # nobody has logged anything so far
            return
        yield from answer.get("logStreams", ())
        token = answer.get("nextToken")
        if not token:
            return


def read_stream(clients: Clients, group: str, stream: str, token: str | None) -> tuple[list[str], str, bool]:
    """Return the next lines of a stream, the token behind them, and whether there were no more."""
    for _ in range(ROUNDS_MAX):
        named: dict[str, Any] = {} if token is None else {"nextToken": token}
        answer = clients.call(
            "logs",
            "GetLogEvents",
            logGroupName=group,
            logStreamName=stream,
            startFromHead=True,
            limit=EVENTS_MAX,
            **named,
        )
        before, token = token, str(answer["nextForwardToken"])
        lines = [str(event["message"]).rstrip("\n") for event in answer["events"]]
        if lines or token == before:
            return lines, token, not lines
    return [], str(token), False
