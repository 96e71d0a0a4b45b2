"""What the kinds of assets are: which files they have, and what of them is checked when one is made."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from trackbridge.testing.emulators.azureml.assets import Kind
from trackbridge.testing.emulators.azureml.core import Cloud, Refused
from trackbridge.testing.emulators.azureml.places import place_of, settled

MODEL_TYPES = ("custom_model", "mlflow_model", "triton_model")
DATA_TYPES = ("uri_file", "uri_folder", "mltable")
FILES_MAX = 1_500
"""Of a model's version: resource-limits-capacity.md."""


def _model(cloud: Cloud, scope_id: str, given: dict[str, Any]) -> dict[str, Any]:
    kind = _one_of("modelType", given.get("modelType") or "custom_model", MODEL_TYPES)
    uri = settled(cloud, scope_id, _needed(given, "modelUri"))
    place = place_of(cloud, scope_id, uri)
    files = place.blobs(cloud) if place else []
    if len(files) > FILES_MAX:
        message = f"The model has {len(files)} files; a version can have {FILES_MAX}"
        raise Refused(400, "UserError", message)
    is_mlflow = kind == "mlflow_model" and place is not None
    content = place.read(cloud, "MLmodel") if is_mlflow and place else None
    flavors = flavors_of(content) if content else {}
    return given | {"modelType": kind, "modelUri": uri, "flavors": given.get("flavors") or flavors}


def flavors_of(content: bytes) -> dict[str, Any]:
    """Return the flavors that a file ``MLmodel`` names, as a version tells them; none of a damaged one."""
    yaml: Any = import_module("yaml")

    try:
        found = yaml.safe_load(content)
    except yaml.YAMLError:
        return {}
    flavors = found.get("flavors") if isinstance(found, dict) else None
    if not isinstance(flavors, dict):
        return {}
    return {
        str(name): {"data": {str(key): str(value) for key, value in (data or {}).items()}}
        for name, data in flavors.items()
    }


def _data(cloud: Cloud, scope_id: str, given: dict[str, Any]) -> dict[str, Any]:
    kind = _one_of("dataType", given.get("dataType") or "uri_folder", DATA_TYPES)
    return given | {"dataType": kind, "dataUri": settled(cloud, scope_id, _needed(given, "dataUri"))}


def _code(cloud: Cloud, scope_id: str, given: dict[str, Any]) -> dict[str, Any]:
    uri = _needed(given, "codeUri").partition("?")[0]
    # A signature is for the sender alone, and numbers come as such (azure-ai-ml's hash_version).
    tags = {key: str(value) for key, value in (given.get("properties") or {}).items()}
    return given | {"codeUri": uri, "properties": tags}


def _environment(cloud: Cloud, scope_id: str, given: dict[str, Any]) -> dict[str, Any]:
    if ("image" in given) == ("build" in given):
        raise Refused(400, "UserError", "An environment needs either image or build")
    return {"osType": "Linux", "environmentType": "UserCreated"} | given


def _needed(given: dict[str, Any], member: str) -> str:
    if not given.get(member):
        raise Refused(400, "UserError", f"{member} is required")
    return str(given[member])


def _one_of(member: str, value: str, known: tuple[str, ...]) -> str:
    for one in known:
        if one.replace("_", "") == value.lower().replace("_", ""):
            return one
    raise Refused(400, "UserError", f"{member} {value!r} is not one of {', '.join(known)}")


MODELS = Kind("models", ("modelUri", "modelType"), _model)
DATA = Kind("data", ("dataUri", "dataType"), _data)
CODES = Kind("codes", ("codeUri",), _code)
ENVIRONMENTS = Kind("environments", ("image", "condaFile", "build"), _environment)
KINDS = {kind.plural: kind for kind in (MODELS, DATA, CODES, ENVIRONMENTS)}
