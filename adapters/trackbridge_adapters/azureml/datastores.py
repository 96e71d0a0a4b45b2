"""The datastores of a workspace, and the files in them.

A datastore is a container of a storage account, and how to get in: see ``storage_keys``. Files go by obstore,
large ones in blocks that can be gone on with; nothing is left out because of a ``.gitignore``.
"""

# ruff: noqa: D102  the docstrings of the ports are the contract

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import quote

from trackbridge.errors import AuthError, ConfigError, NotFound, Unsupported
from trackbridge.transport.buckets import require_obstore
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.artifacts_files import Entry, Files
from trackbridge_adapters._mlflow_rest.artifacts_parts import Parts
from trackbridge_adapters._mlflow_rest.artifacts_places import ANSWER_S, CONNECT_S, TRIES_MORE
from trackbridge_adapters.azureml.arm import Arm, path_of
from trackbridge_adapters.azureml.artifacts_upload import Upload, send_to_storage
from trackbridge_adapters.azureml.clouds import ADAPTER, PUBLIC
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.identity import STORAGE_SCOPE, AzureTokens
from trackbridge_adapters.azureml.limits import most, problem
from trackbridge_adapters.azureml.storage_keys import Secret, StorageKeys

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles

DEFAULT = "workspaceblobstore"
KIND = "datastores"
KIND_SECRETS = "datastores/listSecrets"
SECRET_WANTED = {"expirableSecret": True, "expireAfterHours": 1}
PATH_CHARS_MAX = most("blob.name")
PATH_PARTS_MAX = 254
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Datastore:
    """Where a datastore's files are."""

    name: str
    kind: str
    account: str
    container: str
    suffix: str
    protocol: str
    keeps_secret: bool
    is_default: bool = False


class Datastores:
    """The datastores of one workspace. Any thread may use it.

    Args:
        arm: Asks ARM.
        scope: The workspace's path in ARM, encoded.
        http: Sends requests to storage.
        token: Returns a token for storage and when it ends; None where nobody is signed in.
        clock_ms: Milliseconds since 1970.
        blob_endpoint: An address instead of ``https://ACCOUNT.blob.SUFFIX``; ``{account}`` in it stands for
            the account.
        suffix: Ends the hosts of accounts of which ARM names no end.
    """

    def __init__(
        self,
        arm: Arm,
        scope: str,
        *,
        http: HttpClient,
        token: Callable[[], tuple[str, float]] | None,
        clock_ms: Callable[[], int],
        blob_endpoint: str | None = None,
        suffix: str = PUBLIC.storage_suffix,
    ) -> None:
        self._arm = arm
        self._scope = scope
        self._http = http
        self._token = token
        self._clock_ms = clock_ms
        self._blob_endpoint = blob_endpoint
        self._suffix = suffix
        self._lock = threading.Lock()
        self._known: dict[str, Container] = {}

    def list(self) -> Iterator[Datastore]:
        """Yield what datastores there are."""
        for item in self._arm.pages(f"{self._scope}/datastores", KIND):
            yield datastore_of(item, self._suffix)

    def get(self, name: str) -> Datastore:
        """Return one.

        Raises:
            NotFound: There is none of that name.
        """
        if problem("datastore.name", name) is not None:
            raise NotFound(f"no datastore is called {name[:100]!r}", adapter=ADAPTER)
        found = self._arm.get(f"{self._scope}/datastores{path_of(name)}", KIND)
        return datastore_of(found, self._suffix)

    def default(self) -> str:
        """Return the name of the workspace's own."""
        return next((found.name for found in self.list() if found.is_default), DEFAULT)

    def container(self, name: str) -> Container:
        """Return a datastore's container.

        Raises:
            NotFound: There is no such datastore.
            Unsupported: It is none of blobs.
        """
        with self._lock:
            known = self._known.get(name)
        if known is not None:
            return known
        found = self.get(name)
        if found.kind not in ("azureblob", "azuredatalakegen2"):
            raise Unsupported(
                f"the datastore {name!r} is a {found.kind}: only those of blobs can be opened",
                adapter=ADAPTER,
                hint="use workspaceblobstore, or another one of the kind azure_blob",
            )
        made = Container(found, self._keys(found), self._http, self._blob_endpoint)
        with self._lock:
            return self._known.setdefault(name, made)

    def files(self, name: str, prefix: str = "") -> DatastoreFiles:
        """Return the files of a datastore below a folder; errors as for ``container``."""
        return DatastoreFiles(self.container(name), prefix)

    def job_outputs(self, job: str) -> dict[str, Any]:
        """Return the named outputs of a job, each with its ``uri`` where the job has one.

        Raises:
            NotFound: There is no such job.
        """
        found = self._arm.get(f"{self._scope}/jobs{path_of(job)}", "jobs")
        outputs: dict[str, Any] = (found.get("properties") or {}).get("outputs") or {}
        return outputs

    def _keys(self, found: Datastore) -> StorageKeys:
        def secrets() -> dict[str, Any] | None:
            if not found.keeps_secret:
                return None
            path = f"{self._scope}/datastores{path_of(found.name)}/listSecrets"
            return self._arm.post(path, KIND_SECRETS, SECRET_WANTED)

        return StorageKeys(secrets, self._token, found.account, found.container, self._clock_ms)


