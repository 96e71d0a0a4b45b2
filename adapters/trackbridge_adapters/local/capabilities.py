"""What the local backend declares."""

from __future__ import annotations

from trackbridge.domain.search import COMPARISONS
from trackbridge.ports.capabilities import (
    SUPPORTED,
    Absence,
    Capabilities,
    Feature,
    Limits,
    Tier,
    absent,
)

ADAPTER = "local"
PAGE_ITEMS_MAX = 10_000

CAPABILITIES = Capabilities(
    adapter=ADAPTER,
    tier=Tier.EVERY_CHANGE,
    is_local=True,
    features={
        Feature.TRACKING_EXPERIMENT_LISTING: SUPPORTED,
        Feature.TRACKING_METRIC_HISTORY: SUPPORTED,
        Feature.TRACKING_METRIC_DEDUP: SUPPORTED,
        Feature.TRACKING_SEARCH: SUPPORTED,
        Feature.TRACKING_DELETE: SUPPORTED,
        Feature.TRACKING_DATASETS: SUPPORTED,
        Feature.TRACKING_TRACES: absent(Absence.NOT_YET, "traces are not kept in the local store so far"),
        Feature.TRACKING_LOGGED_MODELS: absent(
            Absence.NOT_YET, "logged models are not kept in the local store so far"
        ),
        Feature.ARTIFACTS_DELETE: SUPPORTED,
        Feature.ARTIFACTS_PRESIGN: absent(
            Absence.NOT_OFFERED, "a folder has no server that could hand files out; open the file instead"
        ),
        Feature.ARTIFACTS_RESUMABLE_UPLOAD: absent(
            Absence.NEVER, "a local copy is made whole; an interrupted one is made again"
        ),
    },
    limits=Limits(page_items_max=PAGE_ITEMS_MAX),
    search_comparisons=COMPARISONS,
)
