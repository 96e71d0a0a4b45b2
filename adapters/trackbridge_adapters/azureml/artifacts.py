"""Files of runs by the routes of the run history, and the signed addresses of storage that these hand out.

::

    batch/metadata -> address to write -> PUT, or blocks and their list
     | the path is known: conflict
    write          -> address to write again
    contentinfo    -> address to read  -> GET, HEAD (size, digest)

The run history makes an entry once and gives its address once; the artifact service gives another one for an
entry that is there, whether its bytes came or not. A file's digest is kept in its blob's metadata. A name
whose bytes never came is no file. An address that has expired meanwhile is asked for again. Storage gets no
token of ours.
"""

# ruff: noqa: D102  the docstrings of the ports are the contract

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import requests
import urllib3

from trackbridge.domain.secrets import shown
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    NotFound,
    Rejected,
    TimedOut,
    Unavailable,
    Unsupported,
)
from trackbridge.ports.capabilities import Feature
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.artifacts import RestArtifacts, StoreOptions
from trackbridge_adapters._mlflow_rest.artifacts_files import (
    BLOCK_BYTES,
    Entry,
    Files,
    control_characters,
    reader_of,
)
from trackbridge_adapters._mlflow_rest.artifacts_parts import Parts
from trackbridge_adapters._mlflow_rest.errors import error_of
from trackbridge_adapters.azureml.addressed import AddressedFiles
from trackbridge_adapters.azureml.artifacts_upload import META_DIGEST, Upload, send_to_storage
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.errors import json_of, refusal_of
from trackbridge_adapters.azureml.limits import most
from trackbridge_adapters.azureml.workspace import Location

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking
    from trackbridge_adapters.azureml.datastores import Datastores
    from trackbridge_adapters.azureml.model_files import ModelFiles
    from trackbridge_adapters.azureml.paths import Found

LOOKS_AT_ONCE = 8
PATH_CHARS_MAX = most("blob.name") - 64
"""Of a file's path; the run's folder stands before it in the name of the blob."""
_KNOWN = "Resource Conflict"
"""What the run history says of a path that it knows: "ArtifactId ExperimentRun/dcid.RUN/PATH already exists"
(lightly-ai/lightly-train#256)."""
_ROOT = re.compile(r"azureml://.*experiments/(?P<experiment>[^/]+)/runs/(?P<run>[^/]+)/artifacts/?")


class AzureArtifacts(AddressedFiles, RestArtifacts):
    """Files of the workspace's runs, and of its models wherever they lie."""

    models: ModelFiles | None = None

    def __init__(
        self, tracking: RestTracking, location: Location, datastores: Datastores | None = None
    ) -> None:
        super().__init__(tracking, StoreOptions())
        self._places = RunPlaces(tracking.service.http, location, datastores)  # type: ignore[assignment]

    def files_of(self, run_id: str) -> Files:
        """Return the files of a run, given our id or the native one.

        Raises:
            NotFound: There is no such run.
        """
        return self._files_of(run_id)

    def delete(self, run_id: str, path: str) -> None:
        self._refuse(Feature.ARTIFACTS_DELETE, "artifacts.delete")

    # Files that are no run's: AddressedArtifacts.

    def reads(self, address: str) -> bool:
        return self.models is not None and super().reads(address)

    def address_for_registry(self, address: str, *, is_elsewhere: bool) -> str:
        return self._models().full_address(address) if is_elsewhere else address

    def known_digest_at(self, address: str) -> str | None:
        return self._models().known_digest(address)

    def _at(self, address: str) -> Found:
        return self._models().at(address)

    def _models(self) -> ModelFiles:
        if self.models is None:
            raise Unsupported("this store was opened for files of runs alone", adapter=ADAPTER)
        return self.models


class RunPlaces:
    """The files of a run, given where its artifacts lie.

    Args:
        http: Sends the requests.
        location: Of the workspace.
        datastores: Open the workspace's storage where that is wanted; else each file has an address.
    """

    def __init__(self, http: HttpClient, location: Location, datastores: Datastores | None) -> None:
        self._http = http
        self._location = location
        self._datastores = datastores

    def files(self, root: str) -> Files:
        """Return the files below an artifact URI of Azure ML."""
        match = _ROOT.fullmatch(root)
        if match is None:
            raise ConfigError(
                f"the run's artifacts lie at {root[:200]!r}, which is no place of this workspace",
                adapter=ADAPTER,
                hint="was the run made in another workspace?",
            )
        if self._datastores is None:
            return RunFiles(self._http, self._location, root.rstrip("/"), match)
        from trackbridge_adapters.azureml.artifacts_account import AccountRunFiles

        return AccountRunFiles(self._http, self._location, root.rstrip("/"), match, self._datastores)