class Container:
    """A datastore's container, opened with keys that are renewed.

    Args:
        datastore: Which.
        keys: What opens it.
        http: Sends blocks.
        blob_endpoint: As for ``Datastores``.
    """

    def __init__(
        self, datastore: Datastore, keys: StorageKeys, http: HttpClient, blob_endpoint: str | None = None
    ) -> None:
        self.datastore = datastore
        self.keys = keys
        self._http = http
        self._endpoint = endpoint_of(datastore, blob_endpoint)
        self._lock = threading.Lock()
        self._store: tuple[Secret, Any] | None = None

    @property
    def address(self) -> str:
        """The container's own address, without a signature."""
        return f"{self._endpoint}/{self.datastore.container}"

    def store(self) -> Any:
        """Return obstore's store, with what opens it now."""
        secret = self.keys.current()
        with self._lock:
            if self._store is None or self._store[0] != secret:
                self._store = (secret, self._opened())
            return self._store[1]

    def again(self, work: Callable[[Any], Result]) -> Result:
        """Work on the store; once more with other keys, where storage refuses those in use."""
        store, refused = self.store(), self.keys.current()
        try:
            return work(store)
        except AuthError:
            if self.keys.renewed(refused) == refused:
                raise
        return work(self.store())

    def upload(self, key: str) -> Parts | None:
        """Return how a blob goes in blocks; None where no address can be signed."""
        if self.keys.current().token:
            return None
        used: list[Secret] = []

        def address(secret: Secret) -> str:
            used[:] = [secret]
            return f"{self.address}/{quote(key, safe='/')}?{self.keys.signature(secret)}"

        def send(method: str, url: str, **named: Any) -> Any:
            return send_to_storage(self._http, method, url, **named)

        return Upload(send, lambda: address(self.keys.current()), lambda: address(self.keys.renewed(used[0])))

    def _opened(self) -> Any:
        require_obstore(extra="azure", adapter=ADAPTER)
        from obstore.store import AzureStore

        return AzureStore(
            self.datastore.container,
            account_name=self.datastore.account,
            endpoint=self._endpoint,
            credential_provider=cast("Any", self.keys.for_store),
            client_options={
                "timeout": ANSWER_S,
                "connect_timeout": CONNECT_S,
                "allow_http": self._endpoint.startswith("http://"),
            },
            retry_config={"max_retries": TRIES_MORE},
        )

    def __repr__(self) -> str:
        return f"<Container of the datastore {self.datastore.name}>"


