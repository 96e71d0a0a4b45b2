"""Files at Azure ML's own addresses, as both a workspace and a registry read them: ``AddressedArtifacts``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import BinaryIO

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.secrets import shown
from trackbridge.errors import NotFound
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.paths import Found
from trackbridge_adapters.azureml.payloads import members_of


class AddressedFiles(ABC):
    """Reads files at ``azureml://…``. Any thread may use it."""

    _seen: tuple[str, Found] | None = None

    @abstractmethod
    def _at(self, address: str) -> Found:
        """Return the files at an address."""

    def reads(self, address: str) -> bool:
        """Tell whether an address is one of Azure ML's."""
        return address.startswith("azureml:")

    def members_at(self, address: str) -> list[tuple[str, ArtifactInfo]]:
        """Return the files at an address: the name within it, and what to open.

        Raises:
            NotFound: There is nothing.
            ConfigError: It is of a place that is not seen from here.
        """
        found = self._at(address)
        self._seen = (address, found)
        members = list(members_of(found))
        if not members:
            raise NotFound("there are no files", adapter=ADAPTER, resource=shown(address, chars_max=200))
        start = len(found.path)
        return [
            (path[start:].lstrip("/") or entry.name, ArtifactInfo(path=path, file_size=entry.size))
            for path, entry in members
        ]

    def open_at(self, address: str, path: str) -> BinaryIO:
        """Open a file at an address, by the path that ``members_at`` gave; the caller closes it.

        Raises:
            NotFound: There is no such file.
        """
        seen = self._seen  # a registry is asked several times for where a version lies, not for each file
        found = seen[1] if seen is not None and seen[0] == address else self._at(address)
        return found.files.open(path)
