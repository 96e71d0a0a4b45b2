"""Files of a store as ``operations.copying`` takes them: read in a stream, written in parts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from trackbridge.ports.streams import Original, Replica
from trackbridge_adapters._mlflow_rest.artifacts_files import Entry, Files
from trackbridge_adapters._mlflow_rest.artifacts_parts import PARTS_MAX, Parts


class FileOriginal(Original):
    """A file of any place.

    Args:
        files: The place.
        path: Of the file in it.
        entry: What was found there.
        digest: ``sha256:…`` where it is known.
    """

    def __init__(self, files: Files, path: str, entry: Entry, digest: str | None) -> None:
        self.address = files.address(path)
        self.size = entry.size or 0
        self.version = entry.version
        self.digest = digest
        self._files = files
        self._path = path

    def read(self, start: int) -> Iterator[Any]:
        return self._files.read_from(self._path, start, self.version)


class FileReplica(Replica):
    """A file in a place that takes parts.

    Args:
        files: The place.
        path: Of the file in it.
        parts: How it goes in parts.
        held: Size and digest of what is there.
    """

    parts_max = PARTS_MAX

    def __init__(self, files: Files, path: str, parts: Parts, held: tuple[int, str | None] | None) -> None:
        self.address = files.address(path)
        self._files = files
        self._path = path
        self._parts = parts
        self._held = held

    def held(self) -> tuple[int, str | None] | None:
        return self._held

    def whole(self, content: bytes, digest: str) -> str:
        return self._files.put(self._path, io.BytesIO(content), digest=digest, size=len(content))

    def begin(self, count: int, digest: str) -> str:
        return self._parts.begin(count, digest)

    def knows(self, upload: str) -> bool:
        return self._parts.knows(upload)

    def send(self, upload: str, number: int, content: bytes) -> str:
        return self._parts.send(upload, number, content)

    def complete(self, upload: str, tags: list[str], digest: str) -> str:
        return self._parts.complete(self._parts.named(upload, digest), tags)

    def abort(self, upload: str) -> None:
        self._parts.abort(upload)

    def close(self) -> None:
        self._parts.close()
