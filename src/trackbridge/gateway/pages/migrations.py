"""Migrations: what was copied from where to where, and which of them go on now."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from trackbridge.gateway.pages.desk import Desk
from trackbridge.gateway.pages.layout import View
from trackbridge.operations.migrate.ledger import PairStatus, pairs_of
from trackbridge.resolve.config import Settings
from trackbridge.resolve.home import bridge_home


def list_migrations() -> list[PairStatus]:
    """Return what the ledger of this project knows, the last first.

    Raises:
        ConfigError: It cannot be read.
    """
    return pairs_of(bridge_home(Settings().around))


def routes(desk: Desk) -> list[Route]:
    """Return the route of this page."""

    def shown(view: View) -> Response:
        return view.page(
            "migrations.html",
            title="Migrations",
            section="sync",
            migrations=list_migrations(),
            twin="bridge sync migrations --json",
        )

    return [desk.pages.route("/sync/migrations", shown)]
