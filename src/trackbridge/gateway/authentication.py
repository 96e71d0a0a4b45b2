"""Who asks, and whether that is allowed: tokens, a reverse proxy's header, the names of hosts, origins.

::

    Host is one of ours -> a write comes from no foreign page -> who is it -> is the scope enough
"""

from __future__ import annotations

import base64
import binascii
import functools
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from trackbridge.errors import ConfigError
from trackbridge.gateway.routes import Scope
from trackbridge.gateway.tokens import TokenFile
from trackbridge.serving.answers import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

SAFE_METHODS = frozenset(["GET", "HEAD", "OPTIONS"])
SINGLE_HEADERS = (b"host", b"authorization", b"origin", b"content-length", b"content-type")
"""Said twice, they mean one thing to a proxy and another to us."""
HOST_CHARS_MAX = 300
"""Of a Host header: names have 253 characters, and a port follows."""
CHALLENGES = (
    (b"www-authenticate", b'Basic realm="trackbridge", charset="UTF-8"'),
    (b"www-authenticate", b'Bearer realm="trackbridge"'),
)
IDENTITY = "bridge.identity"
"""Where ASGI's scope holds the ``Identity`` of whoever asks."""

Headers = dict[bytes, bytes]
Endpoint = TypeVar("Endpoint", bound="Callable[[Request], Awaitable[Response]]")


@dataclass(frozen=True)
class Identity:
    """Who asks: the name of a token, the user whom a proxy names, or nobody in particular (empty).

    ``scope`` is None for who may see only what everybody may.
    """

    name: str
    scope: Scope | None

    def may(self, scope: Scope) -> bool:
        """Tell whether the scope is enough; who may write may read."""
        return self.scope is Scope.WRITE or self.scope is scope


class AccessOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Who is let in.

    Args:
        host: The address that is listened on.
        token_file: The file of hashes; None for no tokens.
        trusted_header: The header in which a reverse proxy names the user; empty for none.
        trusted_proxies: Addresses or networks of proxies whose header counts.
        trusted_scope: What users of the proxy may do.
        allowed_hosts: Names by which clients may call us; none for the usual ones.
        allowed_origins: Addresses of pages, besides our own, that may write, as ``https://tracking.example``.
        is_insecure: Whether everybody is let in on an address that others reach.
    """

    host: str = "127.0.0.1"
    token_file: Path | None = None
    trusted_header: str = ""
    trusted_proxies: tuple[str, ...] = ()
    trusted_scope: Scope = Scope.WRITE
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    is_insecure: bool = False


class Access:
    """Decides about requests.

    Raises:
        ConfigError: Everybody would be let in, or an option is wrong.
    """

    def __init__(self, options: AccessOptions) -> None:
        self._options = options
        self._tokens = TokenFile(options.token_file) if options.token_file is not None else None
        if self._tokens is not None:
            self._tokens.check()
        self._header = options.trusted_header.strip().lower().encode("ascii", "replace")
        self._proxies = tuple(_network(text) for text in options.trusted_proxies)
        if bool(self._header) != bool(self._proxies):
            raise ConfigError(
                "a header of a reverse proxy needs the proxy's address, and the other way round",
                hint="give both --trusted-header and --trusted-proxy",
            )
        self.is_open = self._tokens is None and not self._header
        """Whether nobody has to say who he is."""
        if self.is_open and not options.is_insecure and not is_loopback(options.host):
            raise ConfigError(
                f"everybody who reaches {options.host} could read and write",
                hint="demand tokens (bridge gateway tokens add NAME), name a proxy (--trusted-header, "
                "--trusted-proxy), or say --insecure",
            )
        self._hosts = frozenset(
            _without_port(name) for name in options.allowed_hosts or _own_names(options.host)
        )
        self._has_hosts = bool(options.allowed_hosts)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in options.allowed_origins)

    def check_place(self, method: str, headers: Headers, given: list[tuple[bytes, bytes]]) -> None:
        """Refuse requests that a page of somebody else made a browser send.

        Raises:
            Refusal: 400 for a header that is doubled or missing, 403 for a foreign host or origin.
        """
        if len(headers) != len(given):
            self._check_doubled(given)
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not 0 < len(host) <= HOST_CHARS_MAX:
            raise Refusal("BAD_REQUEST", "The Host header is missing, or no name of a host.", is_last=True)
        if not self._is_ours(host):
            raise Refusal(
                "PERMISSION_DENIED",
                "The Host header names another server than this one. If that is a name of this one, start it "
                "with --allowed-host.",
                status=403,
                is_last=True,
            )
        if method in SAFE_METHODS:
            return
        origin = headers.get(b"origin")
        is_foreign = (
            headers.get(b"sec-fetch-site") == b"cross-site"
            if origin is None
            else not self._is_own_origin(origin.decode("latin-1").lower(), host)
        )
        if is_foreign:
            raise Refusal(
                "PERMISSION_DENIED",
                "A page of another origin may not write here. If it is this server's own address, start it "
                "with --allowed-origin.",
                status=403,
                is_last=True,
            )

    def identify(self, headers: Headers, client: str) -> Identity:
        """Return who asks.

        Args:
            headers: Of the request, names in lower case.
            client: The address that the connection comes from; empty where it has none.

        Raises:
            Refusal: 401.
        """
        if self.is_open:
            return Identity("", Scope.WRITE)
        if self._header and self._is_proxy(client):
            user = headers.get(self._header, b"").decode("utf-8", "replace").strip()
            if user:
                return Identity(user[:200], self._options.trusted_scope)
        token = _shown_token(headers.get(b"authorization", b""))
        entry = self._tokens.find(token) if self._tokens is not None and token else None
        if entry is None:
            raise Refusal(
                "UNAUTHENTICATED",
                "Show a token of this server: the header 'Authorization: Bearer TOKEN', or any user name and "
                "the token as password (MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD).",
                headers=CHALLENGES if self._tokens is not None else (),
                is_last=True,
            )
        return Identity(entry.name, entry.scope)

    def _check_doubled(self, given: list[tuple[bytes, bytes]]) -> None:
        names = [name for name, _ in given]
        for single in (*SINGLE_HEADERS, self._header):
            if names.count(single) > 1:
                raise Refusal(
                    "BAD_REQUEST", f"The header {single.decode('latin-1')} is given twice.", is_last=True
                )

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host)
        if name in self._hosts:
            return True
        # No name that somebody else lets point here: an address cannot be made to mean another.
        return not self._has_hosts and _is_address(name)

    def _is_own_origin(self, origin: str, host: str) -> bool:
        return origin in self._origins or origin.partition("://")[2] == host

    def _is_proxy(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._proxies)


def guarded(endpoint: Endpoint, scope: Scope | None, *, takes_files: bool = False) -> Endpoint:
    """Return an endpoint of Starlette that demands a scope; each of ours needs to be guarded.

    Args:
        endpoint: ``async def endpoint(request) -> Response``.
        scope: What a caller must be allowed to do; None for nothing that needs a scope.
        takes_files: Whether the body may be as large as a file (``Limits.upload_bytes_max``); else as a form.

    Raises:
        Refusal: 403, from what is returned.
    """

    @functools.wraps(endpoint)
    async def checked(request: Request) -> Response:
        if scope is not None:
            require(request.scope, scope)
        return await endpoint(request)

    checked.bridge_takes_files = takes_files  # type: ignore[attr-defined]
    return checked  # type: ignore[return-value]


def require(asgi_scope: Any, scope: Scope) -> None:
    """Demand that whoever sends a request may do what it is for.

    Raises:
        Refusal: 403.
    """
    identity: Identity = asgi_scope[IDENTITY]
    if not identity.may(scope):
        raise Refusal(
            "PERMISSION_DENIED",
            f"The token {identity.name!r} may read only; this needs one with the scope write.",
            status=403,
        )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _shown_token(authorization: bytes) -> str:
    kind, _, value = authorization.decode("latin-1").partition(" ")
    value = value.strip()
    if kind.lower() == "bearer":
        return value
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no address of a proxy", hint="give an IP address, or a network as 10.0.0.0/8"
        ) from error


def _own_names(host: str) -> tuple[str, ...]:
    """Return the names by which this server may be called when none were given."""
    if is_loopback(host):
        return ("localhost",)
    return ("localhost", host.lower(), socket.gethostname().lower())


@functools.lru_cache(maxsize=1024)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=1024)
def _without_port(host: str) -> str:
    """Return the name in a Host header; empty for what is none."""
    try:
        return urlsplit(f"//{host.lower()}").hostname or ""
    except ValueError:
        return ""
