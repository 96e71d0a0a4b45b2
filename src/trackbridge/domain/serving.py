"""How a scoring server is to run, and what it tells: the same for every deployment target."""

from __future__ import annotations

import msgspec

MEBIBYTE = 1024 * 1024


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """Which share of the payloads is kept, and where: JSON lines in files of a bounded size and number."""

    percent: float
    folder: str
    file_bytes_max: int = 16 * MEBIBYTE
    files_max: int = 16


class ServingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one scoring server; read from a JSON file.

    Exactly one of ``socket`` (path of a Unix socket) and ``port`` (0: any free one) says where it listens.
    ``name`` (``wine/v2``) and ``model`` (``models:/wine/2``) are labels, for logs and metrics.
    ``queue_max`` is how many requests may wait for a worker process besides the one that is scored; more are
    answered with 429. ``token_file`` holds the bearer token that is asked for. ``drain_s`` is how long a
    server that is told to end goes on with what it has accepted; ``orphan_s`` how long its worker processes
    go on when the main process was killed and nobody takes over the socket. ``window_s`` is how many seconds
    each piece of telemetry sums up. ``says_ready`` has the log tell when the server answers, and where.
    """

    model_path: str
    name: str = "model"
    model: str = ""
    host: str = "127.0.0.1"
    port: int | None = None
    socket: str | None = None
    workers: int = 1
    queue_max: int = 64
    body_bytes_max: int = 16 * MEBIBYTE
    request_timeout_s: float = 60.0
    header_timeout_s: float = 10.0
    drain_s: float = 20.0
    orphan_s: float = 60.0
    token_file: str | None = None
    capture: Capture | None = None
    tracing: bool = False
    window_s: float = 10.0
    says_ready: bool = False
    ready_file: str | None = None


class TelemetryWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of a server answered in a stretch of time; latencies in milliseconds.

    ``name`` (``wine/v2``) and ``model`` (``models:/wine/2``) are those of ``ServingSettings``; ``time_ms`` is
    the end, in milliseconds since 1970, ``window_s`` the length in seconds. ``errors`` are answers with a
    status of 500 and above, ``refused`` those from 400 to 499, ``statuses`` counts by status. ``rows`` is how
    many predictions were made, ``scoring_ms`` the time that the model was at work, both in total.
    ``latency_counts`` is a histogram: pairs of an upper bound (None: no bound) and how many answers took at
    most that long and longer than the bound before. ``queued_max`` is the most requests that waited at once,
    ``captured`` how many payloads were kept.
    """

    name: str
    model: str
    time_ms: int
    window_s: float
    requests: int
    errors: int
    refused: int
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    latency_sum_ms: float
    latency_min_ms: float
    latency_max_ms: float
    latency_counts: tuple[tuple[float | None, int], ...]
    statuses: dict[str, int]
    rows: int = 0
    scoring_ms: float = 0.0
    queued_max: int = 0
    captured: int = 0


class ScoredRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One answered request, without its payload; sizes in bytes, durations in milliseconds.

    ``time_ms`` is when it was answered, in milliseconds since 1970. ``scoring_ms`` is the model's part of
    ``duration_ms``, ``rows`` how many predictions were made; both 0 for a request that was not scored.
    """

    name: str
    model: str
    request_id: str
    time_ms: int
    status: int
    duration_ms: float
    scoring_ms: float = 0.0
    rows: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
