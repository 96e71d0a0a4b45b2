"""SageMaker's managed MLflow: tracking servers and apps, named by their ARN."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter, AdapterContext


def open_adapter(uri: str, *, context: AdapterContext) -> Adapter:
    """Open the server or app of an ARN; nobody is contacted.

    Raises:
        ConfigError: The URI is no ARN of managed MLflow, or an option is wrong.
        MissingExtra: The packages of AWS are not installed.
    """
    from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
    from trackbridge_adapters.sagemaker.service import service_of

    return RestAdapter(service_of(uri, context), context)
