"""The fluent functions for models: mlflow's names and meaning, on the active run of this thread."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.api import active, fluent
from trackbridge.api.model_results import Found, ModelInfo, ModelVersion, RegisteredModel
from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.model_digest import MLMODEL, files_of
from trackbridge.domain.model_references import (
    PathReference,
    RunReference,
    parse_model_reference,
)
from trackbridge.domain.models import Approval, RegistryChange
from trackbridge.errors import Conflict, InvalidInput, NotFound
from trackbridge.operations.model_payloads import (
    CACHE_FOLDER,
    OnProgress,
    materialise,
    resolve_model,
)

if TYPE_CHECKING:
    from trackbridge.api.client import Client


def log_model(
    model: Any,
    name: str | None = None,
    *,
    artifact_path: str | None = None,
    flavor: str | None = None,
    input_example: Any = None,
    signature: Any = None,
    training_data: Any = None,
    predictions: Any = None,
    requirements: Sequence[str] | str | os.PathLike[str] | None = None,
    registered_model_name: str | None = None,
    tags: Mapping[str, object] | None = None,
    description: str = "",
    run_id: str | None = None,
    **flavor_options: Any,
) -> ModelInfo:
    """Log a model to a run in the MLmodel format, and register it if asked; nothing waits for a backend.

    Args:
        model: A model of scikit-learn, XGBoost, LightGBM, PyTorch, Keras, transformers or ONNX, an
            ``mlflow.pyfunc.PythonModel``, a function, or the path of a folder or a file, which is logged as
            it is.
        name: Where it lies below the run's artifacts; ``model`` by default.
        artifact_path: mlflow 2's name of ``name``.
        flavor: mlflow's name of the flavor, where the one of the model's class is not meant.
        input_example: Some input, stored with the model; the signature is inferred from it.
        signature: mlflow's signature, instead.
        training_data: A frame, array or mapping of columns. A summary of each column is kept inside the model
            (``bridge-baseline.json``), the data set is logged as an input of the run, and where the model
            says which columns it takes, the signature is inferred from them.
        predictions: What the model answers to the training data; summed up beside it, so that drift of the
            predictions can be told, too.
        requirements: pip requirements, or the path of a file of them; by default the packages that the model
            needs, as they are installed.
        registered_model_name: Register it under this name; that is delivered after the files.
        tags: Tags of the registered version.
        description: Description of the registered version.
        run_id: The run; by default the active one, which is started when there is none.
        flavor_options: Further arguments of ``mlflow.<flavor>.save_model``, such as ``metadata``.

    Returns:
        What was logged, with ``model_uri`` (``runs:/RUN_ID/NAME``) and ``digest``.

    Raises:
        MissingExtra: mlflow is needed and not installed.
        InvalidInput: No flavor is known for the model, or a name cannot be one.
        Unsupported: It is to be registered, and the backend has no registry.
    """
    from trackbridge.api.logging_models import DEFAULT_NAME, ModelLogging, log

    if name is not None and artifact_path is not None:
        raise InvalidInput("name and artifact_path are the same; give one", operation="log_model")
    how = ModelLogging(
        name=name or artifact_path or DEFAULT_NAME,
        flavor=flavor,
        input_example=input_example,
        signature=signature,
        training_data=training_data,
        predictions=predictions,
        requirements=requirements,
        registered_model_name=registered_model_name,
        tags=tags,
        description=description,
        options=flavor_options,
    )
    recorder = fluent._recorder(run_id)
    return log(model, how, recorder, fluent._client_of(run_id).models)


def register_model(
    model_uri: str | os.PathLike[str],
    name: str,
    await_registration_for: int | None = None,
    *,
    tags: Mapping[str, object] | None = None,
    description: str = "",
    why: str = "",
) -> ModelVersion:
    """Register a model and return its version; the model's name is made when there is none.

    The same files registered again under the same name are one version.

    Args:
        model_uri: ``runs:/RUN_ID/PATH``, ``models:/…`` (a copy that remembers where it came from), the
            path of a folder or file, which is logged to the active run, else to a new one, or an address of
            the backend's own, such as ``azureml://registries/R/models/M/versions/V``.
        name: The name.
        await_registration_for: Taken for mlflow's sake and without effect: the call returns when it is done.
        tags: Tags of the version.
        description: Description of the version.
        why: For the history.

    Raises:
        NotFound: There is nothing at the address.
        Unavailable: The backend cannot be reached.
        Unsupported: It has no registry.
    """
    run = active.current()
    return _active_client().register_model(
        model_uri,
        name,
        tags=tags,
        description=description,
        why=why,
        run_id=None if run is None else run.recorder.run_id,
    )


def _active_client() -> Client:
    run = active.current()
    return fluent.client() if run is None else run.client


def load_model(
    model_uri: str | os.PathLike[str],
    flavor: str | None = None,
    dst_path: str | os.PathLike[str] | None = None,
) -> Any:
    """Load a model as its library knows it.

    Args:
        model_uri: ``models:/wine/3``, ``models:/wine@champion``, ``runs:/RUN_ID/PATH``, or a path.
        flavor: ``pyfunc`` for mlflow's generic form; by default the flavor that it was saved with.
        dst_path: A folder to copy the files to; by default they stay in the project's cache.

    Returns:
        The model; of a folder or file that is not in the MLmodel format its local path.

    Raises:
        NotFound: There is no such model.
        Rejected: Its files are not those that were registered.
        MissingExtra: mlflow is not installed.
        InvalidInput: It was not saved with this flavor.
    """
    path = Path(download_model(model_uri, dst_path))
    if (path / MLMODEL).is_file():
        from trackbridge.api import flavors

        return flavors.load(path, flavor)
    if flavor is not None:
        raise InvalidInput(
            f"{os.fspath(model_uri)!r} is not in the MLmodel format and has no flavor",
            operation="load_model",
            hint="leave flavor out: the path of its files is returned",
        )
    return str(path)


def download_model(
    model_uri: str | os.PathLike[str],
    dst_path: str | os.PathLike[str] | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> str:
    """Bring the files of a model to this machine, check them, and return where they lie.

    Args:
        model_uri: As for ``load_model``.
        dst_path: A folder to copy them to, which is made, and may hold an older copy; None for the project's
            cache, whose files are not to be changed.
        on_progress: Told how many bytes of how many are here.

    Raises:
        NotFound: There is no such model.
        Rejected: Its files are not those that were registered.
        Conflict: The folder holds files of something else.
    """
    found = local_path(_active_client(), os.fspath(model_uri), on_progress=on_progress)
    return str(found if dst_path is None else copy_files(found, Path(dst_path)))


def copy_files(path: Path, folder: Path) -> Path:
    """Copy a folder, or a file, of a model into a folder, which is made; return where the copy lies.

    Raises:
        Conflict: The folder holds files of something else, which the copy of a folder would be mixed with.
        InvalidInput: There cannot be a folder.
    """
    try:
        if path.is_dir():
            _refuse_mixture(path, folder)
            shutil.copytree(path, folder, dirs_exist_ok=True)
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy2(path, folder / path.name))
    except (OSError, shutil.Error) as error:
        raise InvalidInput(
            f"the model cannot be copied to {folder}: {error}",
            operation="download_model",
            hint="name another folder",
        ) from error


def _refuse_mixture(path: Path, folder: Path) -> None:
    there = {name for name, _ in files_of(folder)} if folder.is_dir() else set()
    foreign = sorted(there - {name for name, _ in files_of(path)})
    if foreign:
        raise Conflict(
            f"{folder} holds what is not the model's: {', '.join(foreign[:3])}",
            operation="download_model",
            hint="name an empty folder, or one that is not there yet",
        )


def local_path(client: Client, model_uri: str, *, on_progress: OnProgress | None = None) -> Path:
    """Return where the files of a model lie on this machine, after bringing them here."""
    place = split_artifact_uri(model_uri)
    reference = RunReference(*place) if place is not None else parse_model_reference(model_uri)
    if isinstance(reference, PathReference):
        if not reference.path.exists():
            raise NotFound(
                f"there is no model at {reference.path}",
                operation="models",
                hint=f"a registered model is written models:/{reference.path.name}/latest",
            )
        return reference.path
    client.reader.drain()
    version, artifacts = client.models.located(resolve_model(str(reference), client.models.drained))
    folder = materialise(
        version,
        artifacts,
        cache=client.session.root.parent / CACHE_FOLDER,
        on_progress=on_progress,
    )
    name = version.source.rstrip("/").rpartition("/")[2]
    is_single = (folder / name).is_file() and [found.name for found in folder.iterdir()] == [name]
    return folder / name if is_single else folder


# The registry.


def search_registered_models(
    filter_string: str | None = None, max_results: int = 1000, order_by: Sequence[str] | None = None
) -> Found[RegisteredModel]:
    """Return the registered models that fulfil a filter; see ``Client.search_registered_models``."""
    return _active_client().search_registered_models(filter_string, max_results, order_by)


def search_model_versions(
    filter_string: str | None = None, max_results: int = 1000, order_by: Sequence[str] | None = None
) -> Found[ModelVersion]:
    """Return the versions that fulfil a filter; see ``Client.search_model_versions``."""
    return _active_client().search_model_versions(filter_string, max_results, order_by)


def get_model_version(name: str, version: str | int) -> ModelVersion:
    """Return a version of a registered model.

    Raises:
        NotFound: There is no such version.
    """
    return _active_client().get_model_version(name, version)


def set_registered_model_alias(name: str, alias: str, version: str | int, *, why: str = "") -> None:
    """Point an alias at a version; see ``Client.set_registered_model_alias``."""
    _active_client().set_registered_model_alias(name, alias, version, why=why)


def delete_registered_model_alias(name: str, alias: str, *, why: str = "") -> None:
    """Take an alias away; deleting an absent one succeeds."""
    _active_client().delete_registered_model_alias(name, alias, why=why)


def set_model_version_tag(name: str, version: str | int, key: str, value: object, *, why: str = "") -> None:
    """Set a tag of a version."""
    _active_client().set_model_version_tag(name, version, key, value, why=why)


def transition_model_version_stage(
    name: str, version: str | int, stage: str, archive_existing_versions: bool = False, *, why: str = ""
) -> ModelVersion:
    """Set the stage of a version; see ``Client.transition_model_version_stage``."""
    return _active_client().transition_model_version_stage(
        name, version, stage, archive_existing_versions, why=why
    )


def set_model_version_approval(
    name: str, version: str | int, approval: str | Approval, *, why: str = ""
) -> ModelVersion:
    """Approve or reject a version for deployment; see ``Client.set_model_version_approval``."""
    return _active_client().set_model_version_approval(name, version, approval, why=why)


def get_model_history(name: str, version: str | int | None = None) -> list[RegistryChange]:
    """Return who changed what of a model, when and why, newest first."""
    return _active_client().get_model_history(name, version)
