"""Access tokens of the emulated Azure: signed and checked by itself, with the claims of the real ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from trackbridge.testing.emulators.front import Result, json_result

AUDIENCE = "https://management.azure.com"
JOB_AUDIENCE = "azureml"
"""Of the token that a job is given: the workspace's services take it, Resource Manager does not."""
IDENTITY_PATH = "/identity/token"
IDENTITY_HEADER = "identity-header-of-the-emulator"
SIGN_IN_END = "/oauth2/v2.0/token"
INSTANCE_PATH = "/common/discovery/instance"
DISCOVERY_END = "/v2.0/.well-known/openid-configuration"
AUTHORITY = "https://login.emulator.example"
"""The name under which sign-in routes are told; a client's transport leads it here."""
CLIENT = "22222222-3333-4444-5555-666666666666"
CLIENT_PASSWORD = "the-client's-own"
"""What a service principal of the tenant signs in with."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a token is not taken: a status, Azure's code, and words."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What azure-identity's credentials return."""

    token: str
    expires_on: int


class TokenIssuer:
    """Signs tokens for one tenant.

    Args:
        tenant: The tenant.
        seconds: How long new tokens last.
        now_s: Seconds since 1970 by the emulator's clock.
    """

    def __init__(self, *, tenant: str, seconds: float, now_s: Callable[[], float] = time.time) -> None:
        self.tenant = tenant
        self.seconds = seconds
        self.issued = 0
        self._now_s = now_s
        self.key = uuid.uuid4().bytes
        """What tokens are signed with."""
        self._revoked_before = 0

    def issue(
        self, *, audience: str = AUDIENCE, seconds: float | None = None, tenant: str = ""
    ) -> AccessToken:
        """Return a new token."""
        now = self._now_s()
        expires = now + (self.seconds if seconds is None else seconds)
        self.issued += 1
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{tenant or self.tenant}/",
            "iat": int(now),
            "nbf": int(now),
            "exp": int(expires),
            "tid": tenant or self.tenant,
            "oid": "11111111-2222-3333-4444-555555555555",
            "jti": self.issued,
        }
        body = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        return AccessToken(f"{body}.{self._signature(body)}", int(expires))

    def revoke(self) -> None:
        """Take no token any more that was issued so far, as after a change of the password."""
        self._revoked_before = self.issued

    def refusal(self, header: str | None, audiences: tuple[str, ...] = (AUDIENCE,)) -> Refusal | None:
        """Return why an ``Authorization`` header is refused, None when it is good."""
        scheme, _, token = (header or "").partition(" ")
        if scheme != "Bearer" or not token:
            return Refusal(
                401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        body, _, signature = token.rpartition(".")
        # In bytes: the comparison takes no text that is not ASCII, and headers may be anything.
        if not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            return Refusal(401, "InvalidAuthenticationToken", "The access token is invalid.")
        claims = _decoded(body.partition(".")[2])
        if claims["exp"] <= self._now_s():
            return Refusal(
                401,
                "ExpiredAuthenticationToken",
                f"The access token expiry UTC time '{_utc(claims['exp'])}' is earlier than current UTC time "
                f"'{_utc(self._now_s())}'.",
            )
        if claims["jti"] <= self._revoked_before:
            return Refusal(401, "InvalidAuthenticationToken", "The access token was revoked.")
        if claims["aud"].rstrip("/") not in audiences:
            return Refusal(
                401,
                "InvalidAuthenticationTokenAudience",
                f"The access token has been obtained for wrong audience or resource '{claims['aud']}'. It "
                f"should exactly match with one of the allowed audiences '{','.join(audiences)}'.",
            )
        if claims["tid"] != self.tenant:
            return Refusal(
                401,
                "InvalidAuthenticationTokenTenant",
                f"The access token is from the wrong issuer 'https://sts.windows.net/{claims['tid']}/'. It "
                f"must match the tenant 'https://sts.windows.net/{self.tenant}/' associated with this "
                "subscription.",
            )
        return None

    # Where tokens come from.

    def given(
        self, method: str, path: str, query: dict[str, str], headers: Any, body: bytes
    ) -> Result | None:
        """Answer the routes that tokens come from; None for any other route."""
        if path == IDENTITY_PATH:
            return self.identity(query, headers)
        if path.endswith(SIGN_IN_END) and method == "POST":
            return self.sign_in(path, body)
        host = str(headers.get("Host") or "")
        if path == INSTANCE_PATH:
            return self.instance(host)
        if not path.endswith(DISCOVERY_END):
            return None
        tenant = path.strip("/").partition("/")[0]
        if tenant not in (self.tenant, "common", "organizations"):
            return _not_signed_in("invalid_tenant", f"AADSTS90002: Tenant '{tenant}' not found.", 400)
        is_own = host.partition(":")[0].lower() in ("", "127.0.0.1", "localhost")
        return self.discovery(AUTHORITY if is_own else f"https://{host}")

    def identity(self, query: dict[str, str], headers: Any) -> Result:
        """Answer the identity endpoint of a machine of Azure."""
        if headers.get("X-IDENTITY-HEADER") != IDENTITY_HEADER:
            return json_result(
                401, {"statusCode": 401, "message": "Access denied: the identity header is wrong"}
            )
        if not query.get("api-version") or not query.get("resource"):
            return json_result(400, {"statusCode": 400, "message": "api-version and resource are required"})
        token = self.issue(audience=query["resource"])
        answer = {
            "access_token": token.token,
            "expires_on": str(token.expires_on),
            "resource": query["resource"],
            "token_type": "Bearer",
        }
        return json_result(200, answer)

    def discovery(self, authority: str = AUTHORITY) -> Result:
        """Answer where the routes of Entra ID are; its clients take none but https, so it is a name."""
        place = f"{authority}/{self.tenant}"
        told = {
            "token_endpoint": f"{place}{SIGN_IN_END}",
            "authorization_endpoint": f"{place}/oauth2/v2.0/authorize",
            "issuer": f"https://sts.windows.net/{self.tenant}/",
        }
        return json_result(200, told)

    def instance(self, host: str) -> Result:
        """Answer by which names a cloud's Entra ID goes: MSAL asks after a sign-in that was refused."""
        names = {"preferred_network": host, "preferred_cache": host, "aliases": [host]}
        place = f"https://{host}/{self.tenant}{DISCOVERY_END}"
        return json_result(
            200, {"tenant_discovery_endpoint": place, "api-version": "1.1", "metadata": [names]}
        )

    def sign_in(self, path: str, body: bytes) -> Result:
        """Answer the token route of Entra ID: a service principal with its password."""
        form = query_of(body.decode())
        if path.strip("/").split("/")[0] != self.tenant:
            return _not_signed_in("invalid_request", "AADSTS90002: Tenant not found.", 400)
        if form.get("grant_type") != "client_credentials":
            return _not_signed_in(
                "unsupported_grant_type", "AADSTS70003: The grant type is not supported.", 400
            )
        if form.get("client_id") != CLIENT:
            text = f"AADSTS700016: Application with identifier '{form.get('client_id')}' was not found."
            return _not_signed_in("unauthorized_client", text, 400)
        if form.get("client_secret") != CLIENT_PASSWORD:
            return _not_signed_in("invalid_client", "AADSTS7000215: Invalid client secret provided.", 401)
        token = self.issue(audience=form.get("scope", "").split("/.default")[0])
        life_s = max(1, int(token.expires_on - self._now_s()))
        return json_result(200, {"token_type": "Bearer", "expires_in": life_s, "access_token": token.token})

    def _signature(self, body: str) -> str:
        return _base64(hmac.new(self.key, body.encode(), hashlib.sha256).digest())


class EmulatedCredential:
    """A credential as azure-identity has them. ``asked`` counts how often a token was taken from it."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer
        self.asked = 0

    def get_token(self, *scopes: str, **named: Any) -> AccessToken:
        """Return a token for the resource of the scope."""
        self.asked += 1
        return self._issuer.issue(audience=scopes[0].removesuffix("/.default"))


def query_of(text: str) -> dict[str, str]:
    """Return the parameters of a query or a form; of several with one name, the last."""
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}


def _not_signed_in(error: str, description: str, status: int) -> Result:
    return json_result(status, {"error": error, "error_description": description})


def _utc(seconds: float) -> str:
    return time.strftime("%m/%d/%Y %I:%M:%S %p", time.gmtime(seconds))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _encoded(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _decoded(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found
