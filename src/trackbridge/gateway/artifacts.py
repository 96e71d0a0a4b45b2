"""The calls of mlflow's REST API about files: listing, and signed addresses; their bytes go elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.gateway.addresses import SCHEME, artifact_uri_of, model_uri_of, safe_path
from trackbridge.gateway.artifact_places import (
    Files,
    StoredFiles,
    checked_file,
    files_of_model,
    files_of_run,
)
from trackbridge.gateway.errors import Refused, invalid
from trackbridge.gateway.routes import Route, Scope
from trackbridge.gateway.wire import Answer, Request
from trackbridge.ports.capabilities import Feature

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

PRESIGNED_S = 900
"""How long a signed address is good for where the client does not say, as with mlflow."""
PRESIGNED_S_MAX = 7 * 24 * 3600  # the clouds' limit


class FileAnswer(msgspec.Struct, frozen=True):
    """A file or folder; as with mlflow, an empty file has no size, and a folder neither."""

    path: str
    is_dir: bool
    file_size: int | msgspec.UnsetType = msgspec.UNSET


class ListAnswer(Answer):
    """Files and folders that lie directly in a folder."""

    root_uri: str = ""
    files: list[FileAnswer] = msgspec.field(default_factory=list)
    next_page_token: str = ""


class ListRequest(Request):
    """What ``artifacts/list`` asks for."""

    required = ("run_id",)
    run_id: str | None = None
    run_uuid: str | None = None
    path: str | None = None
    page_token: str | None = None


class ModelListRequest(Request):
    """What ``logged-models/{model_id}/artifacts/directories`` asks for."""

    required = ("model_id",)
    model_id: str | None = None
    artifact_directory_path: str | None = None
    page_token: str | None = None


class SignedDownloadRequest(Request):
    """What ``artifacts/presigned-download-url`` asks for."""

    required = ("run_id", "path")
    run_id: str | None = None
    path: str | None = None
    expiration: int | None = None


class SignedUploadRequest(Request):
    """What ``artifacts/presigned-upload-url`` asks for."""

    required = ("path",)
    run_id: str | None = None
    model_id: str | None = None
    path: str | None = None
    expiration: int | None = None


class SignedAnswer(Answer):
    """An address that anybody can read a file from for a while."""

    presigned_url: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    file_size: int = 0


class Signed(msgspec.Struct, frozen=True):
    """The same, as ``mlflow-artifacts/presigned`` tells it."""

    url: str
    headers: dict[str, str]
    file_size: int | msgspec.UnsetType = msgspec.UNSET


def told(found: Iterable[ArtifactInfo], prefix: str = "") -> list[FileAnswer]:
    """Return files and folders as an answer lists them, their paths without a prefix."""
    return [
        FileAnswer(
            info.path.removeprefix(prefix),
            info.is_dir,
            msgspec.UNSET if info.is_dir else _size(info.file_size),
        )
        for info in found
    ]


def _size(size: int | None) -> int | msgspec.UnsetType:
    return size or msgspec.UNSET


def folder_of(path: str | None) -> str:
    """Return a folder that a client names, "" for all files.

    Raises:
        InvalidInput: It cannot be one.
    """
    return safe_path(path) if path else ""


def _list_run(gateway: Gateway, request: ListRequest) -> ListAnswer:
    """Return what lies in a folder of a run."""
    folder, run_id = folder_of(request.path), request.run_id or ""
    root_uri = artifact_uri_of(gateway.runs.get(run_id).info)
    page = files_of_run(gateway, run_id).list(folder, request.page_token or None)
    return ListAnswer(root_uri, told(page), page.token or "")


def _list_model(gateway: Gateway, request: ModelListRequest) -> ListAnswer:
    """Return what lies in a folder of a logged model."""
    folder, model_id = folder_of(request.artifact_directory_path), request.model_id or ""
    files = files_of_model(gateway, model_id)
    page = files.list(folder, request.page_token or None)
    experiment_id = gateway.documents.experiment_of(files.owner)
    return ListAnswer(model_uri_of(experiment_id, model_id), told(page), page.token or "")


# Signed addresses.


def signed(gateway: Gateway, files: Files, path: str, expires_s: int = PRESIGNED_S) -> Signed:
    """Return an address that anybody can read a file from for so many seconds.

    Raises:
        Refused: The store signs none, or there is no such file.
    """
    if not isinstance(files, StoredFiles) or not _signs(gateway):
        raise Refused(
            "NOT_IMPLEMENTED", "Multipart download is not supported for the current artifact repository"
        )
    info = checked_file(files, path)
    url = files.store.presign(files.owner, files.inside(path), expires_s=expires_s)
    return Signed(url, {}, msgspec.UNSET if info.file_size is None else info.file_size)


def _signs(gateway: Gateway) -> bool:
    return gateway.client.reader.capabilities.supports(Feature.ARTIFACTS_PRESIGN)


def _signed_download(gateway: Gateway, request: SignedDownloadRequest) -> SignedAnswer:
    """Return an address from which a file may be read for a while."""
    expires_s = PRESIGNED_S if request.expiration is None else request.expiration
    if not 1 <= expires_s <= PRESIGNED_S_MAX:
        raise invalid(f"expiration must be between 1 and {PRESIGNED_S_MAX} seconds (got {expires_s}).")
    path = safe_path(request.path or "")
    files = files_of_run(gateway, request.run_id or "")
    if not _signs(gateway):
        raise _not_proxied("download", "for runs with", "a run with a direct cloud storage artifact URI")
    found = signed(gateway, files, path, expires_s)
    return SignedAnswer(found.url, {}, found.file_size or 0)


def _signed_upload(gateway: Gateway, request: SignedUploadRequest) -> Any:
    """Return an address to which a file may be written for a while."""
    if bool(request.run_id) == bool(request.model_id):
        raise invalid("Exactly one of run_id and model_id must be provided.")
    safe_path(request.path or "")
    if request.run_id:
        gateway.runs.get(request.run_id)
    else:
        gateway.documents.place(request.model_id or "")
    raise _not_proxied("upload", "for", "a direct cloud storage artifact URI")


def _not_proxied(what: str, for_whom: str, needed: str) -> Refused:
    return invalid(
        f"Presigned {what} is not supported {for_whom} proxied artifact storage "
        f"(artifact URI scheme: {SCHEME}). This endpoint requires {needed}."
    )


ROUTES = (
    Route("GET", "artifacts/list", _list_run, ListRequest, Scope.READ),
    Route("POST", "artifacts/presigned-download-url", _signed_download, SignedDownloadRequest, Scope.READ),
    Route("POST", "artifacts/presigned-upload-url", _signed_upload, SignedUploadRequest, Scope.WRITE),
    Route("GET", "logged-models/{model_id}/artifacts/directories", _list_model, ModelListRequest, Scope.READ),
)
