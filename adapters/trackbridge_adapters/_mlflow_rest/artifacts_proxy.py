"""Files behind the MLflow server itself: ``mlflow-artifacts:`` roots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import BinaryIO
from urllib.parse import quote, unquote, urlparse, urlsplit, urlunparse

import requests
import urllib3

from trackbridge.errors import (
    BridgeError,
    ConfigError,
    NotFound,
    Rejected,
    TimedOut,
    Transient,
    Unavailable,
    Unsupported,
)
from trackbridge.ports.capabilities import Feature
from trackbridge_adapters._mlflow_rest.artifacts_files import BLOCK_BYTES, Entry, Files, reader_of
from trackbridge_adapters._mlflow_rest.artifacts_parts import Parts
from trackbridge_adapters._mlflow_rest.artifacts_parts_proxy import Offer, ProxyParts
from trackbridge_adapters._mlflow_rest.negotiation import Negotiation
from trackbridge_adapters._mlflow_rest.wire import Wire

ROUTE = "/api/2.0/mlflow-artifacts/artifacts"
INLINE_BYTES_MAX = BLOCK_BYTES
SEEN_MAX = 1000
ANSWER_S = 300.0
"""Seconds until a server has stored what it took: it may first send it on to a bucket."""


class ProxiedFiles(Files):
    """Files of one run, by the server's artifact routes."""

    keeps_digests = False
    may_collide = True

    def __init__(
        self, wire: Wire, root: str, *, negotiation: Negotiation | None = None, offer: Offer | None = None
    ) -> None:
        self.root = root.rstrip("/")
        self._wire = wire
        self._negotiation = negotiation
        self._offer = offer or Offer()
        self._seen: dict[str, set[str]] = {}
        self._folder = unquote(urlsplit(self.root).path).strip("/")
        host = urlsplit(self.root).netloc
        if host and host != urlsplit(wire.service.base_url()).netloc:
            raise ConfigError(
                f"the run's artifacts are behind another server, {host}",
                adapter=wire.service.adapter,
                hint="use that server's address as the tracking URI",
            )

    def problem(self, path: str) -> str | None:
        full = f"{self._folder}/{path}"
        # The server decodes a path until it no longer changes (mlflow/utils/uri.py): what that would turn
        # into another name cannot be asked for.
        if unquote(full) != full or urlunparse(urlparse(full)) != full or "#" in full:
            return "holds characters that an MLflow server takes for parts of an address"
        if any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in full):
            return "holds control characters"
        return None

    def address(self, path: str) -> str:
        return f"{self.root}/{quote(path)}"

    def held(self, path: str) -> Entry | None:
        # A file is not told: the listing has no version, and the same size may be other bytes. A folder is,
        # because mlflow 2.x would put the file into it, and a bucket would hold both. Each folder is listed
        # once, not for each file that goes into it.
        parent, _, name = path.rpartition("/")
        if name not in self._folders_in(parent):
            return None
        return Entry(name, is_dir=True) if self.children(path) else None

    def _folders_in(self, folder: str) -> set[str]:
        """Return the names of folders that were in a folder when it was first looked at, and of ours."""
        names = self._seen.get(folder)
        if names is None:
            names = {entry.name for entry in self.children(folder) if entry.is_dir}
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            self._seen[folder] = names
        return names

    def _note_folders(self, path: str) -> None:
        """Note the folders that a file makes."""
        while path := path.rpartition("/")[0]:
            parent, _, name = path.rpartition("/")
            if parent in self._seen:
                self._seen[parent].add(name)

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        self._refuse_what_cannot_be_read_back(path)
        self._note_folders(path)

        def body() -> BinaryIO:
            source.seek(0)
            return source

        content = source.read() if size <= INLINE_BYTES_MAX else body
        headers = {"Content-Type": "application/octet-stream"}
        self._wire.send("PUT", self._route(path), body=content, headers=headers, answer_s=ANSWER_S)
        return ""

    def parts(self, path: str, *, resumable: bool) -> Parts | None:
        if self._offer.is_declined:
            return None
        self._note_folders(path)
        return ProxyParts(self._wire, f"{self._folder}/{path}", self._offer)

    def open(self, path: str) -> BinaryIO:
        # Compression would hide how many bytes are to come, and so that some are missing.
        headers = {"Accept-Encoding": "identity"}
        answer = self._wire.send("GET", self._route(path), headers=headers, stream=True, answer_s=ANSWER_S)
        return reader_of(_blocks(answer), close=answer.close, translated=self._broken)

    def find(self, path: str) -> Entry | None:
        folder, _, name = path.rpartition("/")
        return next((entry for entry in self.children(folder) if entry.name == name), None)

    def children(self, folder: str) -> Sequence[Entry]:
        query = {"path": f"{self._folder}/{folder}" if folder else self._folder}
        try:
            answer = self._wire.send("GET", ROUTE, query=query)
            files = json.loads(answer.content or b"{}").get("files") or ()
        except NotFound:
            return ()
        except (ValueError, AttributeError) as error:
            raise Unavailable(
                "the list of artifacts was answered with something that is not one",
                adapter=self._wire.service.adapter,
                hint="is this the address of an MLflow server, or of a page before it?",
            ) from error
        entries = [_entry(file) for file in files]
        if len(entries) == 1 and not entries[0].is_dir and entries[0].name == folder.rpartition("/")[2]:
            # Stores behind some servers list a file as its own child. A child of the same name has a size
            # of its own, and its parent lists the folder as a folder.
            return () if self._is_file(folder) else entries
        return entries

    def delete(self, path: str, entry: Entry) -> None:
        self._seen.clear()
        try:
            self._wire.send("DELETE", self._route(path))
        except NotFound:
            return
        except Transient as error:
            if entry.is_dir or self._negotiation is None or self._major_version() >= 3:
                raise
            if self.find(path) is None:
                return
            raise self._negotiation.lacks(Feature.ARTIFACTS_DELETE) from error

    def digest(self, path: str) -> str | None:
        return None

    def presign(self, path: str, expires_s: int) -> str:
        raise Unsupported(
            "artifacts behind the MLflow server have no address of their own",
            adapter=self._wire.service.adapter,
            operation="artifacts.presign",
        )

    def _refuse_what_cannot_be_read_back(self, path: str) -> None:
        """Refuse names that mlflow 2.x stores and then cannot hand out: it writes them into a header."""
        name = path.rpartition("/")[2]
        if _is_latin(name) or self._major_version() >= 3:
            return
        raise Rejected(
            "this MLflow server (before 3.0) stores a file of such a name and cannot hand it out again",
            adapter=self._wire.service.adapter,
            operation="artifacts.put",
            resource=f"artifact {path[:80]!r}",
            hint="use a name of Latin letters, or a newer server",
        )

    def _major_version(self) -> int:
        """Return the server's first version number; one that does not tell is taken for a new one."""
        try:
            text = self._wire.send("GET", "/version").text
        except (NotFound, Rejected):
            return 3
        first = text.strip().partition(".")[0]
        return int(first) if first.isdecimal() and len(first) < 4 else 3

    def _is_file(self, path: str) -> bool:
        if not path:
            return False
        folder, _, name = path.rpartition("/")
        query = {"path": f"{self._folder}/{folder}" if folder else self._folder}
        files = self._wire.get("artifacts", query, prefix="/api/2.0/mlflow-artifacts").get("files") or ()
        return any(not entry.is_dir and entry.name == name for entry in map(_entry, files))

    def _route(self, path: str) -> str:
        return f"{ROUTE}/{quote(f'{self._folder}/{path}')}"

    def _broken(self, error: Exception) -> BridgeError | None:
        if not isinstance(error, (requests.RequestException, urllib3.exceptions.HTTPError, OSError)):
            return None
        return TimedOut(
            f"the connection broke while an artifact was read: {type(error).__name__}",
            ambiguous=False,
            adapter=self._wire.service.adapter,
            operation="artifacts.open",
        )


def _is_latin(name: str) -> bool:
    try:
        name.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _blocks(answer: requests.Response) -> Iterator[bytes]:
    while block := answer.raw.read(BLOCK_BYTES, decode_content=True):
        yield block


def _entry(file: dict[str, object]) -> Entry:
    name = str(file.get("path", "")).rpartition("/")[2]
    if not name or name in (".", ".."):
        raise Rejected("the server lists a file that has no name")
    if file.get("is_dir"):
        return Entry(name, is_dir=True)
    return Entry(name, size=int(str(file.get("file_size") or 0)))
