"""Tokens: from azure-identity, from a file or a variable, or from the job that we are in.

The credential is made once, at the first request, and never asks a person. A token is kept per service and
renewed ahead of its end; where that fails while the old one is good, the old one goes on. After a refusal
(401, 403) a new one is taken once.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import requests

from trackbridge.domain.secrets import shown
from trackbridge.errors import AuthError, BridgeError, ConfigError, MissingExtra, Unavailable
from trackbridge.transport.authentication import BearerToken, TokenFile
from trackbridge.transport.http import Authentication
from trackbridge_adapters.azureml.clouds import ADAPTER, NOT_RUNNING_HINT, Cloud
from trackbridge_adapters.azureml.sign_in import GIVEN, WAYS, Way

AHEAD_S_MAX = 300.0
AHEAD_SHARE = 1 / 3
"""Of a token's life; so that one that lasts 30 s is not renewed with every request."""

CREDENTIALS = {
    "default": "DefaultAzureCredential",
    "environment": "EnvironmentCredential",
    "workload": "WorkloadIdentityCredential",
    "managed": "ManagedIdentityCredential",
    "cli": "AzureCliCredential",
    "powershell": "AzurePowerShellCredential",
    "azd": "AzureDeveloperCliCredential",
}
_TAKES_AUTHORITY = ("default", "environment", "workload")
_HINTS = (
    (("AADSTS7000222", "AADSTS7000215"), "the client secret is wrong or has expired: make a new one"),
    (
        ("AADSTS90002", "AADSTS700016", "AADSTS50020", "Unable to get authority configuration"),
        "check the tenant: {tenant}",
    ),
    (("AADSTS50076", "AADSTS50079", "AADSTS53003"), "sign in again, with the second factor: {again}"),
    (("AADSTS700082", "AADSTS50173", "AADSTS70043"), "the sign-in has expired: {again}"),
)
STORAGE_SCOPE = "https://storage.azure.com/.default"
"""What tokens for storage are asked for, in every cloud."""
_TRIED = re.compile(r"(\w+Credential): ([^\n]*)")
_REFUSED_HERE = re.compile(r"(?:localhost|::1|127(?:\.\d{1,3}){3})\b.*\bConnection refused")
_SENTENCE_END = re.compile(r"(?<=\.)\s+")
_REASON_CHARS_MAX = 160
_TRIED_CHARS_MAX = 1500


class Token(Protocol):
    """What a credential returns."""

    @property
    def token(self) -> str:
        """The token."""
        ...

    @property
    def expires_on(self) -> int:
        """When it ends, in seconds since 1970."""
        ...


class Credential(Protocol):
    """Any credential of azure-identity."""

    def get_token(self, *scopes: str) -> Token:
        """Return a token for the scopes."""
        ...


