"""``bridge models``: what is registered; ``model_changes`` changes it, ``model_files`` fetches its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trackbridge.cli import completions
from trackbridge.cli.model_changes import alias, approve, delete, describe, register, reject, stage, tag
from trackbridge.cli.model_files import download, serve
from trackbridge.cli.models_sync import diff, sync, where
from trackbridge.cli.naming_models import find_version, named_model, reference_of
from trackbridge.cli.options import example, open_client, output_option, uri_option
from trackbridge.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackbridge.api.model_results import ModelVersion, RegisteredModel
    from trackbridge.domain.models import RegistryChange
    from trackbridge.operations.migrate.history import CarriedChange

LIMIT = 50
VERSIONS_SHOWN = 20
CHANGES_SHOWN = 50


@click.group(epilog=example("bridge models list", "bridge models alias wine/3 champion"))
def models() -> None:
    """Register models; promote, describe, fetch and serve their versions.

    A version is written wine/3, wine@champion, wine/Production or wine/latest, with or without models:/.
    """


for _command in (
    alias,
    approve,
    delete,
    describe,
    register,
    reject,
    stage,
    tag,
    download,
    serve,
    diff,
    sync,
    where,
):
    models.add_command(_command)


@models.command(
    "list", epilog=example("bridge models list", "bridge models list --filter \"name LIKE 'wine%'\"")
)
@click.option("--filter", "filter_string", default="", metavar="TEXT", help="Only models that fulfil it.")
@click.option("--order-by", multiple=True, metavar="COLUMN", help="For example 'last_update_time DESC'.")
@click.option(
    "--limit", type=click.IntRange(1), default=LIMIT, show_default=True, help="How many at the most."
)
@uri_option
@output_option
def list_(output: Output, filter_string: str, order_by: tuple[str, ...], limit: int, uri: str | None) -> None:
    """List the registered models in order of name."""
    from trackbridge.api.display import format_time

    client = open_client(uri)
    found = client.search_registered_models(filter_string, limit, order_by)
    rows = []
    for model in found:
        newest = max(client.get_latest_versions(model.name), key=_number, default=None)
        output.event("model", {"model": model, "newest_version": newest})
        rows.append(
            (
                model.name,
                newest.version if newest else "",
                _aliases(model),
                format_time(model.last_update_time),
                model.description,
            )
        )
    if rows:
        output.table(("NAME", "NEWEST", "ALIASES", "CHANGED (UTC)", "DESCRIPTION"), rows)
    else:
        output.note("there are no such models; register one: bridge models register runs:/RUN_ID/model NAME")
    if found.token:
        output.note(f"there are more; see them with --limit {limit * 10}")
    output.summary({"models": len(found), "has_more": found.token is not None})


@models.command(epilog=example("bridge models show wine", "bridge models show wine@champion --json"))
@click.argument("model", shell_complete=completions.models)
@uri_option
@output_option
def show(output: Output, model: str, uri: str | None) -> None:
    """Show a model with its versions, or one version.

    MODEL is a name, or a version such as wine/3.
    """
    client = open_client(uri)
    name = named_model(model)
    if name is None:
        version = find_version(client, model)
        _print_facts(output, f"Version {version.version} of {version.name}", _version_facts(version))
        output.summary({"version": version})
        return
    found = client.get_registered_model(name)
    _print_facts(output, f"Model {name}", _model_facts(found))
    versions = client.search_model_versions(f"name = {_quoted(name)}", VERSIONS_SHOWN)
    if versions:
        output.show()
        _print_versions(output, versions)
    for version in versions:
        output.event("version", {"version": version})
    if versions.token:
        output.note(f"only the newest {VERSIONS_SHOWN} are shown")
    output.summary({"model": found, "versions": len(versions), "has_more": versions.token is not None})


@models.command(
    epilog=example("bridge models compare wine/1 wine/2", "bridge models compare wine/1 wine@champion --json")
)
@click.argument("left", shell_complete=completions.models)
@click.argument("right", shell_complete=completions.models)
@uri_option
@output_option
def compare(output: Output, left: str, right: str, uri: str | None) -> None:
    """Show what is different between two versions of a model.

    Compared are what is registered, the params and metrics of their runs, and their MLmodel.
    """
    from trackbridge.api.version_comparison import version_diff
    from trackbridge.errors import InvalidInput

    client = open_client(uri)
    one, other = find_version(client, left), find_version(client, right)
    if one.name != other.name:
        raise InvalidInput(
            f"{left} and {right} are versions of two models", hint="name two versions of one model"
        )
    found = version_diff(client, one.name, one.version, other.version)
    differences = [line for line in found.differences if not line.is_same]
    for line in differences:
        output.event("difference", {"difference": line})
    for note in found.notes:
        output.warn(note)
    if differences:
        headings = ("WHAT", "FIELD", f"{one.name}/{one.version}", f"{one.name}/{other.version}")
        rows = [(line.group, line.name, line.left or "", line.right or "") for line in differences]
        output.table(headings, rows)
    else:
        output.show("nothing that is known differs")
    for text in found.mlmodel:
        output.show(text)
    output.summary({"differences": len(differences), "mlmodel": found.mlmodel, "unknown": found.notes})


@models.command(epilog=example("bridge models history wine", "bridge models history wine/3 --json"))
@click.argument("model", shell_complete=completions.models)
@click.option(
    "--limit", type=click.IntRange(1), default=CHANGES_SHOWN, show_default=True, help="How many at the most."
)
@uri_option
@output_option
def history(output: Output, model: str, limit: int, uri: str | None) -> None:
    """Show who changed what, when and why, newest first, deleted models and versions included.

    MODEL is a name, or a version such as wine/3. What happened at other registries to a version
    that was copied here follows.
    """
    from trackbridge.errors import Unsupported

    client = open_client(uri)
    name, number = _name_and_number(model)
    carried = _carried(uri, name, number)[:limit]
    changes: Sequence[RegistryChange] = ()
    try:
        changes = client.get_model_history(name, number, max_results=limit)
    except Unsupported:
        if not carried:
            raise
    for change in changes:
        output.event("change", {"change": change})
    for item in carried:
        output.event("carried", {"registry": item.registry, "change": item.change})
    rows = [_change_row(change, "") for change in changes]
    rows += [_change_row(item.change, item.registry) for item in carried]
    if rows:
        columns = ("WHEN (UTC)", "VERSION", "WHAT", "FROM", "TO", "WHO", "WHY", "WHERE")
        output.table(columns if carried else columns[:-1], rows if carried else [row[:-1] for row in rows])
    else:
        output.note(f"nothing is known of {model}")
    output.summary({"changes": len(changes), "carried": len(carried)})


def _carried(uri: str | None, name: str, number: str | None) -> list[CarriedChange]:
    from trackbridge.operations.migrate.history import carried_changes
    from trackbridge.operations.model_source import open_registry
    from trackbridge.operations.opening import open_place
    from trackbridge.resolve.config import Settings

    settings = Settings()
    registry = open_registry(uri, settings=settings)
    artifacts = open_place(uri, settings=settings).adapter.artifacts
    found = carried_changes(registry.registry, artifacts, name, number)
    return [item for item in found if item.registry != registry.uri]


def _change_row(change: RegistryChange, where: str) -> tuple[str, ...]:
    from trackbridge.api.display import format_time

    return (
        format_time(change.time),
        change.version or "",
        change.what,
        "" if change.before is None else change.before,
        "" if change.after is None else change.after,
        change.user,
        change.why,
        where,
    )


def _name_and_number(model: str) -> tuple[str, str | None]:
    """Return a model and a version's number, without asking for what may be deleted by now."""
    name = named_model(model)
    if name is not None:
        return name, None
    reference = reference_of(model)
    if reference.version is None:
        raise click.UsageError("the history of a version is asked for by its number, as in wine/3")
    return reference.name, reference.version


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _number(version: ModelVersion) -> int:
    return int(version.version) if version.version.isdecimal() else 0


