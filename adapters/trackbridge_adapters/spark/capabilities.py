"""What Spark declares: jobs, and what the local backend that sees their drivers through has of them."""

from __future__ import annotations

from trackbridge.ports.capabilities import (
    SUPPORTED,
    Absence,
    Capabilities,
    Capability,
    Feature,
    Tier,
    absent,
)
from trackbridge_adapters.spark.config import ADAPTER, Kind

_SPOT = absent(
    Absence.NOT_OFFERED, "Spark does not hire machines; whether they are spot is the cluster's choice"
)
_NO_EXECUTORS = absent(
    Absence.NEVER, "a local master is one process; give a cluster's, or spark:local-cluster[N,…]"
)


def capabilities_of(kind: Kind, local: Capabilities) -> Capabilities:
    """Return what a master offers, given what the backend of its drivers does."""
    jobs: dict[Feature, Capability] = {
        feature: capability for feature, capability in local.features.items() if feature.port == "jobs"
    }
    jobs[Feature.JOBS_SPOT] = _SPOT
    jobs[Feature.JOBS_DISTRIBUTED] = _NO_EXECUTORS if kind is Kind.HERE else SUPPORTED
    return Capabilities(adapter=ADAPTER, tier=Tier.EVERY_CHANGE, features=jobs, limits=local.limits)
