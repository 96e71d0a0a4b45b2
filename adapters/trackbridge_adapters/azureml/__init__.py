"""Azure ML workspaces: runs and models by their MLflow endpoint, files by the routes of the run history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackbridge_adapters.azureml.config import canonical_uri as canonical_uri

if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter, AdapterContext
    from trackbridge_adapters.azureml.identity import Credential


def open_adapter(uri: str, *, context: AdapterContext) -> Adapter:
    """Open the workspace of an ``azureml:`` URI; nobody is contacted.

    Raises:
        ConfigError: The URI or an option is wrong, or there is no config.json.
    """
    return open_workspace(uri, context=context)


def open_workspace(uri: str, *, context: AdapterContext, credential: Credential | None = None) -> Adapter:
    """Do as ``open_adapter``, with a credential of azure-identity that the program made itself."""
    from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
    from trackbridge_adapters.azureml.service import service_of

    return RestAdapter(service_of(uri, context, credential=credential), context)
