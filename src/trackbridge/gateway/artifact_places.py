"""From the path that a client sends to the files of a run, a logged model, a trace or a version."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from trackbridge.api import model_tags
from trackbridge.api.logged_models import FOLDER
from trackbridge.delivery.spills import SPILL_FOLDER
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.models import ModelVersion
from trackbridge.domain.paging import Page
from trackbridge.errors import NotFound, Unsupported
from trackbridge.gateway.addresses import Kind, Place
from trackbridge.gateway.errors import absent, invalid
from trackbridge.operations.model_payloads import FolderSource, Source, source_of
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.streams import StreamedArtifacts

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

LISTED_MAX = 50_000
"""Entries of a folder that one answer holds: many, because few clients ask for a second page."""

_SKIPPED_AT_ONCE_BYTES = 1024 * 1024
_SPILLS_PARENT = SPILL_FOLDER.rpartition("/")[0]


class Content(Protocol):
    """The bytes of a file that is being read."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""
        ...

    def close(self) -> None:
        """End the reading."""
        ...


class Files(Protocol):
    """The files of one owner, by paths below it."""

    def list(self, folder: str, token: str | None = None) -> Page[ArtifactInfo]:
        """Return what lies directly in a folder, by path; nothing for a file."""
        ...

    def stat(self, path: str) -> ArtifactInfo:
        """Describe a file or folder; its path is the one given."""
        ...

    def open(self, path: str, start: int) -> Content:
        """Open a file at an offset in bytes."""
        ...


@dataclass(frozen=True)
class StoredFiles:
    """Files in the backend's artifact store: those of a run, a model or a trace.

    ``root`` is the folder of the owner's files that they lie in, and ``hidden`` are paths that are not shown.
    """

    store: ArtifactStore
    owner: str
    root: str = ""
    hidden: tuple[str, ...] = ()

    def list(self, folder: str, token: str | None = None) -> Page[ArtifactInfo]:
        """Return what lies directly in a folder."""
        inside = self.inside(folder)
        found: list[ArtifactInfo] = []
        while True:
            page = self.store.list(self.owner, inside, token=token)
            found.extend(info for info in page if not self._is_hidden(info))
            token = page.token
            if token is None or len(found) >= LISTED_MAX:
                break
        if [info.path for info in found] == [inside] and not found[0].is_dir:
            return Page(items=())
        return Page(items=tuple(map(self._told, found)), token=token)

    def _is_hidden(self, info: ArtifactInfo) -> bool:
        if self._is_kept(info.path):
            return True
        if info.path != _SPILLS_PARENT or SPILL_FOLDER not in self.hidden:
            return False
        return all(self._is_kept(child.path) for child in self.store.list(self.owner, info.path))

    def _is_kept(self, path: str) -> bool:
        return any(path == folder or path.startswith(f"{folder}/") for folder in self.hidden)

    def stat(self, path: str) -> ArtifactInfo:
        """Describe a file or folder."""
        if not path:
            return ArtifactInfo(path="", is_dir=True)
        return self._told(self.store.stat(self.owner, self.inside(path)))

    def open(self, path: str, start: int) -> Content:
        """Open a file at an offset in bytes."""
        inside = self.inside(path)
        if start and isinstance(self.store, StreamedArtifacts):
            streamed: StreamedArtifacts = self.store
            return _Blocks(iter(map(bytes, streamed.original(self.owner, inside).read(start))))
        return _at(self.store.open(self.owner, inside), start)

    def inside(self, path: str) -> str:
        """Return a path as the store has it."""
        return "/".join(part for part in (self.root, path) if part)

    def _told(self, info: ArtifactInfo) -> ArtifactInfo:
        path = info.path.removeprefix(f"{self.root}/") if self.root else info.path
        return ArtifactInfo(path=path, is_dir=info.is_dir, file_size=info.file_size, digest=info.digest)


