"""The artifact port over the folder ``artifacts/``: one folder per run, files under their own names.

Symbolic links below a run's folder are never followed: as a file or folder they do not exist. New bytes
are gathered in ``artifacts/.incoming`` and renamed into place, so that a reader sees old or new bytes and a
crash leaves nothing half-written among the run's files.
"""

# ruff: noqa: D102  the docstrings of the port are the contract

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

from trackbridge.domain.artifacts import ArtifactInfo, checked_path
from trackbridge.domain.paging import Page
from trackbridge.errors import NotFound, Rejected
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Feature
from trackbridge_adapters.local.capabilities import ADAPTER, CAPABILITIES
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.errors import Translating
from trackbridge_adapters.local.syncing import AtOnce, Known, Syncing
from trackbridge_adapters.local.tokens import listing_of, page_size, place_of, token_of

INCOMING = ".incoming"
COPY_BYTES = 1024 * 1024
MOVE_ATTEMPTS = 5
ROWS_PER_STATEMENT = 500

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file (btrfs, xfs)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class LocalArtifacts(ArtifactStore):
    """Files of runs in a folder, their digests in the store's database."""

    def __init__(self, folder: Path, database: Database, syncing: Syncing | None = None) -> None:
        self._folder = folder
        self._database = database
        self._syncing = syncing or AtOnce()

    def put(self, run_id: str, path: str, file: Path, *, digest: str, size: int) -> ArtifactInfo:
        operation, resource = "artifacts.put", _resource(run_id, path)
        with Translating(operation, resource):
            target = self._place(run_id, path)
            held = self._stat(run_id, path)
            if held is not None and (held.digest, held.file_size) == (digest, size):
                return held
            temporary = self._incoming()
            try:
                _copy(file, temporary, self._syncing, digest=digest, size=size, resource=resource)
                self._move(temporary, target, run_id, resource=resource)
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()
            self._remember(run_id, path, target.lstat(), digest)
            return ArtifactInfo(path=path, file_size=size, digest=digest, native_uri=target.as_uri())

    def open(self, run_id: str, path: str) -> BinaryIO:
        operation, resource = "artifacts.open", _resource(run_id, path)
        with Translating(operation, resource):
            target = self._place(run_id, path)
            info = self._stat(run_id, path)
            if info is None or info.is_dir:
                raise _no_file(operation, resource)
            try:
                descriptor = os.open(target, os.O_RDONLY | _NO_FOLLOW)
            except (FileNotFoundError, NotADirectoryError):
                raise _no_file(operation, resource) from None
            return os.fdopen(descriptor, "rb")

    def stat(self, run_id: str, path: str) -> ArtifactInfo:
        operation, resource = "artifacts.stat", _resource(run_id, path)
        with Translating(operation, resource):
            info = self._stat(run_id, path)
            if info is None:
                raise _no_file(operation, resource)
            return info

    def list(
        self, run_id: str, prefix: str = "", *, max_results: int = 1000, token: str | None = None
    ) -> Page[ArtifactInfo]:
        operation, resource = "artifacts.list", _resource(run_id, prefix)
        size = page_size(max_results, operation=operation)
        listing = listing_of(operation, run_id, prefix)
        place = place_of(token, listing, operation=operation, types=(str,))
        with Translating(operation, resource):
            paths = sorted(self._children(run_id, prefix))
            found = [path for path in paths if place is None or path > place[0]]
            items = tuple(self._describe(run_id, found[:size]))
        more = token_of(listing, [found[size - 1]]) if len(found) > size else None
        return Page(items=items, token=more)

    def delete(self, run_id: str, path: str) -> None:
        with Translating("artifacts.delete", _resource(run_id, path)):
            target = self._place(run_id, path)
            if not self._is_reachable(run_id, path):
                return
            with suppress(FileNotFoundError):
                _remove(target)
            self._forget(run_id, path)
            self._drop_empty_parents(target, run_id)

    def presign(self, run_id: str, path: str, *, expires_s: int) -> str:
        _refuse(Feature.ARTIFACTS_PRESIGN, "artifacts.presign")

    def put_resumable(
        self, run_id: str, path: str, file: Path, *, digest: str, size: int, state: Path
    ) -> ArtifactInfo:
        _refuse(Feature.ARTIFACTS_RESUMABLE_UPLOAD, "artifacts.put_resumable")

    # Places.

    def _run_folder(self, run_id: str) -> Path:
        if "/" in run_id or run_id == INCOMING:
            raise Rejected(
                f"run id {run_id[:80]!r} cannot name a folder",
                adapter=ADAPTER,
                operation="artifacts",
                hint="use ids without slashes",
            )
        return self._folder / checked_path(run_id)

    def _place(self, run_id: str, path: str) -> Path:
        return self._run_folder(run_id) / checked_path(path)

    def _is_reachable(self, run_id: str, path: str) -> bool:
        """Tell whether real folders, no symbolic links, lead from the run's folder to the path's."""
        folder = self._run_folder(run_id)
        parts = path.split("/")[:-1] if path else []
        return all(map(_is_folder, [folder, *_below(folder, parts)]))

    def _stat(self, run_id: str, path: str) -> ArtifactInfo | None:
        checked_path(path)
        return next(iter(self._describe(run_id, [path])), None) if self._is_reachable(run_id, path) else None

    def _children(self, run_id: str, prefix: str) -> Iterator[str]:
        folder = self._place(run_id, prefix) if prefix else self._run_folder(run_id)
        status = _status(folder) if self._is_reachable(run_id, prefix) else None
        if status is None:
            return
        if stat.S_ISREG(status.st_mode):
            yield prefix
        if not stat.S_ISDIR(status.st_mode):
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_text(entry.name) and (
                    entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
                ):
                    yield f"{prefix}/{entry.name}" if prefix else entry.name

    def _describe(self, run_id: str, paths: Sequence[str]) -> Iterator[ArtifactInfo]:
        """Yield what is known of each path that is still a file or folder."""
        folder = self._run_folder(run_id)
        found = [(path, status) for path in paths if (status := _status(folder / path)) is not None]
        digests = self._digests(run_id, [path for path, status in found if stat.S_ISREG(status.st_mode)])
        for path, status in found:
            uri = (folder / path).as_uri()
            if stat.S_ISDIR(status.st_mode):
                yield ArtifactInfo(path=path, is_dir=True, native_uri=uri)
            elif stat.S_ISREG(status.st_mode):
                # A file that was changed by other hands no longer has the digest that we noted.
                digest = digests.get((path, status.st_size, status.st_mtime_ns))
                yield ArtifactInfo(path=path, file_size=status.st_size, digest=digest, native_uri=uri)

    # Writing.

    def _incoming(self) -> Path:
        folder = self._folder / INCOMING
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            self._syncing.folder(self._folder.parent)
        return folder / f"{os.getpid()}-{os.urandom(8).hex()}"

    def _move(self, temporary: Path, target: Path, run_id: str, *, resource: str) -> None:
        """Rename a finished file into place, making its folders; a deletion may remove these meanwhile."""
        for _ in range(MOVE_ATTEMPTS - 1):
            self._make_folders(target.parent, run_id, resource=resource)
            with suppress(FileNotFoundError):
                return self._replace(temporary, target, resource=resource)
        self._make_folders(target.parent, run_id, resource=resource)
        return self._replace(temporary, target, resource=resource)

    def _replace(self, temporary: Path, target: Path, *, resource: str) -> None:
        if _is_folder(target):
            raise _collision(resource, "is a folder")
        os.replace(temporary, target)
        self._syncing.placed(target)

    def _make_folders(self, parent: Path, run_id: str, *, resource: str) -> None:
        root = self._run_folder(run_id)
        for folder in [root, *_below(root, parent.relative_to(root).parts)]:
            status = _status(folder)
            if status is None:
                folder.mkdir(exist_ok=True)
                self._syncing.folder(folder.parent)
            elif stat.S_ISLNK(status.st_mode):
                raise _collision(resource, "leads over a symbolic link")
            elif not stat.S_ISDIR(status.st_mode):
                raise _collision(resource, "lies below a file")

    def _drop_empty_parents(self, target: Path, run_id: str) -> None:
        """Remove folders that a deletion left empty: other stores have no empty folders."""
        root = self._run_folder(run_id)
        for folder in target.parents:
            if folder == root:
                return
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                    return
                raise

    # Digests.

    def _digests(self, run_id: str, paths: Sequence[str]) -> dict[tuple[str, int, int], str]:
        digests: dict[tuple[str, int, int], str] = {}
        if not paths:
            return digests
        with self._database.reading("artifacts.stat") as connection:
            if connection is None:
                return digests
            for start in range(0, len(paths), ROWS_PER_STATEMENT):
                part = paths[start : start + ROWS_PER_STATEMENT]
                marks = ",".join("?" * len(part))
                found = connection.execute(
                    "SELECT path, size, mtime_ns, digest FROM artifact "
                    f"WHERE run_id = ? AND path IN ({marks})",
                    (run_id, *part),
                )
                digests.update({(path, size, time): digest for path, size, time, digest in found})
        for path in paths:
            known = (self._syncing.known or {}).get((run_id, path))
            if known is not None:
                digests[(path, known[0], known[1])] = known[2]
        return digests

    def _remember(self, run_id: str, path: str, status: os.stat_result, digest: str) -> None:
        known: Known = {(run_id, path): (status.st_size, status.st_mtime_ns, digest)}
        if self._syncing.known is not None:
            self._syncing.known.update(known)
            return
        with self._database.writing("artifacts.put", lasting=False) as connection:  # the file is synced
            self.keep_known(connection, known)

    def keep_known(self, connection: sqlite3.Connection, known: Known) -> None:
        """Keep the digests of files whose bytes last."""
        connection.executemany(
            "INSERT OR REPLACE INTO artifact (run_id, path, size, mtime_ns, digest) VALUES (?, ?, ?, ?, ?)",
            ((*place, *values) for place, values in known.items()),
        )

    def _forget(self, run_id: str, path: str) -> None:
        for place in [*(self._syncing.known or ())]:
            if place[0] == run_id and (place[1] == path or place[1].startswith(f"{path}/")):
                del (self._syncing.known or {})[place]
        with self._database.updating("artifacts.delete") as connection:
            if connection is None:
                return
            # '0' follows '/': the range holds all that lies below the path.
            connection.execute(
                "DELETE FROM artifact WHERE run_id = ? AND (path = ? OR (path > ? AND path < ?))",
                (run_id, path, f"{path}/", f"{path}0"),
            )


