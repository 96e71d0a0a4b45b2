"""Files of runs, where the run's artifact URI says that they lie.

::

    dbfs:/databricks/mlflow-tracking/…   the workspace's storage, by addresses signed for one file each
    dbfs:/Volumes/…                      Unity Catalog, by the Files API
    other dbfs:/…                        DBFS's routes
    s3: gs: abfss: wasbs:                obstore, with credentials of ours

DBFS's own routes are refused below ``dbfs:/databricks/mlflow-tracking``: there the workspace signs addresses
in the storage of its cloud, which gets no token of ours. An address that has expired meanwhile is asked for
again. No route deletes such a file, and none tells its digest or version: a digest is known where the file
was put.
"""

# ruff: noqa: D102  the docstrings of the ports are the contract

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import requests
import urllib3

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.secrets import shown
from trackbridge.errors import AuthError, BridgeError, NotFound, TimedOut, Unavailable, Unsupported
from trackbridge.ports.capabilities import Feature
from trackbridge.transport.http import error_of_status
from trackbridge_adapters._mlflow_rest.artifacts import RestArtifacts, StoreOptions
from trackbridge_adapters._mlflow_rest.artifacts_files import (
    BLOCK_BYTES,
    Entry,
    Files,
    control_characters,
    reader_of,
)
from trackbridge_adapters._mlflow_rest.artifacts_places import Places
from trackbridge_adapters._mlflow_rest.wire import Json, Wire
from trackbridge_adapters.databricks.config import ADAPTER
from trackbridge_adapters.databricks.uploads import Address, Upload
from trackbridge_adapters.databricks.volumes import VolumeFiles

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking

PART_BYTES = 10 * 1024 * 1024
PARTS_MAX = 9000  # S3 takes 10,000
ANSWER_S = 300.0
PATH_BYTES_MAX = 900
"""Of a key's 1,024 bytes in S3, less the run's folder."""
VOLUMES = "dbfs:/Volumes/"
_ROOT = re.compile(r"dbfs:/databricks/mlflow-tracking/[^/]+/(?P<run>[^/]+)/artifacts/?")
_CODE = re.compile(rb"<Code>([\w.]{1,80})</Code>")


class DatabricksArtifacts(RestArtifacts):
    """Files of the workspace's runs."""

    def __init__(self, tracking: RestTracking, *, part_bytes: int = PART_BYTES) -> None:
        super().__init__(tracking, StoreOptions())
        self._places = RunPlaces(tracking, part_bytes)

    def delete(self, run_id: str, path: str) -> None:
        self._refuse(Feature.ARTIFACTS_DELETE, "artifacts.delete")

    def put_resumable(
        self, run_id: str, path: str, file: Path, *, digest: str, size: int, state: Path
    ) -> ArtifactInfo:
        self._refuse(Feature.ARTIFACTS_RESUMABLE_UPLOAD, "artifacts.put_resumable")

    # Files in volumes that are no run's: AddressedArtifacts.

    def reads(self, address: str) -> bool:
        return address.startswith(VOLUMES)

    def address_for_registry(self, address: str, *, is_elsewhere: bool) -> str:
        return address

    def known_digest_at(self, address: str) -> str | None:
        return None

    def members_at(self, address: str) -> list[tuple[str, ArtifactInfo]]:
        folder, _, name = address.rpartition("/")
        files = self._places.files(folder)
        entry = files.find(name) if name else None
        if entry is not None and not entry.is_dir:
            return [(name, ArtifactInfo(path="", file_size=entry.size))]
        found = list(_below(self._places.files(address), ""))
        if not found:
            raise NotFound("there are no files", adapter=ADAPTER, resource=shown(address))
        return found

    def open_at(self, address: str, path: str) -> BinaryIO:
        if path:
            return self._places.files(address).open(path)
        folder, _, name = address.rpartition("/")
        return self._places.files(folder).open(name)


def _below(files: Files, folder: str) -> Iterator[tuple[str, ArtifactInfo]]:
    for entry in files.children(folder):
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_dir:
            yield from _below(files, path)
        else:
            yield path, ArtifactInfo(path=path, file_size=entry.size)


class RunPlaces(Places):
    """The files of a run, given where its artifacts lie."""

    def __init__(self, tracking: RestTracking, part_bytes: int) -> None:
        super().__init__(tracking, StoreOptions())
        self._part_bytes = part_bytes

    def files(self, root: str) -> Files:
        match = _ROOT.fullmatch(root)
        if match is not None:
            return SignedFiles(self._tracking.wire, root, match["run"], part_bytes=self._part_bytes)
        if root.startswith(VOLUMES):
            return VolumeFiles(self._tracking.wire, root)
        return super().files(root)


