"""Changes by hand: a plan is shown, somebody confirms it, and what was shown is done.

A change is two functions, and gets two routes at one path. ::

    def plan(view: View) -> Plan: ...              # looks, changes nothing; view.values("run") are the fields
    def apply(view: View, plan: Plan) -> Done: ... # does what the plan says

    DELETE = Change("/runs/delete", "Delete runs", "Delete", plan, apply, section="experiments")
    routes = change_routes(pages, DELETE)

``GET /runs/delete?run=…`` shows the plan with a button; every field of the address goes along. The
button's ``POST`` is taken from callers who may write, with the token of ``tokens.py``. The plan is made again
then, and refused when its basis is another one by now: what was confirmed is what is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.domain.plans import Plan
from trackbridge.errors import InvalidInput, PlanStale
from trackbridge.gateway.authentication import guarded
from trackbridge.gateway.pages.layout import Handler, Pages, View, error_page
from trackbridge.gateway.pages.tokens import FIELD, check_token
from trackbridge.gateway.routes import Scope

FIELDS_MAX = 1000
_OWN_FIELDS = (FIELD, "basis")


@dataclass(frozen=True)
class Done:
    """What a change did: a sentence, details, and where to go from here (a path of ours)."""

    message: str
    address: str
    link: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """A change that is confirmed before it is made.

    Args:
        path: Of both routes.
        title: What it does, as a heading.
        verb: What the button says.
        plan: Makes the plan of the fields; changes nothing.
        apply: Does what the plan says; or begins it, and returns where its progress is shown.
        section: Of the navigation.
        is_dangerous: Whether the button warns by its colour.
        twin: Returns the command that does the same.
    """

    path: str
    title: str
    verb: str
    plan: Callable[[View], Plan]
    apply: Callable[[View, Plan], Done | Response]
    section: str = ""
    is_dangerous: bool = False
    twin: Callable[[View], str] | None = None


def change_routes(pages: Pages, change: Change) -> list[Route]:
    """Return the routes that show the plan of a change and that apply it."""

    def show(view: View) -> Response:
        return _plan_page(view, change, change.plan(view))

    def apply(view: View) -> Response:
        plan = change.plan(view)
        if plan.basis != view.value("basis"):
            raise PlanStale(
                "what the plan was made from has changed since it was shown",
                operation=plan.operation,
                hint="go back, open the plan again, and confirm that one",
            )
        done = change.apply(view, plan)
        if isinstance(done, Response):
            return done
        twin = change.twin(view) if change.twin else None
        return view.page("done.html", title=change.title, section=change.section, done=done, twin=twin)

    return [pages.route(change.path, show), form_route(pages, change.path, apply)]


def form_route(pages: Pages, path: str, handler: Handler) -> Route:
    """Return the route that a form is sent to: by a caller who may write, with the token of ``tokens.py``."""

    def checked(view: View) -> Response:
        check_token(view.request, view.value(FIELD))
        return handler(view)

    async def endpoint(request: Request) -> Response:
        try:
            view = View(pages, request, await _sent(request))
        except InvalidInput as error:
            return await run_in_threadpool(error_page, View(pages, request), error)
        return await run_in_threadpool(pages.answer, checked, view)

    return Route(path, guarded(endpoint, Scope.WRITE), methods=["POST"], name=f"page POST {path}")


def _plan_page(view: View, change: Change, plan: Plan) -> Response:
    fields = [(name, value) for name in view.fields for value in view.fields[name] if name not in _OWN_FIELDS]
    twin = change.twin(view) if change.twin else None
    return view.page(
        "plan.html",
        title=change.title,
        section=change.section,
        change=change,
        plan=plan,
        fields=fields,
        twin=twin,
    )


async def _sent(request: Request) -> dict[str, list[str]]:
    """Return the fields of a sent form; files are none of them."""
    try:
        form = await request.form(max_files=0, max_fields=FIELDS_MAX)
    except HTTPException as error:
        raise InvalidInput(f"the form cannot be read: {error.detail}", operation="form") from error
    found: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            found.setdefault(name, []).append(value)
    return found
