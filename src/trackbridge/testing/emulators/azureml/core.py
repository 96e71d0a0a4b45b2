"""What every part of the emulator stands on: a subscription's resources, a clock, routes, slow operations.

A module of operations exports ``ROUTES``, a tuple of ``Route``; ``routes.py`` gathers them (``MODULES``).

- An operation is a function of the cloud and the request, and returns an ``Answer``. It runs with
  ``cloud.lock`` held, unless the route says ``waits=True`` (scoring, downloads).
- ``request.names`` has the parts of the template, decoded; ``request.content`` the body's JSON. The token and
  the api-version were checked before, and so was the body when the route names a ``shape`` (``shapes.py``).
- Resources lie in ``cloud.resources`` by their ARM id, without regard to case.
- What Azure refuses raises ``Refused(status, code, message)``; the route's ``plane`` says how it is told.
  Anything else that is raised is a fault of the emulator (HTTP 500), and kept for ``raise_failures``.
- State of a module of its own: ``cloud.part(Class)``, made as ``Class(cloud)`` when first asked for.
- Addresses in answers: ``cloud.addresses(request)``, since a client that came through the proxy sees Azure's
  own host names, and one that came directly sees this machine's ports.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from trackbridge.testing.emulators.azureml.refusal import Refused
from trackbridge.testing.emulators.azureml.resources import Resources
from trackbridge.testing.emulators.azureml.times import moment
from trackbridge.testing.emulators.azureml.tokens import TokenIssuer
from trackbridge.testing.emulators.cloud import EmulatedCloud

if TYPE_CHECKING:
    from trackbridge.testing.emulators.azureml.addresses import Addresses
    from trackbridge.testing.emulators.azureml.storage import Storage

__all__ = [
    "ARM",
    "GROUP",
    "PROVIDER",
    "REGION",
    "REGISTRY",
    "SCORING",
    "SERVICE",
    "SUBSCRIPTION",
    "TENANT",
    "VAULT",
    "WORKSPACE",
    "WORKSPACE_NAME",
    "Answer",
    "Cloud",
    "Operation",
    "Refused",
    "Request",
    "Route",
    "guid_of",
    "moment",
    "of_service",
    "of_workspace",
    "pages",
    "with_tags",
]

SUBSCRIPTION = "00000000-1111-2222-3333-444444444444"
GROUP = "test-group"
WORKSPACE_NAME = "test-workspace"
TENANT = "99999999-8888-7777-6666-555555555555"
REGION = "westeurope"
PROVIDER = "Microsoft.MachineLearningServices"
_PROVIDERS = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{PROVIDER}"
WORKSPACE = f"{_PROVIDERS}/workspaces/{{workspace}}"
"""The template of a workspace's path in ARM; routes below it begin so."""
REGISTRY = f"{_PROVIDERS}/registries/{{registry}}"
ARM, SERVICE, SCORING, VAULT = "arm", "service", "scoring", "vault"
"""Planes: Resource Manager; a workspace's or registry's own services; what models answer; secrets."""

_PLACE = re.compile(r"\\\{(\w+)(\\\.\\\.\\\.)?\\\}")


class Answer(NamedTuple):
    """An answer of HTTP. ``content``: JSON (a dict or list), bytes, parts of bytes as they come, or None."""

    status: int = 200
    content: Any = None
    headers: Mapping[str, str] = {}


