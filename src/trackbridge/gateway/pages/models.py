"""What is registered: the pages of models, of one model and of two versions beside each other."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.api.client import Client
from trackbridge.api.model_results import ModelVersion, RegisteredModel
from trackbridge.domain.model_references import checked_model_name
from trackbridge.domain.models import STAGES, Approval, RegistryChange
from trackbridge.errors import BridgeError, NotFound, Unsupported
from trackbridge.gateway.pages.desk import Desk, address, part
from trackbridge.gateway.pages.layout import View
from trackbridge.operations.migrate.history import CarriedChange, carried_changes
from trackbridge.operations.model_payloads import mlmodel_at

MODELS_MAX = 50
VERSIONS_MAX = 100
CHANGES_MAX = 200
DIFF_LINES_MAX = 2000
SECTION = "models"


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model and its newest version, None where it has none."""

    model: RegisteredModel
    newest: ModelVersion | None


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the registered models; ``token`` asks for the next, None where there is none."""

    models: tuple[ListedModel, ...]
    token: str | None


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a model; ``registry`` is where it happened, empty for here."""

    change: RegistryChange
    registry: str = ""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A model, its versions, newest first, and what happened to it; ``untold`` says why that is unknown."""

    model: RegisteredModel
    versions: tuple[ModelVersion, ...]
    has_more: bool
    history: tuple[Happened, ...]
    untold: str = ""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A field of two versions: its group, its name, and both values; None where it has none."""

    group: str
    name: str
    left: str | None
    right: str | None

    @property
    def is_same(self) -> bool:
        """True when both have the same."""
        return self.left == self.right


class VersionDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions; ``mlmodel`` are the lines of a unified diff, ``notes`` say what is unknown."""

    left: ModelVersion
    right: ModelVersion
    differences: tuple[Difference, ...]
    mlmodel: tuple[str, ...]
    notes: tuple[str, ...]


# What is asked.


def list_models(client: Client, text: str, token: str | None) -> ModelList:
    """Return the models that fulfil a filter, each with its newest version, as ``bridge models list`` does.

    Raises:
        InvalidQuery: The filter is wrong.
    """
    found = client.search_registered_models(text, MODELS_MAX, page_token=token)
    listed = tuple(
        ListedModel(
            model=model, newest=max(client.get_latest_versions(model.name), key=_number, default=None)
        )
        for model in found
    )
    return ModelList(models=listed, token=found.token)


def model_facts(client: Client, name: str) -> ModelFacts:
    """Return a model with its versions and its history.

    Raises:
        NotFound: There is no such model.
    """
    model = client.get_registered_model(checked_model_name(name))
    quoted = name.replace("'", "''")
    versions = client.search_model_versions(f"name = '{quoted}'", VERSIONS_MAX)
    history, untold = _history(client, name)
    return ModelFacts(
        model=model,
        versions=tuple(versions),
        has_more=versions.token is not None,
        history=history,
        untold=untold,
    )


def _history(client: Client, name: str) -> tuple[tuple[Happened, ...], str]:
    """Return who changed what, here and elsewhere before, and what keeps that from being known."""
    untold, here = "", []
    try:
        here = client.get_model_history(name, max_results=CHANGES_MAX)
    except Unsupported as error:
        untold = str(error)
    carried = _carried(client, name)
    found = [Happened(change=change) for change in here]
    found += [Happened(change=item.change, registry=item.registry) for item in carried]
    return tuple(found), untold


def _carried(client: Client, name: str) -> list[CarriedChange]:
    found = carried_changes(client.models.port, client.reader.adapter.artifacts, name)
    return [item for item in found if item.registry != client.models.uri][:CHANGES_MAX]


def version_diff(client: Client, name: str, left: str, right: str) -> VersionDiff:
    """Return what is different between two versions: what is registered, their runs, their ``MLmodel``.

    Raises:
        NotFound: There is no such version.
    """
    checked_model_name(name)
    one, other = (client.get_model_version(name, number) for number in (left, right))
    notes: list[str] = []
    differences = [*_fields("registered", _registered(one), _registered(other))]
    differences += _fields("tag", one.tags, other.tags)
    runs = [_run_fields(client, version, notes) for version in (one, other)]
    for group in ("param", "metric"):
        differences += _fields(group, runs[0][group], runs[1][group])
    before, after = (_mlmodel(client, version, notes) for version in (one, other))
    lines = difflib.unified_diff(before, after, f"{name}/{left}", f"{name}/{right}", lineterm="")
    return VersionDiff(
        left=one,
        right=other,
        differences=tuple(differences),
        mlmodel=tuple(lines)[:DIFF_LINES_MAX],
        notes=tuple(notes),
    )


def _fields(group: str, left: Mapping[str, str], right: Mapping[str, str]) -> list[Difference]:
    names = dict.fromkeys((*left, *right))
    return [Difference(group=group, name=name, left=left.get(name), right=right.get(name)) for name in names]


def _registered(version: ModelVersion) -> dict[str, str]:
    origin = version.origin
    found = {
        "digest": version.digest or "",
        "source": version.source,
        "run": version.run_id or "",
        "description": version.description,
        "aliases": ", ".join(version.aliases),
        "stage": version.stage,
        "approval": version.approval.value,
        "trained on": ", ".join(version.datasets),
        "origin": f"{origin.name}/{origin.version} of {origin.registry}" if origin else "",
        "by": version.user,
    }
    return {name: value for name, value in found.items() if value}


def _run_fields(client: Client, version: ModelVersion, notes: list[str]) -> dict[str, dict[str, str]]:
    """Return params and last metrics of the run that made a version; what is not known is noted."""
    empty: dict[str, dict[str, str]] = {"param": {}, "metric": {}}
    if version.run_id is None:
        return empty
    try:
        data = client.get_run(version.run_id).data
    except BridgeError as error:
        notes.append(f"the run of version {version.version} is not known: {error}")
        return empty
    return {"param": dict(data.params), "metric": {key: repr(value) for key, value in data.metrics.items()}}


def _mlmodel(client: Client, version: ModelVersion, notes: list[str]) -> list[str]:
    try:
        found, artifacts = client.models.located(version)
        text = mlmodel_at(found.source, artifacts)
    except BridgeError as error:
        notes.append(f"the MLmodel of version {version.version} cannot be read: {error}")
        return []
    return (text or "").splitlines()


def _number(version: ModelVersion) -> int:
    return int(version.version) if version.version.isdecimal() else 0


# The pages.


def routes(desk: Desk) -> list[Route]:
    """Return the routes of these pages."""
    route = desk.pages.route
    return [
        route("/models", list_page),
        route("/models/diff", diff_page),
        route("/models/by-name/{name}", model_page),
    ]


def list_page(view: View) -> Response:
    """Answer with the registered models."""
    text = view.value("filter")
    found = list_models(view.client, text, view.value("token") or None)
    return view.page(
        "models.html",
        title="Models",
        section=SECTION,
        found=found,
        filter=text,
        next=address("/models", filter=text, token=found.token or ""),
        model_address=model_address,
        twin="bridge models list --json",
    )


def model_page(view: View) -> Response:
    """Answer with one model."""
    name = view.part("name")
    facts = model_facts(view.client, name)
    return view.page(
        "model.html",
        title=name,
        section=SECTION,
        facts=facts,
        stages=STAGES,
        approvals=[item.value for item in Approval],
        twin="bridge models show {0} --json; bridge models history {0} --json".format(shlex.quote(name)),
    )


def diff_page(view: View) -> Response:
    """Answer with two versions of a model beside each other."""
    name, left, right = (view.value(field) for field in ("name", "left", "right"))
    if not (left and right):
        raise NotFound("two versions are to be named", operation="models", hint="choose them on its page")
    found = version_diff(view.client, name, left, right)
    return view.page(
        "model_diff.html",
        title=f"{name}: version {left} and version {right}",
        section=SECTION,
        found=found,
        back=model_address(name),
        groups=("registered", "tag", "param", "metric"),
    )


def model_address(name: str) -> str:
    """Return the address of a model's page."""
    return f"/models/by-name/{part(name)}"
