"""The files of runs on an MLflow endpoint, wherever the server says that they lie.

::

    run's artifact_uri       kept by              same path replaced       digest known again
    mlflow-artifacts:        the server's proxy   as the server does it    on this machine
    s3 gs abfss wasbs az     obstore              at once                  on the object
    file:, a path            this machine         at once                  on this machine
    dbfs:                    DBFS's REST routes   by a move                on this machine
    hdfs:                    fsspec and pyarrow   by a rename              on this machine

mlflow 3 replaces a proxied file at once where its own store is a folder or a bucket; 2.x copies into the old
file, so a reader can meet a mixture for a moment. A digest that is known on this machine is given only while
the file has the size, and where the store tells it the version, that it had when it was put.
"""

from __future__ import annotations

import re
import threading
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from trackbridge.domain.artifacts import ArtifactInfo, checked_path
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.errors import BridgeError, InvalidInput, NotFound, Rejected, Unsupported
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Capabilities, Feature
from trackbridge.ports.streams import Original, Replica
from trackbridge_adapters._mlflow_rest.artifacts_digests import Digests
from trackbridge_adapters._mlflow_rest.artifacts_files import Entry, Files, checked_bytes, checked_content
from trackbridge_adapters._mlflow_rest.artifacts_parts import FILE_BYTES_MIN, PartsRefused, put_in_parts
from trackbridge_adapters._mlflow_rest.artifacts_places import Places, StoreOptions
from trackbridge_adapters._mlflow_rest.artifacts_streams import FileOriginal, FileReplica
from trackbridge_adapters._mlflow_rest.artifacts_taken import Taken, ancestors

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking

__all__ = ["RestArtifacts", "StoreOptions", "StoredArtifacts", "open_artifacts"]

PAGE_ITEMS_MAX = 1000
KNOWN_FOLDERS_MAX = 10_000
KNOWN_PLACES_MAX = 1000
KNOWN_PATHS_MAX, KNOWN_ROOTS_MAX = 10_000, 64
"""Of how many files, of how many runs, it is remembered that they are there."""
CREATED_BYTES_MAX = 8 * 1024 * 1024
"""Larger ones are looked for before they are sent."""
DIGESTS_AT_ONCE = 8
RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,255}\Z")


def open_artifacts(tracking: RestTracking, *, stores: StoreOptions | None = None) -> ArtifactStore:
    """Return the artifact store of an endpoint; nobody is contacted.

    Args:
        tracking: Knows the runs' native ids, and where their artifacts lie.
        stores: Credentials and addresses of buckets; the environment's without them.
    """
    return RestArtifacts(tracking, stores or StoreOptions())


