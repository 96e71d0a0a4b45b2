"""Telemetry of an endpoint: counts and histograms of latency per second, kept in ``store.db`` for a day.

A latency of t seconds lies in bucket floor(log(t / 1 us) / log(1.03)); the middle of a bucket is at most
1.5 % off. Seconds are merged into minutes after an hour. ``buckets`` maps a bucket's number to its count.
How many requests wait is asked of the server itself; how many payloads were kept is counted in its files.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import socket
import sqlite3
import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from trackbridge.domain.deployments import EndpointMetrics
from trackbridge.domain.telemetry import LATENCY_BOUNDS_MS

RETENTION_S = 24 * 3600
SECONDS_KEPT_S = 3600
MINUTE_S = 60
UNWRITTEN_SECONDS_MAX = 600
QUEUE_S_MAX = 1.0
METRICS_BYTES_MAX = 1024 * 1024

_UNIT_S = 1e-6
_QUEUE = re.compile(rb"^bridge_serving_queue(?:\{[^\n]*\})? ([0-9.e+]+)$", re.MULTILINE)
_LOG_GROWTH = math.log(1.03)


@dataclass(slots=True)
class Figures:
    """What was counted for one deployment over some time."""

    requests: int = 0
    errors: int = 0
    refused: int = 0
    mirrored: int = 0
    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, other: Figures) -> None:
        """Take over what another one counted."""
        self.requests += other.requests
        self.errors += other.errors
        self.refused += other.refused
        self.mirrored += other.mirrored
        self.buckets.update(other.buckets)


Key = tuple[str, int]


class Telemetry:
    """Counts requests; ``take`` hands over what has not been written yet. For one writer and one reader."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._figures: dict[Key, Figures] = {}

    def count(self, deployment: str, second: int, *, status: int, latency_s: float) -> None:
        """Count an answered request; a status of 0 is no answer at all."""
        bucket = int(math.log(max(latency_s, _UNIT_S) / _UNIT_S) / _LOG_GROWTH)
        with self._mutex:
            figures = self._at(deployment, second)
            figures.requests += 1
            figures.errors += status >= 500 or status == 0
            figures.refused += 400 <= status < 500
            figures.buckets[bucket] += 1

    def count_copy(self, deployment: str, second: int) -> None:
        """Count a copy that was sent to a mirror."""
        with self._mutex:
            self._at(deployment, second).mirrored += 1

    def take(self) -> dict[Key, Figures]:
        """Return what was counted since the last call."""
        with self._mutex:
            taken, self._figures = self._figures, {}
        return taken

    def give_back(self, figures: dict[Key, Figures]) -> None:
        """Keep what could not be written; beyond ten minutes of it, whole minutes at a time."""
        with self._mutex:
            for (deployment, second), counted in figures.items():
                self._at(deployment, second).add(counted)
            if len(self._figures) <= UNWRITTEN_SECONDS_MAX:
                return
            merged: dict[Key, Figures] = {}
            for (deployment, second), counted in self._figures.items():
                merged.setdefault((deployment, second - second % MINUTE_S), Figures()).add(counted)
            self._figures = dict(sorted(merged.items(), key=lambda item: item[0][1])[-UNWRITTEN_SECONDS_MAX:])

    def _at(self, deployment: str, second: int) -> Figures:
        key = (deployment, second)
        found = self._figures.get(key)
        if found is None:
            found = self._figures[key] = Figures()
        return found


def write_figures(connection: sqlite3.Connection, endpoint: str, figures: dict[Key, Figures]) -> None:
    """Add what was counted to the store."""
    for (deployment, second), counted in figures.items():
        _add(connection, endpoint, deployment, second, 1, counted)


def _add(
    connection: sqlite3.Connection, endpoint: str, deployment: str, start_s: int, seconds: int, new: Figures
) -> None:
    held = connection.execute(
        "SELECT requests, errors, refused, mirrored, buckets FROM endpoint_metric "
        "WHERE endpoint = ? AND deployment = ? AND start_s = ? AND seconds = ?",
        (endpoint, deployment, start_s, seconds),
    ).fetchone()
    total = _figures(held) if held is not None else Figures()
    total.add(new)  # which stays as it was: what cannot be written is counted again
    connection.execute(
        "INSERT OR REPLACE INTO endpoint_metric "
        "(endpoint, deployment, start_s, seconds, requests, errors, refused, mirrored, buckets) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(endpoint, deployment, start_s, seconds),
            *(total.requests, total.errors, total.refused, total.mirrored),
            json.dumps(total.buckets),
        ),
    )


