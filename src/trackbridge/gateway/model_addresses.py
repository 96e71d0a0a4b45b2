"""Where clients find the files of registered versions, and what the addresses mean that they register.

::

    told as source                                  the version is
    models:/NAME/VERSION                            a copy of another one of this registry
    models:/m-<id>                                  a logged model
    mlflow-artifacts:/<experiment>/<run>/…          what else a run logged
    mlflow-artifacts:/registered-models/NAME/…      where only the backend's own addresses lead
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackbridge.api import model_tags
from trackbridge.api.model_results import ModelVersion
from trackbridge.api.registration import local_path_of
from trackbridge.domain.artifacts import ARTIFACT_SCHEME, artifact_uri, split_artifact_uri
from trackbridge.domain.traces import is_model_id
from trackbridge.errors import NotFound
from trackbridge.gateway.addresses import Kind, Place, place_of, version_uri_of
from trackbridge.gateway.errors import Refused, invalid

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway


def our_source(gateway: Gateway, source: str, run_id: str | None, model_id: str | None) -> str:
    """Return an address that a client registers as one of ours.

    Args:
        gateway: Where it is registered.
        source: The address.
        run_id: The run that it belongs to, where the client says so.
        model_id: The logged model that it is, where the client says so.

    Raises:
        Refused: It is a path of this machine, or does not belong to the run or the model that is named, or
            there is no such.
        InvalidInput: It climbs, or is else one that no file can have.
        NotFound: Nobody has files there.
    """
    place = place_of(source)
    if place is not None and place.kind is Kind.RUN:
        source = artifact_uri(place.owner, place.path)
    elif place is not None and place.kind is Kind.MODEL and not place.path:
        source = f"models:/{place.owner}"
    elif place is not None:
        raise NotFound(
            f"no version can be registered from {source[:200]!r}",
            operation="models",
            hint="name the files of a run, or a logged model as a whole",
        )
    elif local_path_of(source) is not None:  # a client must not name files of the gateway's machine
        raise invalid(
            f"Invalid model version source: '{source}'. A path of the server's machine cannot be registered; "
            "log the model to a run, and register what that has."
        )
    _check_owner(gateway, source, run_id, model_id)
    return source


def _check_owner(gateway: Gateway, source: str, run_id: str | None, model_id: str | None) -> None:
    """Refuse, as mlflow's server does, a run or a model that is not that of the source."""
    name = source.removeprefix("models:").strip("/")
    if source.startswith("models:"):
        if name.startswith("m-") and "/" not in name and "@" not in name:
            _check_model(gateway, source, name, model_id)
        return
    place = split_artifact_uri(source.replace("runs:", f"{ARTIFACT_SCHEME}:", 1))
    if place is None:
        return
    if model_id is not None:
        raise _other_owner(source, "model_id")
    if place[0] != run_id or ".." in place[1].split("/"):
        raise _other_owner(source, "run_id")
    try:
        gateway.documents.experiment_of(run_id)
    except (NotFound, Refused) as error:
        raise _other_owner(source, "run_id") from error


def _check_model(gateway: Gateway, source: str, name: str, model_id: str | None) -> None:
    if model_id not in (None, name):
        raise _other_owner(source, "model_id")
    try:
        gateway.documents.place(name)
    except NotFound as error:
        raise _other_owner(source, "model_id") from error


def _other_owner(source: str, parameter: str) -> Refused:
    return invalid(
        f"Invalid model version source: '{source}'. The {parameter} request parameter must identify the "
        "resource that contains the source."
    )


def told_source(gateway: Gateway, version: ModelVersion) -> str:
    """Return what a version was registered from, as a client would have said it."""
    origin = version.origin
    if origin is not None and origin.registry == gateway.client.models.uri:
        return f"models:/{origin.name}/{origin.version}"
    model_id = _model_id(version)
    if model_id is not None:
        return f"models:/{model_id}"
    place, experiment_id = _place(gateway, version)
    if place is None:
        return version_uri_of(version.name, version.version)
    return Place(experiment_id, *place).uri


def download_uri(gateway: Gateway, version: ModelVersion) -> str:
    """Return where the files of a version are for clients."""
    place, experiment_id = _place(gateway, version)
    if place is None:
        return version_uri_of(version.name, version.version)
    if is_model_id(place[0]):
        return Place(experiment_id, *place, Kind.MODEL).uri
    # What a logged model has is not among the files of its run.
    model = model_tags.at(gateway.documents.tags_of(place[0]), place[1])
    return Place(experiment_id, *place).uri if model is None else Place(experiment_id, *model, Kind.MODEL).uri


def _place(gateway: Gateway, version: ModelVersion) -> tuple[tuple[str, str] | None, str]:
    """Return the run that has the files of a version, their path, and its experiment; None: no run has."""
    found, _ = gateway.client.models.located(version)
    place = split_artifact_uri(found.source)
    experiment_id = None if place is None else _experiment_of(gateway, place[0])
    return (None, "") if experiment_id is None else (place, experiment_id)


def _model_id(version: ModelVersion) -> str | None:
    """Return the logged model that a version is."""
    place = split_artifact_uri(version.source)
    if place is not None and is_model_id(place[0]):  # one of the backend's own
        return place[0] if not place[1] else None
    return version.tags.get(model_tags.TAG_MODEL_ID)


def _experiment_of(gateway: Gateway, owner: str) -> str | None:
    """Return the experiment of a run or of a logged model, None when there is no such any more."""
    try:
        return gateway.documents.experiment_of(owner)
    except (NotFound, Refused):
        return None
