"""Any MLflow server by its REST protocol, and what mlflow itself opens, by a private one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter, AdapterContext


def open_adapter(uri: str, *, context: AdapterContext) -> Adapter:
    """Open the server of an ``http(s)://`` address, or the store of ``mlflow+URI``; nobody is contacted.

    Raises:
        ConfigError: An option is wrong, or a variable that it names is not set.
        MissingExtra: mlflow itself is needed, and not installed.
    """
    from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
    from trackbridge_adapters.mlflow.service import service_of

    return RestAdapter(service_of(uri, context), context)