def _aliases(model: RegisteredModel) -> str:
    return ", ".join(f"{alias}: {version}" for alias, version in sorted(model.aliases.items()))


def _print_versions(output: Output, versions: list[ModelVersion]) -> None:
    from trackbridge.api.display import format_time

    rows = [
        (
            item.version,
            ", ".join(item.aliases),
            item.stage if item.stage != "None" else "",
            item.approval.value,
            format_time(item.creation_time),
            item.user,
            item.run_id or "",
            item.description,
        )
        for item in versions
    ]
    columns = ("VERSION", "ALIASES", "STAGE", "APPROVAL", "REGISTERED (UTC)", "BY", "RUN", "DESCRIPTION")
    output.table(columns, rows)


def _print_facts(output: Output, title: str, facts: list[tuple[str, str]]) -> None:
    output.show(title, colour="cyan")
    shown = [(label, value) for label, value in facts if value]
    width = max((len(label) for label, _ in shown), default=0)
    for label, value in shown:
        output.show(f"  {label:<{min(width, 40)}}  {value}")


def _model_facts(model: RegisteredModel) -> list[tuple[str, str]]:
    from trackbridge.api.display import format_time

    return [
        ("description", model.description),
        ("aliases", _aliases(model)),
        ("registered (UTC)", format_time(model.creation_time)),
        ("changed (UTC)", format_time(model.last_update_time)),
        *((f"tag {key}", value) for key, value in sorted(model.tags.items())),
    ]


def _version_facts(version: ModelVersion) -> list[tuple[str, str]]:
    from trackbridge.api.display import format_time

    origin = version.origin
    return [
        ("description", version.description),
        ("aliases", ", ".join(version.aliases)),
        ("stage", version.stage),
        ("approval", version.approval.value),
        ("run", version.run_id or ""),
        ("trained on", ", ".join(version.datasets)),
        ("origin", f"{origin.name}/{origin.version} of {origin.registry}" if origin else ""),
        ("source", version.source),
        ("digest", version.digest or ""),
        ("registered (UTC)", f"{format_time(version.creation_time)} by {version.user or 'unknown'}"),
        ("changed (UTC)", format_time(version.last_update_time)),
        *((f"tag {key}", value) for key, value in sorted(version.tags.items())),
    ]
