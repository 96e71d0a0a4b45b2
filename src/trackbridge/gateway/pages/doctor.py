"""What keeps tracking from working, and how to put it right."""

from __future__ import annotations

import shlex

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.gateway.pages.desk import Desk
from trackbridge.gateway.pages.layout import View
from trackbridge.operations.asking import Asking
from trackbridge.operations.doctor import examine
from trackbridge.ports.findings import Finding, Severity

EXAMINE_S_MAX = 15.0
"""How long the page waits for a backend, in seconds: it asks several things, one after the other."""


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at a place, the worst first; ``trouble`` says why nothing is known of it."""

    place: str
    findings: tuple[Finding, ...]
    trouble: str = ""
    hint: str = ""

    def count(self, word: str) -> int:
        """Return how many findings are of a severity."""
        return sum(finding.severity is Severity(word) for finding in self.findings)


def examined(asking: Asking, place: str, uri: str) -> Examined:
    """Look at a place, this machine and its journals; nothing is changed.

    Args:
        asking: Asks, within its time limit.
        place: How people name it.
        uri: Its tracking URI.
    """
    answer = asking.ask_one("doctor", place, lambda: list(examine(uri, write=False)))
    order = [Severity.ERROR, Severity.WARNING, Severity.OK]
    findings = sorted(answer.value or (), key=lambda finding: order.index(finding.severity))
    return Examined(place=place, findings=tuple(findings), trouble=answer.trouble, hint=answer.hint)


def routes(desk: Desk) -> list[Route]:
    """Return the route of this page."""
    asking = Asking(EXAMINE_S_MAX)

    def shown(view: View) -> Response:
        own = ",".join(view.client.session.destinations)
        places = {own: own, **desk.registries()}
        place = view.value("place") or own
        uri = own if place == own else desk.registry(place)
        return view.page(
            "doctor.html",
            title="Doctor",
            section="doctor",
            found=examined(asking, place, uri),
            places=tuple(places),
            twin=f"bridge doctor {shlex.quote(place)} --json",
        )

    return [desk.pages.route("/doctor", shown)]
