"""What a backend can do, as data: supported or not and why, and its numeric limits.

Core code asks these, never "which adapter are you". A port's method that needs a feature is marked with
``@needs(Feature.X)``: the call pipeline refuses it with the declared reason, and the contract suite demands
that an adapter which does not declare the feature raises ``Unsupported``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

import msgspec

from trackbridge.domain.metric_values import ValueKind
from trackbridge.errors import Unsupported

Method = TypeVar("Method", bound=Callable[..., Any])


class Feature(str, Enum):
    """Every optional part of a port, named ``port.option``."""

    TRACKING_EXPERIMENT_LISTING = "tracking.experiment_listing"
    TRACKING_METRIC_HISTORY = "tracking.metric_history"
    TRACKING_METRIC_DEDUP = "tracking.metric_dedup"
    TRACKING_SEARCH = "tracking.search"
    TRACKING_DELETE = "tracking.delete"
    TRACKING_DATASETS = "tracking.datasets"
    TRACKING_TRACES = "tracking.traces"
    TRACKING_LOGGED_MODELS = "tracking.logged_models"
    ARTIFACTS_DELETE = "artifacts.delete"
    ARTIFACTS_PRESIGN = "artifacts.presign"
    ARTIFACTS_RESUMABLE_UPLOAD = "artifacts.resumable_upload"
    REGISTRY_DESCRIPTION = "registry.description"
    REGISTRY_ALIAS = "registry.alias"
    REGISTRY_STAGE = "registry.stage"
    REGISTRY_APPROVAL = "registry.approval"
    REGISTRY_HISTORY = "registry.history"
    REGISTRY_DELETE = "registry.delete"
    REGISTRY_ATOMIC_TAGS = "registry.atomic_tags"
    REGISTRY_NUMBERS_KEPT = "registry.numbers_kept"
    JOBS_LOGS = "jobs.logs"
    JOBS_LIST = "jobs.list"
    JOBS_SPOT = "jobs.spot"
    JOBS_DISTRIBUTED = "jobs.distributed"
    JOBS_DATA = "jobs.data"
    DEPLOYMENTS_TRAFFIC = "deployments.traffic"
    DEPLOYMENTS_MIRROR = "deployments.mirror"
    DEPLOYMENTS_AUTOSCALE = "deployments.autoscale"
    DEPLOYMENTS_INVOKE = "deployments.invoke"
    DEPLOYMENTS_SERVERLESS = "deployments.serverless"
    DEPLOYMENTS_ASYNCHRONOUS = "deployments.asynchronous"
    DEPLOYMENTS_BATCH = "deployments.batch"
    DEPLOYMENTS_CAPTURE = "deployments.capture"
    DEPLOYMENTS_LOGS = "deployments.logs"
    DEPLOYMENTS_METRICS = "deployments.metrics"
    DEPLOYMENTS_REVISIONS = "deployments.revisions"
    DEPLOYMENTS_LOCK = "deployments.lock"

    @property
    def port(self) -> str:
        """The port it belongs to, for example ``tracking``."""
        return self.value.partition(".")[0]


class Absence(str, Enum):
    """Why a feature is not there."""

    NOT_YET = "not yet here"
    NOT_OFFERED = "the service does not offer it"
    NEVER = "never"


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a feature is there; if not, why (``absence``) and in words (``reason``)."""

    supported: bool
    absence: Absence | None = None
    reason: str = ""


SUPPORTED = Capability(supported=True)


