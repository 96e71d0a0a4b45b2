"""Files in a bucket or container, by obstore; the digest is kept in the object's metadata."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, BinaryIO, Literal
from urllib.parse import quote

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import AzureStore

from trackbridge.domain.secrets import shown
from trackbridge.errors import (
    AuthError,
    BridgeError,
    Conflict,
    NotFound,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
    Unsupported,
)
from trackbridge_adapters._mlflow_rest.artifacts_files import BLOCK_BYTES, Entry, Files, blocks, reader_of
from trackbridge_adapters._mlflow_rest.artifacts_parts import PART_BYTES_MIN, PARTS_AT_ONCE, PARTS_MAX, Parts

DIGEST_KEY = "bridgesha256"
"""Name of the metadata field: letters and digits, as Azure takes identifiers only and proxies drop ``_``."""
PRESIGNED_S_MAX = 7 * 24 * 3600  # all clouds' limit of a signature

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([\w.]{1,80})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})")
_EXPIRED = frozenset({"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "AuthenticationFailed"})
_THROTTLED = frozenset(
    {
        "SlowDown",
        "ServerBusy",
        "Throttling",
        "ThrottlingException",
        "KMS.ThrottlingException",
        "RequestLimitExceeded",
        "TooManyRequests",
    }
)
_PASSING = frozenset(
    {"RequestTimeout", "IncompleteBody", "BadDigest", "OperationAborted", "ConditionalRequestConflict"}
)
"""Refusals with a status of 400 or 409 that another attempt need not meet."""
_ILLEGAL = re.compile(r"[\x00-\x1f\x7f]")
_CREDENTIALS_HINT = "check the credentials in the environment and what they allow on this bucket"

_FAILURES = (BaseError, OSError, ValueError, NotImplementedError)


class ObjectFiles(Files):
    """Files of one run, below a prefix of one store of obstore's.

    Args:
        store: A store of obstore's, without a prefix of its own; runs of a bucket share it.
        root: The store's own address of the run's folder, for example ``s3://bucket/1/ab/artifacts``.
        prefix: Where the run's files lie in the store.
        adapter: For errors.
        parts_of: Returns how a key takes a file in parts that outlive a call; None where it does not.
        creates: Whether the store writes on the condition that nothing is there: AWS does, its copies vary.
    """

    keeps_digests = True
    may_collide = False

    def __init__(
        self,
        store: Any,
        root: str,
        prefix: str,
        *,
        adapter: str,
        parts_of: Callable[[str], Parts | None] = lambda key: None,
        creates: bool = False,
    ) -> None:
        self.root = root.rstrip("/")
        self._store = store
        self._prefix = prefix.strip("/")
        self._adapter = adapter
        self._parts_of = parts_of
        self.creates = creates

    def problem(self, path: str) -> str | None:
        return "holds control characters" if _ILLEGAL.search(path) else None

    def address(self, path: str) -> str:
        return f"{self.root}/{path}"

    def held(self, path: str) -> Entry | None:
        return self.find(path)

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        whole = size <= PART_BYTES_MIN
        try:
            done = obstore.put(
                self._store,
                self._key(path),
                source.read() if whole else blocks(source),
                attributes={DIGEST_KEY: digest},
                use_multipart=not whole,
                chunk_size=max(PART_BYTES_MIN, -(-size // PARTS_MAX)),
                max_concurrency=PARTS_AT_ONCE,
            )
        except _FAILURES as error:
            raise self._translated(error, "artifacts.put") from error
        return done.get("e_tag") or ""

    def create(self, path: str, content: bytes, *, digest: str) -> str | None:
        try:
            done = obstore.put(
                self._store,
                self._key(path),
                content,
                attributes={DIGEST_KEY: digest},
                mode="create",
                use_multipart=False,
            )
        except AlreadyExistsError:
            return None
        except _FAILURES as error:
            raise self._translated(error, "artifacts.put") from error
        return done.get("e_tag") or ""

    def below(self, most: int) -> Sequence[str]:
        found: list[str] = []
        start = len(self._prefix) + 1 if self._prefix else 0
        try:
            for chunk in obstore.list(self._store, self._prefix, chunk_size=1000):
                found.extend(item["path"][start:] for item in chunk)
                if len(found) >= most:
                    break
        except _FAILURES as error:
            raise self._translated(error, "artifacts.list") from error
        return found

    def listed(self) -> Iterator[tuple[str, Entry]]:
        """Yield the path and the entry of every object below; "" is one that stands for the folder itself."""
        start = len(self._prefix) + 1 if self._prefix else 0
        try:
            for chunk in obstore.list(self._store, self._prefix, chunk_size=1000):
                yield from ((item["path"][start:], _entry(item)) for item in chunk)
        except _FAILURES as error:
            raise self._translated(error, "artifacts.list") from error

    def parts(self, path: str, *, resumable: bool) -> Parts | None:
        return self._parts_of(self._key(path)) if resumable else None

    def open(self, path: str) -> BinaryIO:
        try:
            chunks = iter(obstore.get(self._store, self._key(path)).stream())
        except _FAILURES as error:
            raise self._translated(error, "artifacts.open") from error
        return reader_of(chunks, translated=lambda error: self._translated(error, "artifacts.open"))

    def read_from(self, path: str, start: int, version: str) -> Iterator[Any]:
        options: dict[str, Any] = {"range": {"offset": start}} if start else {}
        if version:
            options["if_match"] = version
        try:
            found = obstore.get(self._store, self._key(path), options=options)  # type: ignore[arg-type]
            yield from found.stream(min_chunk_size=BLOCK_BYTES)
        except PreconditionError:
            raise Conflict(
                "the file was changed while it was read",
                adapter=self._adapter,
                operation="artifacts.open",
                resource=self.address(path),
            ) from None
        except _FAILURES as error:
            raise self._translated(error, "artifacts.open") from error

    def find(self, path: str) -> Entry | None:
        name = path.rpartition("/")[2]
        try:
            return self._head(path, name)
        except FileNotFoundError:
            pass
        except _FAILURES as error:
            raise self._translated(error, "artifacts.stat") from error
        return Entry(name, is_dir=True) if self.has(path) else None

    def has(self, folder: str) -> bool:
        """Tell whether there are files in a folder."""
        try:
            return bool(next(iter(obstore.list(self._store, self._key(folder), chunk_size=1)), None))
        except _FAILURES as error:
            raise self._translated(error, "artifacts.stat") from error

    def children(self, folder: str) -> Sequence[Entry]:
        files, folders = self.split(folder)
        names = {entry.name for entry in files}
        return [*files, *(Entry(name, is_dir=True) for name in folders - names)]

    def split(self, folder: str) -> tuple[list[Entry], set[str]]:
        """Return the files directly in a folder, and the names of the folders there: a name may be both."""
        try:
            found = obstore.list_with_delimiter(self._store, self._key(folder))
        except _FAILURES as error:
            raise self._translated(error, "artifacts.list") from error
        folders = {prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]}
        return [_entry(item) for item in found["objects"]], folders

    def delete(self, path: str, entry: Entry) -> None:
        key = self._key(path)
        try:
            if entry.is_dir:
                for chunk in obstore.list(self._store, key, chunk_size=1000):
                    obstore.delete(self._store, [item["path"] for item in chunk])
            else:
                obstore.delete(self._store, key)
        except FileNotFoundError:
            return
        except _FAILURES as error:
            raise self._translated(error, "artifacts.delete") from error

    def digest(self, path: str) -> str | None:
        try:
            return self._head(path, path).digest
        except FileNotFoundError:
            return None
        except _FAILURES as error:
            raise self._translated(error, "artifacts.stat") from error

    def presign(self, path: str, expires_s: int) -> str:
        if not 1 <= expires_s <= PRESIGNED_S_MAX:
            raise Rejected(
                f"an address cannot be signed for {expires_s} seconds",
                adapter=self._adapter,
                operation="artifacts.presign",
                hint=f"ask for 1 to {PRESIGNED_S_MAX}",
            )
        if not can_sign(self._store, self._key(path)):
            raise Unsupported(
                "obstore signs no address in Azure's storage whose name needs escapes",
                adapter=self._adapter,
                operation="artifacts.presign",
                hint="use a name of plain letters and digits, or open the artifact",
            )
        method: Literal["GET"] = "GET"
        try:
            return str(obstore.sign(self._store, method, self._key(path), timedelta(seconds=expires_s)))
        except (TypeError, *_FAILURES) as error:
            raise self._translated(error, "artifacts.presign") from error

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}".strip("/") if self._prefix and path else self._prefix or path

    def _head(self, path: str, name: str) -> Entry:
        found = obstore.get(self._store, self._key(path), options={"head": True})
        digest = found.attributes.get(DIGEST_KEY, "")
        return Entry(name, size=found.meta["size"], version=found.meta["e_tag"] or "", digest=digest)

    def _translated(self, error: Exception, operation: str) -> BridgeError:
        return translated(error, adapter=self._adapter, operation=operation, resource=self.root)


def can_sign(store: Any, key: str) -> bool:
    """Tell whether an address that obstore signs will be taken.

    For Azure it signs the escaped name, and the service checks the plain one (obstore 0.12.1, on Azurite).
    """
    return not isinstance(store, AzureStore) or quote(key, safe="/") == key


def _entry(item: Any) -> Entry:
    return Entry(item["path"].rpartition("/")[2], size=item["size"], version=item["e_tag"] or "")


def translated(error: Exception, *, adapter: str, operation: str, resource: str) -> BridgeError:
    """Return what an error of obstore means. Its own text can hold signed addresses, and is not shown."""
    if isinstance(error, BridgeError):
        return error
    where: dict[str, Any] = {"adapter": adapter, "operation": operation, "resource": shown(resource)}
    if isinstance(error, (NotImplementedError, NotSupportedError, TypeError)):
        return Unsupported("this store cannot do that", **where)
    text = str(error).partition("Debug source")[0]
    if isinstance(error, InvalidPathError) or (isinstance(error, ValueError) and "path" in text):
        return Rejected("the store cannot hold the path", hint="use a plainer name", **where)
    status = int(found.group(1)) if (found := _STATUS.search(text)) else 0
    code = found.group(1) if (found := _CODE.search(text)) else ""
    said = shown(found.group(1)) if (found := _MESSAGE.search(text)) else "no answer that it can use"
    message = f"{code or 'the store refused'}: {said}" + (f" (status {status})" if status else "")
    if code in _THROTTLED or status == 429:
        return RateLimited(message, **where)
    if code in _PASSING:
        return Unavailable(message, **where)
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or code in _EXPIRED:
        return AuthError(message, hint=_CREDENTIALS_HINT, **where)
    if isinstance(error, FileNotFoundError) or status == 404:
        return NotFound(message, hint="does the bucket exist, and is the region right?", **where)
    return _by_status(status, text.lower(), message, where)


def _by_status(status: int, text: str, message: str, where: dict[str, Any]) -> BridgeError:
    if status in (401, 403):
        return AuthError(message, hint=_CREDENTIALS_HINT, **where)
    if status in (408, 504) or (not status and "timed out" in text):
        return TimedOut(message, ambiguous=True, **where)
    if 300 <= status < 500:
        return Rejected(message, hint="is the region of the bucket right (AWS_REGION)?", **where)
    if not status and ("credential" in text or "169.254.169.254" in text):
        return AuthError("there are no credentials for the bucket", hint=_CREDENTIALS_HINT, **where)
    return Unavailable(message, **where)