class AzureTokens:
    """Adds the token of a credential to requests. Any thread may use it."""

    def __init__(
        self,
        make_credential: Callable[[], Credential],
        scope: str,
        clock_ms: Callable[[], int],
        way: Way = WAYS["default"],
    ) -> None:
        self.way = way
        self._make = make_credential
        self._scope = scope
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._sent = threading.local()
        self._credential: Credential | None = None
        self._token: Token | None = None
        self._renew_at_s = 0.0
        self._beside: dict[str, AzureTokens] = {}

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token."""
        self._sent.token = self.current()
        request.headers["Authorization"] = f"Bearer {self._sent.token}"
        return request

    def current(self) -> str:
        """Return a token that is good for a while."""
        with self._lock:
            now_s = self._clock_ms() / 1000
            if self._token is None:
                return self._take(now_s)
            if now_s < self._renew_at_s:
                return self._token.token
            try:
                return self._take(now_s)
            except BridgeError:
                if now_s >= self._token.expires_on:
                    raise
                return self._token.token

    def renew(self) -> bool:
        """Take a new token after a refusal, unless another thread has; True when it is another one."""
        sent = getattr(self._sent, "token", None)
        with self._lock:
            if self._token is not None and self._token.token != sent:
                return True
            return self._take(self._clock_ms() / 1000) != sent

    def beside(self, scope: str) -> AzureTokens:
        """Return the tokens of the same credential for another service, the same object each time."""
        with self._lock:
            if scope not in self._beside:
                self._beside[scope] = AzureTokens(self.credential, scope, self._clock_ms, self.way)
            return self._beside[scope]

    def credential(self) -> Credential:
        """Return the credential, made once."""
        with self._lock:
            if self._credential is None:
                self._credential = self._make()
            return self._credential

    def dated(self) -> tuple[str, float]:
        """Return a token that is good for a while, and when it ends, in seconds since 1970."""
        token = self.current()
        with self._lock:
            return token, float(self._token.expires_on if self._token is not None else 0)

    def claims(self) -> dict[str, Any]:
        """Return what the token says of itself, {} for one that cannot be read."""
        return claims_of(self.current())

    def __repr__(self) -> str:
        return f"<AzureTokens for {self._scope}>"

    def _take(self, now_s: float) -> str:
        if self._credential is None:
            self._credential = self._make()
        try:
            token = self._credential.get_token(self._scope)
        except BridgeError:
            raise
        except Exception as error:
            raise _translated(error, self.way) from None  # azure-identity's chain of causes quotes answers
        life_s = max(0.0, token.expires_on - now_s)
        self._token = token
        self._renew_at_s = token.expires_on - min(AHEAD_S_MAX, life_s * AHEAD_SHARE)
        return token.token


def authentication_of(
    options: Mapping[str, str],
    environment: Mapping[str, str],
    cloud: Cloud,
    clock_ms: Callable[[], int],
    credential: Credential | None,
) -> Authentication:
    """Return how to sign in.

    Raises:
        ConfigError: An option is wrong, or names a variable that is not set.
    """
    if credential is not None:
        given = credential
        return AzureTokens(lambda: given, cloud.scope, clock_ms, getattr(given, "way", GIVEN))
    if "token_file" in options:
        return TokenFile(Path(options["token_file"]).expanduser(), adapter=ADAPTER)
    if "token_env" in options:
        name = options["token_env"]
        token = environment.get(name)
        if not token:
            raise ConfigError(f"the variable {name} is not set", adapter=ADAPTER, hint=f"export {name}=…")
        return BearerToken(token, adapter=ADAPTER, variable=name)
    kind = options.get("sign_in", "default")
    if kind not in CREDENTIALS:
        hint = f"known are {', '.join(CREDENTIALS)}"
        raise ConfigError(f"there is no credential {kind!r}", adapter=ADAPTER, hint=hint)
    make = partial(_credential, kind, options.get("client_id"), cloud)
    return AzureTokens(make, cloud.scope, clock_ms, WAYS[kind])


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a JSON web token without checking it; {} for anything else."""
    try:
        part = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def user_of(authentication: object) -> str:
    """Return who signs in, as the token says: a person, else an application; "" where it does not."""
    if not isinstance(authentication, AzureTokens):
        return ""
    claims = authentication.claims()
    named = (claims.get(name) for name in ("upn", "unique_name", "app_displayname", "appid", "oid"))
    return next((str(name) for name in named if name), "")


def _credential(kind: str, client_id: str | None, cloud: Cloud) -> Credential:
    try:
        import azure.identity as identity
    except ImportError:
        raise MissingExtra(
            "signing in to Azure needs the package 'azure-identity'",
            adapter=ADAPTER,
            hint="pip install 'trackbridge[azure]'",
        ) from None
    for name in ("azure", "msal"):  # what goes wrong is our error; without a handler it is printed as well
        logging.getLogger(name).addHandler(logging.NullHandler())
    arguments: dict[str, Any] = {"authority": cloud.authority} if kind in _TAKES_AUTHORITY else {}
    if client_id:
        arguments["managed_identity_client_id" if kind == "default" else "client_id"] = client_id
    try:
        made: Credential = getattr(identity, CREDENTIALS[kind])(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{CREDENTIALS[kind]} cannot be used: {shown(str(error))}",
            adapter=ADAPTER,
            hint="check the AZURE_… variables, and AZURE_TOKEN_CREDENTIALS",
        ) from None
    return made


def _translated(error: Exception, way: Way) -> BridgeError:
    text = str(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    if "ServiceRequestError" in names or "ServiceResponseError" in names:
        return Unavailable(
            f"Azure's sign-in cannot be reached: {shown(text)}",
            adapter=ADAPTER,
            hint="check the network",
        )
    found = _TRIED.findall(text)
    tried = "; ".join(f"{name} ({_short(why)})" for name, why in found)
    what = f"none of these signed in: {tried}" if tried else text
    advice = next(
        (advice for codes, advice in _HINTS if any(code in text for code in codes)), "sign in: {first}"
    )
    hint = advice.format(first=way.first, again=way.renewal, tenant=way.tenant())
    if all(_REFUSED_HERE.search(why) for why in [why for _, why in found] or [text]):
        hint = NOT_RUNNING_HINT
    told = shown(_cut(what, _TRIED_CHARS_MAX), chars_max=2 * _TRIED_CHARS_MAX)  # what is redacted may grow
    return AuthError(f"not signed in to Azure; {told}", adapter=ADAPTER, hint=hint)


def _short(reason: str) -> str:
    """Return why a way to sign in failed, without where to read on: the hint is ours."""
    first, *more = _SENTENCE_END.split(reason.strip())
    told = " ".join([first, *(sentence for sentence in more if "://" not in sentence)])
    return _cut(told.rstrip("."), _REASON_CHARS_MAX)


def _cut(text: str, chars_max: int) -> str:
    """Return text of so many characters, which ends with a whole word."""
    return text if len(text) <= chars_max else f"{text[:chars_max].rpartition(' ')[0].rstrip(' .,;')}…"
