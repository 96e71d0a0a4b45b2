"""Spark clusters: jobs by spark-submit, whose driver is a program of this machine."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter, AdapterContext


def open_adapter(uri: str, *, context: AdapterContext) -> Adapter:
    """Open the cluster of ``spark://HOST:PORT`` or ``spark:MASTER``; asks nobody.

    Raises:
        ConfigError: The URI names no master, or an option is wrong.
    """
    from trackbridge_adapters.spark.adapter import SparkAdapter
    from trackbridge_adapters.spark.config import settings_of

    return SparkAdapter(settings_of(uri, context.options), context)
