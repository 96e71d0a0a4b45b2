"""Drift: what an endpoint is asked, and what it answers, against the baseline that lies in its model.

::

    deployment -> its model's bridge-baseline.json -> read_captured, page by page -> counts -> DriftReport
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import msgspec

from trackbridge.domain.baselines import BASELINE_FILE, FORMAT
from trackbridge.domain.deployments import CapturedPayload, DeploymentSpec
from trackbridge.errors import Rejected
from trackbridge.operations.drift_figures import BaselineColumn, ColumnCounts, ColumnDrift
from trackbridge.operations.drift_payloads import Table, inputs_of, predictions_of
from trackbridge.operations.model_archives import members_of_archive
from trackbridge.operations.model_payloads import reader_of, source_of
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.opening import Opened

ROWS_MAX = 200_000
"""How many rows are counted; of more, evenly spaced requests."""

PAGE_ITEMS = 100
BASELINE_BYTES_MAX = 64 * 1024 * 1024
NAMES_MAX = 100
INPUT, PREDICTED = "input", "prediction"


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far an endpoint's inputs and predictions have moved from the baseline.

    ``since`` and ``until`` are milliseconds since 1970; ``first`` and ``last`` when the first and the last
    request of those was answered, None without any. ``requests`` were captured, ``requests_counted`` of them
    and their ``rows`` were looked at; ``failed`` were refused or failed and tell nothing, ``unreadable`` are
    in no form that is known. ``unseen`` are columns of the baseline that no request had (where the baseline
    says that the model takes them, they count as missing in every row), ``unknown`` those that the baseline
    does not have. ``columns`` are in the order of the baseline.
    """

    endpoint: str
    deployment: str
    since: int
    until: int | None
    first: int | None
    last: int | None
    requests: int
    requests_counted: int
    rows: int
    failed: int
    unreadable: int
    baseline_rows: int
    columns: tuple[ColumnDrift, ...]
    unseen: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def worst(self) -> float:
        """The largest PSI among those that chance does not explain; 0 when there is none."""
        return max((column.psi for column in self._moved), default=0.0)

    @property
    def worst_column(self) -> str:
        """The column of the largest PSI, as ``part:name``; empty when none has moved."""
        found = max(self._moved, key=lambda column: column.psi, default=None)
        return f"{found.part}:{found.name}" if found is not None else ""

    @property
    def _moved(self) -> list[ColumnDrift]:
        return [column for column in self.columns if column.exceeds(0.0)]


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """A baseline file; see ``trackbridge.domain.baselines``."""

    format: int
    rows: int
    columns: list[BaselineColumn]
    inputs: list[str] = msgspec.field(default_factory=list)
    predictions: list[BaselineColumn] = msgspec.field(default_factory=list)


def drift_of(
    place: Opened,
    endpoint: str,
    deployment: str | None,
    *,
    since: int,
    until: int | None = None,
    baseline: Mapping[str, Any],
    rows_max: int = ROWS_MAX,
    on_read: Callable[[int], None] = lambda requests: None,
) -> DriftReport:
    """Compare what an endpoint has captured with a baseline.

    Args:
        place: Where the endpoint is.
        endpoint: Its name.
        deployment: Only what this one answered.
        since: Not before this time, in milliseconds since 1970.
        until: Before this time; by default to the newest.
        baseline: Of the deployment's model; see ``baseline_of``.
        rows_max: How many rows to count at most, evenly spaced over the requests.
        on_read: Told how many requests were read so far.

    Raises:
        Unsupported: The target captures no payloads.
        Rejected: The baseline is none.
        MissingExtra: scipy is not installed.
    """
    counting = _Counting(checked_baseline(baseline), rows_max)
    token: str | None = None
    while True:
        page = place.target.read_captured(
            endpoint, deployment=deployment, since=since, until=until, max_results=PAGE_ITEMS, token=token
        )
        for payload in page.items:
            counting.take(payload)
        on_read(counting.requests)
        token = page.token
        if token is None:
            return counting.report(endpoint, deployment or "", since, until)


