"""Between MLflow's registry and our values. What MLflow has no field for is kept in hidden tags."""

from __future__ import annotations

import getpass
import hashlib
from collections.abc import Mapping

import msgspec

from trackbridge.domain.models import (
    Approval,
    ChangeReason,
    ModelVersion,
    ModelVersionSpec,
    Origin,
    RegisteredModel,
)
from trackbridge.errors import Rejected
from trackbridge_adapters._mlflow_rest.conversions import key_values, milliseconds
from trackbridge_adapters._mlflow_rest.wire import Json

KEY, DIGEST, SOURCE, RUN = "bridge.key", "bridge.digest", "bridge.source", "bridge.run_id"
ORIGIN, DATASETS, APPROVAL, USER = "bridge.origin", "bridge.datasets", "bridge.approval", "bridge.user"
DELETED_KEY = "bridge.deleted_key."
"""Tags of a model: which keys of deleted versions stay taken. The key is hashed, as it may be long."""

_HIDDEN = frozenset({KEY, DIGEST, SOURCE, RUN, ORIGIN, DATASETS, APPROVAL, USER})
KEY_CHARS_MAX = 1000


def key_tag(key: str) -> str:
    """Return how a key is written: as it is, or its digest when it is long."""
    return key if len(key) <= KEY_CHARS_MAX else hashlib.sha256(key.encode()).hexdigest()


def deleted_key_tag(written: str) -> str:
    """Return the model's tag for the written key of a deleted version."""
    return DELETED_KEY + hashlib.sha256(written.encode()).hexdigest()[:32]


def version_tags(spec: ModelVersionSpec, key: str, reason: ChangeReason) -> dict[str, str]:
    """Return the tags of a new version: the user's, and those that hold what MLflow has no field for."""
    tags = {
        **spec.tags,
        KEY: key_tag(key),
        SOURCE: spec.source,
        DIGEST: spec.digest,
        USER: reason.user or _own_name(),
    }
    if spec.run_id is not None:
        tags[RUN] = spec.run_id
    if spec.origin is not None:
        tags[ORIGIN] = msgspec.json.encode(spec.origin).decode()
    if spec.datasets:
        tags[DATASETS] = msgspec.json.encode(spec.datasets).decode()
    return tags


def version_of(found: Json, *, aliases: Mapping[str, str], run_id: str | None, source: str) -> ModelVersion:
    """Return a version.

    Args:
        found: As the server answered.
        aliases: Of the whole model, alias to version.
        run_id: Ours, of the run that MLflow names, where we have not noted another.
        source: Where the payload lies, where we have not noted it.
    """
    tags = key_values(found.get("tags"))
    version = str(found["version"])
    origin = tags.get(ORIGIN)
    return ModelVersion(
        name=str(found["name"]),
        version=version,
        source=tags.get(SOURCE, source),
        digest=tags.get(DIGEST),
        run_id=tags.get(RUN, run_id if SOURCE not in tags else None),
        origin=None if origin is None else msgspec.json.decode(origin, type=Origin),
        description=str(found.get("description") or ""),
        stage=str(found.get("current_stage") or "None"),
        approval=Approval(tags.get(APPROVAL, Approval.PENDING.value)),
        aliases=tuple(sorted(alias for alias, of in aliases.items() if of == version)),
        tags=shown_tags(tags),
        datasets=tuple(msgspec.json.decode(tags[DATASETS], type=list[str])) if DATASETS in tags else (),
        creation_time=milliseconds(found.get("creation_timestamp")),
        last_update_time=milliseconds(found.get("last_updated_timestamp")),
        user=tags.get(USER, str(found.get("user_id") or "")),
    )


def model_of(found: Json) -> RegisteredModel:
    """Return a model."""
    return RegisteredModel(
        name=str(found["name"]),
        description=str(found.get("description") or ""),
        aliases=aliases_of(found),
        tags=shown_tags(key_values(found.get("tags"))),
        creation_time=milliseconds(found.get("creation_timestamp")),
        last_update_time=milliseconds(found.get("last_updated_timestamp")),
    )


def aliases_of(found: Json) -> dict[str, str]:
    """Return the aliases of a model, each with its version."""
    return {str(item["alias"]): str(item["version"]) for item in found.get("aliases") or ()}


def shown_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags without our book-keeping."""
    return {
        key: value for key, value in tags.items() if key not in _HIDDEN and not key.startswith(DELETED_KEY)
    }


def refuse_texts(
    text: str, tags: Mapping[str, str], *, adapter: str, key_chars_max: int, value_chars_max: int
) -> None:
    """Refuse what a server would cut or change.

    Raises:
        Rejected: A text or a tag holds what is no character, or a tag is empty or too long.
    """
    for part in (text, *tags, *tags.values()):
        if "\0" in part or not _is_unicode(part):
            raise Rejected("a name or a tag holds a NUL or half a character", adapter=adapter)
    for key, value in tags.items():
        if not key or len(key) > key_chars_max or len(value) > value_chars_max:
            raise Rejected(
                f"tag {key[:100]!r} is empty or too long: a name has 1 to {key_chars_max}, "
                f"a value at most {value_chars_max:,} characters",
                adapter=adapter,
                hint="shorten it, or log it as an artifact",
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
