"""The files of runs and models for mlflow: written through the journal, read from the backend."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from trackbridge.api import logged_models, model_tags
from trackbridge.api.downloads import download_file
from trackbridge.delivery.spills import SPILL_FOLDER
from trackbridge.domain.artifacts import ArtifactInfo, split_artifact_uri
from trackbridge.errors import InvalidInput
from trackbridge.mlflow_plugin.binding import bound_among
from trackbridge.mlflow_plugin.errors import translates

_BASE_TAKES = tuple(inspect.signature(ArtifactRepository.__init__).parameters)[1:]
_PARENT_OF_SPILLS = SPILL_FOLDER.rpartition("/")[0] + "/"


@translates
class BridgeArtifactRepository(ArtifactRepository):  # type: ignore[misc]
    """What lies below ``bridge-artifacts:/RUN/PATH``, or ``bridge-models:/RUN/PATH``.

    As in mlflow 3, the models that a run logged are not among its own files: they are asked for by the second
    address, which is that of ``LoggedModel.artifact_location``.
    """

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
    ) -> None:
        super().__init__(**base_arguments(artifact_uri, tracking_uri, registry_uri))
        place = logged_models.split_location(artifact_uri)
        self._is_model = place is not None
        place = place or split_artifact_uri(artifact_uri)
        if place is None or not place[0]:
            raise InvalidInput(
                f"{artifact_uri[:100]!r} is no address of an artifact", hint="bridge-artifacts:/RUN/PATH"
            )
        self._run_id, self._root = place[0], place[1].strip("/")
        self._binding = bound_among(tracking_uri, registry_uri, *current_uris())

    # Writing.

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Log a file below a path."""
        folder = self._below(artifact_path)
        self._binding.client.log_artifact(self._run_id, local_file, folder or None)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Log the files of a folder below a path."""
        folder = self._below(artifact_path)
        self._binding.client.log_artifacts(self._run_id, local_dir, folder or None)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete a file, or a folder with all in it."""
        client = self._binding.client
        client.reader.drain()
        for path in [self._below(artifact_path)] if self._below(artifact_path) else self._top():
            client.reader.artifacts.delete(self._run_id, path)

    def _top(self) -> list[str]:
        return [info.path for info in self._binding.client.list_artifacts(self._run_id, "")]

    # Reading.

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """List what lies directly below a path; nothing where it is a file."""
        folder = self._below(path)
        found = self._binding.client.list_artifacts(self._run_id, folder)
        if [info.path for info in found] == [folder] and not found[0].is_dir:
            return []
        hidden = self._hidden()
        return [self._file_info(info) for info in found if not self._is_hidden(info, hidden)]

    def _is_hidden(self, info: ArtifactInfo, hidden: list[str]) -> bool:
        if not _is_in(info.path, hidden) and f"{info.path}/" == _PARENT_OF_SPILLS and not self._is_model:
            inside = self._binding.client.list_artifacts(self._run_id, info.path)
            return all(_is_in(child.path, hidden) for child in inside)
        return _is_in(info.path, hidden)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        client, path = self._binding.client, self._below(remote_file_path)
        client.reader.drain()
        artifacts = client.reader.artifacts
        download_file(artifacts, self._run_id, artifacts.stat(self._run_id, path), Path(local_path))

    def _below(self, path: str | None) -> str:
        return "/".join(part.strip("/") for part in (self._root, path or "") if part.strip("/"))

    def _hidden(self) -> list[str]:
        """Return what is not shown among a run's own files: its models, and what we keep of them."""
        if self._is_model:
            return []
        tags = self._binding.client.get_run(self._run_id).data.tags
        places = (summary.path for summary in model_tags.summaries(tags).values())
        return [logged_models.FOLDER, SPILL_FOLDER, *places]

    def _file_info(self, info: ArtifactInfo) -> Any:
        path = info.path.removeprefix(f"{self._root}/") if self._root else info.path
        return FileInfo(path, info.is_dir, None if info.is_dir else info.file_size)


def _is_in(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def base_arguments(
    artifact_uri: str, tracking_uri: str | None, registry_uri: str | None
) -> dict[str, str | None]:
    """Return what mlflow's own class takes of them in this version."""
    given = {"artifact_uri": artifact_uri, "tracking_uri": tracking_uri, "registry_uri": registry_uri}
    return {name: value for name, value in given.items() if name in _BASE_TAKES}


def current_uris() -> tuple[str | None, ...]:
    """Return the tracking URI and the registry URI that mlflow is set to."""
    from mlflow.tracking import get_registry_uri, get_tracking_uri

    return get_tracking_uri(), get_registry_uri()