def _figures(row: tuple[int, int, int, int, str]) -> Figures:
    buckets = Counter({int(bucket): count for bucket, count in json.loads(row[4]).items()})
    return Figures(*row[:4], buckets)


def compact(connection: sqlite3.Connection, endpoint: str, *, now_s: int) -> None:
    """Merge the seconds of more than an hour ago into minutes; forget what is older than a day."""
    connection.execute(
        "DELETE FROM endpoint_metric WHERE endpoint = ? AND start_s < ?", (endpoint, now_s - RETENTION_S)
    )
    before_s = (now_s - SECONDS_KEPT_S) // MINUTE_S * MINUTE_S
    condition = "endpoint = ? AND start_s < ? AND seconds = 1"
    rows = connection.execute(
        "SELECT deployment, start_s, requests, errors, refused, mirrored, buckets FROM endpoint_metric "
        f"WHERE {condition}",
        (endpoint, before_s),
    ).fetchall()
    merged: dict[Key, Figures] = {}
    for deployment, start_s, *counted in rows:
        minute = merged.setdefault((deployment, start_s - start_s % MINUTE_S), Figures())
        minute.add(_figures((counted[0], counted[1], counted[2], counted[3], counted[4])))
    connection.execute(f"DELETE FROM endpoint_metric WHERE {condition}", (endpoint, before_s))
    for (deployment, start_s), figures in merged.items():
        _add(connection, endpoint, deployment, start_s, MINUTE_S, figures)


def read_figures(
    connection: sqlite3.Connection, endpoint: str, deployment: str, *, now_s: int, window_s: int
) -> EndpointMetrics:
    """Return the telemetry of a deployment over the last seconds."""
    window_s = min(window_s, RETENTION_S)
    since_s = begin_s = now_s - window_s
    total = Figures()
    rows = connection.execute(
        "SELECT requests, errors, refused, mirrored, buckets, start_s FROM endpoint_metric "
        "WHERE endpoint = ? AND deployment = ? AND start_s + seconds > ?",
        (endpoint, deployment, since_s),
    )
    for *counted, start_s in rows:
        total.add(_figures((counted[0], counted[1], counted[2], counted[3], counted[4])))
        begin_s = min(begin_s, start_s)
    return EndpointMetrics(
        deployment=deployment,
        requests=total.requests,
        errors=total.errors,
        refused=total.refused,
        mirrored=total.mirrored,
        latency_p50_ms=_quantile_ms(total.buckets, 0.50),
        latency_p95_ms=_quantile_ms(total.buckets, 0.95),
        latency_p99_ms=_quantile_ms(total.buckets, 0.99),
        latency_counts=_histogram(total.buckets),
        window_s=now_s - begin_s,
    )


def _histogram(buckets: Counter[int]) -> tuple[tuple[float | None, int], ...]:
    """Return the counts by the common bounds; a bucket counts where its middle lies."""
    counts = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    for bucket, count in buckets.items():
        counts[bisect_left(LATENCY_BOUNDS_MS, _middle_ms(bucket))] += count
    return tuple(zip((*LATENCY_BOUNDS_MS, None), counts, strict=True)) if buckets else ()


def _middle_ms(bucket: int) -> float:
    return _UNIT_S * 1000 * math.exp((bucket + 0.5) * _LOG_GROWTH)


def _quantile_ms(buckets: Counter[int], share: float) -> float | None:
    rank = math.ceil(share * sum(buckets.values()))
    for bucket in sorted(buckets):
        rank -= buckets[bucket]
        if rank <= 0:
            return _middle_ms(bucket)
    return None


class _ServerConnection(http.client.HTTPConnection):
    """HTTP over the socket of a server."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=QUEUE_S_MAX)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(QUEUE_S_MAX)
        self.sock.connect(self._path)


def read_queued(server_socket: str) -> int | None:
    """Return how many requests wait at a server; None when it does not say so at once."""
    connection = _ServerConnection(server_socket)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read(METRICS_BYTES_MAX) if answer.status == 200 else b""
        found = _QUEUE.findall(text)
        return round(sum(float(value) for value in found)) if found else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
