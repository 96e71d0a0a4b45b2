"""Works that are under way, or were: a list, and a page for each that is the same after a reload."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from trackbridge.gateway.pages.desk import Desk
from trackbridge.gateway.pages.layout import View


def routes(desk: Desk) -> list[Route]:
    """Return the routes of these pages."""

    def listing(view: View) -> Response:
        return view.page("works.html", title="Works", section="sync", works=desk.works.list())

    def shown(view: View) -> Response:
        work = desk.works.get(view.part("work_id"))
        if view.request.headers.get("HX-Request"):
            return view.fragment("work_live.html", work=work)
        return view.page("work.html", title=work.title, section=_SECTIONS.get(work.kind, "sync"), work=work)

    return [desk.pages.route("/works", listing), desk.pages.route("/works/{work_id}", shown)]


_SECTIONS = {"rollback": "endpoints", "models plan": "models", "models sync": "models"}


def work_address(work_id: str) -> str:
    """Return the address of a work's page."""
    return f"/works/{work_id}"
