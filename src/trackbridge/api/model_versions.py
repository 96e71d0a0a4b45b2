"""Registering what mlflow's clients name: an address of theirs to ours, and a version for each call.

::

    models:/m-<id>                 a logged model, by its id
    runs:/RUN/PATH                 the newest model of that name in the run, else what lies there
    bridge-models:/RUN/PATH        the files of a logged model
    bridge-artifacts:/RUN/PATH     any files of a run
    models:/NAME/VERSION, a path   as with ``Client.create_model_version``
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from trackbridge.api import logged_models, model_tags
from trackbridge.api.model_results import ModelVersion
from trackbridge.api.registration import find_payload, local_path_of
from trackbridge.delivery.registrations import registration_key
from trackbridge.domain.artifacts import artifact_uri, split_artifact_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.model_references import RunReference, parse_model_reference
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.domain.traces import is_model_id

if TYPE_CHECKING:
    from trackbridge.api.client import Client

# mlflow asks for what is no prompt with each search.
_NO_PROMPTS = re.compile(r"(?:\s+AND\s+)?tags?\.`mlflow\.prompt\.is_prompt` != 'true'\s*$", re.IGNORECASE)

TagsOf = Callable[[str], Mapping[str, str]]
"""Returns the tags of a run."""


def create_version(
    client: Client,
    name: str,
    source: str,
    *,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    description: str = "",
    model_id: str | None = None,
    tags_of: TagsOf | None = None,
) -> ModelVersion:
    """Register what lies at an address; as in mlflow, each call makes a version.

    Args:
        client: Whose registry it is.
        name: The model, which must exist.
        source: One of the forms above. The files of a path are logged to a run.
        run_id: The run that it came from, where the address does not say.
        tags: Tags of the version.
        description: What it is.
        model_id: The logged model that it is, where the address does not say.
        tags_of: Tells the tags of a run; None: the client does.

    Raises:
        NotFound: There is no such model, or nothing at the address.
        Rejected: The registry takes nothing from there.
    """
    tags_of = tags_of or (lambda run: client.get_run(run).data.tags)
    address, model_id = address_of(source, model_id, tags_of)
    texts = dict(tags or {})
    if model_id is not None:
        texts[model_tags.TAG_MODEL_ID] = model_id
    client.models.drained().get_model(name)
    path = local_path_of(address)
    if path is not None:
        client._check_path(path, name)
        address = client._log_path(path, name, run_id)
    payload = find_payload(address, client.reader, client.models)
    spec = ModelVersionSpec(
        name=name,
        source=payload.source,
        digest=payload.digest,
        run_id=run_id or payload.run_id,
        origin=payload.origin,
        description=description,
        tags=texts,
        datasets=payload.datasets,
    )
    key = f"{registration_key(payload.source, payload.digest)}:{mint_id()}"
    version = client.models.port.create_version(spec, key=key, reason=client.models.reason())
    client._keep_files(address, payload)
    return ModelVersion.of(version)


def without_prompts(filter_string: str | None) -> str:
    """Return a filter without mlflow's own condition that what is sought is no prompt; there are none."""
    return _NO_PROMPTS.sub("", filter_string or "").strip()


def address_of(source: str, model_id: str | None, tags_of: TagsOf) -> tuple[str, str | None]:
    """Return our address of what mlflow names, and the id of the logged model that it is.

    Raises:
        NotFound: There is no such logged model.
    """
    name = source.removeprefix("models:").strip("/")
    if source.startswith("models:") and is_model_id(name):  # the backend's own
        return artifact_uri(name), name
    if source.startswith("models:") and "/" not in name and "@" not in name:
        run_id = logged_models.run_id_of(name)
        summary = model_tags.summaries(tags_of(run_id)).get(name)
        if summary is None:
            raise logged_models.no_model(name)
        return artifact_uri(run_id, summary.path), name
    place = logged_models.split_location(source) or split_artifact_uri(source)
    if place is None and source.startswith("runs:"):
        reference = parse_model_reference(source)
        assert isinstance(reference, RunReference)  # by its scheme
        path = model_tags.newest_path(tags_of(reference.run_id), reference.path)
        place = (reference.run_id, path)
    if place is None or is_model_id(place[0]):
        return source, model_id
    known = model_tags.summaries(tags_of(place[0]))
    of_path = next((known_id for known_id, found in known.items() if found.path == place[1]), None)
    return artifact_uri(*place), model_id or of_path
