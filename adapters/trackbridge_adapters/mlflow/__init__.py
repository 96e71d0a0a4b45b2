"""Any MLflow server, by its REST protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter, AdapterContext


def open_adapter(uri: str, *, context: AdapterContext) -> Adapter:
    """Open the server of an ``http(s)://`` address; nobody is contacted.

    Raises:
        ConfigError: An option is wrong, or a variable that it names is not set.
    """
    from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
    from trackbridge_adapters.mlflow.service import service_of

    return RestAdapter(service_of(uri, context), context)