class StoredArtifacts(ArtifactStore):
    """Files of runs, each run in a place of its own; a subclass says where that is.

    Args:
        adapter: For errors.
        home: Where digests are kept that a store does not tell.
    """

    def __init__(self, adapter: str, home: Path) -> None:
        self._adapter = adapter
        self._digests = Digests(home)
        self._files: dict[str, Files] = {}
        self._folders: set[tuple[str, str]] = set()
        self._taken: dict[str, Taken] = {}
        self._ours: dict[str, Taken] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def _place_of(self, run_id: str) -> Files:
        """Return the place of a run's files.

        Raises:
            NotFound: There is no such run.
        """
        ...

    @abstractmethod
    def _declared(self) -> Capabilities:
        """Return what the backend declares."""
        ...

    # Required.

    def put(self, run_id: str, path: str, file: Path, *, digest: str, size: int) -> ArtifactInfo:
        return self._put(run_id, path, file, digest=digest, size=size, state=None)

    def _put(
        self, run_id: str, path: str, file: Path, *, digest: str, size: int, state: Path | None
    ) -> ArtifactInfo:
        files = self._files_to_write(run_id, path)
        made = self._create(files, path, file, digest=digest, size=size) if files.creates else None
        if made is not None:
            return self._info(files, path, made)
        if not self._claims(files, path):
            held = files.held(path)
            if held is not None and self._digest(files, path, held) == digest and held.size == size:
                return self._info(files, path, held)
            self._refuse_collision(files, path, held)
        try:
            with checked_bytes(file, digest=digest, size=size) as opened:
                version = _sent(files, path, opened, digest=digest, size=size, state=state)
        except BridgeError as error:
            self._explain_collision(files, path, error)
        entry = Entry(path.rpartition("/")[2], size=size, version=version, digest=digest)
        self._digests.remember(files.root, path, entry, digest)
        return self._info(files, path, entry)

    def _claims(self, files: Files, path: str) -> bool:
        """Take a path in a place that was empty, where nothing but files from here can be in the way."""
        ours = self._ours.get(files.root)
        return ours is not None and ours.claim(path)

    def _create(self, files: Files, path: str, file: Path, *, digest: str, size: int) -> Entry | None:
        """Store a small file where nothing is, by one request; None where that is not sure."""
        if size > CREATED_BYTES_MAX or not self._taken_in(files).claim(path):
            return None
        self._refuse_collision(files, path, None)  # asks only about folders that are new to this process
        version = files.create(path, checked_content(file, digest=digest, size=size), digest=digest)
        if version is None:
            return None
        entry = Entry(path.rpartition("/")[2], size=size, version=version, digest=digest)
        self._digests.remember(files.root, path, entry, digest)
        return entry

    def _taken_in(self, files: Files) -> Taken:
        """Return what is known to be below a root; the first to ask lists it."""
        taken = self._taken.get(files.root)
        if taken is None:
            taken = Taken(files.below(KNOWN_PATHS_MAX + 1), most=KNOWN_PATHS_MAX)
            with self._lock:
                if len(self._taken) >= KNOWN_ROOTS_MAX:
                    self._taken.clear()
                taken = self._taken.setdefault(files.root, taken)
        return taken

    def open(self, run_id: str, path: str) -> BinaryIO:
        files = self._files_to_read(run_id, path)
        if files is None:
            raise self._no_file(run_id, path)
        try:
            return files.open(path)
        except BridgeError as error:
            # Servers answer in many ways when asked for the bytes of a folder or of nothing.
            found = files.find(path)
            if found is None or found.is_dir:
                raise self._no_file(run_id, path) from error
            raise

    def stat(self, run_id: str, path: str) -> ArtifactInfo:
        files = self._files_to_read(run_id, path)
        entry = None if files is None else files.find(path)
        if files is None or entry is None:
            raise self._no_file(run_id, path)
        return self._info(files, path, entry)

    def list(
        self, run_id: str, prefix: str = "", *, max_results: int = 1000, token: str | None = None
    ) -> Page[ArtifactInfo]:
        operation = "artifacts.list"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=self._adapter, operation=operation)
        listing = listing_of(operation, run_id, prefix)
        place = place_of(token, listing, adapter=self._adapter, operation=operation, types=(str,))
        files = self._files_to_read(run_id, prefix or "any")
        children = [] if files is None else sorted(_children(files, prefix), key=lambda item: item[0])
        found = [item for item in children if place is None or item[0] > place[0]]
        more = token_of(listing, [found[size - 1][0]]) if len(found) > size else None
        return Page(items=() if files is None else self._infos(files, found[:size]), token=more)

    # Optional.

    def delete(self, run_id: str, path: str) -> None:
        checked_path(path)
        files = self._files_to_read(run_id, path)
        entry = None if files is None else files.find(path)
        if files is None or entry is None:
            return
        files.delete(path, entry)
        with self._lock:
            self._folders = {known for known in self._folders if known[0] != files.root}
            self._taken.pop(files.root, None)
            self._ours.pop(files.root, None)
        self._digests.forget(files.root, path)

    def presign(self, run_id: str, path: str, *, expires_s: int) -> str:
        if not self._supports(Feature.ARTIFACTS_PRESIGN):
            self._refuse(Feature.ARTIFACTS_PRESIGN, "artifacts.presign")
        info = self.stat(run_id, path)
        if info.is_dir:
            raise self._no_file(run_id, path)
        files = self._files_of(run_id)
        return files.presign(path, expires_s)

    def put_resumable(
        self, run_id: str, path: str, file: Path, *, digest: str, size: int, state: Path
    ) -> ArtifactInfo:
        """Do as ``put``; in S3 and Azure in parts that are kept, elsewhere there is nothing to go on with."""
        if not self._supports(Feature.ARTIFACTS_RESUMABLE_UPLOAD):
            self._refuse(Feature.ARTIFACTS_RESUMABLE_UPLOAD, "artifacts.put_resumable")
        info = self._put(run_id, path, file, digest=digest, size=size, state=state)
        state.unlink(missing_ok=True)
        return info

    # Streams.

    def original(self, run_id: str, path: str) -> Original:
        """Return a file for reading, as ``StreamedArtifacts`` says."""
        files = self._files_to_read(run_id, path)
        entry = None if files is None else files.find(path)
        if files is None or entry is None or entry.is_dir:
            raise self._no_file(run_id, path)
        return FileOriginal(files, path, entry, self._digest(files, path, entry))

    def replica(self, run_id: str, path: str) -> Replica | None:
        """Return the place for a file, as ``StreamedArtifacts`` says."""
        files = self._files_to_write(run_id, path)
        held = None
        if not self._claims(files, path):
            held = files.held(path)
            self._refuse_collision(files, path, held)
        parts = files.parts(path, resumable=True)
        if parts is None:
            return None
        known = None if held is None else (held.size or 0, self._digest(files, path, held))
        return FileReplica(files, path, parts, known)

    # Places.

    def _files_of(self, run_id: str) -> Files:
        """Return the store of a run.

        Raises:
            NotFound: There is no such run.
            Rejected: The text cannot be a run's id.
        """
        if not RUN_ID.match(run_id):
            raise Rejected(
                f"run id {run_id[:80]!r} cannot name a run of an MLflow endpoint",
                adapter=self._adapter,
                operation="artifacts",
                hint="use the id that the run was opened with",
            )
        files = self._files.get(run_id)
        if files is None:
            files = self._place_of(run_id)
            if len(self._files) >= KNOWN_PLACES_MAX:
                self._files.clear()
            self._files[run_id] = files
        return files

    def _files_to_write(self, run_id: str, path: str) -> Files:
        checked_path(path)
        files = self._files_of(run_id)
        problem = files.problem(path)
        if problem:
            raise self._rejected(path, problem, "use a plainer name")
        return files

    def _files_to_read(self, run_id: str, path: str) -> Files | None:
        """Return the store of a run; None where the run or the path cannot be."""
        try:
            files = self._files_of(run_id)
            return None if files.problem(checked_path(path)) else files
        except (NotFound, InvalidInput):
            return None

    # Folders, which flat stores do not have.

    def _refuse_collision(self, files: Files, path: str, held: Entry | None) -> None:
        if held is not None and held.is_dir:
            raise self._rejected(path, "is a folder", "use another path, or delete what is there")
        for folder in ancestors(path):
            if (files.root, folder) in self._folders:
                break
            found = files.find(folder)
            if found is not None and not found.is_dir:
                raise self._rejected(path, "lies below a file", "use another path, or delete what is there")
        with self._lock:
            if len(self._folders) > KNOWN_FOLDERS_MAX:
                self._folders.clear()
            self._folders.update((files.root, folder) for folder in ancestors(path))

    def _explain_collision(self, files: Files, path: str, error: BridgeError) -> NoReturn:
        """Raise what a failure to write was, where it was a folder in the way: servers call it their own."""
        if not isinstance(error, Rejected) and files.may_collide:
            with self._lock:
                self._folders = {known for known in self._folders if known[0] != files.root}
            self._refuse_collision(files, path, files.find(path))
        raise error

    # Descriptions.

    def _digest(self, files: Files, path: str, entry: Entry) -> str | None:
        if entry.digest is not None:
            return entry.digest or None
        known = self._digests.find(files.root, path, entry)
        if known is None and files.keeps_digests:
            known = files.digest(path) or ""
            self._digests.remember(files.root, path, entry, known)
        return known or None

    def _info(self, files: Files, path: str, entry: Entry) -> ArtifactInfo:
        if entry.is_dir:
            return ArtifactInfo(path=path, is_dir=True, native_uri=files.address(path))
        digest = self._digest(files, path, entry)
        return ArtifactInfo(path=path, file_size=entry.size, digest=digest, native_uri=files.address(path))

    def _infos(self, files: Files, found: Sequence[tuple[str, Entry]]) -> tuple[ArtifactInfo, ...]:
        if not files.keeps_digests or len(found) < 2:
            return tuple(self._info(files, *item) for item in found)
        with ThreadPoolExecutor(DIGESTS_AT_ONCE) as pool:
            return tuple(pool.map(lambda item: self._info(files, *item), found))

    # Errors.

    def _supports(self, feature: Feature) -> bool:
        return self._declared().supports(feature)

    def _refuse(self, feature: Feature, operation: str) -> NoReturn:
        capability = self._declared().features[feature]
        raise Unsupported(
            f"{feature.value} is not supported by {self._adapter}: {capability.reason}",
            adapter=self._adapter,
            operation=operation,
        )

    def _no_file(self, run_id: str, path: str) -> NotFound:
        return NotFound(
            "there is no such artifact",
            adapter=self._adapter,
            operation="artifacts",
            resource=f"run {run_id[:80]}, artifact {path[:80]!r}",
            hint="list the artifacts of the run to see their paths",
        )

    def _rejected(self, path: str, problem: str, hint: str) -> Rejected:
        return Rejected(
            f"the artifact's path {problem}",
            adapter=self._adapter,
            operation="artifacts.put",
            resource=f"artifact {path[:80]!r}",
            hint=hint,
        )


