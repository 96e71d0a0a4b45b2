"""The proof of ``bridge demo``: a witness beside the training, and a comparison with the store.

The witness writes an account of its own into a file that trackbridge neither writes nor reads. Each call of
``log_metric`` is one line, whose end is written only after the call has returned::

    run 0193f2…
    loss 1 4002b33daf8df7a5 returned 7321        key, step, bits of the value, nanoseconds that the call took
    loss 2 40026e978d4fdf3b                      the program was killed before this call returned

Every point that returned must be in the store, once. The one that was under way may be there or not.
"""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import trackbridge as tb


class Witness:
    """Logs metrics to the active run, and writes down which calls returned.

    Args:
        path: The account, a new file.
        run_id: The run that is logged to.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._descriptor = os.open(path, flags, 0o600)
        self._write(f"run {run_id}\n")

    def log_metric(self, key: str, value: float, step: int) -> None:
        """Log one point."""
        self._write(f"{key} {step} {bits_of(value)}")
        begin = time.perf_counter_ns()
        tb.log_metric(key, value, step)
        elapsed_ns = time.perf_counter_ns() - begin
        self._write(f" returned {elapsed_ns}\n")

    def _write(self, text: str) -> None:
        os.write(self._descriptor, text.encode())  # unbuffered: what is written survives SIGKILL

    def __enter__(self) -> Witness:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


@dataclass(frozen=True, order=True)
class LoggedPoint:
    """A point, its value as the 16 hexadecimal digits of its 64 bits."""

    key: str
    step: int
    bits: str


@dataclass(frozen=True)
class Account:
    """What a witness wrote: points whose call returned, how long each took, and the one under way."""

    run_id: str
    returned: tuple[LoggedPoint, ...]
    elapsed_ns: tuple[int, ...]
    under_way: LoggedPoint | None


@dataclass(frozen=True)
class Comparison:
    """How the store differs from an account.

    ``missing`` returned and are not stored, ``doubled`` are stored more often than they were logged,
    ``unknown`` are stored and were never logged. ``kept_under_way`` tells that the last call had not
    returned, and its point is stored all the same.
    """

    returned: int
    stored: int
    missing: tuple[LoggedPoint, ...]
    doubled: tuple[LoggedPoint, ...]
    unknown: tuple[LoggedPoint, ...]
    kept_under_way: bool

    @property
    def holds(self) -> bool:
        """True when nothing is missing, doubled or unknown."""
        return not (self.missing or self.doubled or self.unknown)


def bits_of(value: float) -> str:
    """Return a float's 64 bits as 16 hexadecimal digits."""
    return struct.pack(">d", value).hex()


def read_account(path: Path) -> Account | None:
    """Read a witness's account, of a dead or a living program; None before the program has a run."""
    try:
        first, *lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return None
    if not lines:
        return None
    returned: list[LoggedPoint] = []
    elapsed_ns: list[int] = []
    *whole, rest = lines
    for line in whole:
        key, step, bits, _, elapsed = line.split(" ")
        returned.append(LoggedPoint(key, int(step), bits))
        elapsed_ns.append(int(elapsed))
    key, step, bits = (*rest.split(" "), "", "")[:3]
    under_way = LoggedPoint(key, int(step), bits) if bits else None
    return Account(first.removeprefix("run "), tuple(returned), tuple(elapsed_ns), under_way)


def compare(account: Account, stored: Iterable[LoggedPoint]) -> Comparison:
    """Compare an account with all points of its run in the store."""
    expected, found = Counter(account.returned), Counter(stored)
    allowed = expected.copy()
    if account.under_way is not None:
        allowed[account.under_way] += 1
    surplus = found - allowed
    return Comparison(
        returned=len(account.returned),
        stored=sum(found.values()),
        missing=tuple(sorted((expected - found).elements())),
        doubled=tuple(sorted(point for point in surplus if point in allowed)),
        unknown=tuple(sorted(point for point in surplus if point not in allowed)),
        kept_under_way=account.under_way is not None
        and found[account.under_way] > expected[account.under_way],
    )


def stored_points(client: tb.Client, run_id: str) -> list[LoggedPoint]:
    """Read every point of every metric of a run back from the store."""
    points: list[LoggedPoint] = []
    for key in client.get_run(run_id).data.metrics:
        columns = client.get_metric_columns(run_id, key)
        rows = zip(columns.steps, columns.values, strict=True)
        points.extend(LoggedPoint(key, step, bits_of(value)) for step, value in rows)
    return points


def newest_time(client: tb.Client, run_id: str) -> int:
    """Return the time of a run's newest point, in milliseconds since 1970."""
    keys = client.get_run(run_id).data.metrics
    return max(max(client.get_metric_columns(run_id, key).timestamps) for key in keys)
