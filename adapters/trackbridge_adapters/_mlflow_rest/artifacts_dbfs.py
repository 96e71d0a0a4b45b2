"""Files on DBFS, by its REST routes on the same host: ``dbfs:/`` roots.

A file of more than a megabyte is written in blocks to a hidden name, which is then moved to its own, so that
no reader meets its beginning. A reader of several blocks is told where the file was replaced meanwhile.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

from trackbridge.errors import BridgeError, ConfigError, Conflict, NotFound, Rejected, Unsupported
from trackbridge_adapters._mlflow_rest.artifacts_files import (
    BLOCK_BYTES,
    INCOMING,
    Entry,
    Files,
    incoming_problem,
    reader_of,
)
from trackbridge_adapters._mlflow_rest.artifacts_replacing import patiently, temporary_path
from trackbridge_adapters._mlflow_rest.wire import Json, Wire

PREFIX = "/api/2.0/dbfs"
INLINE_BYTES_MAX = BLOCK_BYTES  # what put, add-block and read take at most
RENAMES_MAX = 5


class DbfsFiles(Files):
    """Files of one run below a folder of DBFS."""

    keeps_digests = False
    may_collide = True

    def __init__(self, wire: Wire, root: str) -> None:
        self.root = root.rstrip("/")
        self._wire = wire
        path = self.root.removeprefix("dbfs:")
        if path.startswith("//"):
            raise ConfigError(
                "a DBFS root of another workspace cannot be reached",
                adapter=wire.service.adapter,
                hint="use that workspace as the tracking URI",
            )
        self._folder = path

    def problem(self, path: str) -> str | None:
        if any(ord(letter) < 0x20 for letter in path):
            return "holds control characters"
        return incoming_problem(path)

    def address(self, path: str) -> str:
        return f"{self.root}/{path}"

    def held(self, path: str) -> Entry | None:
        try:
            return _entry(self._wire.get("get-status", {"path": self._full(path)}, prefix=PREFIX))
        except NotFound:
            return None

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        full = self._full(path)
        if size <= INLINE_BYTES_MAX:
            self._post("put", {"path": full, "contents": _encoded(source.read()), "overwrite": True})
        else:
            self._put_large(full, source)
        entry = self.held(path)
        return "" if entry is None else entry.version

    def _put_large(self, full: str, source: BinaryIO) -> None:
        temporary = temporary_path(full)
        handle = self._post("create", {"path": temporary, "overwrite": True})["handle"]
        try:
            try:
                while block := source.read(BLOCK_BYTES):
                    self._post("add-block", {"handle": handle, "data": _encoded(block)})
            finally:
                self._post("close", {"handle": handle})
            self._rename_over(temporary, full)
        except BaseException:
            with suppress(BridgeError):  # it is hidden, and only takes room
                self._post("delete", {"path": temporary})
            raise

    def _rename_over(self, temporary: str, full: str) -> None:
        for tries_left in reversed(range(RENAMES_MAX)):
            with suppress(NotFound):
                self._post("delete", {"path": full})
            try:
                self._post("move", {"source_path": temporary, "destination_path": full})
                return
            except Rejected:  # another writer was faster between the two requests
                if not tries_left:
                    raise

    def open(self, path: str) -> BinaryIO:
        entry = self.find(path)
        if entry is None or entry.is_dir:
            raise NotFound("there is no such artifact", adapter=self._wire.service.adapter)
        return reader_of(self._blocks(path, entry), translated=_as_it_is)

    def find(self, path: str) -> Entry | None:
        return patiently(lambda: self.held(path), self._full(path), self._names_in)

    def _names_in(self, folder: str) -> list[str]:
        return [str(file.get("path")).rpartition("/")[2] for file in self._listed(folder)]

    def children(self, folder: str) -> Sequence[Entry]:
        full = self._full(folder) if folder else self._folder
        # A file is listed as its own and only child.
        entries = [_entry(file) for file in self._listed(full) if str(file.get("path")) != full]
        return [entry for entry in entries if not entry.name.startswith(INCOMING)]

    def _listed(self, full: str) -> Sequence[Json]:
        try:
            return self._wire.get("list", {"path": full}, prefix=PREFIX).get("files") or ()
        except NotFound:
            return ()

    def delete(self, path: str, entry: Entry) -> None:
        try:
            self._post("delete", {"path": self._full(path), "recursive": entry.is_dir})
        except NotFound:
            return

    def digest(self, path: str) -> str | None:
        return None

    def presign(self, path: str, expires_s: int) -> str:
        raise Unsupported(
            "files on DBFS have no address for others",
            adapter=self._wire.service.adapter,
            operation="artifacts.presign",
        )

    def _full(self, path: str) -> str:
        return f"{self._folder}/{path}"

    def _post(self, route: str, body: Json) -> Json:
        return self._wire.post(route, body, prefix=PREFIX)

    def _blocks(self, path: str, entry: Entry) -> Iterator[bytes]:
        full = self._full(path)
        block = patiently(lambda: self._block(full, 0), full, self._names_in)
        offset = 0
        while block:
            offset += len(block)
            yield block
            if len(block) < BLOCK_BYTES:  # only the last one is shorter
                break
            block = self._block(full, offset)
        if block is None or (offset > BLOCK_BYTES and self.held(path) != entry):
            raise Conflict(
                "the file was replaced or deleted while it was read",
                adapter=self._wire.service.adapter,
                operation="artifacts.open",
                resource=path,
                hint="read it again",
            )

    def _block(self, full: str, offset: int) -> bytes | None:
        """Return the bytes from a place on, at the end none; None where there is no file."""
        query: dict[str, Any] = {"path": full, "offset": offset, "length": BLOCK_BYTES}
        try:
            answer = self._wire.get("read", query, prefix=PREFIX)
        except NotFound:
            return None
        return base64.b64decode(answer.get("data") or "")


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _as_it_is(error: Exception) -> BridgeError | None:
    return error if isinstance(error, BridgeError) else None


def _entry(status: Json) -> Entry:
    name = str(status.get("path", "")).rpartition("/")[2]
    if status.get("is_dir"):
        return Entry(name, is_dir=True)
    version = str(status.get("modification_time") or "")
    return Entry(name, size=int(status.get("file_size") or 0), version=version)
