"""Files of runs straight in the workspace's storage, by the secret of its datastore, not an address each.

The option ``artifacts = account``: one listing tells the sizes of a folder, and no address is asked for
before a file is read. The run history is told of each file that is written, so that the studio shows it.
"""

# ruff: noqa: D102  the docstrings of the ports are the contract

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.artifacts_files import Entry
from trackbridge_adapters._mlflow_rest.artifacts_parts import Parts
from trackbridge_adapters.azureml.artifacts import RunFiles
from trackbridge_adapters.azureml.datastores import Datastores
from trackbridge_adapters.azureml.workspace import Location

DATASTORE = "workspaceartifactstore"
ORIGIN = "ExperimentRun"


class AccountRunFiles(RunFiles):
    """The files of one run, in the container of ``workspaceartifactstore``."""

    def __init__(
        self, http: HttpClient, location: Location, root: str, match: re.Match[str], datastores: Datastores
    ) -> None:
        super().__init__(http, location, root, match)
        self._blobs = datastores.files(DATASTORE, f"{ORIGIN}/{self._container}")

    def find(self, path: str) -> Entry | None:
        return self._blobs.find(path)

    def children(self, folder: str) -> Sequence[Entry]:
        return self._blobs.children(folder)

    def count(self, folder: str, most: int) -> int:
        return self._blobs.count(folder, most)

    def open(self, path: str) -> BinaryIO:
        return self._blobs.open(path)

    def read_from(self, path: str, start: int, version: str) -> Iterator[Any]:
        return self._blobs.read_from(path, start, version)

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        self.announce(path)
        return self._blobs.put(path, source, digest=digest, size=size)

    def parts(self, path: str, *, resumable: bool) -> Parts | None:
        self.announce(path)
        return self._blobs.parts(path, resumable=resumable)

    def digest(self, path: str) -> str | None:
        return self._blobs.digest(path)
