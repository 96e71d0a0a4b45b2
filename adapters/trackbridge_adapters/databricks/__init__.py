"""Databricks workspaces: runs by their MLflow endpoint, models there or in Unity Catalog."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trackbridge_adapters.databricks.config import canonical_uri as canonical_uri

if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter, AdapterContext


def open_adapter(uri: str, *, context: AdapterContext) -> Adapter:
    """Open the workspace of ``databricks``, ``databricks://PROFILE`` or ``databricks-uc:``; asks nobody.

    Raises:
        ConfigError: The URI, an option or the profile is wrong or missing.
    """
    return open_workspace(uri, context=context)


def open_workspace(
    uri: str,
    *,
    context: AdapterContext,
    environment: Mapping[str, str] = os.environ,
    part_bytes: int | None = None,
) -> Adapter:
    """Do as ``open_adapter``, with other variables than the process has.

    Args:
        uri: As above.
        context: Of the adapter.
        environment: The variables to read.
        part_bytes: Files that are larger go up in parts of this size; the adapter's own choice without it.
    """
    from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
    from trackbridge_adapters.databricks.artifacts import PART_BYTES
    from trackbridge_adapters.databricks.config import model_schema_of
    from trackbridge_adapters.databricks.jobs import DatabricksJobs
    from trackbridge_adapters.databricks.jobs_settings import job_settings_of
    from trackbridge_adapters.databricks.registry import DatabricksRegistry
    from trackbridge_adapters.databricks.service import service_of

    service = service_of(uri, context, environment=environment, part_bytes=part_bytes or PART_BYTES)
    adapter = RestAdapter(service, context)
    adapter.registry = DatabricksRegistry(
        adapter.tracking,
        adapter.artifacts,
        only_catalog=uri.partition(":")[0] == "databricks-uc",
        schema=model_schema_of(context.options),
    )
    adapter.jobs = DatabricksJobs(
        adapter.tracking.wire,
        job_settings_of(context.options, service.address),
        adapter.capabilities,
        context,
    )
    return adapter
