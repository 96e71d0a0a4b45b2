"""Scripts and styles of the pages, out of the package; each address holds the digest of the file."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
PREFIX = "/static"

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_FOR_A_YEAR = "public, max-age=31536000, immutable"


@functools.cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Return the bytes and the digest of every file that is served; the folder does not change."""
    found = {}
    for path in FOLDER.iterdir():
        if path.suffix in _TYPES:
            content = path.read_bytes()
            found[path.name] = (content, hashlib.sha256(content).hexdigest()[:12])
    return found


def address(name: str) -> str:
    """Return the address of a file; it changes with the file's bytes, so that it may be kept for good."""
    return f"{PREFIX}/{name}?v={_files()[name][1]}"


async def serve(request: Request) -> Response:
    """Answer with a file of the folder; only whole names that are there are known."""
    name = request.path_params["name"]
    if name not in _files():
        return Response("no such file", status_code=404, media_type="text/plain")
    content, digest = _files()[name]
    is_current = request.query_params.get("v") == digest
    headers = {
        "Cache-Control": _FOR_A_YEAR if is_current else "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Type": _TYPES[Path(name).suffix],
    }
    return Response(content, headers=headers)
