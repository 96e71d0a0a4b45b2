"""The pages of a gateway, asked without a network, as a browser with cookies would ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, MutableMapping
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urlencode

from starlette.applications import Starlette

from trackbridge.gateway.authentication import IDENTITY, Identity
from trackbridge.gateway.gateway import Gateway, GatewayOptions
from trackbridge.gateway.pages import page_routes
from trackbridge.gateway.routes import Scope
from trackbridge.serving.answers import Refusal

WAIT_S = 60.0


class Site:
    """The pages, for a user with a name and a scope.

    Args:
        options: Of the gateway.
        name: Who asks.
    """

    def __init__(self, options: GatewayOptions | None = None, *, name: str = "anna") -> None:
        self.gateway = Gateway(options or GatewayOptions())
        self.identity = Identity(name, Scope.WRITE)
        self.app = Starlette(routes=page_routes(self.gateway))
        self.cookies: dict[str, str] = {}
        self.address = ""
        """Where the last answer came from, after redirects."""

    def get(self, path: str, *, status: int = 200, fragment: bool = False, **fields: Any) -> str:
        """Return the text of a page."""
        headers = {"HX-Request": "true"} if fragment else {}
        query = f"?{urlencode(fields)}" if fields else ""
        return self._asked("GET", f"{path}{query}", headers, b"", status)

    def confirm(self, path: str, *, status: int = 200, meanwhile: Callable[[], object] = lambda: None,
                **fields: Any) -> str:  # fmt: skip
        """Open the plan at a path, let something happen, and press the button."""
        return self.send(path, fields_of(self.get(path, **fields)), status=status, meanwhile=meanwhile)

    def send(
        self,
        path: str,
        fields: dict[str, list[str]],
        *,
        status: int = 200,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> str:
        """Send a form."""
        meanwhile()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return self._asked("POST", path, headers, urlencode(fields, doseq=True).encode(), status)

    def _asked(self, method: str, address: str, headers: dict[str, str], body: bytes, status: int) -> str:
        """Ask, and follow redirects."""
        found, told, text = asyncio.run(self._request(method, address, headers, body))
        if found == 303:
            return self._asked("GET", told["location"], {}, b"", status)
        self.address = address
        assert found == status, (found, text)
        return text

    async def _request(
        self, method: str, address: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], str]:
        """Send one request through the application; return status, headers and text."""
        path, _, query = address.partition("?")
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given = {"host": "localhost", **headers, **({"cookie": cookies} if cookies else {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
            IDENTITY: self.identity,
        }
        messages: list[MutableMapping[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            messages.append(message)

        await self.app(scope, receive, send)
        told = {name.decode().lower(): value.decode() for name, value in messages[0]["headers"]}
        if "set-cookie" in told:
            name, _, value = told["set-cookie"].partition(";")[0].partition("=")
            self.cookies[name] = value
        return messages[0]["status"], told, b"".join(item.get("body", b"") for item in messages[1:]).decode()

    def token(self, path: str = "/models") -> str:
        """Return the token that forms have to repeat."""
        self.get(path)
        return self.cookies["bridge_csrf"]

    def finished(self, address: str | None = None) -> str:
        """Wait for the work whose page was sent last, and return its page."""
        address = address or self.address
        assert address.startswith("/works/"), address
        deadline = time.monotonic() + WAIT_S
        while ">running<" in (text := self.get(address)):
            assert time.monotonic() < deadline, text
            time.sleep(0.02)
        return text

    def may_only_read(self) -> None:
        """From now on, the user may read only."""
        self.identity = Identity("rita", Scope.READ)


def refused(call: Callable[[], object]) -> Refusal:
    """Return the refusal that the application would answer with."""
    try:
        call()
    except Refusal as error:
        return error
    raise AssertionError("it was not refused")


class _Fields(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._is_inside = given.get("method") == "post"
        if tag == "input" and self._is_inside and given.get("type") == "hidden":
            self.found.setdefault(str(given["name"]), []).append(str(given.get("value") or ""))


def fields_of(text: str) -> dict[str, list[str]]:
    """Return the hidden fields of the form of a page that is sent by POST."""
    parser = _Fields()
    parser.feed(text)
    assert parser.found, text
    return parser.found
