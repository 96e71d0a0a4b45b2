"""Files on HDFS, by fsspec and pyarrow (which need Hadoop's native library): ``hdfs:`` roots."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager, suppress
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
from trackbridge_adapters._mlflow_rest.artifacts_replacing import patiently, temporary_path

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    """Files of one run below a folder of a file system of fsspec's."""

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
        temporary = temporary_path(full)
        with self._translating("artifacts.put"):
            self._system.makedirs(full.rpartition("/")[0], exist_ok=True)
            try:
                with self._system.open(temporary, "wb") as writer:
                    for block in blocks(source):
                        writer.write(block)
                self._system.mv(temporary, full)  # over an old file too, which pyarrow deletes first
            finally:
                with suppress(FileNotFoundError):
                    self._system.rm_file(temporary)
        entry = self.held(path)
        return "" if entry is None else entry.version

    def open(self, path: str) -> BinaryIO:
        opened = patiently(lambda: self._opened(path), self._full(path), self._names_in)
        if opened is None:
            raise NotFound("there is no such artifact", adapter=self._adapter)
        return opened

    def _opened(self, path: str) -> BinaryIO | None:
        with self._translating("artifacts.open"):
            try:
                return cast("BinaryIO", self._system.open(self._full(path), "rb"))
            except FileNotFoundError:
                return None

    def find(self, path: str) -> Entry | None:
        return patiently(lambda: self.held(path), self._full(path), self._names_in)

    def _names_in(self, folder: str) -> list[str]:
        with self._translating("artifacts.list"):
            try:
                return [str(path).rpartition("/")[2] for path in self._system.ls(folder, detail=False)]
            except (FileNotFoundError, NotADirectoryError):
                return []

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


def _entry(info: dict[str, Any]) -> Entry:
    name = str(info["name"]).rstrip("/").rpartition("/")[2]
    if info["type"] == "directory":
        return Entry(name, is_dir=True)
    version = str(info.get("mtime") or info.get("created") or "")
    return Entry(name, size=int(info["size"]), version=version)
