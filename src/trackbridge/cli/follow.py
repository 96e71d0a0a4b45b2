"""``bridge runs log``: the points and changes of a run as a stream."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from trackbridge.cli.options import example, open_client, output_option, uri_option
from trackbridge.cli.output import Output

if TYPE_CHECKING:
    from trackbridge.api.client import Client
    from trackbridge.api.results import Run
    from trackbridge.domain.batches import MetricColumns

POLL_S = 0.5
METRICS_NAMED = 20
BUSY_SHARE_MAX = 0.2
"""Reading may take this share of the time: a run with long histories is looked at less often."""


class Point(NamedTuple):
    """One point, in the order of time."""

    timestamp: int
    step: int
    key: str
    value: float


@dataclass(frozen=True, slots=True)
class News:
    """What is new about a run. Changes are events with a ``type``; points are made as they are asked for."""

    changes: list[dict[str, Any]]
    point_count: int
    points: Iterator[Point]
    end: list[dict[str, Any]]


@click.command(
    epilog=example(
        "bridge runs log 0193f2a1b --follow",
        "bridge runs log bold-otter --metric loss --tail 20",
        "bridge runs log bold-otter --follow --json | jq 'select(.type == \"metric\")'",
    )
)
@click.argument("run")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run ends, or Ctrl-C.")
@click.option("--metric", "metrics", multiple=True, metavar="KEY", help="Only this metric; repeatable.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N points of what is there.")
@uri_option
@output_option
def log(
    output: Output, run: str, follow: bool, metrics: Sequence[str], tail: int | None, uri: str | None
) -> None:
    """Print the points and changes of a run, in the order of time.

    RUN is the id of a run, a beginning of the id that only one run has, or the run's name. With --json each
    line is one object of type run, param, tag, metric or status.
    """
    from trackbridge.cli.finding_runs import find_run

    client = open_client(uri)
    found = find_run(client, run)
    watch = RunWatch(client, found.info.run_id, only=frozenset(metrics))
    _show_run(output, found)
    try:
        _print(output, watch.read(), tail=tail)
        _note_missing(output, watch, metrics, found)
        if follow:
            _follow(output, watch)
    except KeyboardInterrupt:
        output.summary(watch.totals())
        raise
    output.summary(watch.totals())


def _note_missing(output: Output, watch: RunWatch, metrics: Sequence[str], run: Run) -> None:
    """Tell which of the metrics asked for the run does not have, and which it has."""
    missing = [repr(key) for key in dict.fromkeys(metrics) if key not in watch.totals()["points"]]
    if missing:
        known = ", ".join(sorted(run.data.metrics)[:METRICS_NAMED]) or "none"
        yet = "" if watch.has_ended else " yet"
        output.note(f"the run has no metric {', '.join(missing)}{yet}; it has {known}")


def _follow(output: Output, watch: RunWatch) -> None:
    """Print what is new until the run has ended and nothing new was found once more."""
    from trackbridge.errors import Exhausted, Transient

    is_told = False
    pause = threading.Event()  # nobody sets it: it is waited on because Ctrl-C interrupts that
    while True:
        has_ended = watch.has_ended
        started_s = time.monotonic()
        try:
            _print(output, watch.read())
            is_told = False
        except (Transient, Exhausted) as error:
            if not is_told:
                output.warn(f"{error}; trying again")
            is_told = True
        else:
            if has_ended:
                return
        pause.wait(max(POLL_S, (time.monotonic() - started_s) / BUSY_SHARE_MAX))


class RunWatch:
    """Reads a run again and again, and returns what is new.

    Args:
        client: Where to read.
        run_id: The run.
        only: The metrics to read; empty for all.
    """

    def __init__(self, client: Client, run_id: str, *, only: frozenset[str] = frozenset()) -> None:
        self._client = client
        self._run_id = run_id
        self._only = only
        self._columns: dict[str, MetricColumns] = {}
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._status = ""
        self.has_ended = False

    def read(self) -> News:
        """Return what is new."""
        run = self._client.get_run(self._run_id)
        changes: list[dict[str, Any]] = [
            *({"type": "param", "key": key, "value": value} for key, value in self._new_params(run)),
            *({"type": "tag", "key": key, "value": value} for key, value in self._new_tags(run)),
        ]
        columns = self._read_columns(run)
        new = {key: _numbers_after(self._columns.get(key), found) for key, found in columns.items()}
        points = heapq.merge(*(_points(key, columns[key], numbers) for key, numbers in new.items()))
        self._columns.update(columns)
        status = run.info.status
        end: list[dict[str, Any]] = []
        if status.value != self._status:
            self._status = status.value
            end.append({"type": "status", "status": status.value, "end_time": run.info.end_time})
        self.has_ended = status.is_final
        return News(changes, sum(map(len, new.values())), points, end)

    def totals(self) -> dict[str, Any]:
        """Return what was seen, for the summary."""
        points = {key: len(columns) for key, columns in sorted(self._columns.items())}
        return {"run_id": self._run_id, "status": self._status, "points": points}

    def _new_params(self, run: Run) -> list[tuple[str, str]]:
        new = [(key, value) for key, value in run.data.params.items() if key not in self._params]
        self._params = run.data.params
        return new

    def _new_tags(self, run: Run) -> list[tuple[str, str | None]]:
        known, self._tags = self._tags, run.data.tags
        changed: list[tuple[str, str | None]] = [
            (key, value) for key, value in self._tags.items() if known.get(key) != value
        ]
        return changed + [(key, None) for key in known if key not in self._tags]

    def _read_columns(self, run: Run) -> dict[str, MetricColumns]:
        keys = [key for key in run.data.metrics if not self._only or key in self._only]
        return {key: self._client.get_metric_columns(self._run_id, key) for key in keys}


def _numbers_after(known: MetricColumns | None, columns: MetricColumns) -> list[int]:
    """Return the places of the points that were not known, in the order of time."""
    count = 0 if known is None else len(known)
    numbers: Iterable[int] = range(count, len(columns))
    if known is not None and not _begins_with(columns, known):  # something was logged at an earlier step
        seen = {_identity(known, number) for number in range(count)}
        numbers = (number for number in range(len(columns)) if _identity(columns, number) not in seen)
    return sorted(numbers, key=columns.timestamps.__getitem__)


def _points(key: str, columns: MetricColumns, numbers: list[int]) -> Iterator[Point]:
    for number in numbers:
        yield Point(columns.timestamps[number], columns.steps[number], key, columns.values[number])


def _begins_with(columns: MetricColumns, known: MetricColumns) -> bool:
    count = len(known)
    return all(
        getattr(columns, name)[:count].tobytes() == getattr(known, name).tobytes()  # by bits: NaN is itself
        for name in ("steps", "timestamps", "values")
    )


def _identity(columns: MetricColumns, number: int) -> tuple[int, int, bytes]:
    """A point is its step, its time and the bits of its value."""
    return (
        columns.steps[number],
        columns.timestamps[number],
        columns.values[number : number + 1].tobytes(),
    )


def _show_run(output: Output, run: Run) -> None:
    from trackbridge.api.display import format_time

    info = run.info
    output.event("run", {"run_id": info.run_id, "name": info.run_name, "start_time": info.start_time})
    output.show(f"{info.run_name} {info.run_id}, started {format_time(info.start_time)}", colour="cyan")


def _print(output: Output, news: News, *, tail: int | None = None) -> None:
    skipped = 0 if tail is None else max(0, news.point_count - tail)
    points = ({"type": "metric", **point._asdict()} for point in itertools.islice(news.points, skipped, None))
    for event in itertools.chain(news.changes, points, news.end):
        output.event(event["type"], {name: value for name, value in event.items() if name != "type"})
        if not output.as_json:
            output.show(_line(event))


def _line(event: dict[str, Any]) -> str:
    from trackbridge.api.display import format_number, format_time

    kind = event["type"]
    if kind == "metric":
        time_text = format_time(event["timestamp"])
        return f"{time_text}  step {event['step']:<8} {event['key']} = {format_number(event['value'])}"
    if kind == "status":
        return f"{format_time(event['end_time']) or 'status':<19}  {event['status']}"
    if event["value"] is None:
        return f"{kind:<19}  {event['key']} deleted"
    return f"{kind:<19}  {event['key']} = {event['value']}"
