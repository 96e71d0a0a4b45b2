"""Access tokens of the Databricks double: personal ones, and those of service principals by OAuth."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from trackbridge.testing.emulators.front import Result, json_result

LIFE_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Grant:
    """Who a token is of, and until when by the double's clock."""

    user: str
    ends_s: float


class TokenIssuer:
    """Hands out tokens and knows them again.

    Args:
        now_s: The double's clock.
        seconds: How long OAuth's tokens last.
    """

    def __init__(self, now_s: Callable[[], float], *, seconds: float = LIFE_S) -> None:
        self.seconds = seconds
        self.issued = 0
        """How many tokens OAuth's route has handed out."""
        self.principals: dict[str, str] = {}
        """Client ids of service principals, each with its secret."""
        self._now_s = now_s
        self._grants: dict[str, _Grant] = {}

    def personal(self, user: str, *, seconds: float = LIFE_S) -> str:
        """Return a new personal access token."""
        token = f"dapi-of-the-double-{uuid.uuid4().hex}"
        self._grants[token] = _Grant(user, self._now_s() + seconds)
        return token

    def revoke(self) -> None:
        """Take no token any more that was handed out so far."""
        self._grants.clear()

    def user_of(self, header: str | None) -> str | None:
        """Return whose token an ``Authorization`` header holds, None where it is not good."""
        scheme, _, token = (header or "").partition(" ")
        grant = self._grants.get(token) if scheme == "Bearer" else None
        return grant.user if grant is not None and grant.ends_s > self._now_s() else None

    def exchange(self, headers: Mapping[str, str], body: bytes) -> Result:
        """Answer ``/oidc/v1/token``: a token for a service principal's id and secret."""
        form = {key: values[-1] for key, values in parse_qs(body.decode(errors="replace")).items()}
        if form.get("grant_type") != "client_credentials":
            return _oauth_error(400, "unsupported_grant_type", "Only client_credentials is served here")
        if form.get("scope") != "all-apis":
            return _oauth_error(400, "invalid_scope", "The requested scope is invalid")
        client_id, secret = _basic(headers.get("Authorization", ""))
        if not secret or self.principals.get(client_id) != secret:
            return _oauth_error(401, "invalid_client", "Client authentication failed")
        self.issued += 1
        token = f"oauth-of-the-double-{uuid.uuid4().hex}"
        self._grants[token] = _Grant(client_id, self._now_s() + self.seconds)
        answer = {
            "access_token": token,
            "token_type": "Bearer",
            "scope": "all-apis",
            "expires_in": self.seconds,
        }
        return json_result(200, answer)


def refusal_of(header: str | None) -> Result:
    """Return the service's answer to a header that is no good; one that has expired is as a wrong one."""
    if header is None or not header.startswith("Bearer "):
        message = "Credential was not sent or was of an unsupported type for this API."
        return json_result(401, {"error_code": 401, "message": message})
    return json_result(403, {"error_code": 403, "message": "Invalid access token."})


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme != "Basic":
        return "", ""
    try:
        user, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return user, secret


def _oauth_error(status: int, code: str, description: str) -> Result:
    return json_result(status, {"error": code, "error_description": description})
