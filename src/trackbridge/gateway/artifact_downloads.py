"""Sending files to clients: in a stream, from any byte on, and never as a page that a browser shows."""

from __future__ import annotations

import asyncio
import mimetypes
import re
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.responses import Response

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.errors import Unavailable
from trackbridge.gateway.artifact_places import Content, Files, checked_file
from trackbridge.serving.bodies import ClientGone, Deadline

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

BLOCK_BYTES = 1024 * 1024
SEND_STALL_S = 120.0
"""How long a client may take nothing of a file."""
THREADS = 32
"""Blocks of files that are read or written at once."""

# mlflow/utils/mime_type_utils.py: what is told as plain text, whatever the machine's table says.
_TEXTS = frozenset(
    [
        *("txt", "log", "err", "cfg", "conf", "cnf", "cf", "ini", "properties", "prop", "hocon", "toml"),
        *("yaml", "yml", "xml", "json", "js", "py", "py3", "csv", "tsv", "md", "rst", "ipynb"),
        *("MLmodel", "MLproject"),
    ]
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")  # no file is longer

threads = ThreadPoolExecutor(THREADS, thread_name_prefix="gateway-files")
"""For the bytes of files, so that they do not wait behind calls to a backend."""


async def download(request: Request, find: Callable[[], tuple[Files, str]]) -> Response:
    """Answer with a file.

    Args:
        request: Whose headers ask for the whole file, or a part of it.
        find: Returns whose file it is, and its path; called on a thread.

    Raises:
        Refused: There is no such file.
    """
    loop = asyncio.get_running_loop()

    def begin() -> tuple[ArtifactInfo, Span, Content | None]:
        files, path = find()
        info = checked_file(files, path)
        span = _span_of(request, info)
        is_wanted = request.method != "HEAD" and span.status in (200, 206)
        return info, span, files.open(path, span.start) if is_wanted else None

    info, span, content = await loop.run_in_executor(threads, begin)
    headers = {**_headers(info), **span.headers}
    if content is None:
        return _Head(span.status, headers)
    return _FileAnswer(content, span, headers)


class Span:
    """Which bytes are asked for, and what the answer says of them; ``length`` is None to the end."""

    def __init__(self, status: int, start: int, length: int | None, headers: dict[str, str]) -> None:
        self.status, self.start, self.length, self.headers = status, start, length, headers


def _span_of(request: Request, info: ArtifactInfo) -> Span:
    """Return the bytes that a request asks for; what cannot be understood, and several ranges, mean all."""
    size, tag = info.file_size, _tag(info)
    if tag is not None and tag in _tags(request.headers.get("if-none-match", "")):
        return Span(304, 0, 0, {})
    if size is None:
        return Span(200, 0, None, {})
    whole = Span(200, 0, size, {"content-length": str(size), "accept-ranges": "bytes"})
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    condition = request.headers.get("if-range")
    if found is None or not any(found.groups()) or (condition is not None and condition != tag):
        return whole
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if first and last and int(last) < start:
        return whole
    if start >= size:
        return Span(416, 0, 0, {"content-range": f"bytes */{size}", "content-length": "0"})
    told = {"content-range": f"bytes {start}-{end}/{size}", "content-length": str(end - start + 1)}
    return Span(206, start, end - start + 1, told)


def _tag(info: ArtifactInfo) -> str | None:
    return f'"{info.digest}"' if info.digest else None


def _tags(header: str) -> list[str]:
    return [part.strip().removeprefix("W/") for part in header.split(",")]


def _headers(info: ArtifactInfo) -> dict[str, str]:
    name = PurePosixPath(info.path).name
    headers = {
        "content-type": content_type_of(name),
        "content-disposition": disposition_of(name),
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cache-control": "no-cache",
    }
    tag = _tag(info)
    return {**headers, "etag": tag} if tag is not None else headers


def content_type_of(name: str) -> str:
    """Return the media type of a file's name, as mlflow's server tells it."""
    extension = name.rpartition(".")[2]
    if extension in _TEXTS:
        return "text/plain"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def disposition_of(name: str) -> str:
    """Return the header by which a browser stores a file under its name, and never shows it (RFC 6266)."""
    if name.isascii():
        return f"attachment; filename={_quoted(name)}"
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii") or "download"
    encoded = quote(name, safe="!#$&+-.^_`|~")
    return f"attachment; filename={_quoted(plain)}; filename*=UTF-8''{encoded}"


def _quoted(text: str) -> str:
    if _TOKEN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Head(Response):
    """An answer without a body, which may tell the length of the body that GET would have."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(status_code=status, headers=headers)
        if "content-length" not in headers:
            del self.headers["content-length"]


class _FileAnswer(Response):
    """An answer whose body is read while it is sent: one block ahead, so that memory stays flat."""

    def __init__(self, content: Content, span: Span, headers: dict[str, str]) -> None:
        self.status_code = span.status
        self.background = None
        self.body = b""
        self.init_headers(headers)
        self._content = content
        self._left = span.length
        self._lock = threading.Lock()
        self._is_closed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[Any] = asyncio.ensure_future(_end_of(receive))
        coming: asyncio.Future[bytes] = loop.run_in_executor(threads, self._next)
        try:
            block = await coming  # before the head, so that a store that fails at once is told of
            head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(head)
            while block:
                if gone.done():
                    raise ClientGone
                coming = loop.run_in_executor(threads, self._next)
                with Deadline(SEND_STALL_S):
                    await send({"type": "http.response.body", "body": block, "more_body": True})
                block = await coming
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            coming.add_done_callback(_forget)
            loop.run_in_executor(threads, self._close)

    def _next(self) -> bytes:
        """Return the next block, none at the end.

        Raises:
            Unavailable: The file ends before its length.
        """
        with self._lock:
            return b"" if self._left == 0 or self._is_closed else self._read()

    def _read(self) -> bytes:
        wanted = BLOCK_BYTES if self._left is None else min(BLOCK_BYTES, self._left)
        block = self._content.read(wanted)
        if self._left is not None:
            self._left -= len(block)
            if not block:
                raise Unavailable(
                    f"the file ends {self._left:,} bytes too early",
                    operation="artifacts.open",
                    hint="try again",
                )
        return block

    def _close(self) -> None:
        with self._lock:  # a block may still be on its way
            self._is_closed = True
            self._content.close()


def _forget(coming: asyncio.Future[bytes]) -> None:
    """Look at how a block ended that nobody waits for any more."""
    if not coming.cancelled():
        coming.exception()


async def _end_of(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
