"""Files at an address, wherever that is: a folder, a bucket, a place that only one adapter reads."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from trackbridge.domain.file_uris import file_path
from trackbridge.domain.secrets import shown
from trackbridge.errors import AuthError, ConfigError, NotFound, Unavailable, Unsupported
from trackbridge.ports.streams import AddressedArtifacts
from trackbridge.transport.buckets import require_obstore

BUCKETS = ("gs://", "abfs://", "abfss://", "az://")
"""Read by obstore, with the credentials of the environment."""
_AZUREML_FILES = ("/paths/", "/outputs/", "azureml://jobs/", "azureml://datastores/")


class UriFiles(Protocol):
    """Files below an address. Nothing is written there."""

    address: str

    def below(self, path: str) -> UriFiles:
        """Return the files below a folder of these."""
        ...

    def listed(self) -> dict[str, int]:
        """Return the size of each file, by its path below the address; {} where there is nothing."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading; the caller closes it.

        Raises:
            NotFound: There is no such file.
        """
        ...


def is_files_address(text: str) -> bool:
    """Tell whether a text is an address of files and no tracking URI; a plain path is neither here."""
    if text.startswith("azureml:"):
        return any(part in text for part in _AZUREML_FILES)
    return text.startswith(("s3://", "dbfs:/", *BUCKETS))


def open_files(address: str, *stores: object) -> UriFiles:
    """Return the files below an address.

    Args:
        address: ``s3://…``, ``azureml://…/paths/…``, ``abfss://…``, ``gs://…``, ``file:…`` or a path.
        stores: Artifact stores that may read it; else one that does is opened.

    Raises:
        ConfigError: It cannot be opened as things are set here.
        MissingExtra: The package for it is not installed.
        Unsupported: Nothing here reads such addresses.
    """
    for store in stores:
        if isinstance(store, AddressedArtifacts) and store.reads(address):
            return _Addressed(store, address)
    if address.startswith("file:"):
        return _Folder(file_path(address))
    if address.startswith(BUCKETS):
        return _Bucket(address)
    if "://" not in address and not address.startswith(("azureml:", "dbfs:")):
        return _Folder(Path(address))
    return _Addressed(_reader_of(address), address)


def _reader_of(address: str) -> AddressedArtifacts:
    """Open the backend whose adapter reads an address."""
    from trackbridge.operations.opening import open_place

    uri = "sagemaker:" if address.startswith("s3://") else _workspace_of(address)
    store = open_place(uri).adapter.artifacts if uri else None
    if not isinstance(store, AddressedArtifacts) or not store.reads(address):
        raise Unsupported(
            f"files at {shown(address, chars_max=200)} cannot be read from here",
            operation="files",
            hint="copy the folder to this machine, and name the copy",
        )
    return cast("AddressedArtifacts", store)


def _workspace_of(address: str) -> str:
    """Return the tracking URI of the workspace that an address names, else of the one in use; "" for none."""
    parts = address.split("/")
    names = {key.lower(): value for key, value in itertools.pairwise(parts)}
    wanted = [names.get(key) for key in ("subscriptions", "resourcegroups", "workspaces")]
    if address.startswith("azureml:"):
        return f"azureml://{'/'.join(filter(None, wanted))}" if all(wanted) else "azureml:"
    return "databricks:" if address.startswith("dbfs:") else ""


class _Addressed(UriFiles):
    """Files that an adapter reads by their address."""

    def __init__(self, store: AddressedArtifacts, address: str) -> None:
        self._store = store
        self.address = f"{address.rstrip('/')}/"
        self._paths: dict[str, str] = {}

    def below(self, path: str) -> UriFiles:
        """Return the files below a folder of these."""
        return _Addressed(self._store, f"{self.address}{path}")

    def listed(self) -> dict[str, int]:
        """Return the size of each file, by its path below the address."""
        try:
            members = self._store.members_at(self.address)
        except NotFound:
            return {}
        self._paths = {name: info.path for name, info in members}
        return {name: info.file_size or 0 for name, info in members}

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        return self._store.open_at(self.address, self._paths.get(path, path))


class _Folder(UriFiles):
    """Files of this machine. Links are not followed: they may lead anywhere."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = str(folder)

    def below(self, path: str) -> UriFiles:
        """Return the files below a folder of these."""
        return _Folder(self._folder / path)

    def listed(self) -> dict[str, int]:
        """Return the size of each file, by its path below the address.

        Raises:
            AuthError: A folder is not to be read.
        """
        try:
            return dict(_walked(self._folder, ""))
        except PermissionError as error:
            raise AuthError(
                f"{error.filename} cannot be read: {error.strerror}", resource=self.address
            ) from error

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        try:
            return open(os.open(self._folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        except OSError as error:
            raise NotFound(f"{path} cannot be read: {error.strerror}", resource=self.address) from error


def _walked(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walked(folder / entry.name, f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            yield f"{prefix}{entry.name}", entry.stat(follow_symlinks=False).st_size


class _Bucket(UriFiles):
    """Files of a bucket that obstore reads, with the credentials of the environment."""

    def __init__(self, address: str) -> None:
        require_obstore()
        self.address = f"{address.rstrip('/')}/"
        self._store: Any = None

    def below(self, path: str) -> UriFiles:
        """Return the files below a folder of these."""
        return _Bucket(f"{self.address}{path}")

    def listed(self) -> dict[str, int]:
        """Return the size of each file, by its path below the address."""
        from obstore.exceptions import BaseError

        try:
            pages = self._opened().list()
            return {item["path"]: item["size"] for page in pages for item in page}
        except BaseError as error:
            raise self._told(error) from error

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        from obstore import open_reader
        from obstore.exceptions import BaseError

        try:
            return cast("BinaryIO", _BytesReader(open_reader(self._opened(), path)))
        except (BaseError, FileNotFoundError) as error:
            raise self._told(error) from error

    def _opened(self) -> Any:
        from obstore.store import from_url

        if self._store is None:
            try:
                self._store = from_url(self.address.rstrip("/"))
            except Exception as error:  # obstore raises what its Rust side has, without a common class
                hint = "look at the AZURE_… and GOOGLE_… variables"
                raise ConfigError(
                    f"the store cannot be opened: {error}", resource=self.address, hint=hint
                ) from error
        return self._store

    def _told(self, error: Exception) -> Exception:
        message = shown(str(error).split("\n", 1)[0])
        if isinstance(error, FileNotFoundError):
            return NotFound(f"there is no such file: {message}", resource=self.address)
        if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
            return AuthError(f"the files are not ours to read: {message}", resource=self.address)
        return Unavailable(f"the files cannot be read: {message}", resource=self.address)


class _BytesReader:
    """obstore's reader, which gives out buffers, as a file of bytes."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, all without a number."""
        return bytes(self._reader.read(None if size < 0 else size))

    def close(self) -> None:
        """Close it."""
        self._reader.close()
