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
        Feature.TRACKING_TRACES: SUPPORTED,
        Feature.TRACKING_LOGGED_MODELS: SUPPORTED,
        Feature.ARTIFACTS_DELETE: SUPPORTED,
        Feature.ARTIFACTS_PRESIGN: absent(
            Absence.NOT_OFFERED, "a folder has no server that could hand files out; open the file instead"
        ),
        Feature.ARTIFACTS_RESUMABLE_UPLOAD: absent(
            Absence.NEVER, "a local copy is made whole; an interrupted one is made again"
        ),
        Feature.REGISTRY_DESCRIPTION: SUPPORTED,
        Feature.REGISTRY_ALIAS: SUPPORTED,
        Feature.REGISTRY_STAGE: SUPPORTED,
        Feature.REGISTRY_APPROVAL: SUPPORTED,
        Feature.REGISTRY_HISTORY: SUPPORTED,
        Feature.REGISTRY_DELETE: SUPPORTED,
        Feature.REGISTRY_ATOMIC_TAGS: SUPPORTED,
        Feature.REGISTRY_NUMBERS_KEPT: SUPPORTED,
        Feature.DEPLOYMENTS_TRAFFIC: SUPPORTED,
        Feature.DEPLOYMENTS_MIRROR: SUPPORTED,
        Feature.DEPLOYMENTS_AUTOSCALE: absent(
            Absence.NEVER, "a machine does not grow; say how many instances (worker processes) there are"
        ),
        Feature.DEPLOYMENTS_SERVERLESS: absent(
            Absence.NEVER, "this machine is there all the time; leave the serving kind out"
        ),
        Feature.DEPLOYMENTS_ASYNCHRONOUS: absent(
            Absence.NEVER, "an endpoint of this machine answers at once; score files with 'bridge run'"
        ),
        Feature.DEPLOYMENTS_BATCH: absent(
            Absence.NEVER, "files are scored on this machine by a job: 'bridge run'"
        ),
        Feature.DEPLOYMENTS_INVOKE: SUPPORTED,
        Feature.DEPLOYMENTS_CAPTURE: SUPPORTED,
        Feature.DEPLOYMENTS_LOGS: SUPPORTED,
        Feature.DEPLOYMENTS_METRICS: SUPPORTED,
        Feature.DEPLOYMENTS_REVISIONS: SUPPORTED,
        Feature.DEPLOYMENTS_LOCK: SUPPORTED,
        Feature.JOBS_LOGS: SUPPORTED,
        Feature.JOBS_LIST: SUPPORTED,
        Feature.JOBS_SPOT: absent(Absence.NEVER, "nobody takes this machine away for a better price"),
        Feature.JOBS_DISTRIBUTED: SUPPORTED,
        Feature.JOBS_DATA: SUPPORTED,
    },
    limits=Limits(page_items_max=PAGE_ITEMS_MAX),
    search_comparisons=COMPARISONS,
)
