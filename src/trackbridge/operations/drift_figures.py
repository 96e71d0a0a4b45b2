"""How far what was asked has moved from what the model learnt from: PSI and Kolmogorov-Smirnov by column.

**PSI** (population stability index) is the sum of (a - e) ln(a / e) over bins, with e the share of the
baseline and a that of what was captured; half a row is added to each bin, so that none is empty. A column of
numbers has about ten bins of equal share between the smallest and the largest value of the baseline, one
below, one above, and one for what is missing; a column of texts has one for each frequent text, one for all
others and one for what is missing. Under 0.1 is commonly read as stable, over 0.2 as changed.

**Chance**: of two samples of the same data PSI is about chi-squared distributed with (bins - 1) degrees of
freedom, times (1/n + 1/m) (Yurdakul and Naranjo, Journal of Risk Model Validation 14(4), 2020).
``psi_chance`` is what chance alone exceeds once in 10,000 columns; a smaller PSI says nothing.

**KS** is the largest distance between the two distribution functions of a column of numbers, at the values
that the baseline keeps: exact where these are all its values, else at most a percent too small. ``ks_p`` is
how probable such a distance is by chance, for two samples of these sizes.

Nothing is kept but counts, so that the memory needed does not depend on how much is read.
"""

from __future__ import annotations

import importlib
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

import msgspec

from trackbridge.domain.baselines import TEXT_CHARS_MAX, is_missing, number_of, text_of
from trackbridge.errors import MissingExtra

BINS = 10
CHANCE = 1e-4
SMOOTHING_ROWS = 0.5
TEXT_SHARE_MIN = 0.01
OTHER, MISSING = "(other)", "(missing)"


class BaselineColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a baseline file; see ``trackbridge.domain.baselines``."""

    name: str
    kind: str
    count: int
    missing: int = 0
    infinite: int = 0
    distinct: int = 0
    edges: list[float] = msgspec.field(default_factory=list)
    counts: list[int] = msgspec.field(default_factory=list)
    cumulative: list[tuple[float, int]] = msgspec.field(default_factory=list)
    top: list[tuple[str, int]] = msgspec.field(default_factory=list)
    other: int = 0

    @property
    def is_number(self) -> bool:
        """True for numbers and times."""
        return self.kind in ("number", "time")


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One bin: what is in it, its rows in the baseline and in what was captured."""

    label: str
    expected: int
    found: int


class ColumnDrift(msgspec.Struct, frozen=True, kw_only=True):
    """How far one column has moved.

    ``part`` is ``input`` or ``prediction``. ``rows`` is how many rows were looked at, ``missing`` how many of
    them had no value, or none of the column's kind. ``ks`` and ``ks_p`` are None for texts.
    """

    name: str
    kind: str
    part: str
    rows: int
    missing: int
    psi: float
    psi_chance: float
    ks: float | None = None
    ks_p: float | None = None
    shares: tuple[Share, ...] = ()

    def exceeds(self, threshold: float) -> bool:
        """Tell whether PSI is above a threshold, and above what chance explains."""
        return self.psi > max(threshold, self.psi_chance)


