"""What serves models: the pages of the endpoints of all places, and of one with telemetry and rollouts."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.domain.deployments import EndpointMetrics, EndpointRevision, EndpointState
from trackbridge.domain.rollouts import Guard, Rollout
from trackbridge.errors import NotFound
from trackbridge.gateway.pages.charts import Bars, bars, histogram
from trackbridge.gateway.pages.desk import Desk, address
from trackbridge.gateway.pages.layout import View
from trackbridge.operations.asking import Answer
from trackbridge.operations.deploy import list_revisions, observed_endpoint
from trackbridge.operations.endpoint_listing import ListedEndpoint, endpoints_at
from trackbridge.operations.opening import Opened
from trackbridge.operations.rollout import open_ledger
from trackbridge.operations.rollout.guards import Figures, judge
from trackbridge.operations.rollout.ledger import Transition
from trackbridge.ports.capabilities import Feature
from trackbridge.resolve.config import Settings

SECTION = "endpoints"
WINDOWS_S = {"5m": 300, "1h": 3600, "6h": 21_600, "1d": 86_400}
PARTS = 6
"""A window is drawn in so many parts; a target is asked once for each."""
REVISIONS_MAX = 50
ROLLOUTS_MAX = 10


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one deployment over a window, and as charts: by part of the window, oldest first."""

    metrics: EndpointMetrics
    requests: Bars
    errors: Bars
    latencies: Bars | None

    @property
    def error_rate(self) -> float:
        """The share of requests that failed; 0 without requests."""
        return self.metrics.errors / self.metrics.requests if self.metrics.requests else 0.0


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A guard and what it says now: holds, is broken, or cannot be judged yet."""

    text: str
    verdict: str


class RolloutFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout, its guards as they stand, and what it has done, newest first."""

    rollout: Rollout
    guards: tuple[Judged, ...]
    history: tuple[Transition, ...]


class EndpointFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint. Revisions are newest first; ``untold`` says what could not be asked, and why."""

    state: EndpointState
    telemetry: dict[str, Telemetry]
    revisions: tuple[EndpointRevision, ...]
    rollouts: tuple[RolloutFacts, ...]
    untold: tuple[str, ...] = ()


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that serves somewhere, and its rollout that is not over."""

    listed: ListedEndpoint
    rollout: Rollout | None


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """What serves, in order of place and name; ``troubles`` are of places that could not be asked."""

    live: tuple[Live, ...]
    troubles: tuple[tuple[str, str, str], ...] = ()


# What is asked.


def list_live(desk: Desk) -> Endpoints:
    """Return what serves at every place that answers in time."""

    def question(name: str) -> Callable[[], list[ListedEndpoint]]:
        return lambda: endpoints_at(name, desk.target(name))

    questions = {name: question(name) for name in desk.targets()}
    answers: list[Answer[list[ListedEndpoint]]] = desk.asking.ask("endpoints", questions)
    ledger = open_ledger(Settings())
    try:
        live = tuple(
            Live(listed=listed, rollout=ledger.unfinished(listed.uri, listed.state.endpoint))
            for answer in answers
            for listed in answer.value or ()
        )
    finally:
        ledger.close()
    troubles = tuple((item.place, item.trouble, item.hint) for item in answers if item.value is None)
    return Endpoints(live=live, troubles=troubles)


def endpoint_facts(desk: Desk, target: str, name: str, window_s: int) -> EndpointFacts:
    """Return everything about one endpoint; what is not told in time is left out, and said.

    Raises:
        NotFound: The place is not known here, or has no such endpoint.
        BridgeError: It cannot be asked.
    """
    asked = _Asked(desk, desk.target(target), name)
    state = asked.state()
    telemetry, untold = asked.telemetry(window_s)
    revisions, unknown = asked.revisions()
    return EndpointFacts(
        state=state,
        telemetry=telemetry,
        revisions=revisions,
        rollouts=rollout_facts(asked.place.uri, name),
        untold=tuple(text for text in (untold, unknown) if text),
    )


