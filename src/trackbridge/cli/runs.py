"""``bridge runs``: list, show, delete and restore; ``compare`` and ``log`` are files of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import click

from trackbridge.cli.compare import compare
from trackbridge.cli.follow import log
from trackbridge.cli.options import (
    all_experiments,
    all_option,
    deleted_option,
    example,
    find_experiment,
    open_client,
    output_option,
    uri_option,
    yes_option,
)
from trackbridge.cli.output import Output, counted

if TYPE_CHECKING:
    from trackbridge.api.client import Client
    from trackbridge.api.results import Run
    from trackbridge.domain.artifacts import ArtifactInfo
    from trackbridge.domain.runs import DatasetInput

LIMIT = 50
PAGE_RUNS = 1000
METRICS_SHOWN = 4
ARTIFACTS_SHOWN = 20
_RUN = click.argument("run")
_RUNS = click.argument("runs", nargs=-1, required=True, metavar="RUN...")


@click.group(epilog=example("bridge runs list", "bridge runs compare 0193f2a1b 0193f2a1c"))
def runs() -> None:
    """List, show, compare, follow, delete and restore runs.

    RUN is the id of a run, a beginning of the id that only one run has, or the run's name.
    """


runs.add_command(compare)
runs.add_command(log)


@runs.command(
    "list",
    epilog=example(
        "bridge runs list --experiment wine --limit 10",
        "bridge runs list --filter \"metrics.acc > 0.9 and params.lr = '0.1'\" --order-by 'metrics.acc DESC'",
        "bridge runs list --columns id,name,metrics.acc,params.lr",
    ),
)
@click.option(
    "--experiment", "names", multiple=True, metavar="NAME", help="Only of this experiment; repeatable."
)
@click.option("--filter", "filter_string", default="", metavar="TEXT", help="Only runs that fulfil it.")
@click.option(
    "--order-by", multiple=True, metavar="COLUMN", help="For example 'metrics.acc DESC'; repeatable."
)
@click.option(
    "--limit", type=click.IntRange(1), default=LIMIT, show_default=True, help="How many at the most."
)
@click.option(
    "--columns",
    metavar="NAMES",
    help="With commas: id, name, experiment, status, user, started, ended, duration, metrics.KEY, "
    "params.KEY, tags.KEY.",
)
@uri_option
@deleted_option
@all_option
@output_option
def list_(
    output: Output,
    names: Sequence[str],
    filter_string: str,
    order_by: Sequence[str],
    limit: int,
    columns: str | None,
    uri: str | None,
    view: str | None,
) -> None:
    """List runs, newest first unless ordered."""
    client = open_client(uri)
    experiments = {
        found.experiment_id: found.name
        for found in (
            [find_experiment(client, name) for name in names] if names else all_experiments(client, "all")
        )
    }
    found, has_more = _search(client, list(experiments), filter_string, order_by, limit, view or "active")
    for run in found:
        output.event("run", {"run": run, "experiment": experiments.get(run.info.experiment_id)})
    if found:
        wanted = _columns_of(columns) if columns else _default_columns(found)
        _print_table(output, found, wanted, experiments)
    else:
        output.note("there are no such runs")
    if has_more:
        output.note(f"there are more; see them with --limit {limit * 10}")
    output.summary({"runs": len(found), "has_more": has_more})


@runs.command(epilog=example("bridge runs show 0193f2a1b", "bridge runs show bold-otter --json"))
@_RUN
@uri_option
@output_option
def show(output: Output, run: str, uri: str | None) -> None:
    """Show one run: its state, params, last metrics, data sets, artifacts and tags."""
    from trackbridge.cli.finding_runs import find_run

    client = open_client(uri)
    found = find_run(client, run)
    experiment = client.get_experiment(found.info.experiment_id).name
    artifacts = list(islice(_files(client, found.info.run_id), ARTIFACTS_SHOWN + 1))
    facts = _facts(found, experiment, _parent(client, found), _local_folder(artifacts))
    for section, rows in (("Run", facts), *_sections(found, artifacts)):
        if rows:
            output.show(section, colour="cyan")
            width = max(len(label) for label, _ in rows)
            for label, value in rows:
                output.show(f"  {label:<{min(width, 40)}}  {value}")
    output.summary(
        {
            "run": found,
            "experiment": experiment,
            "artifacts": artifacts[:ARTIFACTS_SHOWN],
            "has_more_artifacts": len(artifacts) > ARTIFACTS_SHOWN,
        }
    )


@runs.command(epilog=example("bridge runs delete 0193f2a1b --yes"))
@_RUNS
@uri_option
@yes_option
@output_option
def delete(output: Output, runs: Sequence[str], uri: str | None, is_agreed: bool) -> None:
    """Delete runs; they can be restored."""
    from trackbridge.cli.finding_runs import find_run

    client = open_client(uri)
    found = [find_run(client, run) for run in runs]
    named = ", ".join(run.info.run_name or run.info.run_id for run in found)
    output.confirm(f"Delete {named}?", is_agreed=is_agreed)
    for run in found:
        client.delete_run(run.info.run_id)
        output.event("deleted", {"run_id": run.info.run_id})
        output.show(f"deleted {run.info.run_name}; undo with: bridge runs restore {run.info.run_id}")
    output.summary({"deleted": len(found)})


@runs.command(epilog=example("bridge runs restore 0193f2a1b"))
@_RUNS
@uri_option
@output_option
def restore(output: Output, runs: Sequence[str], uri: str | None) -> None:
    """Restore deleted runs."""
    from trackbridge.cli.finding_runs import find_run

    client = open_client(uri)
    for run in [find_run(client, run, view="deleted") for run in runs]:
        client.restore_run(run.info.run_id)
        output.event("restored", {"run_id": run.info.run_id})
        output.show(f"restored {run.info.run_name} {run.info.run_id}")
    output.summary({"restored": len(runs)})


def _search(
    client: Client, experiment_ids: list[str], text: str, order_by: Sequence[str], limit: int, view: str
) -> tuple[list[Run], bool]:
    """Return at most ``limit`` runs, and whether there are more."""
    from trackbridge.domain.search import parse_query

    parse_query(text, tuple(order_by))  # a wrong filter is an error even where there is nothing to search
    found: list[Run] = []
    token: str | None = None
    while experiment_ids:
        wanted = min(PAGE_RUNS, limit - len(found))
        page = client.search_runs(experiment_ids, text, view, wanted, list(order_by), token)
        found.extend(page)
        token = page.token
        if token is None or len(found) >= limit:
            break
    return found, token is not None


_ATTRIBUTES = ("id", "name", "experiment", "status", "user", "started", "ended", "duration")


def _columns_of(text: str) -> list[str]:
    columns = [name.strip() for name in text.split(",") if name.strip()]
    for name in columns:
        if name not in _ATTRIBUTES and name.partition(".")[0] not in ("metrics", "params", "tags"):
            raise click.BadParameter(
                f"{name!r} is none of {', '.join(_ATTRIBUTES)}, metrics.KEY, params.KEY, tags.KEY",
                param_hint="--columns",
            )
    return columns


def _default_columns(found: Sequence[Run]) -> list[str]:
    keys = dict.fromkeys(key for run in found for key in run.data.metrics if not key.startswith("system/"))
    metrics = [f"metrics.{key}" for key in keys][:METRICS_SHOWN]
    return ["id", "name", "status", "started", "duration", *metrics]


def _print_table(
    output: Output, found: Sequence[Run], columns: Sequence[str], experiments: dict[str, str]
) -> None:
    from trackbridge.cli.finding_runs import short_ids

    ids = short_ids(run.info.run_id for run in found)
    rows = [[_cell(run, column, ids, experiments) for column in columns] for run in found]
    output.table([_heading(column) for column in columns], rows)


def _heading(column: str) -> str:
    entity, dot, key = column.partition(".")
    if dot:
        return key if entity == "metrics" else column
    return f"{column.upper()} (UTC)" if column in ("started", "ended") else column.upper()


def _cell(run: Run, column: str, ids: dict[str, str], experiments: dict[str, str]) -> str:
    from trackbridge.api.display import format_duration, format_number, format_time

    info = run.info
    entity, dot, key = column.partition(".")
    if dot:
        value = getattr(run.data, entity).get(key)
        return "" if value is None else format_number(value) if entity == "metrics" else str(value)
    cells = {
        "id": lambda: ids[info.run_id],
        "name": lambda: info.run_name,
        "experiment": lambda: experiments.get(info.experiment_id, info.experiment_id),
        "status": lambda: _status(run),
        "user": lambda: info.user_id,
        "started": lambda: format_time(info.start_time),
        "ended": lambda: format_time(info.end_time),
        "duration": lambda: format_duration(info.start_time, info.end_time),
    }
    return cells[column]()


def _status(run: Run) -> str:
    is_deleted = run.info.lifecycle_stage.value == "deleted"
    return f"{run.info.status.value} (deleted)" if is_deleted else run.info.status.value


def _files(client: Client, run_id: str, path: str = "") -> Iterator[ArtifactInfo]:
    """Iterate over the files of a run; a folder is listed when its turn comes."""
    for info in client.list_artifacts(run_id, path):
        if info.is_dir:
            yield from _files(client, run_id, info.path)
        else:
            yield info


def _local_folder(files: Sequence[ArtifactInfo]) -> str:
    """Return the folder of this machine that the run's files lie in; empty when they lie elsewhere."""
    from urllib.parse import unquote, urlsplit

    for info in files:
        address = urlsplit(info.native_uri or "")
        path = unquote(address.path)
        if address.scheme == "file" and path.endswith(f"/{info.path}"):
            return path.removesuffix(f"/{info.path}")
    return ""


