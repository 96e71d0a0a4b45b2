"""Files in Unity Catalog, by the Files API: of volumes (``dbfs:/Volumes/<catalog>/…``) and of models."""

# ruff: noqa: D102  the docstrings of the ports are the contract

from __future__ import annotations

from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO
from urllib.parse import quote

import requests
import urllib3

from trackbridge.errors import BridgeError, NotFound, TimedOut, Unsupported
from trackbridge_adapters._mlflow_rest.artifacts_files import (
    BLOCK_BYTES,
    Entry,
    Files,
    control_characters,
    reader_of,
)
from trackbridge_adapters._mlflow_rest.wire import Json, Wire
from trackbridge_adapters.databricks.config import ADAPTER

FILES, FOLDERS = "/api/2.0/fs/files", "/api/2.0/fs/directories"
ANSWER_S = 300.0
FILE_BYTES_MAX = 5 * 1024 * 1024 * 1024
"""What the Files API takes (docs.databricks.com/api: Upload a file)."""


class VolumeFiles(Files):
    """Files below a folder of Unity Catalog."""

    keeps_digests = False
    may_collide = True

    def __init__(self, wire: Wire, root: str, *, makes_folders: bool = True) -> None:
        self.root = root.rstrip("/")
        self._wire = wire
        self._folder = self.root.removeprefix("dbfs:")
        self._makes_folders = makes_folders

    def problem(self, path: str) -> str | None:
        return control_characters(path)

    def address(self, path: str) -> str:
        return f"{self.root}/{path}"

    def held(self, path: str) -> Entry | None:
        # A file is not told: it has changed unseen where its size and the second are the same.
        found = self.find(path)
        return found if found is not None and found.is_dir else None

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        self.send(path, source, size)
        entry = self.find(path)
        return "" if entry is None else entry.version

    def send(self, path: str, source: BinaryIO, size: int) -> None:
        """Send a file, with the folders above it."""
        if size > FILE_BYTES_MAX:
            raise Unsupported(
                "a file in Unity Catalog has at most 5 GB", adapter=ADAPTER, operation="artifacts.put"
            )
        if self._makes_folders:
            self._wire.send("PUT", self._route(FOLDERS, path.rpartition("/")[0]))

        def body() -> BinaryIO:
            source.seek(0)
            return source

        headers = {"Content-Type": "application/octet-stream"}
        self._wire.send(
            "PUT",
            self._route(FILES, path),
            query={"overwrite": "true"},
            body=body if size else b"",
            headers=headers,
            answer_s=ANSWER_S,
        )

    def open(self, path: str) -> BinaryIO:
        headers = {"Accept-Encoding": "identity"}
        answer = self._wire.send(
            "GET", self._route(FILES, path), headers=headers, stream=True, answer_s=ANSWER_S
        )
        return reader_of(_pieces(answer), close=answer.close, translated=_broken)

    def find(self, path: str) -> Entry | None:
        name = path.rpartition("/")[2]
        try:
            answer = self._wire.send("HEAD", self._route(FILES, path))
        except NotFound:
            return self._folder_at(path, name)
        changed = answer.headers.get("Last-Modified", "")
        return Entry(name, size=int(answer.headers.get("Content-Length") or 0), version=_version(changed))

    def children(self, folder: str) -> Sequence[Entry]:
        return list(map(_entry, self._listed(folder)))

    def delete(self, path: str, entry: Entry) -> None:
        raise Unsupported("Databricks has no route that deletes a run's file", adapter=ADAPTER)

    def digest(self, path: str) -> str | None:
        return None

    def presign(self, path: str, expires_s: int) -> str:
        raise Unsupported("the workspace decides how long an address lasts", adapter=ADAPTER)

    def _folder_at(self, path: str, name: str) -> Entry | None:
        try:
            self._wire.send("HEAD", self._route(FOLDERS, path))
        except NotFound:
            return None
        return Entry(name, is_dir=True)

    def _listed(self, folder: str) -> Iterator[Json]:
        query: dict[str, Any] = {}
        while True:
            try:
                answer = self._wire.send("GET", self._route(FOLDERS, folder), query=query)
            except NotFound:
                return
            found = self._wire.decoded(answer, "directories")
            yield from found.get("contents") or ()
            if not found.get("next_page_token"):
                return
            query = {"page_token": found["next_page_token"]}

    def _route(self, kind: str, path: str) -> str:
        return f"{kind}{quote(f'{self._folder}/{path}'.rstrip('/'))}"


def _version(changed: str) -> str:
    try:
        return str(int(parsedate_to_datetime(changed).timestamp()))
    except (TypeError, ValueError):
        return ""


def _entry(file: Json) -> Entry:
    name = str(file.get("name") or str(file.get("path", "")).rstrip("/").rpartition("/")[2])
    if file.get("is_directory"):
        return Entry(name, is_dir=True)
    changed = int(file.get("last_modified") or 0)
    return Entry(name, size=int(file.get("file_size") or 0), version=str(changed // 1000) if changed else "")


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    yield from answer.raw.stream(BLOCK_BYTES, decode_content=False)


def _broken(error: Exception) -> BridgeError | None:
    if isinstance(error, (urllib3.exceptions.HTTPError, OSError)):
        return TimedOut(f"the download broke off: {type(error).__name__}", ambiguous=False, adapter=ADAPTER)
    return None