def baseline_of(spec: DeploymentSpec, models: ModelSource) -> dict[str, Any] | None:
    """Return the baseline that lies in a deployment's model, None where it has none.

    Only this file is read, not the model. Of an archive everything before it is.

    Raises:
        NotFound: There is nothing where the model should be.
        Unsupported: The model cannot be read from here.
        Rejected: The baseline is no JSON, or too large.
    """
    if not spec.model_source:
        return None
    source = source_of(spec.model_source, reader_of(spec.model_source, models.kept, models.artifacts))
    members = source.members()
    for name, info in members:
        if name == BASELINE_FILE:
            with contextlib.closing(source.open(info)) as content:
                return _parsed(content, spec.model)
    if not source.is_packed or len(members) != 1:
        return None
    info = members[0][1]
    with contextlib.closing(source.open(info)) as archive:
        for name, packed in members_of_archive(archive, packed_bytes=info.file_size or 0):
            if name == BASELINE_FILE:
                return _parsed(packed, spec.model)
    return None


def checked_baseline(baseline: Mapping[str, Any]) -> Baseline:
    """Return a baseline as a value.

    Raises:
        Rejected: It has another format, or its counts do not fit together.
    """
    try:
        found = msgspec.convert(dict(baseline), Baseline)
    except (msgspec.ValidationError, TypeError) as error:
        raise _no_baseline(str(error)) from error
    if found.format != FORMAT:
        raise _no_baseline(f"its format is {found.format}, and {FORMAT} is understood")
    for column in (*found.columns, *found.predictions):
        if not _is_sound(column):
            raise _no_baseline(f"the counts of its column {column.name[:80]!r} do not fit together")
    return found


def _is_sound(column: BaselineColumn) -> bool:
    if min([column.count, column.missing, column.infinite, column.other, *column.counts]) < 0:
        return False
    if not column.is_number:
        return sum(count for _, count in column.top) + column.other == column.count
    if not column.count:
        return True
    points = column.cumulative or [(edge, 0) for edge in dict.fromkeys(column.edges)]
    is_rising = all(left[0] < right[0] and left[1] <= right[1] for left, right in itertools.pairwise(points))
    if column.cumulative:
        adds_up = column.cumulative[-1][1] == column.count
    else:
        adds_up = len(column.edges) == len(column.counts) + 1 and sum(column.counts) == column.count
    return adds_up and is_rising and all(math.isfinite(point) for point, _ in points)


def _no_baseline(problem: str) -> Rejected:
    return Rejected(
        f"the model's {BASELINE_FILE} cannot be used: {problem}",
        operation="drift",
        hint="log the model again with training_data",
    )


def _parsed(content: BinaryIO | Any, model: str) -> dict[str, Any]:
    text = content.read(BASELINE_BYTES_MAX + 1)
    if len(text) > BASELINE_BYTES_MAX:
        raise _no_baseline(f"that of {model} has more than {BASELINE_BYTES_MAX:,} bytes")
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_baseline(str(error)) from error


@dataclass
class _Level:
    """What was counted of the requests whose number is divisible by 2 so often, and no more often."""

    columns: dict[str, ColumnCounts] = field(default_factory=dict)
    predictions: dict[str, ColumnCounts] = field(default_factory=dict)
    requests: int = 0
    rows: int = 0
    answered_rows: int = 0


