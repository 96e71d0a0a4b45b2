"""Requests to an ASGI application in this process, message by message, so that clients can misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

App = Callable[
    [dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]


@dataclass
class Told:
    """What an application answered; ``is_whole`` tells whether it ended its answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    blocks: int = 0
    is_whole: bool = False

    def json(self) -> Any:
        """Return the body."""
        return json.loads(self.content)


class AsgiClient:
    """Sends requests, each in an event loop of its own.

    Args:
        app: The application.
        host: What the header of that name says.
    """

    def __init__(self, app: App, *, host: str = "127.0.0.1:5000") -> None:
        self._app = app
        self._host = host

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | Sequence[bytes] = b"",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        stops: bool = False,
    ) -> Told:
        """Send a request, and return the answer.

        Args:
            method: The HTTP method.
            path: As in the request, percent-encoded.
            body: All of it, or as the parts in which it comes.
            query: Further parameters.
            headers: Further headers.
            stops: The client goes away behind the body, as if there were more of it.
        """
        parts = [body] if isinstance(body, bytes) else list(body)
        return asyncio.run(self._send(method, path, parts, dict(query or {}), dict(headers or {}), stops))

    def json(self, method: str, path: str, content: Any, **options: Any) -> Told:
        """Send JSON."""
        headers = {"content-type": "application/json", **options.pop("headers", {})}
        return self(method, path, json.dumps(content).encode(), headers=headers, **options)

    async def _send(
        self,
        method: str,
        path: str,
        parts: list[bytes],
        query: dict[str, str],
        headers: dict[str, str],
        stops: bool,
    ) -> Told:
        told = Told()
        if parts != [b""]:
            headers.setdefault("content-length", str(sum(map(len, parts))))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": urlencode(query).encode(),
            "root_path": "",
            "headers": [
                (b"host", self._host.encode()),
                *((name.lower().encode(), value.encode()) for name, value in headers.items()),
            ],
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 5000),
        }
        messages = [
            {"type": "http.request", "body": part, "more_body": stops or number < len(parts)}
            for number, part in enumerate(parts, 1)
        ]
        if stops:
            messages.append({"type": "http.disconnect"})
        forever = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await forever.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told.status = message["status"]
                told.headers = {name.decode(): value.decode() for name, value in message["headers"]}
                return
            told.content += message.get("body", b"")
            told.blocks += 1
            told.is_whole = not message.get("more_body", False)

        await self._app(scope, receive, send)
        return told
