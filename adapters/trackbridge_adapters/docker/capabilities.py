"""What a folder of build contexts declares."""

from __future__ import annotations

from trackbridge.ports.capabilities import SUPPORTED, Absence, Capabilities, Feature, Limits, Tier, absent
from trackbridge_adapters.docker.config import ADAPTER

PAGE_ITEMS_MAX = 1000
_NOBODY_RUNS_IT = (
    "this target writes what an image is built from, and runs nothing: docker build and docker run do"
)


CAPABILITIES = Capabilities(
    adapter=ADAPTER,
    tier=Tier.EVERY_CHANGE,
    is_local=True,
    features={
        Feature.DEPLOYMENTS_TRAFFIC: absent(
            Absence.NEVER, f"{_NOBODY_RUNS_IT}; share requests among containers in front of them"
        ),
        Feature.DEPLOYMENTS_MIRROR: absent(Absence.NEVER, f"{_NOBODY_RUNS_IT}; copy requests before them"),
        Feature.DEPLOYMENTS_AUTOSCALE: absent(
            Absence.NEVER, f"{_NOBODY_RUNS_IT}; the platform that runs the containers scales them"
        ),
        Feature.DEPLOYMENTS_SERVERLESS: absent(
            Absence.NEVER, f"{_NOBODY_RUNS_IT}; give the image to a serverless platform"
        ),
        Feature.DEPLOYMENTS_ASYNCHRONOUS: absent(Absence.NEVER, "the image's server answers at once"),
        Feature.DEPLOYMENTS_BATCH: absent(
            Absence.NEVER, "the image's server answers requests; score files with 'bridge run'"
        ),
        Feature.DEPLOYMENTS_INVOKE: absent(
            Absence.NEVER, f"{_NOBODY_RUNS_IT}; ask the container at its own address"
        ),
        Feature.DEPLOYMENTS_CAPTURE: absent(
            Absence.NEVER,
            f"{_NOBODY_RUNS_IT}; set BRIDGE_SERVING_CAPTURE_PERCENT and BRIDGE_SERVING_CAPTURE_FOLDER "
            "where the container runs",
        ),
        Feature.DEPLOYMENTS_LOGS: absent(Absence.NEVER, f"{_NOBODY_RUNS_IT}; see docker logs"),
        Feature.DEPLOYMENTS_METRICS: absent(
            Absence.NEVER, f"{_NOBODY_RUNS_IT}; the container's /metrics is for Prometheus"
        ),
        Feature.DEPLOYMENTS_REVISIONS: SUPPORTED,
        Feature.DEPLOYMENTS_LOCK: SUPPORTED,
    },
    limits=Limits(page_items_max=PAGE_ITEMS_MAX),
)
