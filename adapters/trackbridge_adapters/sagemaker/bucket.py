"""The bucket that holds what is ours: records of runs and models, chunks of metrics, artifacts.

Without the option ``bucket`` it is ``sagemaker-REGION-ACCOUNT``, the one that AWS's own SDK uses: made when
something is first written, and used only while the account owns it. All keys here are below
``Place.folder``. A record is changed by compare-and-swap: S3 takes a write only when the object is still the
one that was read (``If-Match``), or when there is none (``If-None-Match``).
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from trackbridge.errors import AuthError, BridgeError, ConfigError, Conflict, NotFound, Rejected, Unavailable
from trackbridge.transport.buckets import require_obstore
from trackbridge_adapters._mlflow_rest.artifacts_places import StoreOptions, s3_store
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.config import Access
from trackbridge_adapters.sagemaker.credentials import Credentials
from trackbridge_adapters.sagemaker.errors import EXPIRED, UNKNOWN_KEY
from trackbridge_adapters.sagemaker.place import Place

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

SWAPS_MAX = 40
"""How often a change is tried again when others change the same record; each loss is another's success."""
READS_AT_ONCE = 16
DELETES_AT_ONCE = 1000  # S3, DeleteObjects
MARK_KEY = "bridgewrite"
"""Metadata of a record: which change wrote it last."""
Result = TypeVar("Result")
_REFUSED_KEYS = re.compile(f"{EXPIRED.pattern}|{UNKNOWN_KEY.pattern}")


class Held(NamedTuple):
    """An object as it was read."""

    content: bytes
    version: str
    mark: str