class RestArtifacts(StoredArtifacts):
    """Files of runs, each run in the store that its artifact URI names."""

    def __init__(self, tracking: RestTracking, stores: StoreOptions) -> None:
        super().__init__(tracking.service.adapter, tracking.context.home)
        self._tracking = tracking
        self._places = Places(tracking, stores)

    def _place_of(self, run_id: str) -> Files:
        root = self._tracking.artifact_root(run_id)
        files = self._places.files(root)
        if root in self._tracking.empty_roots and not files.creates:
            self._tracking.empty_roots.discard(root)
            with self._lock:
                if len(self._ours) >= KNOWN_ROOTS_MAX:
                    self._ours.pop(next(iter(self._ours)))
                self._ours[files.root] = Taken((), most=KNOWN_PATHS_MAX)
        return files

    def _declared(self) -> Capabilities:
        return self._tracking.capabilities


def _sent(files: Files, path: str, source: BinaryIO, *, digest: str, size: int, state: Path | None) -> str:
    """Send a file, in parts where that is worth it and the store takes them, and return its version."""
    parts = files.parts(path, resumable=state is not None) if size >= FILE_BYTES_MIN else None
    if parts is not None:
        with closing(parts), suppress(PartsRefused):
            return put_in_parts(
                parts, source, address=files.address(path), digest=digest, size=size, state=state
            )
        source.seek(0)
    return files.put(path, source, digest=digest, size=size)


def _children(files: Files, prefix: str) -> Iterator[tuple[str, Entry]]:
    entries = files.children(prefix)
    for entry in entries:
        yield f"{prefix}/{entry.name}" if prefix else entry.name, entry
    if not entries and prefix:
        alone = files.find(prefix)
        if alone is not None and not alone.is_dir:
            yield prefix, alone