class _Counting:
    """Counts requests, evenly spaced whatever their number turns out to be.

    Request number n is counted at the level of the factors of 2 in n. When there are too many rows the
    lowest level, which is every other request, is dropped, and its requests are passed over from then on.
    """

    def __init__(self, baseline: Baseline, rows_max: int) -> None:
        taken = set(baseline.inputs)
        self._baseline = baseline
        self._columns = {
            column.name: column for column in baseline.columns if not taken or column.name in taken
        }
        self._predictions = {column.name: column for column in baseline.predictions}
        self._names = baseline.inputs or [column.name for column in baseline.columns]
        self._rows_max = rows_max
        self._levels: dict[int, _Level] = {}
        self._lowest = 0
        self._rows = 0
        self._unknown: dict[str, None] = {}
        self.requests = 0
        self._failed = self._unreadable = 0
        self._first: int | None = None
        self._last: int | None = None

    def take(self, payload: CapturedPayload) -> None:
        """Count one request."""
        number, self.requests = self.requests, self.requests + 1
        self._first = payload.time if self._first is None else min(self._first, payload.time)
        self._last = payload.time if self._last is None else max(self._last, payload.time)
        if payload.status is not None and not 200 <= payload.status < 300:
            self._failed += 1
            return
        level = (number & -number).bit_length() - 1 if number else 63
        if level < self._lowest:
            return
        asked = inputs_of(payload.request, payload.content_type, self._names)
        if asked is None:
            self._unreadable += 1
            return
        self._count(self._levels.setdefault(level, _Level()), asked, payload)
        while self._rows > self._rows_max and len(self._levels) > 1:
            self._lowest = min(self._levels)
            self._rows -= self._levels.pop(self._lowest).rows
            self._lowest += 1

    def _count(self, level: _Level, asked: Table, payload: CapturedPayload) -> None:
        level.requests += 1
        level.rows += asked.rows
        self._rows += asked.rows
        for name, values in asked.columns.items():
            if name in self._columns:
                _counts_of(level.columns, self._columns[name], INPUT).count(values)
            elif len(self._unknown) < NAMES_MAX:
                self._unknown[name] = None
        if not self._predictions:
            return
        answered = predictions_of(payload.response, list(self._predictions))
        if answered is None:
            return
        level.answered_rows += answered.rows
        for name, values in answered.columns.items():
            if name in self._predictions:
                _counts_of(level.predictions, self._predictions[name], PREDICTED).count(values)

    def report(self, endpoint: str, deployment: str, since: int, until: int | None) -> DriftReport:
        """Return what came of it."""
        total = _Level()
        for level in self._levels.values():
            total.requests += level.requests
            total.rows += level.rows
            total.answered_rows += level.answered_rows
            _add(total.columns, level.columns.values())
            _add(total.predictions, level.predictions.values())
        unseen = tuple(name for name in self._columns if name not in total.columns) if total.rows else ()
        if total.columns:  # what the model takes, and nobody sends, is missing in every row
            for name in unseen if self._baseline.inputs else ():
                _counts_of(total.columns, self._columns[name], INPUT)
        columns = [
            *_drifts(self._columns, total.columns, total.rows),
            *_drifts(self._predictions, total.predictions, total.answered_rows),
        ]
        return DriftReport(
            endpoint=endpoint,
            deployment=deployment,
            since=since,
            until=until,
            first=self._first,
            last=self._last,
            requests=self.requests,
            requests_counted=total.requests,
            rows=total.rows,
            failed=self._failed,
            unreadable=self._unreadable,
            baseline_rows=self._baseline.rows,
            columns=tuple(columns),
            unseen=unseen,
            unknown=tuple(self._unknown),
        )


def _counts_of(known: dict[str, ColumnCounts], column: BaselineColumn, part: str) -> ColumnCounts:
    found = known.get(column.name)
    if found is None:
        found = known[column.name] = ColumnCounts(column, part=part)
    return found


def _add(total: dict[str, ColumnCounts], parts: Iterable[ColumnCounts]) -> None:
    for part in parts:
        _counts_of(total, part.column, part.part).add(part)


def _drifts(
    known: Mapping[str, BaselineColumn], counted: Mapping[str, ColumnCounts], rows: int
) -> list[ColumnDrift]:
    return [counted[name].drift(rows) for name in known if name in counted]
