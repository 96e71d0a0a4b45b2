"""The files of registered versions that lie where only the backend's own addresses lead, for mlflow.

Azure ML's clients register ``azureml://…/paths/…``, for which stock mlflow has no way without a package of
Azure's. Such a version is told as ``bridge-models:/@/NAME/VERSION``, and read as ``download_model`` reads it.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import Any
from urllib.parse import quote, unquote

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from trackbridge.api import logged_models
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.errors import InvalidInput, NotFound
from trackbridge.mlflow_plugin.artifacts import base_arguments, current_uris
from trackbridge.mlflow_plugin.binding import Binding, binding_for, bound_among, is_ours
from trackbridge.mlflow_plugin.errors import NotHere, translates
from trackbridge.operations.model_payloads import Source, source_of

_ROOT = "@"  # where the id of a run stands otherwise
_FORM = f"{logged_models.SCHEME}:/{_ROOT}/NAME/VERSION"


def location(name: str, version: str) -> str:
    """Return the address of a registered version's files."""
    return logged_models.location(_ROOT, f"{quote(name, safe='')}/{quote(version, safe='')}")


def is_location(uri: str) -> bool:
    """Tell whether an address is of this kind."""
    place = logged_models.split_location(uri)
    return place is not None and place[0] == _ROOT


@translates
class RegisteredFilesRepository(ArtifactRepository):  # type: ignore[misc]
    """What lies below ``bridge-models:/@/NAME/VERSION``; it is read only.

    mlflow cuts an address anywhere, so what it names is seen when a path comes with it.
    """

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
    ) -> None:
        super().__init__(**base_arguments(artifact_uri, tracking_uri, registry_uri))
        place = logged_models.split_location(artifact_uri)
        assert place is not None  # by whom it was chosen
        self._root = place[1].strip("/")
        self._binding = _binding(tracking_uri, registry_uri)
        self._found: dict[tuple[str, str], tuple[Source, dict[str, ArtifactInfo]]] = {}

    # Reading.

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """List what lies directly below a path; nothing where it is a file."""
        name, version, folder = self._place(path)
        _, members = self._payload(name, version)
        begin = f"{folder}/" if folder else ""
        shown = f"{path.strip('/')}/" if path and path.strip("/") else ""
        found: dict[str, Any] = {}
        for member, info in members.items():
            if not member.startswith(begin):
                continue
            child, slash, _ = member[len(begin) :].partition("/")
            found[child] = FileInfo(shown + child, bool(slash), None if slash else info.file_size)
        return [found[child] for child in sorted(found)]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        name, version, path = self._place(remote_file_path)
        source, members = self._payload(name, version)
        info = members.get(path)
        if info is None:
            raise NotFound(
                f"there is no file {path[:200]!r} in models:/{name}/{version}", operation="download_artifacts"
            )
        with contextlib.closing(source.open(info)) as content, open(local_path, "wb") as file:
            shutil.copyfileobj(content, file, 1024 * 1024)

    def _place(self, path: str | None) -> tuple[str, str, str]:
        """Return model, version and path within it."""
        given = [part.strip("/") for part in (self._root, path or "")]
        parts = "/".join(part for part in given if part).split("/", 2)
        if len(parts) < 2:
            raise InvalidInput(f"{self.artifact_uri[:100]!r} is no address of a model's files", hint=_FORM)
        return unquote(parts[0]), unquote(parts[1]), parts[2] if len(parts) == 3 else ""

    def _payload(self, name: str, version: str) -> tuple[Source, dict[str, ArtifactInfo]]:
        found = self._found.get((name, version))
        if found is None:
            models = self._binding.client.models
            located, artifacts = models.located(models.drained().get_version(name, version))
            source = source_of(located.source, artifacts)
            found = self._found[name, version] = source, dict(source.members())
        return found

    # Writing.

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Refuse: what is registered stays as it is."""
        raise _changed()

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Refuse: what is registered stays as it is."""
        raise _changed()

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Refuse: what is registered stays as it is."""
        raise _changed()


def _binding(tracking_uri: str | None, registry_uri: str | None) -> Binding:
    """Return whom to ask: the registry that mlflow has, beside the runs that it has."""
    tracking, registry = current_uris()
    tracking_uri, registry_uri = tracking_uri or tracking, registry_uri or registry
    if tracking_uri is not None and is_ours(tracking_uri) and is_ours(registry_uri):
        return binding_for(tracking_uri, registry_uri)
    return bound_among(registry_uri, tracking_uri)


def _changed() -> NotHere:
    return NotHere("changing the files of a registered version", "log a new model and register that")
