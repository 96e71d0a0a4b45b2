"""What is registered: the pages of models, of one model and of two versions beside each other."""

from __future__ import annotations

import shlex

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.api.client import Client
from trackbridge.api.model_results import ModelVersion, RegisteredModel
from trackbridge.api.version_comparison import GROUPS, version_diff
from trackbridge.domain.model_references import checked_model_name
from trackbridge.domain.models import STAGES, Approval, RegistryChange
from trackbridge.errors import NotFound, Unsupported
from trackbridge.gateway.pages.desk import Desk, address, part
from trackbridge.gateway.pages.layout import View
from trackbridge.gateway.pages.markdown import rendered
from trackbridge.operations.migrate.history import CarriedChange, carried_changes

MODELS_MAX = 50
VERSIONS_MAX = 100
CHANGES_MAX = 200
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
        description=rendered(facts.model.description),
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
        groups=GROUPS,
        twin=f"bridge models compare {shlex.quote(f'{name}/{left}')} {shlex.quote(f'{name}/{right}')} --json",
    )


def model_address(name: str) -> str:
    """Return the address of a model's page."""
    return f"/models/by-name/{part(name)}"
