"""``bridge models``: registering models, and changing what is registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from trackbridge.cli import completions
from trackbridge.cli.naming_models import find_version, name_and_version, named_model
from trackbridge.cli.options import example, open_client, output_option, uri_option, yes_option
from trackbridge.cli.output import Output
from trackbridge.cli.pairs import pairs_of

Command = TypeVar("Command", bound=Callable[..., Any])

_STAGES = ("None", "Staging", "Production", "Archived")
_why_option = click.option("--why", default="", metavar="TEXT", help="The reason, kept in the history.")
_VERSION = click.argument("version", shell_complete=completions.models)
_MODEL = click.argument("model", shell_complete=completions.models)


@click.command(
    epilog=example(
        "bridge models register runs:/0193f2a1b/model wine",
        "bridge models register ./exported wine --description 'trained elsewhere'",
    )
)
@click.argument("source")
@click.argument("name")
@click.option("--description", default="", metavar="TEXT", help="What the version is.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of the version; repeatable.")
@_why_option
@uri_option
@output_option
def register(
    output: Output,
    source: str,
    name: str,
    description: str,
    tags: tuple[str, ...],
    why: str,
    uri: str | None,
) -> None:
    """Register a model under a name, which is made when there is none.

    SOURCE is runs:/RUN_ID/PATH, a version such as models:/wine/3, the path of a folder or file, which is
    logged to a new run first, or an address of the backend's own, such as
    azureml://registries/REGISTRY/models/NAME/versions/3. The same files are registered once.
    """
    client = open_client(uri)
    texts = pairs_of(tags, "--tag")
    made = client.register_model(source, name, tags=texts, description=description, why=why)
    output.show(f"registered {made.name}/{made.version}", colour="green")
    output.show(f"  promote it:  bridge models alias {made.name}/{made.version} champion")
    output.show(f"  try it:      bridge models serve models:/{made.name}/{made.version}")
    output.show(f"  deploy it:   bridge deploy models:/{made.name}/{made.version} --endpoint {made.name}")
    output.summary({"version": made})


@click.command(
    epilog=example("bridge models alias wine/3 champion", "bridge models alias wine champion --remove")
)
@_VERSION
@click.argument("alias")
@click.option("--remove", is_flag=True, help="Take the alias away; VERSION may then be the model's name.")
@_why_option
@uri_option
@output_option
def alias(output: Output, version: str, alias: str, remove: bool, why: str, uri: str | None) -> None:
    """Point an alias at a version, away from any other."""
    client = open_client(uri)
    if remove:
        name = named_model(version) or find_version(client, version).name
        client.delete_registered_model_alias(name, alias, why=why)
        output.show(f"{name} has no alias {alias} now")
        output.summary({"name": name, "alias": alias, "version": None})
        return
    found = find_version(client, version)
    client.set_registered_model_alias(found.name, alias, found.version, why=why)
    output.show(f"models:/{found.name}@{alias} is version {found.version} now")
    output.summary({"name": found.name, "alias": alias, "version": found.version})


@click.command(epilog=example("bridge models stage wine/3 Production --archive-existing"))
@_VERSION
@click.argument("stage", type=click.Choice(_STAGES, case_sensitive=False))
@click.option("--archive-existing", is_flag=True, help="Archive the other versions of that stage.")
@_why_option
@uri_option
@output_option
def stage(
    output: Output, version: str, stage: str, archive_existing: bool, why: str, uri: str | None
) -> None:
    """Set the stage of a version: None, Staging, Production or Archived."""
    client = open_client(uri)
    found = find_version(client, version)
    changed = client.transition_model_version_stage(
        found.name, found.version, stage, archive_existing, why=why
    )
    output.show(f"{found.name}/{found.version} is in stage {changed.stage} now")
    output.summary({"version": changed})


@click.command(epilog=example("bridge models approve wine/3 --why 'passed the review'"))
@_VERSION
@_why_option
@uri_option
@output_option
def approve(output: Output, version: str, why: str, uri: str | None) -> None:
    """Approve a version for deployment."""
    _set_approval(output, version, "approved", why, uri)


@click.command(epilog=example("bridge models reject wine/3 --why 'biased towards red'"))
@_VERSION
@_why_option
@uri_option
@output_option
def reject(output: Output, version: str, why: str, uri: str | None) -> None:
    """Reject a version: it is not to be deployed."""
    _set_approval(output, version, "rejected", why, uri)


def _set_approval(output: Output, version: str, approval: str, why: str, uri: str | None) -> None:
    client = open_client(uri)
    found = find_version(client, version)
    changed = client.set_model_version_approval(found.name, found.version, approval, why=why)
    output.show(f"{found.name}/{found.version} is {approval} now")
    output.summary({"version": changed})


@click.command(
    epilog=example("bridge models tag wine/3 reviewer=ana", "bridge models tag wine --remove reviewer")
)
@_MODEL
@click.argument("tags", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--remove", multiple=True, metavar="KEY", help="Delete a tag; repeatable.")
@_why_option
@uri_option
@output_option
def tag(
    output: Output, model: str, tags: tuple[str, ...], remove: tuple[str, ...], why: str, uri: str | None
) -> None:
    """Set or delete tags of a model, or of a version such as wine/3."""
    changes: dict[str, str | None] = {**pairs_of(tags, "TAGS"), **dict.fromkeys(remove)}
    if not changes:
        raise click.UsageError("name a tag to set, KEY=VALUE, or to delete, --remove KEY")
    client = open_client(uri)
    name, number = name_and_version(client, model)
    client.models.drained().set_tags(name, number, tags=changes, reason=client.models.reason(why))
    output.show(f"{_shown(name, number)}: {', '.join(sorted(changes))} changed")
    output.summary({"name": name, "version": number, "tags": changes})


@click.command(epilog=example("bridge models describe wine/3 'trained on the data of May'"))
@_MODEL
@click.argument("text")
@_why_option
@uri_option
@output_option
def describe(output: Output, model: str, text: str, why: str, uri: str | None) -> None:
    """Replace the description of a model, or of a version such as wine/3."""
    client = open_client(uri)
    name, number = name_and_version(client, model)
    if number is None:
        client.update_registered_model(name, text, why=why)
    else:
        client.update_model_version(name, number, text, why=why)
    output.show(f"{_shown(name, number)} is described now")
    output.summary({"name": name, "version": number, "description": text})


@click.command(epilog=example("bridge models delete wine/3 --yes", "bridge models delete wine"))
@_MODEL
@_why_option
@uri_option
@yes_option
@output_option
def delete(output: Output, model: str, why: str, uri: str | None, is_agreed: bool) -> None:
    """Delete a version, or a model with all its versions; the files stay with their runs."""
    client = open_client(uri)
    name, number = name_and_version(client, model)
    if number is None:
        client.get_registered_model(name)
        output.confirm(f"Delete the model {name} with all its versions?", is_agreed=is_agreed)
        client.delete_registered_model(name, why=why)
    else:
        output.confirm(f"Delete version {number} of {name}?", is_agreed=is_agreed)
        client.delete_model_version(name, number, why=why)
    output.show(f"deleted {_shown(name, number)}; its history stays: bridge models history {name}")
    output.summary({"name": name, "version": number})


def _shown(name: str, number: str | None) -> str:
    return name if number is None else f"{name}/{number}"