class RunFiles(Files):
    """The files of one run."""

    keeps_digests = True
    may_collide = False

    def __init__(self, http: HttpClient, location: Location, root: str, match: re.Match[str]) -> None:
        self.root = root
        self._http = http
        self._location = location
        self._route = f"/experiments/{match['experiment']}/runs/{match['run']}/artifacts"
        self._container = f"dcid.{match['run']}"

    def problem(self, path: str) -> str | None:
        if any(part.endswith(".") for part in path.split("/")):
            return "has a part that ends with a dot, which storage drops"
        if len(path) > PATH_CHARS_MAX:
            return f"is longer than {PATH_CHARS_MAX} characters"
        return control_characters(path)

    def address(self, path: str) -> str:
        return f"{self.root}/{path}"

    def held(self, path: str) -> Entry | None:
        return self.find(path)

    def find(self, path: str) -> Entry | None:
        address = self._address_to_read(path)
        entry = None if address is None else self._look(path, address)
        if entry is not None:
            return entry
        name = path.rpartition("/")[2]
        return next((Entry(name, is_dir=True) for _ in self._below(f"{path}/")), None)

    def children(self, folder: str) -> Sequence[Entry]:
        start = f"{folder}/" if folder else ""
        folders: dict[str, Entry] = {}
        files: list[tuple[str, str | None]] = []
        for path, address in self._below(start):
            name, is_below, _ = path[len(start) :].partition("/")
            if is_below:
                folders[name] = Entry(name, is_dir=True)
            else:
                files.append((path, address))
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            found = list(pool.map(lambda item: self._look_at(*item), files))
        return [*folders.values(), *(entry for entry in found if entry is not None)]

    def count(self, folder: str, most: int) -> int:
        return len(list(islice(self._below(f"{folder}/" if folder else ""), most)))  # no file is looked at

    def open(self, path: str) -> BinaryIO:
        address = self._address_to_read(path)
        if address is None:
            raise _no_file(path)
        answer = self._storage("GET", address, path, stream=True)
        return reader_of(_pieces(answer), close=answer.close, translated=_broken)

    def read_from(self, path: str, start: int, version: str) -> Iterator[bytes]:
        address = self._address_to_read(path)
        if address is None:
            raise _no_file(path)
        headers = {"If-Match": version} if version else {}
        if start:
            headers["Range"] = f"bytes={start}-"
        answer = self._storage("GET", address, path, stream=True, headers=headers)
        with closing(answer):
            try:
                yield from _pieces(answer)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _broken(error) or error from error

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        return self._upload(path).whole(source, digest=digest, size=size)

    def parts(self, path: str, *, resumable: bool) -> Parts | None:
        return self._upload(path)

    def _upload(self, path: str) -> Upload:
        return Upload(
            self.send, lambda: self._address_to_write(path), lambda: self._address_to_write_again(path)
        )

    def delete(self, path: str, entry: Entry) -> None:
        raise Unsupported("the run history has no route that deletes a file", adapter=ADAPTER)

    def digest(self, path: str) -> str | None:
        found = self.find(path)
        return found.digest if found is not None else None

    def presign(self, path: str, expires_s: int) -> str:
        raise Unsupported("the workspace decides how long an address lasts", adapter=ADAPTER)

    # Routes of the run history.

    def _address_to_write(self, path: str) -> str:
        """Return a signed address at which the file can be written."""
        content = self.announce(path)
        return self._address_to_write_again(path) if content is None else _required_address(content)

    def announce(self, path: str) -> dict[str, Any] | None:
        """Tell the run history of a file, and return what it says of it; None where it knew it.

        Raises:
            Rejected: It takes no such file.
        """
        body = json.dumps({"paths": [{"path": path}]}).encode()
        headers = {"Content-Type": "application/json"}
        answer = self._json(self._ask("POST", "/batch/metadata", body=body, headers=headers))
        problem = (answer.get("errors") or {}).get(path)
        if not problem:
            return (answer.get("artifactContentInformation") or {}).get(path) or {}
        message = str((problem.get("error") or {}).get("message") or problem)
        if _KNOWN in message:
            return None
        raise Rejected(f"the run history refuses the file: {shown(message)}", adapter=ADAPTER)

    def _address_to_write_again(self, path: str) -> str:
        """Return a signed address at which a file that the run history knows can be written."""
        url = f"{self._location.artifact_url()}/artifacts/ExperimentRun/{self._container}/write"
        return _required_address(self._json(self._answered("GET", url, query={"path": path})))

    def _address_to_read(self, path: str) -> str | None:
        try:
            found = self._json(self._ask("GET", "/contentinfo", query={"path": path}))
        except NotFound:
            return None
        return _required_address(found)

    def _below(self, start: str) -> Iterator[tuple[str, str | None]]:
        """Yield the paths that begin so, each with an address to read where the route gives it."""
        route = "/prefix/contentinfo" if start else ""
        query: dict[str, str] = {"path": start} if start else {}
        seen: set[str] = set()
        while True:
            try:
                page = self._json(self._ask("GET", route, query=query))
            except NotFound as error:
                if not seen:
                    return
                raise Unavailable(f"a page of the list is gone: {error.message}", adapter=ADAPTER) from error
            for item in page.get("value") or ():
                if str(item["path"]).startswith(start):
                    yield str(item["path"]), item.get("contentUri")
            token = str(page.get("continuationToken") or "")
            if not token:
                return
            if token in seen:
                raise Unavailable("the list does not end: a page leads back to itself", adapter=ADAPTER)
            seen.add(token)
            query = {**query, "continuationToken": token}

    def _look_at(self, path: str, address: str | None) -> Entry | None:
        known = address or self._address_to_read(path)
        return None if known is None else self._look(path, known)

    def _look(self, path: str, address: str) -> Entry | None:
        try:
            answer = self._storage("HEAD", address, path)
        except NotFound:
            return None
        return Entry(
            path.rpartition("/")[2],
            size=int(answer.headers["Content-Length"]),
            version=answer.headers.get("ETag", ""),
            digest=answer.headers.get(META_DIGEST, ""),
        )

    def _ask(self, method: str, route: str, **named: Any) -> requests.Response:
        return self._answered(method, f"{self._location.history_url()}{self._route}{route}", **named)

    def _answered(self, method: str, url: str, **named: Any) -> requests.Response:
        answer = self._http.request(method, url, **named)
        if answer.status_code < 400:
            return answer
        body = json_of(answer)
        refused = refusal_of(answer, body, authentication=self._http.authentication)
        raise refused or error_of(answer, body, "artifacts", adapter=ADAPTER)

    def _json(self, answer: requests.Response) -> dict[str, Any]:
        try:
            found = json.loads(answer.content)
        except ValueError:
            found = None
        if isinstance(found, dict):
            return found
        raise Unavailable("the run history answered with something that is not JSON", adapter=ADAPTER)

    # Storage.

    def _storage(self, method: str, address: str, path: str, **named: Any) -> requests.Response:
        try:
            return self.send(method, address, **named)
        except AuthError:  # the address was old
            fresh = self._address_to_read(path)
            if fresh is None:
                raise _no_file(path) from None
            return self.send(method, fresh, **named)

    def send(self, method: str, address: str, **named: Any) -> requests.Response:
        """Send a request to storage, with the address's own signature only."""
        return send_to_storage(self._http, method, address, **named)


def artifacts_of(
    location: Location, datastores: Datastores | None = None
) -> Callable[[RestTracking], AzureArtifacts]:
    """Return what makes the artifact store of a workspace."""
    return lambda tracking: AzureArtifacts(tracking, location, datastores)


def _required_address(content: dict[str, Any]) -> str:
    address = str(content.get("contentUri") or "")
    if "?" in address:
        return address
    raise Unavailable("the run history gave no signed address for the file", adapter=ADAPTER)


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    yield from answer.raw.stream(BLOCK_BYTES, decode_content=False)


def _broken(error: Exception) -> BridgeError | None:
    if isinstance(error, (urllib3.exceptions.HTTPError, OSError)):
        return TimedOut(f"the download broke off: {type(error).__name__}", ambiguous=False, adapter=ADAPTER)
    return None


def _no_file(path: str) -> NotFound:
    return NotFound("there is no such artifact", adapter=ADAPTER, resource=f"artifact {path[:80]!r}")
