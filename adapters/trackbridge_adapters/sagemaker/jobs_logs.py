"""What a job wrote, as CloudWatch has it: a stream for each machine that it had, read in turn.

CloudWatch keeps lines: of a last line without an end it does not tell that, and empty lines are not kept.
Streams come late, and so may lines after the job's end; of a stream that was read whole CloudWatch says so by
handing back the token that it was asked with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from trackbridge.domain.jobs import JobState, LogChunk
from trackbridge.domain.page_tokens import listing_of, place_of, token_of
from trackbridge.errors import NotFound
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.jobs_kinds import Kind

EVENTS_MAX = 10_000
"""Of one answer (GetLogEvents), which holds 1 MB at most besides."""
PIECE_CHARS_MAX = 1_000_000
ROUNDS_MAX = 20
"""How many empty answers are followed up at once: CloudWatch may give some before there is more."""
_HOST = re.compile(r".*/(?P<host>algo-[0-9]+)-")


def read_piece(
    clients: Clients,
    kind: Kind,
    state: JobState,
    cursor: str,
    *,
    place: str,
    is_settled: bool,
    tail_bytes: int | None = None,
) -> LogChunk:
    """Return a piece of a job's log.

    Args:
        clients: Of the place.
        kind: Of the job.
        state: How it stands; read before this is called.
        cursor: Where to go on; "" is the beginning.
        place: The place's URI.
        is_settled: Whether the end was so long ago that no further line can come.
        tail_bytes: Without a cursor, how much of the end of each stream is enough.

    Raises:
        InvalidInput: The cursor was not given out for this job.
    """
    listing = listing_of("read_logs", place, state.job_id)
    flat = place_of(cursor or None, listing, adapter=ADAPTER, operation="jobs.read_logs", types=(str,)) or []
    tokens = dict(zip(flat[1::2], flat[2::2], strict=False))
    streams = list(_streams(clients, kind, state.job_id))
    are_many = (state.facts.instance_count or 1) > 1
    texts: list[str] = []
    is_whole = True
    for stream in streams:
        if sum(map(len, texts)) >= PIECE_CHARS_MAX:
            is_whole = False
            break
        if tail_bytes is not None and not cursor:
            lines, tokens[stream] = _read_tail(clients, kind.log_group, stream, tail_bytes)
            is_at_end = False
        else:
            lines, tokens[stream], is_at_end = _read(clients, kind.log_group, stream, tokens.get(stream))
        is_whole = is_whole and is_at_end
        mark = f"[{_host(stream)}] " if are_many else ""
        texts.extend(f"{mark}{line}\n" for line in lines)
    text = "".join(texts)
    done = not text and is_whole and state.status.is_final and is_settled
    flat = [part for stream in sorted(tokens) for part in (stream, tokens[stream])]
    return LogChunk(text=text, cursor=token_of(listing, ["", *flat]), done=done)


def _read(clients: Clients, group: str, stream: str, token: str | None) -> tuple[list[str], str, bool]:
    """Return the next lines of a stream, the token behind them, and whether there were no more."""
    for _ in range(ROUNDS_MAX):
        answer = _events(clients, group, stream, token, from_head=True)
        before, token = token, str(answer["nextForwardToken"])
        lines = _lines(answer)
        if lines or token == before:
            return lines, token, not lines
    return [], str(token), False


def _read_tail(clients: Clients, group: str, stream: str, tail_bytes: int) -> tuple[list[str], str]:
    """Return the last lines of a stream, so many bytes or more where there are, and the token behind them.

    CloudWatch gives the last events first, and leads back from there; where it gives too few, for all the
    answers that are followed, the stream is read from its head.
    """
    lines: list[str] = []
    forward = back = ""
    for _ in range(ROUNDS_MAX):
        answer = _events(clients, group, stream, back or None, from_head=False)
        forward = forward or str(answer["nextForwardToken"])
        lines = _lines(answer) + lines
        before, back = back, str(answer["nextBackwardToken"])
        last = _last(lines, tail_bytes)
        if back == before or len(last) < len(lines):
            return last, forward
    lines, forward, _ = _read(clients, group, stream, None)
    return lines, forward


def _last(lines: list[str], tail_bytes: int) -> list[str]:
    """Return as few of the last lines as have so many bytes."""
    size_bytes = 0
    for number in range(len(lines) - 1, -1, -1):
        size_bytes += len(lines[number].encode()) + 1
        if size_bytes >= tail_bytes:
            return lines[number:]
    return lines


def _events(
    clients: Clients, group: str, stream: str, token: str | None, *, from_head: bool
) -> dict[str, Any]:
    named: dict[str, Any] = {} if token is None else {"nextToken": token}
    return clients.call(
        "logs",
        "GetLogEvents",
        logGroupName=group,
        logStreamName=stream,
        startFromHead=from_head,
        limit=EVENTS_MAX,
        **named,
    )


def _lines(answer: Mapping[str, Any]) -> list[str]:
    return [str(event["message"]).rstrip("\n") for event in answer["events"]]


def _streams(clients: Clients, kind: Kind, job_id: str) -> Iterator[str]:
    """Yield the streams of a job, those of a machine in the order in which it had them."""
    token: str | None = None
    while True:
        named: dict[str, Any] = {} if token is None else {"nextToken": token}
        try:
            answer = clients.call(
                "logs",
                "DescribeLogStreams",
                logGroupName=kind.log_group,
                logStreamNamePrefix=f"{job_id}/",
                **named,
            )
        except NotFound:  # nobody has logged anything so far
            return
        yield from (str(row["logStreamName"]) for row in answer.get("logStreams", ()))
        token = answer.get("nextToken")
        if not token:
            return


def _host(stream: str) -> str:
    found = _HOST.match(stream)
    return found["host"] if found else stream
