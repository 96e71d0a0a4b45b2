"""SageMaker: managed MLflow named by its ARN, and experiments, registry and artifacts of a region."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackbridge_adapters.sagemaker.place import canonical_uri as canonical_uri

if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter, AdapterContext


def open_adapter(uri: str, *, context: AdapterContext) -> Adapter:
    """Open the server or app of an ARN, or the place of a ``sagemaker:`` URI; nobody is contacted.

    Raises:
        ConfigError: The URI is neither, or an option is wrong.
        MissingExtra: The packages of AWS are not installed.
    """
    if uri.partition(":")[0] == "sagemaker":
        from trackbridge_adapters.sagemaker.adapter import SageMakerAdapter
        from trackbridge_adapters.sagemaker.backend import backend_of

        return SageMakerAdapter(backend_of(uri, context))
    from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
    from trackbridge_adapters.sagemaker.registry_settings import registry_settings
    from trackbridge_adapters.sagemaker.service import service_of

    adapter = RestAdapter(service_of(uri, context), context)
    settings = registry_settings(context.options)
    if settings.image and adapter.artifacts is not None:
        from trackbridge_adapters.sagemaker.auto_registration import DeployableRegistry

        adapter.registry = DeployableRegistry(adapter.tracking, adapter.artifacts, settings)
    return adapter
