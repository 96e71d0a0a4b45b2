"""Everything that serves, across all places that a user has: asked at once, each for itself."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from trackbridge.domain.deployments import DeploymentState, EndpointRevision, EndpointState
from trackbridge.errors import BridgeError
from trackbridge.operations.deploy import list_revisions
from trackbridge.operations.opening import LOCAL, Opened, find_place, open_place, remote_uris
from trackbridge.ports.capabilities import Feature
from trackbridge.resolve.config import Settings

PLACES_AT_ONCE_MAX = 16
ENDPOINTS_AT_ONCE_MAX = 8


@dataclass(frozen=True, slots=True)
class Since:
    """Since when a deployment serves what it serves, in milliseconds since 1970, and who brought it."""

    time: int | None = None
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedEndpoint:
    """An endpoint and where it is: ``place`` is how a user names that. ``since`` is by deployment."""

    place: str
    uri: str
    adapter: str
    state: EndpointState
    since: dict[str, Since]


@dataclass(frozen=True, slots=True)
class Listing:
    """What serves, in order of place and name, and which places could not be asked, and why."""

    endpoints: tuple[ListedEndpoint, ...]
    troubles: tuple[tuple[str, BridgeError], ...] = ()


def list_endpoints(target: str | None = None, *, settings: Settings) -> Listing:
    """List the endpoints of one place, or of all: the tracking URI's, the local store, every remote.

    A place that serves no models has none. Of all places, one that cannot be asked is told, and the others
    are listed; of one place, its error is raised.

    Raises:
        BridgeError: The one place that was named cannot be asked, or a setting is wrong.
    """
    if target is not None:
        return Listing(tuple(endpoints_at(target, open_place(target, settings=settings))))
    names = endpoint_places(settings)
    found: list[ListedEndpoint] = []
    troubles: list[tuple[str, BridgeError]] = []
    with ThreadPoolExecutor(min(len(names), PLACES_AT_ONCE_MAX), thread_name_prefix="endpoints") as pool:
        asked = [
            (place, pool.submit(_opened_and_asked, place, uri, settings)) for place, uri in names.items()
        ]
        for place, answer in asked:
            try:
                found += answer.result()
            except BridgeError as error:
                troubles.append((place, error))
    return Listing(tuple(found), tuple(troubles))


def endpoint_places(settings: Settings) -> dict[str, str]:
    """Return each place once: how a user names it, with what opens it."""
    by_uri = {find_place(LOCAL, settings=settings).uri.text: (LOCAL, LOCAL)}
    for name, uri in sorted(remote_uris(settings).items()):
        by_uri.setdefault(uri, (name, name))
    configured = find_place(settings=settings).uri.text
    by_uri.setdefault(configured, (configured, configured))
    return dict(by_uri.values())


def _opened_and_asked(name: str, uri: str, settings: Settings) -> list[ListedEndpoint]:
    return endpoints_at(name, open_place(uri, settings=settings))


def endpoints_at(name: str, place: Opened) -> list[ListedEndpoint]:
    """Return what serves at a place, which a user names so; nothing where it serves no models."""
    if place.adapter.deployments is None:
        return []
    states = all_endpoints(place)
    with ThreadPoolExecutor(max(1, min(len(states), ENDPOINTS_AT_ONCE_MAX))) as pool:
        since = pool.map(lambda state: _since_of(place, state), states)
        return [
            ListedEndpoint(
                place=name, uri=place.uri, adapter=place.capabilities.adapter, state=state, since=known
            )
            for state, known in zip(states, since, strict=True)
        ]


def all_endpoints(place: Opened) -> list[EndpointState]:
    """Return every endpoint of a place, through all pages."""
    found: list[EndpointState] = []
    token: str | None = None
    while True:
        page = place.target.list_endpoints(token=token)
        found += page.items
        token = page.token
        if token is None:
            return found


def _since_of(place: Opened, state: EndpointState) -> dict[str, Since]:
    """Return since when each deployment serves, and by whom; the target's own note goes first."""
    revisions: Sequence[EndpointRevision] = ()
    is_known = all(found.time is not None for found in state.deployments)
    if not is_known and place.capabilities.supports(Feature.DEPLOYMENTS_REVISIONS):
        revisions = list_revisions(place, state.endpoint)
    return {
        found.deployment: (
            Since(found.time, found.user) if found.time is not None else _brought(found, revisions)
        )
        for found in state.deployments
    }


def _brought(found: DeploymentState, revisions: Sequence[EndpointRevision]) -> Since:
    """Return which operation brought a deployment: that after the last revision in which it was not there."""
    for revision in revisions:
        stood = {spec.deployment: spec.model for spec in revision.deployments}
        if stood.get(found.deployment) != found.model:
            return Since(revision.time, revision.user)
    return Since()
