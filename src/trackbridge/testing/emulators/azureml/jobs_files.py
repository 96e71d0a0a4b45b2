"""The files of a job: its code and inputs, brought to where its program runs, and what it leaves behind."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trackbridge.testing.emulators.azureml import assets
from trackbridge.testing.emulators.azureml.asset_kinds import DATA, MODELS
from trackbridge.testing.emulators.azureml.core import Cloud, Refused
from trackbridge.testing.emulators.azureml.places import Place, place_of
from trackbridge.testing.emulators.azureml.workspaces import Workspaces

ROOT = "/mnt/azureml"
MODEL_TYPES = ("custom_model", "mlflow_model", "triton_model")
MODES_IN = ("readonlymount", "readwritemount", "download", "direct")
MODES_OUT = ("readwritemount", "upload", "direct")
_ASSET = re.compile(
    r"(?:azureml:(?!//)(?P<short>[^:/]+):(?P<number>[^:/]+))"
    r"|(?:(?:azureml:)?/?/?.*/(?P<plural>data|models)/(?P<name>[^/]+)/versions/(?P<version>[^/]+))",
    re.IGNORECASE,
)
_GUID = re.compile(r"azureml://locations/[^/]+/workspaces/(?P<guid>[^/]+)/")


class Failed(Exception):
    """A job has failed; the text is its error's message, ``code`` whose fault it is."""

    def __init__(self, message: str, code: str = "UserError") -> None:
        super().__init__(message)
        self.code = code


class Layout:
    """Where a job's files are, as its program sees them.

    Args:
        folder: The container's, in which ``/mnt/azureml`` is.
    """

    def __init__(self, folder: Path) -> None:
        base = f"{ROOT}/cr/j/{uuid.uuid4().hex}"
        self._folder, self._base = folder, base
        self.work = f"{base}/exe/wd"
        self._data = f"{base}/cap/data-capability/wd"
        self.real(self.work).mkdir(parents=True)
        self.real(self._data).mkdir(parents=True)

    def real(self, path: str) -> Path:
        """Return where a path of the program really is."""
        return self._folder / path.lstrip("/")

    def log(self, name: str) -> str:
        """Return where the program's output goes, such as ``std_log.txt``."""
        return f"{self._base}/{name}"

    def input(self, name: str) -> str:
        """Return where an input lies."""
        return f"{self._data}/INPUT_{name}"

    def output(self, name: str) -> str:
        """Return where an output is written to."""
        return f"{self._data}/{name}"


def kind_of(given: Mapping[str, Any], member: str) -> str:
    """Return the type of an input or an output, such as ``uri_folder``, in lower case."""
    return str(given[member]).lower()


def mode_of(given: Mapping[str, Any], default: str) -> str:
    """Return how an input or an output is delivered, in lower case."""
    return str(given.get("mode") or default).lower()


def source_of(cloud: Cloud, workspace_id: str, uri: str) -> Place:
    """Return where an input's files are.

    Args:
        cloud: That has the storage.
        workspace_id: Of the job.
        uri: An address of files, or of a version of data or of a model.

    Raises:
        Refused: It leads to no asset, or to no storage of this cloud.
    """
    found = place_of(cloud, workspace_id, uri)
    asset = _ASSET.fullmatch(uri)
    if found is None and asset is not None:
        found = _of_asset(cloud, workspace_id, uri, asset)
    if found is None:
        message = f"The emulator has no storage at {uri[:200]!r}; inputs come from the workspace's datastores"
        raise Refused(400, "UserError", message)
    return found


def _of_asset(cloud: Cloud, workspace_id: str, uri: str, asset: re.Match[str]) -> Place | None:
    located = _GUID.match(uri)
    if located is not None:
        workspace = cloud.part(Workspaces).with_guid(located["guid"])
        workspace_id = workspace["id"] if workspace is not None else workspace_id
    elif uri.lower().startswith("/subscriptions/"):
        workspace_id = uri[: uri.lower().rindex(f"/{asset['plural'].lower()}/")]
    name, version = asset["short"] or asset["name"], asset["number"] or asset["version"]
    for plural in [asset["plural"].lower()] if asset["plural"] else [DATA.plural, MODELS.plural]:
        held = assets.find_version(cloud, workspace_id, plural, name, version)
        if held is not None:
            kept = held["properties"]
            return place_of(cloud, workspace_id, kept.get("dataUri") or kept.get("modelUri") or "")
    raise Refused(404, "UserError", f"The input {uri} was not found")


def bring(cloud: Cloud, place: Place, target: Path) -> Path:
    """Download a file or a folder; returns the file, or the folder.

    Raises:
        Failed: There is nothing.
    """
    blobs = place.blobs(cloud)
    if not blobs:
        raise Failed(f"DataAccessError(NotFound): there is nothing at {place.container}/{place.path}")
    target.mkdir(parents=True, exist_ok=True)
    for blob in blobs:
        below = blob.path[len(place.path) :].lstrip("/") or blob.path.rpartition("/")[2]
        file = target / below
        if not file.resolve().is_relative_to(target.resolve()):
            raise Failed(f"DataAccessError: the path {blob.path!r} leads out of its folder")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cloud.storage.get(blob.path, container=place.container, account=place.account))
    is_file = len(blobs) == 1 and blobs[0].path == place.path
    return target / blobs[0].path.rpartition("/")[2] if is_file else target


def leave(cloud: Cloud, source: Path, place: Place) -> list[str]:
    """Upload a file or all files of a folder; returns their paths below it."""
    if source.is_file() and not source.is_symlink():
        _put(cloud, source, place)
        return [source.name]
    paths = list(files_below(source))
    for path in paths:
        _put(cloud, source / path, place.below(path))
    return paths


def _put(cloud: Cloud, file: Path, place: Place) -> None:
    cloud.storage.put(place.path, file.read_bytes(), container=place.container, account=place.account)


def files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of the files of a folder; links are not followed."""
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            file = Path(parent, name)
            if file.is_file() and not file.is_symlink():
                yield file.relative_to(folder).as_posix()


def place_of_output(cloud: Cloud, workspace_id: str, job: str, name: str) -> Place:
    """Return where an output of a job is kept.

    Raises:
        Failed: That is no storage of this cloud.
    """
    found = place_of(cloud, workspace_id, f"azureml://jobs/{job}/outputs/{name}")
    if found is None:
        raise Failed(f"The emulator has no storage for the output {name!r}")
    return found


def register_output(cloud: Cloud, workspace_id: str, job: str, name: str, given: Mapping[str, Any]) -> None:
    """Register an output as data or as a model, when it asks for a name.

    Raises:
        Failed: The workspace refuses it.
    """
    asset, kind = given.get("assetName"), kind_of(given, "jobOutputType")
    if not asset:
        return
    of_model = kind in MODEL_TYPES
    plural = MODELS if of_model else DATA
    version = str(given.get("assetVersion") or assets.next_version(cloud, workspace_id, plural.plural, asset))
    uri = f"azureml://jobs/{job}/outputs/{name}"
    properties = (
        {"modelType": kind, "modelUri": uri, "jobName": job}
        if of_model
        else {"dataType": kind, "dataUri": uri}
    )
    try:
        assets.put_version(cloud, workspace_id, plural, asset, version, properties)
    except Refused as refused:
        raise Failed(f"The output {name!r} could not be registered: {refused.message}") from refused