def absent(absence: Absence, reason: str) -> Capability:
    """Declare a gap. ``reason`` is a sentence for the user."""
    return Capability(supported=False, absence=absence, reason=reason)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Numeric limits of a backend; None means that there is none. Lengths are in characters.

    Metric values of the kinds in ``metric_values_unheld`` are not kept by their bits: the store refuses them.
    ``metric_names_per_run_advised`` is documented and not known to be enforced: passing it is told at the end
    of the run, and everything is sent. ``model_files_max`` bounds the files of a registered version. A model
    whose name does not match ``model_name_pattern`` has another name in the backend itself. Those of
    ``model_tag`` go for tags of models and of their versions, which have no side-car.
    ``calls_at_once_max`` bounds how many calls delivery has under way to it, where fewer are better than its
    own bound.
    """

    metrics_per_write_max: int | None = None
    params_per_write_max: int | None = None
    tags_per_write_max: int | None = None
    write_bytes_max: int | None = None
    params_per_run_max: int | None = None
    tags_per_run_max: int | None = None
    key_chars_max: int | None = None
    key_pattern: str | None = None
    param_value_chars_max: int | None = None
    tag_value_chars_max: int | None = None
    metric_age_ms_max: int | None = None
    metric_names_per_run_advised: int | None = None
    metric_values_unheld: frozenset[ValueKind] = frozenset()
    artifact_bytes_max: int | None = None
    model_files_max: int | None = None
    model_name_pattern: str | None = None
    model_tag_key_chars_max: int | None = None
    model_tag_value_chars_max: int | None = None
    page_items_max: int = 1000
    calls_at_once_max: int | None = None

    @property
    def change_nothing(self) -> bool:
        """True when every key and value is held as it is: none is escaped, cut or spilled."""
        bounds = (
            self.params_per_run_max,
            self.tags_per_run_max,
            self.key_chars_max,
            self.key_pattern,
            self.param_value_chars_max,
            self.tag_value_chars_max,
            self.metric_age_ms_max,
        )
        return not self.metric_values_unheld and all(bound is None for bound in bounds)


class Tier(str, Enum):
    """How an adapter is tested, in words for the table of adapters."""

    EVERY_CHANGE = "against the backend itself, at every change"
    EMULATED = "against an emulator at every change, against the service on request"
    UNVERIFIED = "not against the contract suites so far"


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """All that a backend declares. A feature that is not in ``features`` is not there.

    ``is_local`` says that reading needs no network: the API then checks at once what it would otherwise
    learn at delivery. ``search_comparisons`` are the comparisons that the backend's own search takes, as
    ``(entity, operator)``, for example ``("metrics", ">")`` or ``("params", "LIKE")``; the rest of a
    filter is evaluated here.
    """

    adapter: str
    is_local: bool = False
    features: Mapping[Feature, Capability]
    limits: Limits = Limits()
    search_comparisons: frozenset[tuple[str, str]] = frozenset()
    tier: Tier = Tier.UNVERIFIED

    def supports(self, feature: Feature) -> bool:
        """Tell whether the feature is there."""
        return self.features.get(feature, _UNDECLARED).supported

    def require(self, feature: Feature, *, operation: str) -> None:
        """Return if the feature is there.

        Raises:
            Unsupported: It is not; the message gives the declared reason.
        """
        capability = self.features.get(feature, _UNDECLARED)
        if capability.supported:
            return
        absence = capability.absence or Absence.NOT_YET
        raise Unsupported(
            f"{feature.value} is not supported by {self.adapter} ({absence.value}): {capability.reason}",
            adapter=self.adapter,
            operation=operation,
        )


_UNDECLARED = absent(Absence.NOT_YET, "the adapter does not declare it")


def needs(feature: Feature) -> Callable[[Method], Method]:
    """Mark a port's method as needing a feature."""

    def mark(method: Method) -> Method:
        method.__feature__ = feature  # type: ignore[attr-defined]
        return method

    return mark


def feature_of(port: type, method: str) -> Feature | None:
    """Return the feature that a port's method needs, or None for a required method."""
    return getattr(getattr(port, method, None), "__feature__", None)


def refusing(port: type, capabilities: Capabilities) -> Any:
    """Return a port to inherit from, in which methods whose feature is absent raise Unsupported.

    An adapter of few features need not write them all::

        class Store(refusing(TrackingStore, CAPABILITIES)): ...
    """
    refused = {
        name: _refusal(method, feature, capabilities)
        for name, method in vars(port).items()
        if (feature := feature_of(port, name)) is not None and not capabilities.supports(feature)
    }
    return type(port)(port.__name__, (port,), refused)


def _refusal(method: Callable[..., Any], feature: Feature, capabilities: Capabilities) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        capabilities.require(feature, operation=f"{feature.port}.{method.__name__}")

    # It is called as the port's method is; what that carries besides, such as being abstract, stays behind.
    return functools.update_wrapper(refuse, method, updated=())
