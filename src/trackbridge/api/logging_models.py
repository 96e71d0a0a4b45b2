"""Logging a model: save it by its flavor, log its files, say what was logged, register it if asked.

Everything goes through the journal, in this order: files, tag, data set, registration; so nothing here waits
for a backend, and a program that is killed in between leaves a run without the model or without the
registration, never a registered model without its files.

A name that is used again within a run means the new model from then on, as in mlflow. Only where that would
take its files from a registered version, or mix them with files of another model, the new one goes beside it:
``model-0123456789ab``, after its digest; the result, and a warning, say so.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.api import flavors, logging_artifacts
from trackbridge.api.baselines import baseline_of
from trackbridge.api.model_results import ModelInfo
from trackbridge.api.recorder import LoggedModel, RunRecorder, now_ms
from trackbridge.api.registration import dataset_names
from trackbridge.api.values import as_text, checked_key, checked_mapping
from trackbridge.delivery.registrations import registration_key
from trackbridge.domain.artifacts import artifact_uri, checked_path
from trackbridge.domain.baselines import BASELINE_FILE
from trackbridge.domain.model_digest import MLMODEL, ModelDigest, files_of, needs_bytes
from trackbridge.domain.model_references import RunReference, checked_model_name
from trackbridge.domain.records import ModelRegistered
from trackbridge.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from trackbridge.api.registry_binding import RegistryBinding

DEFAULT_NAME = "model"
TAG_HISTORY = "mlflow.log-model.history"
SIGNATURE_ROWS = 100
"""How many rows of the training data a signature is inferred from."""
PLACE_DIGITS = 12
"""How many digits of its digest tell a model from another one of its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLogging:
    """How a model is to be logged; see ``trackbridge.log_model``."""

    name: str = DEFAULT_NAME
    flavor: str | None = None
    input_example: Any = None
    signature: Any = None
    training_data: Any = None
    predictions: Any = None
    requirements: Sequence[str] | str | os.PathLike[str] | None = None
    registered_model_name: str | None = None
    tags: Mapping[str, object] | None = None
    description: str = ""
    options: Mapping[str, Any] | None = None


def log(model: Any, how: ModelLogging, recorder: RunRecorder, binding: RegistryBinding) -> ModelInfo:
    """Log a model to a run; see ``trackbridge.log_model``."""
    _check(model, how, binding)
    summary = None if how.training_data is None else baseline_of(how.training_data, how.predictions)
    with ExitStack() as temporary:
        if isinstance(model, str | os.PathLike):
            path, description = _existing(Path(model), how), None
        else:
            folder = Path(temporary.enter_context(tempfile.TemporaryDirectory(prefix="trackbridge-")))
            path = folder / "model"
            description = _save(model, path, how, recorder.run_id)
        baseline = None if summary is None else _encoded({**summary, **_inputs_named(description)})
        if how.registered_model_name is not None:
            binding.check_files(len(_members(path, baseline)))
        how = replace(how, name=_place(path, how, baseline, recorder))
        digest = _log_files(path, how.name, baseline, recorder)
        recorder.models[how.name] = LoggedModel(
            digest, _members(path, baseline), how.registered_model_name is not None
        )
        info = _info(path, description, how, recorder.run_id, digest)
    _log_history(info, recorder)
    if how.training_data is not None:
        from trackbridge.api.datasets import dataset_input

        recorder.input(dataset_input(how.training_data, context="training"))
    if how.registered_model_name is not None:
        _register(how, digest, recorder, binding)
    return info


