"""What ``sagemaker:`` declares. The records in S3 hold what SageMaker's own services cannot."""

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
from trackbridge_adapters.sagemaker.arn import ADAPTER

PAGE_ITEMS_MAX = 1000

CAPABILITIES = Capabilities(
    adapter=ADAPTER,
    tier=Tier.EMULATED,
    features={
        Feature.TRACKING_EXPERIMENT_LISTING: SUPPORTED,
        Feature.TRACKING_METRIC_HISTORY: SUPPORTED,
        Feature.TRACKING_METRIC_DEDUP: SUPPORTED,
        Feature.TRACKING_SEARCH: SUPPORTED,
        Feature.TRACKING_DELETE: SUPPORTED,
        Feature.TRACKING_DATASETS: SUPPORTED,
        Feature.TRACKING_TRACES: absent(Absence.NOT_YET, "traces are not kept in SageMaker so far"),
        Feature.TRACKING_LOGGED_MODELS: absent(
            Absence.NOT_YET,
            "models are logged as artifacts of a run; MLflow 3's own entity is not kept so far",
        ),
        Feature.ARTIFACTS_DELETE: SUPPORTED,
        Feature.ARTIFACTS_PRESIGN: SUPPORTED,
        Feature.ARTIFACTS_RESUMABLE_UPLOAD: SUPPORTED,
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
        Feature.DEPLOYMENTS_AUTOSCALE: SUPPORTED,
        Feature.DEPLOYMENTS_INVOKE: SUPPORTED,
        Feature.DEPLOYMENTS_SERVERLESS: SUPPORTED,
        Feature.DEPLOYMENTS_ASYNCHRONOUS: SUPPORTED,
        Feature.DEPLOYMENTS_BATCH: SUPPORTED,
        Feature.DEPLOYMENTS_CAPTURE: SUPPORTED,
        Feature.DEPLOYMENTS_LOGS: SUPPORTED,
        Feature.DEPLOYMENTS_METRICS: SUPPORTED,
        Feature.DEPLOYMENTS_REVISIONS: SUPPORTED,
        Feature.DEPLOYMENTS_LOCK: SUPPORTED,
        Feature.JOBS_LOGS: SUPPORTED,
        Feature.JOBS_LIST: SUPPORTED,
        Feature.JOBS_SPOT: SUPPORTED,
        Feature.JOBS_DISTRIBUTED: SUPPORTED,
        Feature.JOBS_DATA: SUPPORTED,
    },
    limits=Limits(
        # A write of a thousand points is a hundred calls of BatchPutMetrics already.
        metrics_per_write_max=1000,
        write_bytes_max=4_000_000,
        page_items_max=PAGE_ITEMS_MAX,
    ),
    search_comparisons=COMPARISONS,
)