class DatastoreFiles(Files):
    """Files of a datastore below a folder."""

    keeps_digests = True
    may_collide = False

    def __init__(self, container: Container, prefix: str) -> None:
        self.root = f"azureml://datastores/{container.datastore.name}/paths/{prefix.strip('/')}".rstrip("/")
        self._container = container
        self._prefix = prefix.strip("/")

    def problem(self, path: str) -> str | None:
        full = f"{self._prefix}/{path}"
        if any(part.endswith(".") for part in path.split("/")):
            return "has a part that ends with a dot, which storage drops"
        if len(full) > PATH_CHARS_MAX:
            return f"is longer than {PATH_CHARS_MAX} characters, with the folder that it is in"
        if full.count("/") > PATH_PARTS_MAX:
            return f"has more than {PATH_PARTS_MAX} folders"
        if any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in path):
            return "holds control characters"
        return None

    def address(self, path: str) -> str:
        return f"{self.root}/{path}"

    def held(self, path: str) -> Entry | None:
        return self.find(path)

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        def put(store: Any) -> str:
            source.seek(0)
            return self._files(store).put(path, source, digest=digest, size=size)

        return self._container.again(put)

    def parts(self, path: str, *, resumable: bool) -> Parts | None:
        return self._container.upload(f"{self._prefix}/{path}".lstrip("/"))

    def open(self, path: str) -> BinaryIO:
        return self._container.again(lambda store: self._files(store).open(path))

    def read_from(self, path: str, start: int, version: str) -> Iterator[Any]:
        def begin(store: Any) -> tuple[Any, Iterator[Any]]:
            blocks = self._files(store).read_from(path, start, version)
            return next(blocks, None), blocks

        first, rest = self._container.again(begin)
        if first is not None:
            yield first
            yield from rest

    def find(self, path: str) -> Entry | None:
        found = self._container.again(lambda store: self._files(store).find(path))
        if found is None or found.is_dir or found.size or not self._has(path):
            return found
        return Entry(found.name, is_dir=True)  # Hadoop and Spark mark a folder by an empty blob of its name

    def _has(self, folder: str) -> bool:
        return self._container.again(lambda store: self._files(store).has(folder))

    def children(self, folder: str) -> Sequence[Entry]:
        files, folders = self._container.again(lambda store: self._files(store).split(folder))
        kept = [entry for entry in files if entry.size or entry.name not in folders]
        return [*kept, *(Entry(name, is_dir=True) for name in folders)]

    def below(self, most: int) -> Sequence[str]:
        return self._container.again(lambda store: self._files(store).below(most))

    def delete(self, path: str, entry: Entry) -> None:
        self._container.again(lambda store: self._files(store).delete(path, entry))

    def digest(self, path: str) -> str | None:
        return self._container.again(lambda store: self._files(store).digest(path))

    def presign(self, path: str, expires_s: int) -> str:
        raise Unsupported("the workspace decides how long an address lasts", adapter=ADAPTER)

    def _files(self, store: Any) -> ObjectFiles:
        from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles

        return ObjectFiles(store, self.root, self._prefix, adapter=ADAPTER)


def datastore_of(item: dict[str, Any], suffix: str) -> Datastore:
    """Read a datastore as ARM describes it; ``suffix`` is that of the cloud."""
    told = item.get("properties") or {}
    credentials = told.get("credentials") or {}
    kind = str(told.get("datastoreType") or "").lower()
    secret = str(credentials.get("credentialsType") or "None").lower()
    return Datastore(
        name=str(item.get("name") or ""),
        kind=kind,
        account=str(told.get("accountName") or ""),
        container=str(told.get("containerName") or told.get("filesystem") or ""),
        suffix=str(told.get("endpoint") or suffix),
        protocol=str(told.get("protocol") or "https"),
        keeps_secret=secret in ("accountkey", "sas"),
        is_default=bool(told.get("isDefault")),
    )


def endpoint_of(datastore: Datastore, blob_endpoint: str | None) -> str:
    """Return where the account's blobs are.

    Raises:
        ConfigError: The datastore would send signatures over the network unencrypted.
        NotFound: It names no container.
    """
    if not datastore.account or not datastore.container:
        raise NotFound(f"the datastore {datastore.name!r} names no container", adapter=ADAPTER)
    if blob_endpoint:
        return blob_endpoint.replace("{account}", datastore.account).rstrip("/")
    if datastore.protocol != "https":
        raise ConfigError(
            f"the datastore {datastore.name!r} is reached by {datastore.protocol}: keys would be readable",
            adapter=ADAPTER,
            hint="set its protocol to https",
        )
    return f"https://{datastore.account}.blob.{datastore.suffix}"


def datastores_of(
    arm: Arm,
    workspace: Workspace,
    http: HttpClient,
    authentication: object,
    *,
    clock_ms: Callable[[], int],
    blob_endpoint: str | None = None,
    suffix: str = PUBLIC.storage_suffix,
) -> Datastores:
    """Return the datastores of a workspace, with storage's tokens where a credential signs in."""

    def token() -> tuple[str, float]:
        assert isinstance(authentication, AzureTokens)
        return authentication.beside(STORAGE_SCOPE).dated()

    return Datastores(
        arm,
        quote(workspace.scope),
        http=http,
        token=token if isinstance(authentication, AzureTokens) else None,
        clock_ms=clock_ms,
        blob_endpoint=blob_endpoint,
        suffix=suffix,
    )
