"""Files that clients send in parts (mlflow's multipart upload), each of which may be sent again.

::

    <journals>/uploads/<upload id>/upload.json     where the file goes
                                  /<number>-<tag>  a part that was acknowledged
                                  /<32 hex>        a part that is coming
                                  /complete        all was journalled; the parts are gone

All is on the disk, so that another gateway over the same journals, or this one started again, goes on with
it; what is lost with a process are parts that were not acknowledged. An upload to which nothing was sent for
a day is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import posixpath
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trackbridge.domain.ids import is_minted, mint_id
from trackbridge.errors import NotFound
from trackbridge.gateway.addresses import Place, safe_path
from trackbridge.gateway.artifact_downloads import BLOCK_BYTES
from trackbridge.gateway.artifact_uploads import check_room, destination, on_disk, store, stream
from trackbridge.gateway.errors import Refused, invalid, missing
from trackbridge.gateway.wire import Request
from trackbridge.journal.staging import Incoming

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

ABANDONED_S = 24 * 3600.0
"""An upload to which nothing was sent for so long is removed."""
PARTS_MAX = 10_000
"""Parts of a file, as many as S3 takes."""
UPLOADS_MAX = 1_000
"""Uploads that are under way at once over the same journals."""

_NOTE, _COMPLETE = "upload.json", "complete"


class Part(msgspec.Struct):
    """A part, as a client names it when it completes an upload."""

    part_number: int = 0
    etag: str | None = None


class PartsRequest(Request):
    """What a client says of an upload; of ``path``, which is that on its own machine, the name counts."""

    required = ("path",)
    path: str | None = None
    num_parts: int | None = None
    upload_id: str | None = None
    parts: list[Part] = msgspec.field(default_factory=list)


class Parts:
    """Uploads in parts.

    Args:
        gateway: Has the journals.
        file_bytes_max: Bound of all parts of a file, in bytes.
    """

    def __init__(self, gateway: Gateway, *, file_bytes_max: int) -> None:
        self._gateway = gateway
        self._folder = gateway.client.session.root / "uploads"
        self._file_bytes_max = file_bytes_max

    # Beginning and ending.

    async def begin(self, folder: Place, request: PartsRequest) -> str:
        """Begin an upload and return its id.

        Raises:
            NotFound: There is no such run or model.
            Refused: Too many parts, too many uploads are under way, or the disk is full.
        """
        if not 1 <= (request.num_parts or 1) <= PARTS_MAX:
            raise invalid(f"num_parts must be from 1 to {PARTS_MAX:,}, not {request.num_parts}.")
        place = _place(folder, request)
        await destination(self._gateway, place)
        return await on_disk(self._begin, place)  # type: ignore[no-any-return]

    def _begin(self, place: Place) -> str:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        check_room(self._folder, 0)
        if self.remove_abandoned() >= UPLOADS_MAX:
            raise Refused(
                "REQUEST_LIMIT_EXCEEDED", f"{UPLOADS_MAX:,} uploads are under way; end some of them."
            )
        upload = mint_id()
        draft = self._folder / f".{upload}"
        draft.mkdir(mode=0o700)
        (draft / _NOTE).write_bytes(msgspec.json.encode(place))
        draft.rename(self._folder / upload)
        return upload

    def remove_abandoned(self) -> int:
        """Remove uploads to which nothing was sent for a day; return how many others are not complete."""
        left = 0
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # somebody else removes it
                if time.time() - folder.stat().st_mtime > ABANDONED_S:
                    shutil.rmtree(folder, ignore_errors=True)
                elif not (folder / _COMPLETE).exists():
                    left += 1
        return left

    async def complete(self, folder: Place, request: PartsRequest) -> None:
        """Put the parts together and log the file; when this returns it outlives the process. Twice is once.

        Raises:
            NotFound: There is no such upload.
            Refused: A part is missing, all of them are too many bytes, the disk is full, or somebody else
                completes it just now.
        """
        upload, place = self._known(request), _place(folder, request)
        self._check_place(upload, place)
        if not request.parts:
            raise missing("parts")
        with _locked(upload):
            if (upload / _COMPLETE).exists():
                return
            files = [_file_of(upload, part) for part in request.parts]
            # Parts that came at once did not count each other, and one may be named often.
            size = sum(file.stat().st_size for file in files)
            self._check_size(size)
            check_room(upload, size)  # the parts stay until the whole is there
            recorder, path = await destination(self._gateway, place)
            await stream(_content(files), recorder, path)
            await on_disk(_finish, upload)

    async def abort(self, folder: Place, request: PartsRequest) -> None:
        """Drop an upload and its parts; one that is complete stays so.

        Raises:
            NotFound: There is no such upload.
        """
        upload = self._known(request)
        self._check_place(upload, _place(folder, request))
        if not (upload / _COMPLETE).exists():
            await on_disk(shutil.rmtree, upload)

    # Parts.

    async def take(self, upload_id: str, number: int, blocks: AsyncIterator[bytes]) -> str:
        """Take a part and return its tag; when this returns it outlives the process.

        Raises:
            NotFound: There is no such upload.
            Refused: There are too many bytes, or the disk is full.
        """
        upload = self._folder_of(upload_id)
        if not 1 <= number <= PARTS_MAX:
            raise invalid(f"The number of a part is from 1 to {PARTS_MAX:,}, not {number}.")
        if (upload / _COMPLETE).exists():
            raise invalid("The upload is complete.")
        incoming = await on_disk(Incoming, upload)
        try:
            held = await on_disk(_bytes_of, upload, number)
            await store(blocks, lambda block: self._write(incoming, block, held))
            return await on_disk(_keep, incoming, number)  # type: ignore[no-any-return]
        except BaseException:
            incoming.discard()
            raise

    def _write(self, incoming: Incoming, block: bytes, held: int) -> None:
        self._check_size(held + incoming.size + len(block))
        check_room(incoming.path.parent, len(block))
        incoming.write(block)

    def _check_size(self, size: int) -> None:
        if size > self._file_bytes_max:
            raise Refused("BAD_REQUEST", f"The file is larger than {self._file_bytes_max:,} bytes.")

    # Uploads that are under way.

    def _known(self, request: PartsRequest) -> Path:
        if not request.upload_id:
            raise missing("upload_id")
        return self._folder_of(request.upload_id)

    def _folder_of(self, upload_id: str) -> Path:
        folder = self._folder / upload_id
        if not is_minted(upload_id) or not folder.is_dir():
            raise _no_upload(upload_id)
        return folder

    def _check_place(self, upload: Path, place: Place) -> None:
        if msgspec.json.decode((upload / _NOTE).read_bytes(), type=Place) != place:
            raise _no_upload(upload.name)


def _place(folder: Place, request: PartsRequest) -> Place:
    """Return where a file goes that a client sends to a folder under its own name."""
    name = posixpath.basename((request.path or "").replace("\\", "/"))
    path = safe_path(f"{folder.path}/{name}" if folder.path else name)
    return Place(folder.experiment_id, folder.owner, path, folder.kind)


def _file_of(upload: Path, part: Part) -> Path:
    tag = (part.etag or "").strip('"')
    file = upload / f"{part.part_number}-{tag}"
    if not is_minted(tag) or not file.is_file():
        raise invalid(f"There is no part {part.part_number} with the etag {tag[:80]!r}: send it again.")
    return file


def _bytes_of(upload: Path, number: int) -> int:
    """Return how many bytes the other parts have."""
    return sum(
        file.stat().st_size
        for file in upload.iterdir()
        if "-" in file.name and not file.name.startswith(f"{number}-")
    )


def _keep(incoming: Incoming, number: int) -> str:
    """Let a part that has come take the place of an earlier one with its number."""
    tag = incoming.finish().name
    upload = incoming.path.parent
    earlier = list(upload.glob(f"{number}-*"))
    incoming.path.rename(upload / f"{number}-{tag}")
    for file in earlier:
        file.unlink(missing_ok=True)
    return tag


def _finish(upload: Path) -> None:
    (upload / _COMPLETE).touch(mode=0o600)
    for file in upload.glob("*-*"):
        file.unlink(missing_ok=True)


async def _content(files: list[Path]) -> AsyncIterator[bytes]:
    for file in files:
        with open(file, "rb", buffering=0) as part:
            while block := await on_disk(part.read, BLOCK_BYTES):
                yield block


@contextlib.contextmanager
def _locked(upload: Path) -> Iterator[None]:
    descriptor = os.open(upload / _NOTE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Refused("TEMPORARILY_UNAVAILABLE", "The upload is being completed just now.") from error
    finally:
        os.close(descriptor)


def _no_upload(upload_id: str) -> NotFound:
    return NotFound(
        f"there is no upload {upload_id[:80]!r}",
        operation="artifacts",
        hint=f"begin it again; one to which nothing is sent for {ABANDONED_S / 3600:.0f} h is removed",
    )
