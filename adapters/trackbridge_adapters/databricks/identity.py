"""OAuth for service principals (machine to machine), by the token route of the workspace.

A token is kept in memory and renewed ahead of its end; where that fails while the old one is good, the old
one goes on. After a refusal (401, 403) a new one is taken once.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable

import requests

from trackbridge.domain.secrets import shown
from trackbridge.errors import AuthError, BridgeError, Unavailable
from trackbridge.transport.authentication import BearerToken, TokenFile
from trackbridge.transport.http import Authentication, HttpClient, error_of_status
from trackbridge_adapters._mlflow_rest.wire import Wire
from trackbridge_adapters.databricks.config import ADAPTER, Login

ROUTE = "/oidc/v1/token"
FORM = b"grant_type=client_credentials&scope=all-apis"
ME = "preview/scim/v2/Me"
AHEAD_S_MAX = 300.0
AHEAD_SHARE = 1 / 3
"""Of a token's life; so that one that lasts 30 s is not renewed with every request."""


class ServicePrincipal:
    """Adds a service principal's token to requests. Any thread may use it.

    Args:
        host: Scheme and host of the workspace.
        client_id: Who signs in.
        client_secret: With what.
        http: Sends the request for a token; it signs nothing itself.
        clock_ms: Milliseconds since 1970.
    """

    def __init__(
        self, host: str, client_id: str, client_secret: str, http: HttpClient, clock_ms: Callable[[], int]
    ) -> None:
        self._url = f"{host}{ROUTE}"
        self._client_id = client_id
        login = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {login}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        self._http = http
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._token: str | None = None
        self._renew_at_s = self._ends_at_s = 0.0
        self._sent = threading.local()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token."""
        token = self._sent.token = self.current()
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    def current(self) -> str:
        """Return a token that is good for a while.

        Raises:
            AuthError: The workspace does not know the principal or its secret.
        """
        with self._lock:
            now_s = self._clock_ms() / 1000
            if self._token is None:
                return self._take(now_s)
            if now_s < self._renew_at_s:
                return self._token
            try:
                return self._take(now_s)
            except BridgeError:
                if now_s >= self._ends_at_s:
                    raise
                return self._token

    def renew(self) -> bool:
        """Take a new token; True when it is another one than this thread sent."""
        with self._lock:
            sent = getattr(self._sent, "token", None)
            if self._token == sent:
                self._take(self._clock_ms() / 1000)
            return self._token != sent

    def __repr__(self) -> str:
        return f"<ServicePrincipal {self._client_id}>"

    def _take(self, now_s: float) -> str:
        answer = self._http.request("POST", self._url, body=FORM, headers=self._headers, authenticate=False)
        try:
            found = json.loads(answer.content)
        except ValueError:
            found = None
        found = found if isinstance(found, dict) else {}
        token, life_s = found.get("access_token"), found.get("expires_in")
        if answer.status_code >= 300 or not isinstance(token, str) or not token.isascii() or not token:
            raise self._refused(answer, found)
        life_s = float(life_s) if isinstance(life_s, (int, float)) else 0.0
        self._token = token
        self._ends_at_s = now_s + life_s
        self._renew_at_s = self._ends_at_s - min(AHEAD_S_MAX, life_s * AHEAD_SHARE)
        return token

    def _refused(self, answer: requests.Response, found: dict[str, object]) -> BridgeError:
        code = shown(str(found.get("error") or found.get("error_code") or ""))
        message = shown(str(found.get("error_description") or found.get("message") or code))
        if answer.status_code in (400, 401, 403) and code:
            return AuthError(
                f"no token for the service principal {shown(self._client_id)}: {message}",
                adapter=ADAPTER,
                hint="check client id and secret, and that the principal is assigned to this workspace",
            )
        if answer.status_code >= 400 and answer.status_code != 404:
            return error_of_status(answer, message, adapter=ADAPTER, resource=ROUTE)
        return Unavailable(
            f"the token route was answered with something that is no token (status {answer.status_code})",
            adapter=ADAPTER,
            resource=ROUTE,
            hint="is the host the address of a Databricks workspace?",
        )


def authentication_of(login: Login, http: HttpClient, clock_ms: Callable[[], int]) -> Authentication:
    """Return how to sign in."""
    if login.token_file is not None:
        return TokenFile(login.token_file, adapter=ADAPTER)
    if login.token is not None:
        return BearerToken(login.token, adapter=ADAPTER)
    return ServicePrincipal(login.host, login.client_id or "", login.client_secret or "", http, clock_ms)


def user_of(wire: Wire) -> str:
    """Return the name of who is signed in: a mail address, or the id of a service principal."""
    name = str(wire.get(ME, prefix="/api/2.0").get("userName") or "")
    if not name or "/" in name:
        raise Unavailable("the workspace does not tell who is signed in", adapter=ADAPTER, resource=ME)
    return name
