"""One of the two backends of a migration: its items page by page, runs as they were logged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from trackbridge.calls.call import Operation
from trackbridge.calls.policy import CallPolicy
from trackbridge.calls.retry import retry_transient
from trackbridge.calls.throttle import Throttle
from trackbridge.calls.world import World
from trackbridge.delivery.connect import open_uri
from trackbridge.delivery.spills import SPILL_FOLDER
from trackbridge.delivery.unspilling import StoredRuns, all_pages
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.models import ModelVersion, RegisteredModel, RegistryChange
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import Experiment, Run
from trackbridge.domain.traces import LoggedModel, Trace
from trackbridge.errors import ConfigError, NotFound, Unsupported
from trackbridge.events import call_observer
from trackbridge.operations.migrate.bounds import Bounds, paced_adapter, throttle_of
from trackbridge.operations.opening import UriArgument, find_place
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Capabilities, Feature
from trackbridge.ports.gathering import GatheringAdapter
from trackbridge.ports.registry import ModelRegistry
from trackbridge.ports.tracking import TrackingStore
from trackbridge.resolve.config import Settings

Item = TypeVar("Item")

ATTEMPTS_MAX = 10
"""Attempts of one call: with their waits, a server may be away for a minute and a half."""
CALL_S_MAX = 120.0
"""How long one call is tried, in seconds."""


@dataclass(frozen=True, slots=True)
class Side:
    """A backend behind the call pipeline, and the URI that it was opened by, without credentials.

    ``cautious`` is the same backend with one attempt a call, for writes that it would take twice. ``gather``
    returns it for writes that are made lasting together, where it can do that.
    """

    uri: str
    adapter: Adapter
    cautious: Adapter
    world: World = field(default_factory=World)
    gather: Callable[[], Gathered] | None = None
    stored: StoredRuns = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stored", StoredRuns(self.adapter))

    @property
    def capabilities(self) -> Capabilities:
        """What the backend declares."""
        return self.adapter.capabilities()

    @property
    def tracking(self) -> TrackingStore:
        """The tracking port, or Unsupported."""
        if self.adapter.tracking is None:
            raise self._lacks("tracks no runs")
        return self.adapter.tracking

    @property
    def writing(self) -> TrackingStore:
        """The tracking port for writes: one attempt where the backend keeps a repeated point twice."""
        if self.capabilities.supports(Feature.TRACKING_METRIC_DEDUP):
            return self.tracking
        assert self.cautious.tracking is not None
        return self.cautious.tracking

    @property
    def artifacts(self) -> ArtifactStore | None:
        """The artifact port, None where files have no place."""
        return self.adapter.artifacts

    @property
    def registry(self) -> ModelRegistry | None:
        """The registry port, None where there is none."""
        return self.adapter.registry

    def supports(self, feature: Feature) -> bool:
        """Tell whether the backend has a feature."""
        return self.capabilities.supports(feature)

    def experiments(self) -> Iterator[Experiment]:
        """Yield every experiment, deleted ones too.

        Raises:
            Unsupported: The backend does not list its experiments.
        """
        store = self.tracking

        def page(token: str | None) -> Page[Experiment]:
            return store.list_experiments(stage=None, token=token)

        return all_pages(page)

    def runs(self, experiment_id: str) -> Iterator[Run]:
        """Yield every run of an experiment as the backend lists it, deleted ones too."""
        store = self.tracking

        def page(token: str | None) -> Page[Run]:
            return store.list_runs(experiment_id, stage=None, token=token)

        return all_pages(page)

    def files(self, run_id: str) -> list[ArtifactInfo]:
        """Return every file of a run but side-cars, in order of path."""
        return self.files_and_spills(run_id)[0]

    def files_and_spills(self, run_id: str) -> tuple[list[ArtifactInfo], bool]:
        """Return every file of a run but side-cars, in order of path, and whether there are side-cars."""
        if self.artifacts is None:
            return [], False
        hidden = None if self.stored.holds_everything else f"{SPILL_FOLDER}/"
        found = sorted(_files(self.artifacts, run_id, ""), key=lambda info: info.path)
        own = [info for info in found if hidden is None or not info.path.startswith(hidden)]
        return own, len(own) < len(found)

    def logged_models(self, experiment_ids: tuple[str, ...]) -> Iterator[LoggedModel]:
        """Yield the logged models of experiments; none where the backend has no such thing."""
        return self._entities(
            Feature.TRACKING_LOGGED_MODELS, self.tracking.list_logged_models, experiment_ids
        )

    def traces(self, experiment_ids: tuple[str, ...]) -> Iterator[Trace]:
        """Yield the traces of experiments without their spans; none where the backend has no such thing."""
        return self._entities(Feature.TRACKING_TRACES, self.tracking.list_traces, experiment_ids)

    def _entities(
        self, feature: Feature, listing: Callable[..., Page[Item]], experiment_ids: tuple[str, ...]
    ) -> Iterator[Item]:
        if self.supports(feature) and experiment_ids:
            with suppress(Unsupported):  # an older server than it seemed
                yield from all_pages(lambda token: listing(experiment_ids, token=token))

    def reason_against(self, feature: Feature) -> str:
        """Return why the backend does not hold logged models, or traces; "" where it does.

        A server says only when it is asked for one whether it is too old for that.
        """
        if not self.supports(feature):
            capability = self.capabilities.features.get(feature)
            return capability.reason if capability is not None else "the target does not declare it"
        try:
            with suppress(NotFound):
                if feature is Feature.TRACKING_LOGGED_MODELS:
                    self.tracking.get_logged_model(f"m-{'0' * 32}")
                else:
                    self.tracking.get_trace(f"tr-{'0' * 32}")
        except Unsupported as error:
            return error.message
        return ""

    def models(self) -> Iterator[RegisteredModel]:
        """Yield every registered model; none where there is no registry."""
        registry = self.registry
        if registry is None:
            return iter(())

        def page(token: str | None) -> Page[RegisteredModel]:
            return registry.list_models(token=token)

        return all_pages(page)

    def versions(self, name: str) -> list[ModelVersion]:
        """Return every version of a model, oldest first."""
        registry = self.registry
        if registry is None:
            return []

        def page(token: str | None) -> Page[ModelVersion]:
            return registry.list_versions(name, token=token)

        return list(all_pages(page))[::-1]

    def changes(self, name: str) -> list[RegistryChange]:
        """Return the history of a model that the registry itself keeps, oldest first."""
        registry = self.registry
        if registry is None or not self.supports(Feature.REGISTRY_HISTORY):
            return []

        def page(token: str | None) -> Page[RegistryChange]:
            return registry.list_changes(name, token=token)

        return list(all_pages(page))[::-1]

    def close(self) -> None:
        """Release what the backend holds."""
        self.adapter.close()

    def _lacks(self, what: str) -> Unsupported:
        adapter = self.capabilities.adapter
        return Unsupported(f"{adapter} {what}", adapter=adapter, operation="migrate", resource=self.uri)


def open_side(
    uri: UriArgument,
    *,
    bounds: Bounds | None = None,
    settings: Settings | None = None,
    call_s_max: float = CALL_S_MAX,
) -> Side:
    """Open one side of a migration, whose calls are tried for so long.

    Raises:
        ConfigError: The URI or a setting is wrong.
        MissingExtra: A package is missing.
    """
    settings = settings or Settings()
    place = find_place(uri, settings=settings)
    adapter = open_uri(place.uri, settings=settings)
    return side_of(adapter, place.uri.text, bounds=bounds, call_s_max=call_s_max)


@dataclass(frozen=True, slots=True)
class Gathered:
    """A backend whose writes last once ``settle`` has returned."""

    side: Side
    settle: Callable[[], None]


def side_of(
    adapter: Adapter,
    uri: str,
    *,
    bounds: Bounds | None = None,
    world: World | None = None,
    call_s_max: float = CALL_S_MAX,
) -> Side:
    """Put an opened adapter behind the call pipeline."""
    world = world or World()
    throttle = throttle_of(bounds.calls_per_s if bounds is not None else None, world)
    side = _paced_side(adapter, uri, throttle, world, call_s_max)
    if not hasattr(type(adapter), "gathering"):  # of itself: what stands before another has not its own
        return side
    assert isinstance(adapter, GatheringAdapter)
    gathering = adapter.gathering

    def gather() -> Gathered:
        gathered = gathering()
        settle = partial(_settled, gathered.settle, gathered.capabilities().adapter, world)
        return Gathered(_paced_side(gathered, uri, throttle, world), settle)

    return replace(side, gather=gather)


def _paced_side(
    adapter: Adapter, uri: str, throttle: Throttle, world: World, call_s_max: float = CALL_S_MAX
) -> Side:
    observer = call_observer()
    patient = CallPolicy(elapsed_s_max=call_s_max, attempts_max=ATTEMPTS_MAX)
    patient_side, cautious_side = (
        paced_adapter(adapter, policy, throttle=throttle, observer=observer, world=world)
        for policy in (patient, replace(patient, attempts_max=1))
    )
    return Side(uri, patient_side, cautious_side, world)


def _settled(settle: Callable[[], None], adapter: str, world: World) -> None:
    policy = CallPolicy(elapsed_s_max=CALL_S_MAX, attempts_max=ATTEMPTS_MAX)
    operation = Operation(adapter, "migrate.settle", None)
    retry_transient(settle, operation, policy, world, world.clock_s() + CALL_S_MAX)


def refuse_same(source: Side, target: Side) -> None:
    """Refuse to copy a backend onto itself.

    Raises:
        ConfigError: Both URIs mean the same backend.
    """
    if source.uri == target.uri:
        raise ConfigError(
            "source and target are the same backend",
            operation="migrate",
            resource=source.uri,
            hint="name two different ones: bridge migrate SRC DST",
        )


def _files(store: ArtifactStore, run_id: str, folder: str) -> Iterator[ArtifactInfo]:
    def page(token: str | None) -> Page[ArtifactInfo]:
        return store.list(run_id, folder, token=token)

    for info in all_pages(page):
        if info.is_dir:
            yield from _files(store, run_id, info.path)
        else:
            yield info