class Bucket:
    """Objects below the folder of a place. Any thread may use it; opening contacts nobody.

    Args:
        place: Region and prefix.
        access: Address and name of the bucket.
        credentials: The keys.
        clients: For what obstore does not do: who owns the bucket, and making it.
    """

    def __init__(self, place: Place, access: Access, credentials: Credentials, clients: Clients) -> None:
        self._place = place
        self._access = access
        self._credentials = credentials
        self._given: ReadOnlyCredentials | None = None
        self._without_keys: BridgeError | None = None
        self._clients = clients
        self._lock = threading.Lock()
        self._store: Any = None
        s3: dict[str, object] = {"region": access.s3_region, "conditional_put": "etag"}
        if access.s3_endpoint:
            s3 |= {"endpoint": access.s3_endpoint, "virtual_hosted_style_request": False}
        self.options = StoreOptions(s3_credentials=self._keys, s3=s3, s3_verify=access.verify, environment={})
        """How obstore reaches any bucket with our credentials."""

    @property
    def name(self) -> str:
        """The bucket's name; asks for the account, once, where the user has named none."""
        return self._access.bucket or f"sagemaker-{self._place.region}-{self._clients.account()}"

    @property
    def root(self) -> str:
        """``s3://BUCKET/FOLDER``, without a slash at its end."""
        return f"s3://{self.name}/{self._place.folder}"

    def address(self, key: str) -> str:
        """Return the ``s3://`` address of a key."""
        return f"{self.root}/{key}"

    def store(self, *, write: bool) -> Any:
        """Return obstore's store of the whole bucket (keys begin with ``Place.folder``).

        Args:
            write: Whether to make the bucket where there is none.

        Raises:
            NotFound: There is no bucket, and nothing is to be written.
            AuthError: It is another account's, or may not be used.
            ConfigError: It is in another region.
        """
        store = self._store  # read once: another thread may be renewing the keys
        if store is not None:
            return store
        with self._lock:
            if self._store is None:
                require_obstore(extra="aws", adapter=ADAPTER)
                self._find(write=write)
                self._store = s3_store(self.name, self.options)
            return self._store

    def key(self, key: str) -> str:
        """Return the whole key in the bucket of one below the folder."""
        return f"{self._place.folder}/{key}"

    @property
    def keys_in_use(self) -> ReadOnlyCredentials | None:
        """The keys that a store was given last, for ``renewed``: read before the work that may be refused."""
        return self._given

    def renewed(self, error: BridgeError, used: ReadOnlyCredentials | None) -> bool:
        """Tell whether there are other keys than those that S3 has just refused; the next store uses them.

        Args:
            error: The refusal.
            used: The keys; None where there were none before the work began.

        Raises:
            BridgeError: No keys were to be had, which obstore calls a refusal as well.
        """
        if not isinstance(error, AuthError):
            return False
        if self._without_keys is not None:
            raise self._without_keys
        if not _REFUSED_KEYS.search(error.message) or not self._credentials.renew(used or self._given):
            return False
        with self._lock:
            self._store = None
        return True

    # Objects.

    def get(self, key: str) -> tuple[bytes, str] | None:
        """Return the bytes of an object and its version; None where there is none."""
        found = self._read(key)
        return None if found is None else (found.content, found.version)

    def get_many(self, keys: Iterable[str]) -> Iterator[tuple[str, tuple[bytes, str] | None]]:
        """Yield each key with what ``get`` returns, in the order given; several are read at once."""
        wanted = list(keys)
        if len(wanted) < 2:
            yield from ((key, self.get(key)) for key in wanted)
            return
        with ThreadPoolExecutor(min(READS_AT_ONCE, len(wanted))) as pool:
            yield from zip(wanted, pool.map(self.get, wanted), strict=True)

    def put(self, key: str, data: bytes, *, match: str | None = None, absent: bool = False) -> str:
        """Write an object and return its version.

        Args:
            key: Below the folder.
            data: All its bytes.
            match: Write only while the object has this version.
            absent: Write only while there is none.

        Raises:
            Conflict: The condition does not hold. After a break in the network it may be our own write.
        """
        return self._write(key, data, match=match, absent=absent)

    def put_file(self, key: str, file: IO[bytes]) -> None:
        """Write an object from a file that is open for reading, a large one in parts."""

        def write(store: Any) -> None:
            import obstore  # not before there is a store, which says what to do where this is missing

            file.seek(0)
            obstore.put(store, self.key(key), file)

        self._do(write, "put", key, write=True)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """Yield the keys below a prefix, in order of UTF-8.

        Args:
            prefix: Whole parts between slashes: ``runs/a`` has ``runs/a/b`` below it, not ``runs/ab``.
            after: Begin behind this key.
        """
        cut = len(self._place.folder) + 1
        start = None if after is None else self.key(after)
        chunks: Iterator[Any] | None = None
        while True:
            try:
                if chunks is None:
                    chunks = self._do(partial(self._chunks, prefix, start), "list", prefix)
                chunk = next(chunks, None)
            except NotFound:
                return
            except Exception as error:
                raise self._meaning(error, "list", prefix) from None
            if chunk is None:
                return
            yield from (item["path"][cut:] for item in chunk)

    def delete(self, *keys: str) -> None:
        """Delete objects; absent ones are no error."""

        def delete(store: Any, paths: Sequence[str]) -> None:
            import obstore

            obstore.delete(store, paths)

        for start in range(0, len(keys), DELETES_AT_ONCE):
            chosen = [self.key(key) for key in keys[start : start + DELETES_AT_ONCE]]
            try:
                self._do(partial(delete, paths=chosen), "delete", keys[start])
            except NotFound:
                return

    def swap(self, key: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Change an object by compare-and-swap and return its bytes as they are then.

        Args:
            key: Below the folder.
            change: Gets the bytes (None: there is no object) and returns the new ones; None, or the same
                bytes, leaves them. Called again with what others wrote when they were quicker. What it
                raises is raised.

        Raises:
            Unavailable: Others change it all the time.
        """
        mark = secrets.token_hex(8)
        for _ in range(SWAPS_MAX):
            held = self._read(key)
            before, version = (None, None) if held is None else (held.content, held.version)
            if held is not None and held.mark == mark:
                return before  # it was taken; only the answer got lost
            after = change(before)
            if after is None or after == before:
                return before
            try:
                self._write(key, after, match=version, absent=version is None, mark=mark)
            except Conflict:
                continue
            return after
        raise Unavailable(
            "others change the record all the time", adapter=ADAPTER, resource=self.address(key)
        )

    def _do(self, work: Callable[[Any], Result], operation: str, key: str, *, write: bool = False) -> Result:
        """Work on the store; once more with other keys, where there are some and S3 refuses those in use."""
        used = self.keys_in_use
        try:
            return work(self.store(write=write))
        except Exception as error:
            meant = self._meaning(error, operation, key)
        if not self.renewed(meant, used):
            raise meant
        try:
            return work(self.store(write=write))
        except Exception as error:
            raise self._meaning(error, operation, key) from None

    def _chunks(self, prefix: str, start: str | None, store: Any) -> Iterator[Any]:
        """Return the pages of a listing, the first of them asked for already."""
        import obstore

        pages = iter(obstore.list(store, self.key(prefix).rstrip("/"), offset=start, chunk_size=1000))
        first = next(pages, None)
        return iter(()) if first is None else chain((first,), pages)

    def _keys(self) -> dict[str, Any]:
        try:
            self._given = self._credentials.frozen()
            found = self._credentials.for_store()
        except BridgeError as error:
            self._without_keys = error
            raise
        self._without_keys = None
        return found

    def _read(self, key: str) -> Held | None:
        def read(store: Any) -> Held:
            import obstore

            found = obstore.get(store, self.key(key))
            mark = found.attributes.get(MARK_KEY, "")
            return Held(bytes(found.bytes()), found.meta["e_tag"] or "", mark)

        try:
            return self._do(read, "get", key)
        except NotFound as error:
            if "NoSuchBucket" in error.message:
                raise self._gone(error, key) from None
            return None

    def _write(self, key: str, data: bytes, *, match: str | None, absent: bool, mark: str = "") -> str:
        mode: Any = {"e_tag": match} if match is not None else "create" if absent else "overwrite"
        marked: Any = {MARK_KEY: mark} if mark else None

        def write(store: Any) -> str:
            import obstore

            done = obstore.put(store, self.key(key), data, mode=mode, attributes=marked, use_multipart=False)
            return done.get("e_tag") or ""

        try:
            return self._do(write, "put", key, write=True)
        except NotFound as error:
            raise self._gone(error, key) from None

    def _gone(self, error: NotFound, key: str) -> Unavailable:
        """Return what it means that the bucket was deleted meanwhile: the next attempt looks for it again."""
        with self._lock:
            self._store = None
        return Unavailable(error.message, adapter=ADAPTER, resource=self.address(key))

    # The bucket itself.

    def _find(self, *, write: bool) -> None:
        owner = {} if self._access.bucket else {"ExpectedBucketOwner": self._clients.account()}
        try:
            found = self._clients.call("s3", "HeadBucket", Bucket=self.name, **owner)
        except NotFound:
            self._make(write=write)
            return
        except (AuthError, Rejected):  # without a word: an answer to HEAD has no body
            found = self._listed(owner)
        region = found.get("BucketRegion") or self._access.s3_region
        if region != self._access.s3_region:
            raise self._elsewhere(region)

    def _listed(self, owner: dict[str, str]) -> dict[str, Any]:
        """Ask in another way, which tells why not."""
        try:
            return self._clients.call("s3", "ListObjectsV2", Bucket=self.name, MaxKeys=1, **owner)
        except AuthError as error:
            if "AccessDenied" not in error.message:
                raise
            if self._access.bucket:
                return {}  # who may use a folder of it need not be allowed to look at the bucket
            raise AuthError(
                f"the bucket {self.name} is not yours to use: {error.message}",
                adapter=ADAPTER,
                hint="allow s3:ListBucket, s3:GetObject and s3:PutObject on it, or, where it belongs to "
                "another account, name one of your own: option bucket",
            ) from None

    def _make(self, *, write: bool) -> None:
        if self._access.bucket or not write:
            raise (ConfigError if write else NotFound)(
                f"there is no bucket {self.name}",
                adapter=ADAPTER,
                operation="s3:HeadBucket",
                hint=f"make it: aws s3 mb s3://{self.name} --region {self._access.s3_region}",
            )
        where: dict[str, Any] = {}
        if self._access.s3_region != "us-east-1":  # the one that must not be named
            where["CreateBucketConfiguration"] = {"LocationConstraint": self._access.s3_region}
        try:
            self._clients.call("s3", "CreateBucket", Bucket=self.name, **where)
        except Conflict:  # another process was quicker, or another account has the name
            self._check_made()

    def _check_made(self) -> None:
        owner = self._clients.account()
        try:
            self._clients.call("s3", "HeadBucket", Bucket=self.name, ExpectedBucketOwner=owner)
        except NotFound as error:
            raise Unavailable(
                f"the bucket {self.name} is being made", adapter=ADAPTER, operation="s3:HeadBucket"
            ) from error

    def _elsewhere(self, region: str) -> ConfigError:
        return ConfigError(
            f"the bucket {self.name} is in {region}, not in {self._access.s3_region}",
            adapter=ADAPTER,
            hint=f"name a bucket in {self._place.region} (option bucket), or say where this one is: "
            f"option s3_region={region}",
        )

    def _meaning(self, error: Exception, operation: str, key: str) -> BridgeError:
        if isinstance(error, BridgeError):
            return error
        from obstore.exceptions import AlreadyExistsError, NotModifiedError, PreconditionError

        from trackbridge_adapters._mlflow_rest.artifacts_objects import translated

        if isinstance(error, (AlreadyExistsError, PreconditionError, NotModifiedError)):
            return Conflict(
                "the object has changed", adapter=ADAPTER, operation=f"s3:{operation}", resource=key
            )
        return translated(error, adapter=ADAPTER, operation=f"s3:{operation}", resource=self.address(key))

    def __repr__(self) -> str:
        return f"<Bucket of {self._place.text}>"