def _parent(client: Client, run: Run) -> str:
    """Return the name and the beginning of the id of the run in which this one is nested."""
    from trackbridge.cli.finding_runs import short_ids
    from trackbridge.domain.runs import TAG_PARENT
    from trackbridge.errors import NotFound, Rejected

    identifier = run.data.tags.get(TAG_PARENT)
    if not identifier:
        return ""
    try:
        name = client.get_run(identifier).info.run_name
    except (NotFound, Rejected):  # the tag is anybody's to set
        return f"{identifier} (not in this store)"
    return f"{name} {short_ids((identifier, run.info.run_id))[identifier]}"


def _facts(run: Run, experiment: str, parent: str, folder: str) -> list[tuple[str, str]]:
    from trackbridge.api.display import format_duration, format_time

    info = run.info
    facts = [
        ("name", info.run_name),
        ("id", info.run_id),
        ("native id", info.native_id or ""),
        ("page", info.native_url or ""),
        ("experiment", f"{experiment} ({info.experiment_id})"),
        ("parent", parent),
        ("status", _status(run)),
        ("user", info.user_id),
        ("started (UTC)", format_time(info.start_time)),
        ("ended (UTC)", format_time(info.end_time)),
        ("duration", format_duration(info.start_time, info.end_time)),
        ("artifacts", folder or info.artifact_uri),
    ]
    return [(label, value) for label, value in facts if value]


