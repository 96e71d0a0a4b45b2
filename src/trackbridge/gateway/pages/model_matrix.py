"""The page of models by backend."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from trackbridge.gateway.pages.desk import Desk
from trackbridge.gateway.pages.layout import View
from trackbridge.gateway.pages.models import SECTION, model_address
from trackbridge.operations.model_matrix import ask_places
from trackbridge.resolve.config import Settings


def routes(desk: Desk) -> list[Route]:
    """Return the routes of this page."""

    def matrix_page(view: View) -> Response:
        return _page(desk, view)

    return [desk.pages.route("/models/matrix", matrix_page)]


def _page(desk: Desk, view: View) -> Response:
    view.client.reader.drain()
    places = desk.registries()
    found = ask_places(places, Settings(), desk.asking)
    return view.page(
        "model_matrix.html",
        title="Models by backend",
        section=SECTION,
        found=found,
        places=tuple(places),
        model_address=model_address,
        twin="bridge models where --json",
    )