def _check(model: Any, how: ModelLogging, binding: RegistryBinding) -> None:
    """Refuse at the call what could not be delivered."""
    checked_path(checked_key(how.name, kind="model"))
    if how.predictions is not None and how.training_data is None:
        raise InvalidInput(
            "predictions are those for the training data, which is not given",
            operation="log_model",
            hint="give training_data, too",
        )
    if how.registered_model_name is None:
        if how.tags or how.description:
            raise InvalidInput(
                "tags and description belong to a registered version",
                operation="log_model",
                hint="name the model to register: registered_model_name='wine'; a run is tagged by set_tag",
            )
        return
    checked_model_name(how.registered_model_name)
    _texts(how.tags)
    as_text(how.description or "", key="description", kind="model")
    _ = binding.port  # raises Unsupported without a registry
    is_folder = isinstance(model, str | os.PathLike)  # an object is saved in the format
    is_mlflow = not is_folder or (Path(model) / MLMODEL).is_file()
    binding.check_name(how.registered_model_name, is_mlflow=is_mlflow)


def _existing(path: Path, how: ModelLogging) -> Path:
    if not path.exists():
        raise NotFound(
            f"there is no model at {path}",
            operation="log_model",
            hint="name a folder or a file, or pass the object",
        )
    given = [how.flavor, how.input_example, how.signature, how.requirements]
    if how.options or any(item is not None for item in given):
        raise InvalidInput(
            "a folder or a file is logged as it is: no flavor, example, signature or requirements go with it",
            operation="log_model",
            hint="leave them out, or pass the model object itself",
        )
    return path


def _save(model: Any, folder: Path, how: ModelLogging, run_id: str) -> Any:
    flavor = how.flavor or flavors.flavor_of(model)
    options = dict(how.options or {})
    if how.input_example is not None:
        options["input_example"] = how.input_example
    signature = how.signature
    if signature is None and how.input_example is None and how.training_data is not None:
        signature = _inferred_signature(model, how.training_data)
    if signature is not None:
        options["signature"] = signature
    return flavors.save(
        model,
        folder,
        flavor=flavor,
        run_id=run_id,
        name=how.name,
        requirements=how.requirements,
        options=options,
    )


def _inferred_signature(model: Any, data: Any) -> Any:
    """Return the signature of a model that says which columns of the data it takes; else None."""
    inputs = _inputs_of(model, data)
    if inputs is None or not hasattr(model, "predict"):
        return None
    return flavors.infer_signature(inputs, model.predict(inputs))


def _inputs_named(description: Any) -> dict[str, Any]:
    """Return the names of what a model takes, in order, where its signature has them: rows come without."""
    schema = getattr(getattr(description, "signature", None), "inputs", None)
    if schema is None or not schema.has_input_names():
        return {}
    return {"inputs": [str(name) for name in schema.input_names()]}


def _inputs_of(model: Any, data: Any) -> Any:
    """Return some rows of what the model was trained on, without the target where that is beside it."""
    if isinstance(data, Mapping) or not hasattr(data, "shape"):
        return None
    names = getattr(model, "feature_names_in_", None)
    columns = [str(column) for column in getattr(data, "columns", [])]
    if names is not None and columns and set(names) <= set(columns):
        return data[list(names)][:SIGNATURE_ROWS]
    count = getattr(model, "n_features_in_", None)
    return data[:SIGNATURE_ROWS] if len(data.shape) == 2 and data.shape[1] == count else None


def _encoded(baseline: dict[str, Any]) -> bytes:
    return json.dumps(baseline, ensure_ascii=False, allow_nan=False, indent=1).encode()


def _members(path: Path, baseline: bytes | None) -> frozenset[str]:
    return frozenset([name for name, _ in files_of(path)] + ([] if baseline is None else [BASELINE_FILE]))


def _place(path: Path, how: ModelLogging, baseline: bytes | None, recorder: RunRecorder) -> str:
    """Return the name that the files are to lie below."""
    before = recorder.models.get(how.name)
    if before is None:
        return how.name
    digest = _digest(path, baseline)
    is_mixed = how.registered_model_name is not None and not before.members <= _members(path, baseline)
    if digest == before.digest or not (before.is_registered or is_mixed):
        return how.name
    place = f"{how.name}-{digest.rpartition(':')[2][:PLACE_DIGITS]}"
    warnings.warn(
        f"the run has another model under {how.name!r}, whose files are kept; "
        f"this one is logged as {place!r}",
        stacklevel=4,
    )
    return place