class ColumnCounts:
    """Counts the captured values of one column; counts of the same column can be added up."""

    def __init__(self, column: BaselineColumn, *, part: str) -> None:
        self.column = column
        self.part = part
        self.present = 0
        self._points = points_of(column) if column.is_number else []
        self._slots = [0] * (2 * len(self._points) + 1)  # between, and at, the points
        self._known = {text for text, _ in column.top}
        self._texts: Counter[str] = Counter()

    def count(self, values: Iterable[Any]) -> None:
        """Count values; what is of another kind than the column counts as missing."""
        if self.column.is_number:
            self._count_numbers(values)
        else:
            self._count_texts(values)

    def add(self, other: ColumnCounts) -> None:
        """Take over what another one counted of the same column."""
        self.present += other.present
        self._slots = [mine + its for mine, its in zip(self._slots, other._slots, strict=True)]
        self._texts.update(other._texts)

    def drift(self, rows: int) -> ColumnDrift:
        """Return how far the column has moved, of so many rows."""
        column = self.column
        shares = tuple(self._number_shares(rows) if column.is_number else self._text_shares(rows))
        ks, ks_p = self._ks() if column.is_number else (None, None)
        return ColumnDrift(
            name=column.name,
            kind=column.kind,
            part=self.part,
            rows=rows,
            missing=rows - self.present,
            psi=psi_of([share.expected for share in shares], [share.found for share in shares]),
            psi_chance=_psi_chance(shares),
            ks=ks,
            ks_p=ks_p,
            shares=shares,
        )

    # Counting.

    def _count_numbers(self, values: Iterable[Any]) -> None:
        points, slots, is_time = self._points, self._slots, self.column.kind == "time"
        for value in values:
            number = _number(value, is_time=is_time)
            if number is None:
                continue
            place = bisect_left(points, number)
            is_at = place < len(points) and points[place] == number
            slots[2 * place + 1 if is_at else 2 * place] += 1
            self.present += 1

    def _count_texts(self, values: Iterable[Any]) -> None:
        is_boolean = self.column.kind == "boolean"
        for value in values:
            if is_missing(value):
                continue
            text = text_of(value)
            text = text.lower() if is_boolean else text
            self._texts[text if text in self._known else OTHER] += 1
            self.present += 1

    # Shares.

    def _number_shares(self, rows: int) -> list[Share]:
        column, points = self.column, self._points
        if not points:
            return _with_missing([], column, self.present, rows)
        at_most = [count for _, count in _cumulative(column)]
        found = _running(self._slots)  # found[2 i] is below point i, found[2 i + 1] at most point i
        cuts = _cuts(at_most, column.count)
        label = _time_label if column.kind == "time" else _number_label
        shares = [Share(label=f"< {label(points[0])}", expected=0, found=found[0])]
        below, seen, left = 0, found[0], points[0]
        for cut in cuts:
            text = label(points[cut]) if left == points[cut] else f"{label(left)} … {label(points[cut])}"
            in_bin = Share(label=text, expected=at_most[cut] - below, found=found[2 * cut + 1] - seen)
            shares.append(in_bin)
            below, seen, left = at_most[cut], found[2 * cut + 1], points[min(cut + 1, len(points) - 1)]
        shares.append(Share(label=f"> {label(points[-1])}", expected=0, found=self.present - seen))
        return _with_missing(shares, column, self.present, rows)

    def _text_shares(self, rows: int) -> list[Share]:
        column = self.column
        frequent = [(text, count) for text, count in column.top if count >= TEXT_SHARE_MIN * column.count]
        shares = [Share(label=text, expected=count, found=self._texts[text]) for text, count in frequent]
        expected = column.count - sum(share.expected for share in shares)
        found = self.present - sum(share.found for share in shares)
        shares.append(Share(label=OTHER, expected=expected, found=found))
        return _with_missing(shares, column, self.present, rows)

    def _ks(self) -> tuple[float | None, float | None]:
        """Return the distance of the two distribution functions, and how probable it is by chance."""
        expected_rows, found_rows = self.column.count, self.present
        if not self._points or not expected_rows or not found_rows:
            return None, None
        found = _running(self._slots)
        knows_all = len(self._points) == self.column.distinct
        distance, before = 0.0, 0.0
        for place, (_, at_most) in enumerate(_cumulative(self.column)):
            expected = at_most / expected_rows
            if knows_all or place == 0:  # between two points the baseline has nothing
                distance = max(distance, abs(before - found[2 * place] / found_rows))
            distance = max(distance, abs(expected - found[2 * place + 1] / found_rows))
            before = expected
        return distance, _ks_probability(distance, expected_rows, found_rows)


def psi_of(expected: Sequence[float], found: Sequence[float]) -> float:
    """Return the population stability index of two histograms with the same bins; 0 without rows."""
    total_expected, total_found = sum(expected), sum(found)
    if not total_expected or not total_found:
        return 0.0
    padding = SMOOTHING_ROWS * len(expected)
    psi = 0.0
    for expected_count, found_count in zip(expected, found, strict=True):
        before = (expected_count + SMOOTHING_ROWS) / (total_expected + padding)
        after = (found_count + SMOOTHING_ROWS) / (total_found + padding)
        psi += (after - before) * math.log(after / before)
    return psi


