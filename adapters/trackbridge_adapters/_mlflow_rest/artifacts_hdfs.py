"""Files on HDFS, by fsspec and pyarrow (which need Hadoop's native library): ``hdfs:`` roots."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit

from trackbridge.domain.secrets import shown
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    MissingExtra,
    NotFound,
    Unavailable,
    Unsupported,
)
from trackbridge_adapters._mlflow_rest.artifacts_files import INCOMING, Entry, Files, blocks, incoming_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

REPLACING_PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""How long is waited for a file that is being replaced: two requests to the name node."""


def hdfs_files(root: str, *, adapter: str) -> Files:
    """Open the file system of an ``hdfs:`` address.

    Raises:
        MissingExtra: fsspec or pyarrow is not installed.
        ConfigError: Hadoop's native library is not found.
    """
    parts = urlsplit(root)
    try:
        import fsspec  # type: ignore[import-untyped,unused-ignore]
        import pyarrow.fs  # type: ignore[import-untyped,unused-ignore] # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "artifacts on HDFS need fsspec and pyarrow", adapter=adapter, hint="pip install fsspec pyarrow"
        ) from error
    try:
        system = fsspec.filesystem("hdfs", host=parts.hostname or "default", port=parts.port or 0)
    except OSError as error:
        raise ConfigError(
            f"Hadoop cannot be used: {shown(str(error))}",
            adapter=adapter,
            hint="install Hadoop's client and set HADOOP_HOME, JAVA_HOME and CLASSPATH",
        ) from error
    return FileSystemFiles(system, root, parts.path, adapter=adapter)


class FileSystemFiles(Files):
    """Files of one run below a folder of a file system of fsspec's.

    HDFS does not rename over a file: pyarrow deletes the old one first, so that for a moment there is none.
    Whoever looks for it then waits while a file of its name is on its way.
    """

    keeps_digests = False
    may_collide = True

    def __init__(self, system: Any, root: str, folder: str, *, adapter: str) -> None:
        self.root = root.rstrip("/")
        self._system = system
        self._folder = folder.rstrip("/")
        self._adapter = adapter

    def problem(self, path: str) -> str | None:
        if ":" in path or any(ord(letter) < 0x20 for letter in path):
            return "holds a colon or a control character"
        return incoming_problem(path)

    def address(self, path: str) -> str:
        return f"{self.root}/{path}"

    def held(self, path: str) -> Entry | None:
        with self._translating("artifacts.stat"):
            try:
                return _entry(self._system.info(self._full(path)))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        full = self._full(path)
        parent = full.rpartition("/")[0]
        temporary = f"{parent}/{_incoming(path)}{os.getpid()}-{os.urandom(8).hex()}"
        with self._translating("artifacts.put"):
            self._system.makedirs(parent, exist_ok=True)
            try:
                with self._system.open(temporary, "wb") as writer:
                    for block in blocks(source):
                        writer.write(block)
                self._system.mv(temporary, full)
            finally:
                with suppress(FileNotFoundError):
                    self._system.rm_file(temporary)
        entry = self.held(path)
        return "" if entry is None else entry.version

    def open(self, path: str) -> BinaryIO:
        with self._translating("artifacts.open"):
            for pause_s in REPLACING_PAUSES_S:
                with suppress(FileNotFoundError):
                    return self._opened(path)
                if not self._is_on_its_way(path):
                    break
                Event().wait(pause_s)
            return self._opened(path)

    def find(self, path: str) -> Entry | None:
        for pause_s in REPLACING_PAUSES_S:
            entry = self.held(path)
            if entry is not None or not self._is_on_its_way(path):
                break
            Event().wait(pause_s)
        return entry or self.held(path)

    def children(self, folder: str) -> Sequence[Entry]:
        full = self._full(folder) if folder else self._folder
        with self._translating("artifacts.list"):
            try:
                if not self._system.isdir(full):
                    return ()
                found = [_entry(item) for item in self._system.ls(full, detail=True)]
            except (FileNotFoundError, NotADirectoryError):
                return ()
        return [entry for entry in found if not entry.name.startswith(INCOMING)]

    def delete(self, path: str, entry: Entry) -> None:
        with self._translating("artifacts.delete"), suppress(FileNotFoundError):
            self._system.rm(self._full(path), recursive=entry.is_dir)

    def digest(self, path: str) -> str | None:
        return None

    def presign(self, path: str, expires_s: int) -> str:
        raise Unsupported(
            "files on HDFS have no address for others", adapter=self._adapter, operation="artifacts.presign"
        )

    def _opened(self, path: str) -> BinaryIO:
        return cast("BinaryIO", self._system.open(self._full(path), "rb"))

    def _is_on_its_way(self, path: str) -> bool:
        beginning = _incoming(path)
        with self._translating("artifacts.stat"):
            try:
                names = self._system.ls(self._full(path).rpartition("/")[0], detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return False
        return any(str(name).rpartition("/")[2].startswith(beginning) for name in names)

    def _full(self, path: str) -> str:
        return f"{self._folder}/{path}"

    @contextmanager
    def _translating(self, operation: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, BridgeError):
                raise
            kind: type[BridgeError] = Unavailable
            if isinstance(error, PermissionError):
                kind = AuthError
            elif isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
                kind = NotFound
            text = f"the file system refused: {shown(str(error))}"
            raise kind(text, adapter=self._adapter, operation=operation) from error


def _incoming(path: str) -> str:
    """Return how the names of the files begin that are to become a path's."""
    return f"{INCOMING}{hashlib.sha256(path.encode()).hexdigest()[:16]}-"


def _entry(info: dict[str, Any]) -> Entry:
    name = str(info["name"]).rstrip("/").rpartition("/")[2]
    if info["type"] == "directory":
        return Entry(name, is_dir=True)
    version = str(info.get("mtime") or info.get("created") or "")
    return Entry(name, size=int(info["size"]), version=version)
