"""What every MLflow endpoint declares, less the gaps of the service at hand."""

from __future__ import annotations

from collections.abc import Mapping

from trackbridge.domain.metric_values import ValueKind
from trackbridge.domain.search import COMPARISONS
from trackbridge.ports.capabilities import (
    SUPPORTED,
    Absence,
    Capabilities,
    Capability,
    Feature,
    Limits,
    absent,
)
from trackbridge_adapters._mlflow_rest.service import Service

PAGE_ITEMS_MAX = 1000

KEY_PATTERN = r"(?!\.\.)(?!\.{1,2}(?:/|\Z))[\w.\- :]+(?:/(?!\.{1,2}(?:/|\Z))[\w.\- :]+)*"
"""Names of metrics, params and tags (mlflow/utils/validation.py): word characters, ``-. :``, slashes."""

MODEL_TAG_KEY_CHARS_MAX = 250
MODEL_TAG_VALUE_CHARS_MAX = 5000
"""Of models and versions, as mlflow 2.16 has them (mlflow/utils/validation.py); 3.x keeps longer values."""

LIMITS = Limits(
    metrics_per_write_max=1000,
    params_per_write_max=100,
    tags_per_write_max=100,
    write_bytes_max=1_000_000,
    key_chars_max=250,
    key_pattern=KEY_PATTERN,
    param_value_chars_max=6000,
    tag_value_chars_max=5000,
    model_tag_key_chars_max=MODEL_TAG_KEY_CHARS_MAX,
    model_tag_value_chars_max=MODEL_TAG_VALUE_CHARS_MAX,
    metric_values_unheld=frozenset({ValueKind.INFINITY, ValueKind.NEGATIVE_ZERO, ValueKind.NAN_WITH_PAYLOAD}),
    page_items_max=PAGE_ITEMS_MAX,
)
"""Limits of mlflow 2.16 (mlflow/utils/validation.py); 3.x keeps longer tags. SQL columns change three kinds
of values: an infinity becomes the greatest number, -0.0 becomes 0.0, and a NaN loses its payload."""

FEATURES: dict[Feature, Capability] = {
    Feature.TRACKING_EXPERIMENT_LISTING: SUPPORTED,
    Feature.TRACKING_METRIC_HISTORY: SUPPORTED,
    Feature.TRACKING_METRIC_DEDUP: SUPPORTED,
    Feature.TRACKING_SEARCH: SUPPORTED,
    Feature.TRACKING_DELETE: SUPPORTED,
    Feature.TRACKING_DATASETS: SUPPORTED,
    Feature.TRACKING_TRACES: SUPPORTED,
    Feature.TRACKING_LOGGED_MODELS: SUPPORTED,
}


REGISTRY_FEATURES: dict[Feature, Capability] = {
    Feature.REGISTRY_DESCRIPTION: SUPPORTED,
    Feature.REGISTRY_ALIAS: SUPPORTED,
    Feature.REGISTRY_STAGE: SUPPORTED,
    Feature.REGISTRY_APPROVAL: SUPPORTED,
    Feature.REGISTRY_HISTORY: absent(Absence.NOT_OFFERED, "MLflow keeps no history of a registry's changes"),
    Feature.REGISTRY_DELETE: SUPPORTED,
    Feature.REGISTRY_ATOMIC_TAGS: absent(Absence.NOT_OFFERED, "MLflow sets one tag a call"),
    Feature.REGISTRY_NUMBERS_KEPT: absent(
        Absence.NOT_OFFERED, "MLflow forgets a deleted model; one of the same name begins at 1 again"
    ),
}

ARTIFACT_FEATURES: dict[Feature, Capability] = {
    Feature.ARTIFACTS_DELETE: SUPPORTED,
    Feature.ARTIFACTS_PRESIGN: absent(
        Absence.NOT_OFFERED, "only buckets sign addresses; ask where the server keeps its files in one"
    ),
    Feature.ARTIFACTS_RESUMABLE_UPLOAD: SUPPORTED,
}
"""What an endpoint declares whose runs may lie anywhere; one whose runs lie in buckets adds presigning. Parts
of an upload are kept in S3 and Azure; elsewhere ``put_resumable`` sends a file as a whole each time."""


_NONE: Mapping[Feature, Capability] = {}


def capabilities_of(service: Service, gaps: Mapping[Feature, Capability] = _NONE) -> Capabilities:
    """Return what a service declares, less ``gaps``: what this server turned out to lack."""
    features = {**FEATURES, **REGISTRY_FEATURES}
    if service.artifacts is not None:
        features |= ARTIFACT_FEATURES
    features |= {**service.gaps, **gaps}
    return Capabilities(
        adapter=service.adapter,
        features=features,
        limits=service.limits,
        search_comparisons=COMPARISONS if features[Feature.TRACKING_SEARCH].supported else frozenset(),
        tier=service.tier,
    )
