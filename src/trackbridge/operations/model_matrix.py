"""Models by backend: which versions are where, and whether a place is in step with the first.

Versions are compared by where they were first registered and by their digests, never by their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import partial
from itertools import islice

import msgspec

from trackbridge.domain.models import ModelVersion
from trackbridge.operations.asking import Answer, Asking
from trackbridge.operations.migrate.identity import origin_of
from trackbridge.operations.migrate.side import open_side
from trackbridge.operations.migrate.whereabouts import CALL_S_MAX, places
from trackbridge.resolve.config import Settings

MODELS_MAX = 200
"""So many models of a place are looked at; ``has_more`` says when there are others."""
DIGEST_DIGITS = 12


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The models of a place: by first name, the versions, oldest first. ``has_more``: these are not all."""

    uri: str
    models: dict[str, tuple[ModelVersion, ...]]
    has_more: bool = False


class SyncState(str, Enum):
    """How a model at a place compares with the same at the first place."""

    IN_STEP = "in step"
    REFERENCE = "compared with"
    BEHIND = "behind"
    AHEAD = "ahead"
    DIVERGED = "diverged"
    OTHER_FILES = "other files"
    OTHER_LABELS = "other labels"
    ABSENT = "absent"


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A model at a place: how it compares, its newest version, how many are missing or only there."""

    place: str
    state: SyncState
    versions: int = 0
    newest: str = ""
    digest: str = ""
    labels: tuple[str, ...] = ()
    missing: int = 0
    extra: int = 0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A model at every place that answered."""

    name: str
    is_here: bool
    cells: tuple[Cell, ...]


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """Models by place. ``places`` answered, the first being compared with; ``troubles`` are of the others."""

    places: tuple[str, ...]
    rows: tuple[Row, ...]
    troubles: tuple[tuple[str, str, str], ...] = ()
    cut: tuple[str, ...] = ()


def places_with_models(own: str, settings: Settings) -> dict[str, str]:
    """Return every place that is known here by name, first the registry with the URI ``own``."""
    found = places(settings)
    name = next((name for name, uri in found.items() if uri == own), own)
    return {name: own, **found}


def ask_places(uris: Mapping[str, str], settings: Settings, asking: Asking) -> Matrix:
    """Return the models of every place, each compared with the first; all places are asked at once.

    Args:
        uris: By the names of the places; the others are compared with the first.
        settings: For opening them.
        asking: Asks, and bounds how long a place is waited for.
    """
    return matrix_of(
        asking.ask("models", {place: partial(held_at, uri, settings) for place, uri in uris.items()})
    )


def held_at(uri: str, settings: Settings) -> Held:
    """Return the models of a place with all their versions; none where there is no registry.

    Raises:
        BridgeError: It cannot be asked.
    """
    side = open_side(uri, settings=settings, call_s_max=CALL_S_MAX)
    try:
        listed = list(islice(side.models(), MODELS_MAX + 1))
        models: dict[str, tuple[ModelVersion, ...]] = {}
        for model in listed[:MODELS_MAX]:
            versions = tuple(side.versions(model.name))
            # A place that cannot hold a name has another one for it; its versions still know the first.
            name = origin_of(versions[0], registry_uri=side.uri).name if versions else model.name
            models[name] = (*models.get(name, ()), *versions)
        return Held(uri=side.uri, models=models, has_more=len(listed) > MODELS_MAX)
    finally:
        side.close()


def matrix_of(answers: list[Answer[Held]]) -> Matrix:
    """Return the models of all places that answered, each compared with the first of them."""
    held = {answer.place: answer.value for answer in answers if answer.value is not None}
    troubles = tuple((item.place, item.trouble, item.hint) for item in answers if item.value is None)
    names = sorted({name for found in held.values() for name in found.models})
    first = next(iter(held), "")
    is_compared = bool(answers) and first == answers[0].place
    rows = tuple(
        Row(
            name=name,
            is_here=is_compared and name in held[first].models,
            cells=tuple(_cell(place, name, held, first) for place in held),
        )
        for name in names
    )
    cut = tuple(place for place, found in held.items() if found.has_more)
    return Matrix(places=tuple(held), rows=rows, troubles=troubles, cut=cut)


def _cell(place: str, name: str, held: Mapping[str, Held], first: str) -> Cell:
    versions = held[place].models.get(name)
    if versions is None:
        missing = len(held[first].models.get(name, ()))
        return Cell(place=place, state=SyncState.ABSENT, missing=missing)
    newest = versions[-1] if versions else None
    here = _by_origin(held[first], name)
    there = _by_origin(held[place], name)
    missing, extra = len(here.keys() - there.keys()), len(there.keys() - here.keys())
    return Cell(
        place=place,
        state=SyncState.REFERENCE if place == first else _state(here, there),
        versions=len(versions),
        newest=newest.version if newest else "",
        digest=(newest.digest or "").removeprefix("sha256:")[:DIGEST_DIGITS] if newest else "",
        labels=_labels(newest) if newest else (),
        missing=missing,
        extra=extra,
    )


def _state(
    here: Mapping[tuple[str, ...], ModelVersion], there: Mapping[tuple[str, ...], ModelVersion]
) -> SyncState:
    both = here.keys() & there.keys()
    if any(here[origin].digest != there[origin].digest for origin in both):
        return SyncState.OTHER_FILES
    is_behind, is_ahead = bool(here.keys() - there.keys()), bool(there.keys() - here.keys())
    if is_behind and is_ahead:
        return SyncState.DIVERGED
    if is_behind or is_ahead:
        return SyncState.BEHIND if is_behind else SyncState.AHEAD
    differs = any(_labels(here[origin]) != _labels(there[origin]) for origin in both)
    return SyncState.OTHER_LABELS if differs else SyncState.IN_STEP


def _by_origin(held: Held, name: str) -> dict[tuple[str, ...], ModelVersion]:
    found: dict[tuple[str, ...], ModelVersion] = {}
    for version in held.models.get(name, ()):
        origin = origin_of(version, registry_uri=held.uri)
        found[origin.registry, origin.name, origin.version] = version
    return found


def _labels(version: ModelVersion) -> tuple[str, ...]:
    """Return what people have said of a version: aliases, stage, approval."""
    stage = (version.stage,) if version.stage != "None" else ()
    approval = (version.approval.value,) if version.approval.value != "pending" else ()
    return (*(f"@{alias}" for alias in sorted(version.aliases)), *stage, *approval)
