"""Runs and experiments for notebooks (``_repr_html_``) and for terminals (``repr``).

Names and values come from anybody: everything is escaped, control and direction characters are replaced,
and rows, columns and lengths are bounded. No colour is fixed, so that light and dark pages both work.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone

from trackbridge.domain.runs import TAG_NAME, TAG_NOTE, Experiment, Run

ROWS_MAX = 50
COLUMNS_MAX = 6
ENTRIES_MAX = 30
CELL_CHARS_MAX = 120

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ID_CHARS = 12
_TAGS_SHOWN_ELSEWHERE = (TAG_NAME, TAG_NOTE)


def run_html(run: Run) -> str:
    """Return a run as tables of its identity, metrics, params and tags."""
    tags = {key: value for key, value in run.data.tags.items() if key not in _TAGS_SHOWN_ELSEWHERE}
    note = run.data.tags.get(TAG_NOTE, "")
    metrics = {key: format_number(value) for key, value in run.data.metrics.items()}
    sections = [_entries_html("Metrics", metrics), _entries_html("Params", run.data.params)]
    parts = [
        f"<strong>{_cell(run.info.run_name or run.info.run_id)}</strong>",
        _table(None, _run_facts(run)),
        f"<p>{_cell(note, 10 * CELL_CHARS_MAX)}</p>" if note else "",
        *sections,
        _entries_html("Tags", tags),
    ]
    return f"<div>{''.join(parts)}</div>"


def experiment_html(experiment: Experiment) -> str:
    """Return an experiment as tables of its identity and tags."""
    facts = [
        ("Id", experiment.experiment_id),
        ("State", experiment.lifecycle_stage.value),
        ("Created", format_time(experiment.creation_time)),
        ("Artifacts", experiment.artifact_location),
    ]
    parts = [f"<strong>{_cell(experiment.name)}</strong>", _table(None, facts)]
    return f"<div>{''.join(parts)}{_entries_html('Tags', experiment.tags)}</div>"


def runs_html(runs: Sequence[Run]) -> str:
    """Return a table of the first 50 runs, with the first 6 metrics and 6 params that occur in them."""
    shown = runs[:ROWS_MAX]
    metrics = _first_keys(run.data.metrics for run in shown)
    params = _first_keys(run.data.params for run in shown)
    header = ["Run", "Name", "Status", "Started (UTC)", "Duration", *metrics, *params]
    rows = [_run_row(run, metrics, params) for run in shown]
    left_out = len(runs) - len(shown)
    more = f"<p>and {left_out:,} more</p>" if left_out else ""
    return f"<div>{_table(header, rows)}{more}</div>" if runs else "<div><p>no runs</p></div>"


def experiments_html(experiments: Sequence[Experiment]) -> str:
    """Return a table of the first 50 experiments."""
    header = ["Name", "Id", "State", "Created (UTC)"]
    rows = [
        (found.name, found.experiment_id, found.lifecycle_stage.value, format_time(found.creation_time))
        for found in experiments[:ROWS_MAX]
    ]
    left_out = len(experiments) - len(rows)
    more = f"<p>and {left_out:,} more</p>" if left_out else ""
    return f"<div>{_table(header, rows)}{more}</div>" if rows else "<div><p>no experiments</p></div>"


def run_text(run: Run) -> str:
    """Return a run in one line."""
    name = f"{printable(run.info.run_id)} {printable(run.info.run_name)!r}"
    counts = f"{len(run.data.metrics)} metrics, {len(run.data.params)} params"
    return f"<Run {name} {run.info.status.value} {counts}>"


def experiment_text(experiment: Experiment) -> str:
    """Return an experiment in one line."""
    return f"<Experiment {printable(experiment.experiment_id)} {printable(experiment.name)!r}>"


def runs_text(runs: Sequence[Run]) -> str:
    """Return the first 50 runs, one a line."""
    lines = [run_text(run) for run in runs[:ROWS_MAX]]
    if len(runs) > ROWS_MAX:
        lines.append(f"and {len(runs) - ROWS_MAX:,} more")
    return "\n".join(lines) or "no runs"


def format_number(value: float) -> str:
    """Return a metric's value with at most six digits."""
    is_whole = math.isfinite(value) and value == int(value) and abs(value) < 1e9
    return str(int(value)) if is_whole else f"{value:.6g}"


def format_time(milliseconds: int | None) -> str:
    """Return a time in UTC to the second, empty when absent, the number itself beyond the year 9999."""
    if milliseconds is None:
        return ""
    try:
        return f"{_EPOCH + timedelta(milliseconds=milliseconds):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"{milliseconds} ms"


def format_duration(start_ms: int, end_ms: int | None) -> str:
    """Return the time from start to end, such as ``1h 02m`` or ``3.4 s``; empty while there is no end."""
    if end_ms is None:
        return ""
    seconds = max(0, end_ms - start_ms) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    return f"{minutes}m {rest_s:02}s" if minutes < 60 else f"{minutes // 60:,}h {minutes % 60:02}m"


def printable(text: str, chars_max: int = CELL_CHARS_MAX) -> str:
    """Return text that cannot steer a terminal or reorder a page, cut to a length; one line."""
    cut = text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"
    return "".join(character if character.isprintable() else _visible(character) for character in cut)


def _visible(character: str) -> str:
    return " " if character in "\t\r\n" else "\ufffd"


def _run_facts(run: Run) -> list[tuple[str, str]]:
    info = run.info
    deleted = "" if info.lifecycle_stage.value == "active" else f" ({info.lifecycle_stage.value})"
    return [
        ("Run", info.run_id),
        ("Status", f"{info.status.value}{deleted}"),
        ("Started (UTC)", format_time(info.start_time)),
        ("Duration", format_duration(info.start_time, info.end_time)),
        ("User", info.user_id),
        ("Artifacts", info.artifact_uri),
        ("Data sets", ", ".join(dataset.name for dataset in run.inputs.dataset_inputs[:ENTRIES_MAX])),
    ]


def _run_row(run: Run, metrics: list[str], params: list[str]) -> list[str]:
    info = run.info
    values = [run.data.metrics.get(key) for key in metrics]
    return [
        info.run_id[:_ID_CHARS],
        info.run_name,
        info.status.value,
        format_time(info.start_time),
        format_duration(info.start_time, info.end_time),
        *("" if value is None else format_number(value) for value in values),
        *(run.data.params.get(key, "") for key in params),
    ]


def _first_keys(mappings: Iterable[dict[str, float]] | Iterable[dict[str, str]]) -> list[str]:
    keys: dict[str, None] = {}
    for mapping in mappings:
        keys |= dict.fromkeys(mapping)
    return list(keys)[:COLUMNS_MAX]


def _entries_html(title: str, entries: dict[str, str]) -> str:
    if not entries:
        return ""
    shown = list(entries.items())[:ENTRIES_MAX]
    left_out = len(entries) - len(shown)
    more = f"<p>and {left_out:,} more</p>" if left_out else ""
    return f"<details open><summary>{title} ({len(entries):,})</summary>{_table(None, shown)}{more}</details>"


def _table(header: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> str:
    head = f"<thead><tr>{_cells(header, 'th')}</tr></thead>" if header else ""
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows if header or row[1])
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _cells(row: Sequence[str], tag: str) -> str:
    return "".join(f'<{tag} style="text-align: left">{_cell(value)}</{tag}>' for value in row)


def _cell(value: str, chars_max: int = CELL_CHARS_MAX) -> str:
    return html.escape(printable(value, chars_max))
