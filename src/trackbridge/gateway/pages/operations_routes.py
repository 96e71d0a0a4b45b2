"""The routes of the pages of models, endpoints, deliveries, migrations and doctor."""

from __future__ import annotations

from starlette.routing import Route

from trackbridge.gateway.pages import (
    doctor,
    endpoint_changes,
    endpoints,
    migrations,
    model_changes,
    model_matrix,
    model_sync,
    models,
    sync,
    work_pages,
)
from trackbridge.gateway.pages.desk import Desk
from trackbridge.gateway.pages.layout import Pages

_MODULES = (
    models,
    model_matrix,
    model_changes,
    model_sync,
    endpoints,
    endpoint_changes,
    sync,
    migrations,
    doctor,
    work_pages,
)


def operations_routes(pages: Pages) -> list[Route]:
    """Return the routes; what they share lives as long as they do."""
    desk = Desk(pages)
    return [route for module in _MODULES for route in module.routes(desk)]
