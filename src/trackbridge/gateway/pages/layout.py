"""What all pages share: templates, headers, errors, and how a handler is reached.

A handler is a plain function from a ``View`` to a response; it runs on a thread. ::

    def sync(view: View) -> Response:
        return view.page("sync.html", title="Sync", section="sync", rows=rows_of(view.client))

    routes = [pages.route("/sync", sync)]

Nothing that a page shows can run script: templates escape everything, the Content-Security-Policy allows the
files of ``static`` alone, and no style or script stands in a page itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from trackbridge.api.display import format_duration, format_number, format_time, printable
from trackbridge.domain.plan_texts import cut
from trackbridge.domain.secrets import redact
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    Conflict,
    Exhausted,
    InvalidInput,
    LimitReached,
    Locked,
    NotFound,
    PlanStale,
    RateLimited,
    Rejected,
    Transient,
    Unsupported,
)
from trackbridge.gateway.authentication import IDENTITY, Identity, guarded
from trackbridge.gateway.pages import static_files
from trackbridge.gateway.pages.histories import Histories
from trackbridge.gateway.pages.keys import KeysSeen
from trackbridge.gateway.pages.tokens import COOKIE, new_token
from trackbridge.gateway.routes import Scope

if TYPE_CHECKING:
    from trackbridge.api.client import Client
    from trackbridge.gateway.gateway import Gateway

SECTIONS = (
    ("experiments", "Experiments", "/experiments"),
    ("models", "Models", "/models"),
    ("endpoints", "Endpoints", "/endpoints"),
    ("sync", "Sync", "/sync"),
    ("doctor", "Doctor", "/doctor"),
)
"""The navigation: name, label and address."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

# The first that fits.
_STATUSES: tuple[tuple[type[BridgeError], int], ...] = (
    (NotFound, 404),
    (PlanStale, 409),
    (Conflict, 409),
    (Locked, 409),
    (LimitReached, 429),
    (InvalidInput, 400),
    (ConfigError, 400),
    (Rejected, 409),
    (AuthError, 403),
    (Unsupported, 501),
    (RateLimited, 429),
    (Transient, 503),
    (Exhausted, 503),
)

Handler = Callable[["View"], Response]


@dataclass(frozen=True)
class View:
    """One request for a page, and what answers it. ``fields`` are those of the query, or of a sent form."""

    pages: Pages
    request: Request
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def client(self) -> Client:
        """The gateway's client of the backend."""
        return self.pages.gateway.client

    @property
    def may_write(self) -> bool:
        """Whether who asks may change something."""
        identity: Identity = self.request.scope[IDENTITY]
        return identity.may(Scope.WRITE)

    def value(self, name: str, default: str = "") -> str:
        """Return the last value of a field."""
        found = self.fields.get(name)
        return found[-1] if found else default

    def values(self, name: str) -> list[str]:
        """Return every value of a field that is not empty, each once, in order."""
        return list(dict.fromkeys(value for value in self.fields.get(name, ()) if value))

    def part(self, name: str) -> str:
        """Return a part of the path, as the route names it."""
        return str(self.request.path_params[name])

    def page(
        self, template: str, *, title: str, section: str = "", status: int = 200, **context: Any
    ) -> Response:
        """Return a whole page.

        Args:
            template: A file of ``templates`` that extends ``base.html``.
            title: Of the page; plain text.
            section: Which entry of the navigation it belongs to.
            status: Of the answer.
            **context: For the template. ``twin``, where given, is the command that tells the same as JSON.
        """
        token = self.request.cookies.get(COOKIE) or new_token()
        response = self.fragment(
            template, status=status, title=title, section=section, token=token, view=self, **context
        )
        if COOKIE not in self.request.cookies:
            response.set_cookie(
                COOKIE, token, httponly=True, samesite="strict", secure=self.request.url.scheme == "https"
            )
        return response

    def fragment(self, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
        """Return a part of a page, for htmx to put in."""
        text = self.pages.environment.get_template(template).render(context)
        # What others logged as JSON may hold halves of characters, which no encoding has.
        return HTMLResponse(text.encode("utf-8", "replace"), status_code=status, headers=HEADERS)

    def redirect(self, address: str) -> Response:
        """Send the browser to another page of ours; only a path."""
        return RedirectResponse(address, status_code=303, headers=HEADERS)


class Pages:
    """The pages of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.environment = _environment()
        self.keys = KeysSeen()
        self.histories = Histories()

    def route(
        self,
        path: str,
        handler: Handler,
        *,
        scope: Scope = Scope.READ,
        method: str = "GET",
    ) -> Route:
        """Return the route of a handler; a caller without the scope does not reach it."""

        async def endpoint(request: Request) -> Response:
            fields = _multiple(request.query_params.multi_items())
            return await run_in_threadpool(self.answer, handler, View(self, request, fields))

        return Route(path, guarded(endpoint, scope), methods=[method], name=f"page {method} {path}")

    def answer(self, handler: Handler, view: View) -> Response:
        """Return the answer of a handler, for an error of ours the page that tells it."""
        try:
            return handler(view)
        except BridgeError as error:
            return error_page(view, error)


def error_page(view: View, error: BridgeError) -> Response:
    """Return the page that tells an error: what, where, and what to do."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    told = {"message": redact(str(error)), "hint": redact(error.hint or "")}
    if view.request.headers.get("HX-Request"):
        return view.fragment("error_fragment.html", status=status, **told)
    return view.page("error.html", title=_TITLES.get(status, "It did not work"), status=status, **told)


_TITLES = {404: "Not found", 403: "Not allowed", 501: "Not offered here", 503: "Not reachable now"}


def _multiple(items: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in items:
        found.setdefault(name, []).append(value)
    return found


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trackbridge.gateway.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=format_number,
        time=format_time,
        duration=format_duration,
        printable=printable,
        iso=_iso,
        cut=cut,
    )
    environment.globals.update(static=static_files.address, sections=SECTIONS)
    return environment


def _iso(milliseconds: int | None) -> str:
    """Return a time as HTML's ``datetime`` wants it; empty where it has none."""
    if milliseconds is None:
        return ""
    try:
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return ""
    return moment.isoformat(timespec="seconds")
