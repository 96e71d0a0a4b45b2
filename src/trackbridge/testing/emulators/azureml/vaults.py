"""The key vault of the workspace: secrets, their versions, and who may see them (Key Vault REST 7.4)."""

from __future__ import annotations

import re
import uuid
from typing import Any

from trackbridge.testing.emulators.azureml.core import VAULT, Answer, Cloud, Refused, Request, Route

PREFIX = "/keyvault/{vault}"
SUFFIX = "vault.azure.net"
AUDIENCE = f"https://{SUFFIX}"
NAME = "keyvault"
_SECRET = re.compile(r"[0-9a-zA-Z-]{1,127}")


class Vault:
    """The secrets of the workspace's vault; ``cloud.part(Vault)``."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._held: dict[str, list[tuple[str, str, float]]] = {}

    def put(self, name: str, value: str) -> str:
        """Keep a new version of a secret, and return its id."""
        version = uuid.uuid4().hex
        self._held.setdefault(name.lower(), []).append((version, value, self._cloud.now_s()))
        return version

    def versions(self, name: str) -> list[tuple[str, str, float]]:
        """Return the versions of a secret, each with its value and when it was made.

        Raises:
            Refused: There is no such secret.
        """
        if name.lower() not in self._held:
            message = (
                f"A secret with (name/id) {name} was not found in this key vault. If you recently deleted "
                "this secret you may be able to recover it using the correct recovery command."
            )
            raise Refused(404, "SecretNotFound", message)
        return self._held[name.lower()]


def _told(name: str, held: tuple[str, str, float], *, shows_value: bool) -> dict[str, Any]:
    version, value, made_s = held
    told: dict[str, Any] = {
        "id": f"https://{NAME}.{SUFFIX}/secrets/{name}/{version}",
        "attributes": {"enabled": True, "created": int(made_s), "updated": int(made_s)},
    }
    return {"value": value, **told} if shows_value else told


def _check(request: Request) -> str:
    if request.names["vault"].lower() != NAME:
        raise Refused(404, "VaultNotFound", f"There is no vault {request.names['vault']}")
    if not request.api_version:
        raise Refused(400, "BadParameter", "api-version must be specified")
    return request.names["secret"]


def _get(cloud: Cloud, request: Request) -> Answer:
    name = _check(request)
    return Answer(200, _told(name, cloud.part(Vault).versions(name)[-1], shows_value=True))


def _put(cloud: Cloud, request: Request) -> Answer:
    name, value = _check(request), request.content.get("value")
    if _SECRET.fullmatch(name) is None or not isinstance(value, str):
        raise Refused(400, "BadParameter", "The request URI contains an invalid name, or there is no value")
    cloud.part(Vault).put(name, value)
    return Answer(200, _told(name, cloud.part(Vault).versions(name)[-1], shows_value=True))


def _versions(cloud: Cloud, request: Request) -> Answer:
    name = _check(request)
    try:
        held = cloud.part(Vault).versions(name)
    except Refused:
        held = []  # the real one answers with an empty list as well
    return Answer(200, {"value": [_told(name, one, shows_value=False) for one in held], "nextLink": None})


def _route(path: str, method: str, operation: Any, right: str) -> Route:
    place = f"{PREFIX}/secrets/{path}"
    return Route(method, place, operation, plane=VAULT, right=right, audiences=(AUDIENCE,))


ROUTES = (
    _route("{secret}", "GET", _get, "secrets"),
    _route("{secret}", "PUT", _put, "write"),
    _route("{secret}/versions", "GET", _versions, "read"),
)