class VersionFiles:
    """The files of a registered version, wherever they lie."""

    def __init__(self, version: ModelVersion, store: ArtifactStore | None) -> None:
        self._name = f"models:/{version.name}/{version.version}"
        self._source: Source = source_of(version.source, store)
        if isinstance(self._source, FolderSource):  # whoever registered it may have named any folder
            raise Unsupported(
                f"the files of {self._name} lie on a disk, not in the backend",
                operation="artifacts",
                hint="log the model to a run and register that",
            )
        self._members: dict[str, ArtifactInfo] = dict(self._source.members())

    def list(self, folder: str, token: str | None = None) -> Page[ArtifactInfo]:
        """Return what lies directly in a folder."""
        begin = f"{folder}/" if folder else ""
        found: dict[str, ArtifactInfo] = {}
        for member, info in self._members.items():
            if member.startswith(begin):
                child, slash, _ = member[len(begin) :].partition("/")
                size = None if slash else info.file_size
                found[child] = ArtifactInfo(path=begin + child, is_dir=bool(slash), file_size=size)
        return Page(items=tuple(found[child] for child in sorted(found)))

    def stat(self, path: str) -> ArtifactInfo:
        """Describe a file or folder."""
        info = self._members.get(path)
        if info is not None:
            return ArtifactInfo(path=path, file_size=info.file_size, digest=info.digest)
        if any(member.startswith(f"{path}/" if path else "") for member in self._members):
            return ArtifactInfo(path=path, is_dir=True)
        raise NotFound(f"{self._name} has no file {path[:200]!r}", operation="artifacts.stat")

    def open(self, path: str, start: int) -> Content:
        """Open a file at an offset in bytes."""
        return _at(self._source.open(self._members[path]), start)


class _Blocks:
    """Blocks of any length, read as a file is."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = memoryview(block)
        found, self._rest = self._rest[:size], self._rest[size:]
        return bytes(found)

    def close(self) -> None:
        """End the reading."""
        close = getattr(self._blocks, "close", None)
        if close is not None:
            close()


def _at(file: BinaryIO, start: int) -> BinaryIO:
    """Return a file at an offset, which costs reading what is before it where the file cannot jump."""
    if start and file.seekable():
        file.seek(start, io.SEEK_SET)
        return file
    left = start
    while left and (skipped := file.read(min(left, _SKIPPED_AT_ONCE_BYTES))):
        left -= len(skipped)
    return file


# Whose files they are.


def files_of_run(gateway: Gateway, run_id: str) -> StoredFiles:
    """Return the files of a run, after what was logged is delivered.

    What is kept there of logged models is not shown, as mlflow 3 does not show them among a run's own files.

    Raises:
        Refused: There is no such run.
        Unavailable: Not all could be delivered in time.
    """
    tags = gateway.runs.get(run_id).data.tags
    gateway.client.reader.drain()
    models = (summary.path for summary in model_tags.summaries(tags).values())
    return StoredFiles(gateway.client.reader.artifacts, run_id, hidden=(FOLDER, SPILL_FOLDER, *models))


def files_of_model(gateway: Gateway, model_id: str) -> StoredFiles:
    """Return the files of a logged model, after what was logged is delivered.

    Raises:
        NotFound: There is no such model.
    """
    owner, root = gateway.documents.place(model_id)
    gateway.client.reader.drain()
    return StoredFiles(gateway.client.reader.artifacts, owner, root)


def files_of_version(gateway: Gateway, name: str, version: str) -> VersionFiles:
    """Return the files of a registered version, after what was logged is delivered.

    Raises:
        NotFound: There is no such version, or its files are gone.
    """
    models = gateway.client.models
    gateway.client.reader.drain()
    return VersionFiles(*models.located(models.drained().get_version(name, version)))


def files_at(gateway: Gateway, place: Place) -> Files:
    """Return the files to which a path of the proxy leads, for reading.

    Raises:
        NotFound: There is no such run, model, trace or version.
        Unavailable: Not all could be delivered in time.
    """
    if place.kind is Kind.MODEL:
        return files_of_model(gateway, place.owner)
    if place.kind is Kind.VERSION:
        name, _, version = place.owner.rpartition("/")
        return files_of_version(gateway, name, version)
    gateway.client.reader.drain()
    return StoredFiles(gateway.client.reader.artifacts, place.owner)


def checked_file(files: Files, path: str) -> ArtifactInfo:
    """Describe a file.

    Raises:
        Refused: There is none, or it is a folder; in the words of mlflow's server.
    """
    try:
        info = files.stat(path)
    except NotFound as error:
        raise absent(f"No such artifact: '{path}'") from error
    if info.is_dir:
        raise invalid(f"Artifact path refers to a directory, not a file: '{path}'")
    return info