def points_of(column: BaselineColumn) -> list[float]:
    """Return the values at which the distribution of a column of numbers is known, in rising order."""
    return [point for point, _ in _cumulative(column)]


def _cumulative(column: BaselineColumn) -> list[tuple[float, int]]:
    """Return values with how many of the baseline are at most as large.

    Where a baseline was written before these were kept, its bins of equal width say it: a bin does not hold
    its right edge, but the last one does.
    """
    if column.cumulative or not column.counts:
        return column.cumulative
    below = [0, *_running(column.counts)]
    steps = zip(column.edges[:-1], below, strict=False)
    return [
        *((math.nextafter(edge, -math.inf), count) for edge, count in steps),
        (column.edges[-1], column.count),
    ]


def _cuts(at_most: Sequence[int], count: int) -> list[int]:
    """Return the points where bins of about equal share end; the last is the last point."""
    cuts = []
    wanted = count / BINS
    for place, reached in enumerate(at_most[:-1]):
        if reached >= wanted:
            cuts.append(place)
            wanted = max(wanted, reached) + count / BINS
    return [*cuts, len(at_most) - 1]


def _running(counts: Iterable[int]) -> list[int]:
    total, found = 0, []
    for count in counts:
        total += count
        found.append(total)
    return found


def _with_missing(shares: list[Share], column: BaselineColumn, present: int, rows: int) -> list[Share]:
    missing = Share(label=MISSING, expected=column.missing + column.infinite, found=rows - present)
    return [*shares, missing] if missing.expected or missing.found else shares


def _psi_chance(shares: Sequence[Share]) -> float:
    expected, found = sum(share.expected for share in shares), sum(share.found for share in shares)
    bins = sum(1 for share in shares if share.expected or share.found)
    if not expected or not found:
        return math.inf
    quantile = float(_distributions().chi2.isf(CHANCE, max(1, bins - 1)))
    return quantile * (1 / expected + 1 / found)


def _ks_probability(distance: float, expected_rows: int, found_rows: int) -> float:
    size = max(1, round(expected_rows * found_rows / (expected_rows + found_rows)))
    return min(1.0, max(0.0, float(_distributions().kstwo.sf(distance, size))))


def require_scipy() -> None:
    """Return where drift can be measured.

    Raises:
        MissingExtra: scipy is not installed.
    """
    _distributions()


def _distributions() -> Any:
    """Return scipy's distributions.

    Raises:
        MissingExtra: scipy is not installed.
    """
    try:
        return importlib.import_module("scipy.stats")
    except ImportError as error:
        raise MissingExtra(
            f"drift needs scipy, which cannot be imported ({error})", hint="pip install 'trackbridge[drift]'"
        ) from error


def _number(value: Any, *, is_time: bool) -> float | None:
    """Return a number, or a time in milliseconds since 1970; None for what is neither."""
    if type(value) is float or type(value) is int:
        number = number_of(value)
    elif isinstance(value, str) and len(value) <= TEXT_CHARS_MAX:
        number = _parsed_time(value) if is_time else _parsed_number(value)
    else:
        number = math.nan if not isinstance(value, bool) else float(value)
    return number if math.isfinite(number) else None


def _parsed_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _parsed_time(text: str) -> float:
    try:
        return number_of(datetime.fromisoformat(text.replace("Z", "+00:00")))
    except (ValueError, OverflowError):
        return _parsed_number(text)


def _number_label(value: float) -> str:
    return f"{value:.6g}"


def _time_label(value: float) -> str:
    try:
        moment = datetime.fromtimestamp(value / 1000, tz=timezone.utc)
    except (ValueError, OverflowError, OSError):
        return _number_label(value)
    return moment.strftime("%Y-%m-%d %H:%M:%S")
