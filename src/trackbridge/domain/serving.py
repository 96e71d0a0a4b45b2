"""How a scoring server is to run: what every deployment target hands to ``python -m trackbridge.serving``."""

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
    go on when the main process was killed and nobody takes over the socket.
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
    ready_file: str | None = None