@dataclass(frozen=True)
class _Asked:
    """The questions about one endpoint."""

    desk: Desk
    place: Opened
    name: str

    def state(self) -> EndpointState:
        """Return how it stands.

        Raises:
            NotFound: There is none.
        """
        return observed_endpoint(self.place, self.name)

    def telemetry(self, window_s: int) -> tuple[dict[str, Telemetry], str]:
        """Return the figures of each deployment, and what keeps them from being known."""
        if not self.place.capabilities.supports(Feature.DEPLOYMENTS_METRICS):
            return {}, f"{self.place.capabilities.adapter} has no telemetry"
        windows = [window_s * part // PARTS for part in range(1, PARTS + 1)]
        kind = f"metrics {self.name} at {self.place.uri}"
        answers = self.desk.asking.ask(kind, {str(window): self._window(window) for window in windows})
        trouble = next((answer.trouble for answer in answers if answer.value is None), "")
        if trouble:
            return {}, f"the telemetry is not known: {trouble}"
        return telemetry_of([answer.value or () for answer in answers]), ""

    def _window(self, window_s: int) -> Callable[[], tuple[EndpointMetrics, ...]]:
        return lambda: tuple(self.place.target.read_metrics(self.name, window_s=window_s))

    def revisions(self) -> tuple[tuple[EndpointRevision, ...], str]:
        """Return how it stood before each operation, and what keeps that from being known."""
        if not self.place.capabilities.supports(Feature.DEPLOYMENTS_REVISIONS):
            return (), f"{self.place.capabilities.adapter} keeps no revisions"
        kind = f"revisions of {self.name}"
        answer = self.desk.asking.ask_one(
            kind, self.place.uri, lambda: list_revisions(self.place, self.name)[:REVISIONS_MAX]
        )
        return tuple(answer.value or ()), answer.trouble and f"the revisions are not known: {answer.trouble}"


def telemetry_of(windows: list[tuple[EndpointMetrics, ...]]) -> dict[str, Telemetry]:
    """Return the telemetry of each deployment from windows that all end now, the shortest first.

    What is in a window and not in the next shorter one came in the part between them.
    """
    by_window = [{item.deployment: item for item in found} for found in windows]
    return {
        name: _telemetry([found.get(name) or _nothing(name) for found in by_window]) for name in by_window[-1]
    }


def _telemetry(windows: list[EndpointMetrics]) -> Telemetry:
    whole = windows[-1]
    return Telemetry(
        metrics=whole,
        requests=bars([item.requests for item in windows]),
        errors=bars([item.errors for item in windows]),
        latencies=histogram(whole.latency_counts) if whole.latency_counts else None,
    )


def _nothing(deployment: str) -> EndpointMetrics:
    return EndpointMetrics(deployment=deployment, requests=0, errors=0)


def rollout_facts(target: str, endpoint: str) -> tuple[RolloutFacts, ...]:
    """Return the last rollouts of an endpoint, the newest first."""
    ledger = open_ledger(Settings())
    try:
        return tuple(
            RolloutFacts(
                rollout=rollout,
                guards=tuple(judged(rollout)),
                history=tuple(reversed(ledger.history(rollout.name))),
            )
            for rollout in ledger.rollouts(endpoint=endpoint, target=target)[:ROLLOUTS_MAX]
        )
    finally:
        ledger.close()


def judged(rollout: Rollout) -> list[Judged]:
    """Return each guard of a rollout with what its last figures say."""
    figures = Figures(
        new=rollout.figures,
        stable=rollout.stable_figures,
        drift=rollout.drift,
        drift_rows=rollout.rollout.requests_min if rollout.drift is not None else 0,
    )
    verdict = judge(rollout.rollout, figures)
    broken = {guard.text: told for guard, told in verdict.broken}

    def word(guard: Guard) -> str:
        if guard.text in broken:
            return f"broken: {broken[guard.text]}"
        waits = next((text for text in verdict.unjudged if text.startswith(guard.text)), "")
        few = next((text for text in verdict.unjudged if text.endswith("requests")), "")
        return f"not judged yet: {few or waits}" if few or waits else "holds"

    return [Judged(text=guard.text, verdict=word(guard)) for guard in rollout.rollout.guards]


# The pages.


def routes(desk: Desk) -> list[Route]:
    """Return the routes of these pages."""

    def listing(view: View) -> Response:
        return _listing(desk, view)

    def shown(view: View) -> Response:
        return _shown(desk, view)

    def figures(view: View) -> Response:
        return _figures(desk, view)

    route = desk.pages.route
    return [
        route("/endpoints", listing),
        route("/endpoints/show", shown),
        route("/endpoints/figures", figures),
    ]


def _listing(desk: Desk, view: View) -> Response:
    return view.page(
        "endpoints.html",
        title="Endpoints",
        section=SECTION,
        found=list_live(desk),
        endpoint_address=endpoint_address,
        address=address,
        twin="bridge endpoints list --json",
    )


def _shown(desk: Desk, view: View) -> Response:
    target, name, window = view.value("target"), view.value("name"), view.value("window", "1h")
    facts = endpoint_facts(desk, target, name, _window_s(window))
    context: dict[str, Any] = {
        "facts": facts,
        "target": target,
        "window": window,
        "windows": tuple(WINDOWS_S),
        "address": address,
        "is_watched": any(not item.rollout.state.is_final for item in facts.rollouts),
    }
    if view.request.headers.get("HX-Request"):
        return view.fragment("endpoint_live.html", **context)
    return view.page(
        "endpoint.html",
        title=name,
        section=SECTION,
        endpoint_address=endpoint_address,
        twin=_twin(shlex.quote(name), shlex.quote(target), window),
        **context,
    )


def _twin(name: str, target: str, window: str) -> str:
    return (
        f"bridge endpoints show {name} --target {target} --window {window} --json; "
        f"bridge endpoints history {name} --target {target} --json; bridge rollouts show {name} --json"
    )


def _figures(desk: Desk, view: View) -> Response:
    """Answer with the figures of one endpoint, for its row in the list."""
    target, name = view.value("target"), view.value("name")
    telemetry, untold = _Asked(desk, desk.target(target), name).telemetry(WINDOWS_S["5m"])
    return view.fragment("endpoint_figures.html", telemetry=telemetry, untold=untold)


def _window_s(text: str) -> int:
    if text not in WINDOWS_S:
        raise NotFound(f"there is no window {text[:20]!r}", hint=f"use one of {', '.join(WINDOWS_S)}")
    return WINDOWS_S[text]


def endpoint_address(target: str, name: str) -> str:
    """Return the address of an endpoint's page."""
    return address("/endpoints/show", target=target, name=name)