def _resource(run_id: str, path: str) -> str:
    return f"run {run_id[:80]}, artifact {path[:80]!r}"


def _below(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    for part in parts:
        folder = folder / part
        yield folder


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_folder(path: Path) -> bool:
    status = _status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _is_text(name: str) -> bool:
    """Tell whether a file's name is Unicode; others were not put here by us and have no path of ours."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _remove(target: Path) -> None:
    if _is_folder(target):
        shutil.rmtree(target)
    else:
        target.unlink()


def _copy(source: Path, target: Path, syncing: Syncing, *, digest: str, size: int, resource: str) -> None:
    """Copy, sharing blocks where the file system can, and check what arrived.

    Raises:
        Rejected: The bytes do not have the digest or the size.
    """
    with _staged(source, resource) as reader, target.open("x+b") as writer:
        if _clone(reader, writer):
            count, found = _digest_of(writer)
        else:
            count, found = _copy_bytes(reader, writer)
        if (count, found) != (size, digest):
            raise Rejected(
                f"the file has {count} bytes and {found}, not {size} bytes and {digest}",
                adapter=ADAPTER,
                operation="artifacts.put",
                resource=resource,
                hint="the file changed after it was staged; log it again",
            )
        syncing.written(writer)


def _staged(source: Path, resource: str) -> BinaryIO:
    try:
        return source.open("rb")
    except FileNotFoundError:
        raise Rejected(
            f"the file {source} is gone",
            adapter=ADAPTER,
            operation="artifacts.put",
            resource=resource,
            hint="log it again",
        ) from None


def _clone(reader: BinaryIO, writer: BinaryIO) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
    except OSError:  # this file system, or this pair of them, cannot
        return False
    return True


def _digest_of(file: BinaryIO) -> tuple[int, str]:
    count, digest = 0, hashlib.sha256()
    while block := file.read(COPY_BYTES):
        count += len(block)
        digest.update(block)
    return count, f"sha256:{digest.hexdigest()}"


def _copy_bytes(reader: BinaryIO, writer: BinaryIO) -> tuple[int, str]:
    count, digest = 0, hashlib.sha256()
    while block := reader.read(COPY_BYTES):
        count += len(block)
        digest.update(block)
        writer.write(block)
    return count, f"sha256:{digest.hexdigest()}"


def _no_file(operation: str, resource: str) -> NotFound:
    return NotFound(
        "there is no such artifact",
        adapter=ADAPTER,
        operation=operation,
        resource=resource,
        hint="list the artifacts of the run to see their paths",
    )


def _collision(resource: str, problem: str) -> Rejected:
    return Rejected(
        f"the artifact's path {problem}",
        adapter=ADAPTER,
        operation="artifacts.put",
        resource=resource,
        hint="use another path, or delete what is there",
    )


def _refuse(feature: Feature, operation: str) -> NoReturn:
    CAPABILITIES.require(feature, operation=operation)
    raise AssertionError(f"{feature.value} is declared, and not there")
