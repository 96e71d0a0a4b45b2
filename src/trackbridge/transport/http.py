"""HTTP to one backend: pooled connections, authentication that renews itself, errors of ours.

::

    request -> sign or add a token -> send -> 401 or 403: renew once, send again -> answer
                                        |
                                        +-- no connection: Unavailable; no answer in time: TimedOut

What a status code means is for the caller: see ``error_of_status`` for what is common to all.
One client is shared by all threads of an adapter. One attempt per call: retries are the call pipeline's.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, Protocol, Union

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from trackbridge._version import __version__
from trackbridge.domain.secrets import shown
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    Conflict,
    NotFound,
    NotRunning,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
)
from trackbridge.transport.loopback import refused_here

CONNECT_S = 5.0
ANSWER_S = 30.0
CONNECTIONS_MAX = 16
USER_AGENT = f"trackbridge/{__version__}"
CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Name a file or a folder of trusted certificates; the first that is set counts."""

Body = Union[bytes, BinaryIO, Iterable[bytes]]


class Authentication(Protocol):
    """Puts who we are on a request, just before it is sent; called from any thread."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Return the request with its token or signature.

        Raises:
            AuthError: There are no credentials, or they cannot be renewed.
        """
        ...

    def renew(self) -> bool:
        """Get new credentials after a refusal; False when that cannot help."""
        ...


class HttpClient:
    """Sends requests to one backend.

    Args:
        adapter: Name of the backend, for errors.
        authentication: Adds who we are; None sends requests as they are.
        verify: True for the system's certificates, or the path of a file of trusted ones.
        certificate: Paths of our own certificate and its key, for mutual TLS.
        connect_s: Seconds to wait for a connection.
        answer_s: Seconds to wait for an answer, or between two pieces of one.
        connections_max: Connections kept open to a host.
        local_socket: Connects to a server on this machine, to which every ``http://`` address then leads; no
            proxy is asked. Raises OSError where it cannot.
        not_running_hint: What to do where nothing listens at an address of this machine.
    """

    def __init__(
        self,
        *,
        adapter: str,
        authentication: Authentication | None = None,
        verify: bool | str = True,
        certificate: tuple[str, str] | str | None = None,
        connect_s: float = CONNECT_S,
        answer_s: float = ANSWER_S,
        connections_max: int = CONNECTIONS_MAX,
        local_socket: Callable[[], socket.socket] | None = None,
        not_running_hint: str = "is the server running?",
    ) -> None:
        self.adapter = adapter
        self.authentication = authentication
        self._timeout_s = (connect_s, answer_s)
        self._not_running_hint = not_running_hint
        self._renewing = threading.Lock()
        self._session = requests.Session()
        self._session.trust_env = local_socket is None  # proxies; a .netrc never wins: see _nobody
        self._verify = verify
        self._session.cert = certificate
        self._session.headers["User-Agent"] = USER_AGENT
        transport = _Transport(pool_connections=4, pool_maxsize=connections_max)
        self._session.mount("https://", transport)
        self._session.mount("http://", transport if local_socket is None else _LocalTransport(local_socket))

    def request(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Callable[[], Body] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        answer_s: float | None = None,
        authenticate: bool = True,
    ) -> requests.Response:
        """Send a request and return the answer, whatever its status.

        Args:
            method: For example ``GET``.
            url: Where to.
            query: Parameters of the query; encoded with ``%20``, as signatures want it.
            body: Bytes, or a callable that opens the body anew for each time that it is sent.
            headers: Added to ours.
            stream: Leave the body of the answer unread; the caller closes the answer.
            answer_s: Seconds to wait instead of the client's own.
            authenticate: False for addresses that are signed themselves.

        Raises:
            AuthError: There are no credentials.
            ConfigError: The certificates to trust are not where they are said to be.
            NotRunning: Nothing listens at an address of this machine.
            Unavailable: The host cannot be reached, or the connection broke before anything was sent.
            TimedOut: No answer in time, or the connection broke after the request: it may have been done.
        """
        authentication = self.authentication if authenticate else None
        answer = self._send(method, url, query, body, headers, stream, answer_s, authentication)
        if answer.status_code in (401, 403) and authentication is not None and self._renew(authentication):
            answer.close()
            answer = self._send(method, url, query, body, headers, stream, answer_s, authentication)
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _renew(self, authentication: Authentication) -> bool:
        with self._renewing:
            return authentication.renew()

    def _send(
        self,
        method: str,
        url: str,
        query: Mapping[str, Any] | None,
        body: Callable[[], Body] | bytes | None,
        headers: Mapping[str, str] | None,
        stream: bool,
        answer_s: float | None,
        authentication: Authentication | None,
    ) -> requests.Response:
        data = body() if callable(body) else body
        self._check_trusted(url)
        timeout_s = self._timeout_s if answer_s is None else (self._timeout_s[0], answer_s)
        try:
            return self._session.request(
                method,
                _with_query(url, query),
                data=data,
                headers=dict(headers or {}),
                auth=authentication or _nobody,
                stream=stream,
                timeout=timeout_s,
                verify=self._verify,  # a session's own would give way to REQUESTS_CA_BUNDLE
                allow_redirects=method in ("GET", "HEAD"),
            )
        except requests.RequestException as error:
            # The library's own words quote the address, and one that is whole may be signed.
            raise self._translated(error, url) from (None if "?" in url else error)

    def _check_trusted(self, url: str) -> None:
        """Return if the certificates that are to be trusted are there; the library says so as an OSError.

        Raises:
            ConfigError: They are not.
        """
        is_given = isinstance(self._verify, str)
        is_encrypted = url[:8].lower() == "https://"
        if not is_encrypted or not self._verify or not (is_given or self._session.trust_env):
            return
        variable = (
            "" if is_given else next((name for name in CERTIFICATE_VARIABLES if os.environ.get(name)), "")
        )
        path = str(self._verify) if is_given else os.environ.get(variable, "")
        if path and not os.path.exists(path):
            raise ConfigError(
                f"there are no trusted certificates at {shown(path)}"
                f"{f', which {variable} names' if variable else ''}",
                adapter=self.adapter,
                hint=f"correct {variable}, or unset it; those of bridge emulate go when it ends"
                if variable
                else "correct the path",
            )

    def _translated(self, error: requests.RequestException, url: str) -> BridgeError:
        host = shown(url.split("?")[0].split("://")[-1].split("/")[0])
        why = _reason(error)
        if isinstance(error, requests.exceptions.SSLError):
            hint = "check the certificate, or name the file of the authority that signed it"
            return AuthError(f"no trusted connection to {host}: {why}", adapter=self.adapter, hint=hint)
        if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader)):
            return Rejected(f"the request cannot be made: {why}", adapter=self.adapter)
        if isinstance(error, requests.ConnectTimeout):
            return Unavailable(f"{host} does not answer: {why}", adapter=self.adapter)
        if isinstance(error, requests.Timeout):
            return TimedOut(f"{host} did not answer in time", ambiguous=True, adapter=self.adapter)
        if isinstance(error, requests.ConnectionError) and _was_never_connected(error):
            return self._unreached(error, url, host)
        return TimedOut(f"the connection to {host} broke: {why}", ambiguous=True, adapter=self.adapter)

    def _unreached(self, error: requests.ConnectionError, url: str, host: str) -> Unavailable:
        is_by_network = self._session.trust_env  # else a socket was asked, not the address
        proxy = select_proxy(url, get_environ_proxies(url)) if is_by_network else None
        place = refused_here(error, proxy or url)
        if place is None or not is_by_network:
            message = f"{host} cannot be reached: {_reason(error)}"
            return Unavailable(message, adapter=self.adapter, hint="check the address and the network")
        where = f"at its proxy {shown(place)}" if proxy else "there"
        return NotRunning(
            f"{host} cannot be reached: nothing listens {where}",
            adapter=self.adapter,
            hint=f"{self._not_running_hint}{'; HTTPS_PROXY names the proxy' if proxy else ''}",
        )


