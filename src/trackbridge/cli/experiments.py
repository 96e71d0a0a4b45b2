"""``bridge experiments``."""

from __future__ import annotations

import click

from trackbridge.cli import completions
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
from trackbridge.cli.output import Output


@click.group(epilog=example("bridge experiments list", "bridge experiments show wine"))
def experiments() -> None:
    """List, show, delete and restore experiments."""


@experiments.command("list", epilog=example("bridge experiments list --all"))
@uri_option
@deleted_option
@all_option
@output_option
def list_(output: Output, uri: str | None, view: str | None) -> None:
    """List the experiments, newest first."""
    from trackbridge.api.display import format_time

    found = all_experiments(open_client(uri), view or "active")
    for experiment in found:
        output.event("experiment", _fields(experiment))
    rows = [
        (item.name, item.experiment_id, item.lifecycle_stage.value, format_time(item.creation_time))
        for item in found
    ]
    if rows:
        output.table(("NAME", "ID", "STATE", "CREATED (UTC)"), rows)
    else:
        output.note("there are no experiments; the first run makes one")
    output.summary({"experiments": len(found)})


@experiments.command(epilog=example("bridge experiments show wine"))
@click.argument("name_or_id", shell_complete=completions.experiments)
@uri_option
@output_option
def show(output: Output, name_or_id: str, uri: str | None) -> None:
    """Show one experiment."""
    from trackbridge.api.client import ViewType
    from trackbridge.api.display import format_time

    client = open_client(uri)
    found = find_experiment(client, name_or_id)
    page = client.search_runs([found.experiment_id], run_view_type=ViewType.ALL, max_results=1000)
    count = f"{len(page):,}" + ("" if page.token is None else " or more")
    facts = [
        ("Name", found.name),
        ("Id", found.experiment_id),
        ("State", found.lifecycle_stage.value),
        ("Created (UTC)", format_time(found.creation_time)),
        ("Changed (UTC)", format_time(found.last_update_time)),
        ("Artifacts", found.artifact_location),
        ("Runs", count),
        *((f"Tag {key}", value) for key, value in sorted(found.tags.items())),
    ]
    for label, value in facts:
        if value:
            output.show(f"{label:<14} {value}")
    output.summary({**_fields(found), "runs": len(page), "has_more_runs": page.token is not None})


@experiments.command(epilog=example("bridge experiments delete wine --yes"))
@click.argument("name_or_id", shell_complete=completions.experiments)
@uri_option
@yes_option
@output_option
def delete(output: Output, name_or_id: str, uri: str | None, is_agreed: bool) -> None:
    """Delete an experiment and its runs; they can be restored."""
    client = open_client(uri)
    found = find_experiment(client, name_or_id)
    output.confirm(f"Delete the experiment {found.name!r} and its runs?", is_agreed=is_agreed)
    client.delete_experiment(found.experiment_id)
    output.show(f"deleted {found.name}; undo with: bridge experiments restore {found.experiment_id}")
    output.summary({"experiment_id": found.experiment_id, "name": found.name, "deleted": True})


@experiments.command(epilog=example("bridge experiments restore wine"))
@click.argument("name_or_id", shell_complete=completions.experiments)
@uri_option
@output_option
def restore(output: Output, name_or_id: str, uri: str | None) -> None:
    """Restore a deleted experiment, with the runs that were deleted with it."""
    client = open_client(uri)
    found = find_experiment(client, name_or_id)
    client.restore_experiment(found.experiment_id)
    output.show(f"restored {found.name}")
    output.summary({"experiment_id": found.experiment_id, "name": found.name, "deleted": False})


def _fields(experiment: object) -> dict[str, object]:
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(experiment)
    return fields