def _sections(run: Run, artifacts: Sequence[ArtifactInfo]) -> list[tuple[str, list[tuple[str, str]]]]:
    from trackbridge.api.display import format_number

    data = run.data
    files = [(info.path, _size(info.file_size)) for info in artifacts[:ARTIFACTS_SHOWN]]
    if len(artifacts) > ARTIFACTS_SHOWN:
        files.append(("...", "and more"))
    return [
        ("Params", sorted(data.params.items())),
        ("Metrics", [(key, format_number(value)) for key, value in sorted(data.metrics.items())]),
        ("Data sets", [_dataset(dataset) for dataset in run.inputs.dataset_inputs]),
        ("Artifacts", files),
        ("Tags", sorted(data.tags.items())),
    ]


def _dataset(dataset: DatasetInput) -> tuple[str, str]:
    from trackbridge.domain.search_evaluation import TAG_DATASET_CONTEXT

    context = dataset.tags.get(TAG_DATASET_CONTEXT)
    return dataset.name, f"{dataset.digest} ({context})" if context else dataset.digest


def _size(size: int | None) -> str:
    if size is None:
        return ""
    if size < 1000:
        return counted(size, "byte")
    return f"{size / 1e3:,.1f} kB" if size < 1e6 else f"{size / 1e6:,.1f} MB"