def error_of_status(
    answer: requests.Response, message: str, *, adapter: str, resource: str | None = None
) -> BridgeError:
    """Return the error that a status of 400 or more stands for, by the rules of HTTP alone.

    Args:
        answer: What came back.
        message: What the server said, in words; it is redacted here.
        adapter: Name of the backend.
        resource: The thing concerned.
    """
    status = answer.status_code
    text = f"{shown(message) or answer.reason or 'refused'} (status {status})"
    if status == 429 or (status == 503 and "Retry-After" in answer.headers):
        wait_s = retry_after_s(answer)
        return RateLimited(text, retry_after_s=wait_s, adapter=adapter, resource=resource)
    kind: type[BridgeError] = Rejected
    if status in (401, 403, 407):
        kind = AuthError
    elif status in (404, 410):
        kind = NotFound
    elif status in (409, 412):
        kind = Conflict
    elif status in (408, 504):
        return TimedOut(text, ambiguous=True, adapter=adapter, resource=resource)
    elif status >= 500 and status != 501:
        kind = Unavailable
    return kind(text, adapter=adapter, resource=resource)


def retry_after_s(answer: requests.Response) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, as a number or as a date; None without it."""
    text = answer.headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
        now = parsedate_to_datetime(answer.headers["Date"])
        return max(0.0, (until - now).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None


def _with_query(url: str, query: Mapping[str, Any] | None) -> str:
    if not query:
        return url
    from urllib.parse import quote, urlencode

    return f"{url}?{urlencode(query, doseq=True, quote_via=quote)}"


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stand for no authentication: given, it keeps requests from reading the user's .netrc."""
    return request


def _reason(error: requests.RequestException) -> str:
    """Return what the system says, for example "Connection refused", else what the library says."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, requests.RequestException):
            return shown(cause.strerror)
        reason = getattr(cause, "reason", None)
        first = reason if isinstance(reason, BaseException) else next(iter(cause.args), None)
        cause = cause.__cause__ or (first if isinstance(first, BaseException) else cause.__context__)
    return f"{type(error).__name__}: {shown(str(error))}"


def _was_never_connected(error: requests.ConnectionError) -> bool:
    from urllib3.exceptions import MaxRetryError, NameResolutionError, ProxyError

    cause: Any = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    return isinstance(cause, (NewConnectionError, NameResolutionError, ProxyError))


class _QuickAck:
    """Acknowledge what comes at once: a server without TCP_NODELAY otherwise answers 40 ms late."""

    sock: Any

    def getresponse(self) -> Any:
        option = getattr(socket, "TCP_QUICKACK", None)  # Linux; the kernel forgets it after some receives
        if option is not None and isinstance(self.sock, socket.socket):
            self.sock.setsockopt(socket.IPPROTO_TCP, option, 1)
        return super().getresponse()  # type: ignore[misc]


class _Connection(_QuickAck, HTTPConnection):
    pass


class _SecureConnection(_QuickAck, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Transport(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class _LocalTransport(HTTPAdapter):
    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        super().__init__(pool_connections=1)

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        connect = self._connect

        class Connection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                try:
                    connected = connect()
                except OSError as error:
                    raise NewConnectionError(self, f"{error}") from error
                connected.settimeout(self.timeout)
                return connected

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": Pool}