def _digest(path: Path, baseline: bytes | None) -> str:
    digest = ModelDigest()
    for member, file in files_of(path):
        with file.open("rb") as content:
            digest.add(member, content)
    if baseline is not None:
        digest.add(BASELINE_FILE, io.BytesIO(baseline))
    return digest.text()


def _log_files(path: Path, name: str, baseline: bytes | None, recorder: RunRecorder) -> str:
    """Log the files below the model's name, and return the digest of them."""
    if path.is_dir():
        staged = logging_artifacts.log_folder(recorder, path, name)
    else:
        staged = {f"{name}/{path.name}": recorder.file(path, f"{name}/{path.name}")}
    digest = ModelDigest()
    for member, file in files_of(path):
        known = staged.get(f"{name}/{member}")
        if known is not None and not needs_bytes(member):
            digest.add_known(member, known)
            continue
        with file.open("rb") as content:
            digest.add(member, content)
    if baseline is not None:
        digest.add(BASELINE_FILE, io.BytesIO(baseline))
        recorder.content(baseline, f"{name}/{BASELINE_FILE}")
    return digest.text()


def _info(path: Path, description: Any, how: ModelLogging, run_id: str, digest: str) -> ModelInfo:
    said = flavors.read_mlmodel(path) if path.is_dir() else {}
    requirements = path / "requirements.txt"
    lines = requirements.read_text("utf-8", "replace").splitlines() if requirements.is_file() else []
    return ModelInfo(
        model_uri=str(RunReference(run_id, how.name)),
        run_id=run_id,
        artifact_path=how.name,
        digest=digest,
        flavors=said.get("flavors") or {},
        signature=None if description is None else description.signature,
        requirements=tuple(line.strip() for line in lines if line.strip()),
        model_uuid=said.get("model_uuid"),
        mlflow_version=said.get("mlflow_version"),
        utc_time_created=said.get("utc_time_created"),
        saved_input_example_info=said.get("saved_input_example_info"),
        metadata=said.get("metadata"),
        registered_model_name=how.registered_model_name,
    )


def _log_history(info: ModelInfo, recorder: RunRecorder) -> None:
    """Add the model to the tag in which mlflow 2 keeps the models of a run, for its pages and its clients."""
    entry = {
        "artifact_path": info.artifact_path,
        "run_id": info.run_id,
        "utc_time_created": info.utc_time_created,
        "flavors": info.flavors,
        "model_uuid": info.model_uuid,
        "mlflow_version": info.mlflow_version,
    }
    history = _history(recorder.snapshot().data.tags.get(TAG_HISTORY, "[]"))
    kept = [item for item in history if item.get("artifact_path") != info.artifact_path]
    text = json.dumps([*kept, {key: value for key, value in entry.items() if value is not None}], default=str)
    recorder.tags({TAG_HISTORY: text})


def _history(text: str) -> list[dict[str, Any]]:
    """Return what the tag holds; nothing where somebody has set it to something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _texts(tags: Mapping[str, object] | None) -> dict[str, str]:
    given = checked_mapping(tags or {}, of="tags")
    return {checked_key(key, kind="tag"): as_text(value, key=key, kind="tag") for key, value in given.items()}


def _register(how: ModelLogging, digest: str, recorder: RunRecorder, binding: RegistryBinding) -> None:
    assert how.registered_model_name is not None  # the caller has seen to it
    recorder.registered(
        ModelRegistered(
            run_id=recorder.run_id,
            timestamp=now_ms(),
            registry="" if binding.sees_artifacts else binding.uri,
            name=how.registered_model_name,
            path=how.name,
            digest=digest,
            key=registration_key(artifact_uri(recorder.run_id, how.name), digest),
            user=binding.reason().user,
            description=as_text(how.description or "", key="description", kind="model"),
            tags=_texts(how.tags),
            datasets=list(dataset_names(recorder.snapshot().inputs)),
        )
    )
