"""What a server turns out to lack.

Old and partial servers answer 404 at routes that others have. That is found at the first call, told as
``Unsupported`` with the reason, and remembered for a day: what is opened meanwhile declares the gap, so that
nobody calls in vain. A day later the route is asked again, since servers are upgraded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trackbridge.errors import BridgeError, Unsupported
from trackbridge.ports.capabilities import Absence, Capability, Feature, absent
from trackbridge_adapters._mlflow_rest.errors import RouteMissing
from trackbridge_adapters._mlflow_rest.run_ids import NativeIds
from trackbridge_adapters._mlflow_rest.wire import Wire

OPTIONAL = (
    Feature.REGISTRY_ALIAS,
    Feature.REGISTRY_STAGE,
    Feature.TRACKING_DATASETS,
    Feature.TRACKING_LOGGED_MODELS,
    Feature.TRACKING_TRACES,
    Feature.ARTIFACTS_DELETE,
)
"""Features that hang on routes of their own, which servers exist without, or that older servers lack."""
REMEMBERED_MS = 24 * 60 * 60 * 1000
ABSENT = "absent"
REASON = "the server has no route for it: an older or partial MLflow server"
REASONS = {
    Feature.ARTIFACTS_DELETE: "this MLflow server cannot delete a single file (before 3.0, on a folder)"
}
"""Reasons of features that have a route, where that fails."""


class Negotiation:
    """The gaps of the server at one address, as far as they were met.

    Args:
        wire: Asks the server.
        ids: Keeps what was found.
        clock_ms: Milliseconds since 1970.
    """

    def __init__(self, wire: Wire, ids: NativeIds, clock_ms: Callable[[], int]) -> None:
        self._wire = wire
        self._ids = ids
        self._clock_ms = clock_ms

    def gaps(self) -> dict[Feature, Capability]:
        """Return what the server was seen to lack within the last day; nobody is asked."""
        return {
            feature: absent(Absence.NOT_OFFERED, REASONS.get(feature, REASON))
            for feature in OPTIONAL
            if self._lacks(feature)
        }

    def lacks(self, feature: Feature) -> Unsupported:
        """Remember that the server lacks a feature, and return the error that tells it."""
        self._ids.remember(ABSENT, feature.value, str(self._clock_ms()))
        return self._unsupported(feature)

    def _lacks(self, feature: Feature) -> bool:
        seen = self._ids.native(ABSENT, feature.value)
        return seen is not None and 0 <= self._clock_ms() - int(seen) < REMEMBERED_MS

    @contextmanager
    def optional(self, feature: Feature) -> Iterator[None]:
        """Make calls of the feature's routes.

        Raises:
            Unsupported: The server lacks them, though it answers elsewhere.
        """
        if self._lacks(feature):
            raise self._unsupported(feature)
        try:
            yield
        except RouteMissing as missing:
            self.confirm(missing)
            raise self.lacks(feature) from missing

    @contextmanager
    def registry(self) -> Iterator[None]:
        """Make calls of the registry.

        Raises:
            Unsupported: The server has none, though it answers elsewhere.
        """
        try:
            yield
        except RouteMissing as missing:
            self.confirm(missing)
            raise Unsupported(
                "the server keeps runs, and has no model registry",
                adapter=self._wire.service.adapter,
                hint="keep models elsewhere: set registry_uri, or BRIDGE_REGISTRY_URI",
            ) from missing

    def confirm(self, missing: RouteMissing) -> None:
        """See that the server itself is there: an ingress whose server is away answers 404 everywhere.

        Raises:
            RouteMissing: It is not.
        """
        try:
            self._wire.post("experiments/search", {"max_results": 1})
        except BridgeError:
            raise missing from None

    def _unsupported(self, feature: Feature) -> Unsupported:
        return Unsupported(
            f"{feature.value} is not supported here: {REASONS.get(feature, REASON)}",
            adapter=self._wire.service.adapter,
            hint="upgrade the server; it is tried again after a day",
        )