@dataclass(frozen=True)
class Request:
    """A request of HTTP. ``headers`` takes names in any case; ``names`` are the parts of the route."""

    method: str
    target: str
    headers: Any
    body: bytes = b""
    names: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    """Host and port that the client asked for, such as ``management.azure.com`` or ``127.0.0.1:5050``."""
    is_tls: bool = False

    @cached_property
    def path(self) -> str:
        """The path as it came, with its escapes."""
        return urlsplit(self.target).path

    @cached_property
    def resource_id(self) -> str:
        """The path, decoded and without a slash at its end: of ARM, the resource's id."""
        return unquote(self.path).rstrip("/")

    @cached_property
    def query(self) -> dict[str, str]:
        """The query, unescaped; of several with one name, the last."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def api_version(self) -> str:
        """The api-version that was asked for."""
        return self.query.get("api-version", "")

    @cached_property
    def content(self) -> Any:
        """The body's JSON; an empty dict without a body.

        Raises:
            Refused: It is not JSON.
        """
        if not self.body:
            return {}
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            message = "The request content was invalid and could not be deserialized"
            raise Refused(400, "InvalidRequestContent", message) from None

    @property
    def properties(self) -> dict[str, Any]:
        """The body's ``properties``.

        Raises:
            Refused: There are none.
        """
        found = self.content.get("properties") if isinstance(self.content, dict) else None
        if not isinstance(found, dict):
            raise Refused(400, "InvalidRequestContent", "The request body must have properties")
        return found

    @property
    def workspace_id(self) -> str:
        """The ARM id of the workspace or the registry that the route is below."""
        names = self.names
        template = REGISTRY if "registry" in names else WORKSPACE
        return template.format(**names)


Operation = Callable[["Cloud", Request], Answer]
"""What answers a route."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route.

    Args:
        method: GET, PUT, POST, PATCH, DELETE or HEAD.
        template: The path: ``{name}`` is one part of it, ``{name...}`` the rest. Compared without case.
        operation: What answers.
        versions: The api-versions that have it; without any, each that Microsoft published (``versions.py``).
        shape: The published model of the body, such as ``ModelVersion``; "" when the body is not checked.
        plane: How errors are told, and which audience a token has: ``ARM``, ``SERVICE`` or ``SCORING``.
        waits: Whether it runs without the lock.
        right: What somebody needs: ``read``, ``write``, ``secrets``; by the method when it is "".
        audiences: What a token may be for, such as ``https://api.loganalytics.io``; by the plane without any.
        is_open: Whether it asks for no token.
    """

    method: str
    template: str
    operation: Operation
    versions: tuple[str, ...] = ()
    shape: str = ""
    plane: str = ARM
    waits: bool = False
    right: str = ""
    audiences: tuple[str, ...] = ()
    is_open: bool = False

    def pattern(self) -> re.Pattern[str]:
        """Return what a path matches."""
        text = _PLACE.sub(
            lambda found: f"(?P<{found[1]}>{'.*' if found[2] else '[^/]+'})", re.escape(self.template)
        )
        return re.compile(text + "/?", re.IGNORECASE)


class Cloud(EmulatedCloud):
    """One tenant of Azure with one subscription, its resource group, and what is in it.

    Args:
        subscription, group, workspace, region, tenant: What is there at the beginning.
        pace: Seconds that a second of a life cycle takes; less is quicker.
        token_seconds: How long tokens last.
        signature_seconds: How long signed addresses of blobs last.
    """

    def __init__(
        self,
        *,
        subscription: str = SUBSCRIPTION,
        group: str = GROUP,
        workspace: str = WORKSPACE_NAME,
        region: str = REGION,
        tenant: str = TENANT,
        pace: float = 1.0,
        token_seconds: float = 3600.0,
        signature_seconds: float = 3600.0,
    ) -> None:
        super().__init__(pace)
        self.subscription, self.group, self.workspace = subscription, group, workspace
        self.region, self.tenant = region, tenant
        self.signature_seconds = signature_seconds
        self.issuer = TokenIssuer(tenant=tenant, seconds=token_seconds, now_s=self.now_s)
        self.resources = Resources(self.now_s)
        self.mlflow: Callable[[], str] = str
        """Where the MLflow server is that keeps runs, "" when there is none; waits until it has started."""
        self.storage: Storage
        """The accounts of Blob storage: containers, signatures, bytes."""
        self.rights: set[str] = {"read", "write", "secrets"}
        """What those who ask Resource Manager may do."""
        self.addresses: Callable[[Request | None], Addresses]
        """Addresses as the sender of a request sees them; of None, as this machine does."""

    @property
    def workspace_id(self) -> str:
        """The ARM id of the workspace that is there at the beginning."""
        return WORKSPACE.format(subscription=self.subscription, group=self.group, workspace=self.workspace)

    def now_s(self) -> float:
        """Return Azure's time, in seconds since 1970."""
        return self.clock.now_s()

    def now(self) -> str:
        """Return Azure's time as its answers tell it, such as ``2026-11-21T14:20:00.1234567Z``."""
        return moment(self.now_s())

    @property
    def caller(self) -> str:
        """The object id of whoever sent the request that this thread answers."""
        return getattr(self._callers, "oid", "") or "11111111-2222-3333-4444-555555555555"

    @caller.setter
    def caller(self, oid: str) -> None:
        self._callers.oid = oid

    def reset(self) -> None:
        """Make everything new. What runs is stopped."""
        super().reset()
        self.resources.clear()


def guid_of(text: str) -> str:
    """Return the id that something always has, such as a workspace by its ARM id."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, text.lower()))


def pages(request: Request, items: list[Any], *, size: int = 100) -> Answer:
    """Return a page of a listing, with ``nextLink`` when there is more.

    ``$top`` (or ``count``) bounds the page, ``$skip`` says where it begins.
    """
    start = int(request.query.get("$skip") or 0)
    top = request.query.get("$top") or request.query.get("count") or ""
    end = start + (min(int(top), size) if top else size)
    page: dict[str, Any] = {"value": items[start:end]}
    # A bound asks for no more than that, as ``latest`` does.
    if end < len(items) and not top:
        scheme = "https" if request.is_tls else "http"
        query = urlencode({**request.query, "$skip": end})
        page["nextLink"] = f"{scheme}://{request.host}{request.path}?{query}"
    return Answer(200, page)


def of_workspace(path: str, method: str, operation: Operation, **settings: Any) -> Route:
    """Return a route of ARM below a workspace, such as ``("models/{name}", "GET", get_model)``."""
    return Route(method, f"{WORKSPACE}/{path}".rstrip("/"), operation, **settings)


def of_service(service: str, path: str, method: str, operation: Operation, **settings: Any) -> Route:
    """Return a route of one of the workspace's services, such as ``("history/v1.0", "runs/{run}", ...)``."""
    return Route(method, f"/{service}{WORKSPACE}/{path}".rstrip("/"), operation, plane=SERVICE, **settings)


def with_tags(items: Iterable[Any], text: str) -> list[Any]:
    """Return the items whose ``properties.tags`` have all of ``a=1,b=2``; all of them without a text."""
    wanted = dict(part.partition("=")[::2] for part in text.split(",") if part)
    return [
        item
        for item in items
        if all((item["properties"].get("tags") or {}).get(key) == value for key, value in wanted.items())
    ]
