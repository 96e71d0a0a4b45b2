"""The web pages: experiments and runs, models, endpoints, deliveries, doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from trackbridge.gateway.authentication import guarded
from trackbridge.gateway.pages import static_files
from trackbridge.gateway.pages.compare import compare_routes
from trackbridge.gateway.pages.curves import curve_routes
from trackbridge.gateway.pages.experiments import experiment_routes
from trackbridge.gateway.pages.layout import Pages
from trackbridge.gateway.pages.operations_routes import operations_routes
from trackbridge.gateway.pages.previews import artifact_page_routes
from trackbridge.gateway.pages.run_page import run_page_routes
from trackbridge.gateway.pages.runs import run_table_routes

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway


def page_routes(gateway: Gateway) -> list[Route]:
    """Return the routes of all pages, and of what they load; each asks for its scope but the static files."""
    pages = Pages(gateway)
    return [
        Route(f"{static_files.PREFIX}/{{name}}", guarded(static_files.serve, None), methods=["GET"]),
        *experiment_routes(pages),
        *run_table_routes(pages),  # before the run's page, whose path takes any name
        *curve_routes(pages),
        *compare_routes(pages),
        *artifact_page_routes(pages),
        *run_page_routes(pages),
        *operations_routes(pages),
    ]
