"""Between ARM's models and the shape of MLflow's registry, in which ``registry`` keeps both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from trackbridge.domain.models import STAGES
from trackbridge_adapters._mlflow_rest.conversions import key_value_list, key_values
from trackbridge_adapters._mlflow_rest.wire import Json
from trackbridge_adapters.azureml.assets import changed_ms, created_ms, creator_of, properties_of, tags_of
from trackbridge_adapters.azureml.model_names import model_name

STAGE = "bridge.stage"
"""A tag of a version that MLflow's routes do not know."""
ALIAS = "bridge.alias."
"""Tags of a model: the version that an alias points at, and the alias, which may be long."""
GIVEN = "bridge.given"
"""A tag of a model: the highest number of a version that was deleted."""
BY_ARM = "by_arm"
"""Marks what ARM has answered."""


def alias_tag(alias: str) -> str:
    """Return the model's tag for an alias."""
    return ALIAS + hashlib.sha256(alias.encode()).hexdigest()[:32]


def is_by_arm(found: Mapping[str, Any]) -> bool:
    """Tell whether a model or a version is one that MLflow's routes do not know."""
    return bool(found.get(BY_ARM))


def version_json(found: Mapping[str, Any]) -> Json:
    """Return a version of ARM as MLflow's routes would give it."""
    properties, tags = properties_of(found), tags_of(found)
    stage = tags.pop(STAGE, STAGES[0])
    archived = bool(properties.get("isArchived"))
    if archived != (stage == STAGES[-1]):  # archived, or brought back, by somebody else since
        stage = STAGES[-1] if archived else STAGES[0]
    return {
        **_common(found),
        "name": _model_of(found),
        "version": str(found.get("name")),
        "source": str(properties.get("modelUri") or ""),
        "current_stage": stage,
        "tags": key_value_list(tags),
        "user_id": creator_of(found),
        "run_id": str(properties.get("jobName") or ""),
    }


def model_json(found: Mapping[str, Any]) -> Json:
    """Return a container of ARM as MLflow's routes would give a model."""
    return {
        **_common(found),
        "name": model_name(str(found.get("name"))),
        "tags": key_value_list(tags_of(found)),
    }


def with_aliases(model: Json) -> Json:
    """Return a model with those of its aliases that are kept in tags; of two places a tag counts."""
    tags = key_values(model.get("tags"))
    kept = [value.partition(" ") for key, value in tags.items() if key.startswith(ALIAS)]
    aliases = {str(item["alias"]): str(item["version"]) for item in model.get("aliases") or ()}
    aliases |= {alias: version for version, _, alias in kept}
    return {
        **model,
        "aliases": [{"alias": alias, "version": version} for alias, version in aliases.items()],
        "tags": key_value_list(without_own(tags)),
    }


def without_own(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags of a model without those that stand for something else."""
    return {key: value for key, value in tags.items() if key != GIVEN and not key.startswith(ALIAS)}


def _model_of(found: Mapping[str, Any]) -> str:
    """Return the name of a version's model, which stands in its id alone."""
    return model_name(str(found.get("id")).rpartition("/versions/")[0].rpartition("/")[2])


def _common(found: Mapping[str, Any]) -> Json:
    return {
        BY_ARM: True,
        "description": str(properties_of(found).get("description") or ""),
        "creation_timestamp": created_ms(found),
        "last_updated_timestamp": changed_ms(found),
    }