class SignedFiles(Files):
    """The files of one run behind signed addresses.

    Args:
        wire: Asks the workspace.
        root: The run's artifact URI.
        run: Its native id.
        part_bytes: Larger files are sent in parts of this size.
    """

    keeps_digests = False
    may_collide = True

    def __init__(self, wire: Wire, root: str, run: str, *, part_bytes: int = PART_BYTES) -> None:
        self.root = root.rstrip("/")
        self._wire = wire
        self._run = run
        self._part_bytes = part_bytes

    def problem(self, path: str) -> str | None:
        if len(path.encode()) > PATH_BYTES_MAX:
            return f"is longer than {PATH_BYTES_MAX} bytes"
        return control_characters(path)

    def address(self, path: str) -> str:
        return f"{self.root}/{path}"

    def held(self, path: str) -> Entry | None:
        # A file is not told: the listing has no version, and the same size may be other bytes.
        found = self.find(path)
        return found if found is not None and found.is_dir else None

    def find(self, path: str) -> Entry | None:
        name = path.rpartition("/")[2]
        listed = self._listed(path)
        first = next(listed, None)
        if first is None:
            return None
        if _path_of(first) != path:
            return Entry(name, is_dir=True)
        return _entry(first)

    def children(self, folder: str) -> Sequence[Entry]:
        # A file is listed as its own and only child.
        return [_entry(file) for file in self._listed(folder) if _path_of(file) != folder]

    def open(self, path: str) -> BinaryIO:
        answer = self._read(path)
        return reader_of(_blocks(answer), close=answer.close, translated=_broken)

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        upload = Upload(self.send, lambda: self._signed("write", path), self._wire, self._run, path)
        upload.whole(source, size, max(self._part_bytes, -(-size // PARTS_MAX)))
        return ""

    def delete(self, path: str, entry: Entry) -> None:
        raise Unsupported("Databricks has no route that deletes a run's file", adapter=ADAPTER)

    def digest(self, path: str) -> str | None:
        return None

    def presign(self, path: str, expires_s: int) -> str:
        raise Unsupported("the workspace decides how long an address lasts", adapter=ADAPTER)

    # Routes of the workspace.

    def _signed(self, kind: str, path: str) -> Address:
        body = {"run_id": self._run, "path": [path]}
        found = self._wire.post(f"artifacts/credentials-for-{kind}", body)
        infos = found.get("credential_infos") or ()
        if not infos:
            raise Unavailable(f"the workspace signed no address to {kind} the file", adapter=ADAPTER)
        return Address.of(infos[0])

    def _listed(self, path: str) -> Iterator[Json]:
        query: Json = {"run_id": self._run, **({"path": path} if path else {})}
        while True:
            try:
                page = self._wire.get("artifacts/list", query)
            except NotFound:
                return
            yield from page.get("files") or ()
            token = page.get("next_page_token")
            if not token:
                return
            query["page_token"] = token

    # Storage.

    def _read(self, path: str) -> requests.Response:
        # Compression would hide how many bytes are to come, and so that some are missing.
        headers = {"Accept-Encoding": "identity"}
        try:
            return self.send("GET", self._signed("read", path), headers=headers, stream=True)
        except AuthError:  # it expired on the way
            return self.send("GET", self._signed("read", path), headers=headers, stream=True)

    def send(self, method: str, address: Address, query: str = "", **named: Any) -> requests.Response:
        """Send a request to storage, with the address's own signature only.

        Raises:
            AuthError: The address has expired.
        """
        headers = {**address.headers, **named.pop("headers", {})}
        http = self._wire.service.http
        answer = http.request(
            method, f"{address.url}{query}", headers=headers, authenticate=False, answer_s=ANSWER_S, **named
        )
        if answer.status_code < 300:
            return answer
        code = _CODE.search(answer.content[:10_000])
        said = code[1].decode() if code else answer.headers.get("x-ms-error-code", "")
        answer.close()
        raise error_of_status(answer, f"storage: {shown(said)}", adapter=ADAPTER, resource="artifact")


def _path_of(file: Json) -> str:
    return str(file.get("path", "")).rstrip("/")


def _entry(file: Json) -> Entry:
    name = _path_of(file).rpartition("/")[2]
    if file.get("is_dir"):
        return Entry(name, is_dir=True)
    return Entry(name, size=int(file.get("file_size") or 0))


def _blocks(answer: requests.Response) -> Iterator[bytes]:
    while block := answer.raw.read(BLOCK_BYTES, decode_content=False):
        yield block


def _broken(error: Exception) -> BridgeError | None:
    if isinstance(error, (urllib3.exceptions.HTTPError, OSError)):
        return TimedOut(f"the download broke off: {type(error).__name__}", ambiguous=False, adapter=ADAPTER)
    return None
