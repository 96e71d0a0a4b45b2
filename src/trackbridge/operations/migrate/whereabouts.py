"""Which version of a model is where: at every remote, with its digest, and what is deployed of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec

from trackbridge.delivery.unspilling import all_pages
from trackbridge.domain.deployments import EndpointState
from trackbridge.domain.models import ModelVersion
from trackbridge.domain.paging import Page
from trackbridge.errors import BridgeError, Unsupported
from trackbridge.operations.migrate.identity import origin_of
from trackbridge.operations.migrate.side import Side, open_side
from trackbridge.operations.opening import remote_uris
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import resolve_destinations

CALL_S_MAX = 30.0
"""How long a place is waited for, in seconds: somebody sits and looks."""
PLACES_AT_ONCE = 8


class Whereabouts(msgspec.Struct, frozen=True, kw_only=True):
    """One version at one place. ``deployed`` are its deployments as ``endpoint/deployment``.

    ``trouble`` says why it is not known what is deployed there.
    """

    place: str
    version: ModelVersion
    origin: str
    deployed: tuple[str, ...] = ()
    trouble: str = ""


class Unreached(msgspec.Struct, frozen=True, kw_only=True):
    """A place that could not be asked, and why."""

    place: str
    error: str


def places(settings: Settings | None = None) -> dict[str, str]:
    """Return every place that is known here: the tracking URI's, then the remotes, each by its name."""
    settings = settings or Settings()
    found = remote_uris(settings)
    for destination in resolve_destinations(settings=settings):
        if destination.uri.text not in found.values():
            found[destination.remote or destination.uri.text] = destination.uri.text
    return found


def whereabouts(name: str, *, settings: Settings | None = None) -> Iterator[Whereabouts | Unreached]:
    """Yield where the versions of a model are, place by place, oldest first; all places are asked at once.

    A place without a registry has none; one that cannot be asked is told of.
    """
    settings = settings or Settings()
    known = places(settings)
    with ThreadPoolExecutor(max(1, min(len(known), PLACES_AT_ONCE))) as pool:
        asked = [pool.submit(_asked, place, uri, name, settings) for place, uri in known.items()]
        for answer in asked:
            yield from answer.result()


def _asked(place: str, uri: str, name: str, settings: Settings) -> list[Whereabouts | Unreached]:
    try:
        side = open_side(uri, settings=settings, call_s_max=CALL_S_MAX)
    except BridgeError as error:
        return [Unreached(place=place, error=str(error))]
    try:
        return list(_at(place, side, name))
    except BridgeError as error:
        return [Unreached(place=place, error=str(error))]
    finally:
        side.close()


def _at(place: str, side: Side, name: str) -> Iterator[Whereabouts]:
    versions = side.versions(name)
    deployed, trouble = _deployed(side) if versions else ({}, "")
    for version in versions:
        origin = origin_of(version, registry_uri=side.uri)
        yield Whereabouts(
            place=place,
            version=version,
            origin=f"{origin.name}/{origin.version} of {origin.registry}",
            deployed=tuple(deployed.get(f"models:/{name}/{version.version}", ())),
            trouble=trouble,
        )


def _deployed(side: Side) -> tuple[dict[str, list[str]], str]:
    """Return the deployments of each model of a place that serves models itself, or why that is not known."""
    target = side.adapter.deployments
    if target is None:
        return {}, ""

    def page(token: str | None) -> Page[EndpointState]:
        return target.list_endpoints(token=token)

    found: dict[str, list[str]] = {}
    try:
        for endpoint in all_pages(page):
            for deployment in endpoint.deployments:
                found.setdefault(deployment.model, []).append(f"{endpoint.endpoint}/{deployment.deployment}")
    except Unsupported:
        return {}, ""
    except BridgeError as error:  # rights to see models are not those to see endpoints
        return {}, str(error)
    return found, ""
