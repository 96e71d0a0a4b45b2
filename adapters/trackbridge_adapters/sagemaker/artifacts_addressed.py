"""Files at any address in S3, such as models that AWS's own tools registered: ``AddressedArtifacts``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.secrets import shown
from trackbridge.errors import NotFound
from trackbridge_adapters._mlflow_rest.artifacts_files import Files
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.artifacts_linked import SCHEME

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles


class AddressedFiles(ABC):
    """Reads files at ``s3://…``. Any thread may use it."""

    @abstractmethod
    def _files_at(self, address: str) -> ObjectFiles:
        """Return the files below any address in S3."""

    @abstractmethod
    def _with_good_keys(self, work: Callable[[], Any]) -> Any:
        """Work; once more with other keys, where there are some and S3 refuses those in use."""

    def reads(self, address: str) -> bool:
        """Tell whether an address is in S3."""
        return address.startswith(SCHEME)

    def address_for_registry(self, address: str, *, is_elsewhere: bool) -> str:
        """Return the address: it means the same everywhere."""
        return address

    def known_digest_at(self, address: str) -> str | None:
        """Return None: the bytes have to be read."""
        return None

    def members_at(self, address: str) -> list[tuple[str, ArtifactInfo]]:
        """Return the files at an address: the name within it, and what to open.

        An address that ends with a slash is a folder, any other a file where there is one.

        Raises:
            NotFound: There is nothing.
            AuthError: The bucket is not ours to read.
        """
        found: list[tuple[str, ArtifactInfo]] = self._with_good_keys(lambda: self._members(address))
        if not found:
            raise NotFound("there are no files", adapter=ADAPTER, resource=shown(address, chars_max=200))
        return found

    def open_at(self, address: str, path: str) -> BinaryIO:
        """Open a file at an address, by the path that ``members_at`` gave; the caller closes it.

        Raises:
            NotFound: There is no such file.
        """
        opened: BinaryIO = self._with_good_keys(lambda: self._files_at(address).open(path))
        return opened

    def _members(self, address: str) -> list[tuple[str, ArtifactInfo]]:
        files = self._files_at(address)
        entry = None if address.endswith("/") else files.find("")
        if entry is not None and not entry.is_dir:
            name = address.rpartition("/")[2]
            return [(name, ArtifactInfo(path="", file_size=entry.size))]
        listed = dict(files.listed())
        folders = {parent for path in listed for parent in _parents(path)}
        return [
            (path, ArtifactInfo(path=path, file_size=found.size))
            for path, found in sorted(listed.items())
            if path not in folders and (found.size or _is_file(files, path))
        ]


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(len(parts)))


def _is_file(files: Files, path: str) -> bool:
    """Tell whether an empty object is a file: consoles write some that stand for a folder."""
    entry = files.find(path) if path else None
    return entry is not None and not entry.is_dir
