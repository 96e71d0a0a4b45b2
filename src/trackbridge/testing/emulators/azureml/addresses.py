"""Where everything is: Azure's own host names for clients of the proxy, ports of this machine for others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suffixes:
    """How the hosts of one of Azure's clouds end: azure-ai-ml's own table, and the documentation."""

    name: str
    resource_manager: str
    login: str
    studio: str
    service: str
    storage: str
    logs: str
    """Of Log Analytics, whole."""
    metrics: str
    """Of Azure Monitor's batches, after the region."""


CLOUDS = (
    Suffixes(
        "AzureCloud",
        "management.azure.com",
        "login.microsoftonline.com",
        "ml.azure.com",
        "api.azureml.ms",
        "core.windows.net",
        "api.loganalytics.io",
        "metrics.monitor.azure.com",
    ),
    Suffixes(
        "AzureChinaCloud",
        "management.chinacloudapi.cn",
        "login.chinacloudapi.cn",
        "ml.azure.cn",
        "api.ml.azure.cn",
        "core.chinacloudapi.cn",
        "api.loganalytics.azure.cn",
        "metrics.monitor.azure.cn",
    ),
    Suffixes(
        "AzureUSGovernment",
        "management.usgovcloudapi.net",
        "login.microsoftonline.us",
        "ml.azure.us",
        "api.ml.azure.us",
        "core.usgovcloudapi.net",
        "api.loganalytics.us",
        "metrics.monitor.azure.us",
    ),
)

MICROSOFTS = (
    *(".azure.com", ".azure.net", ".azureml.ms", ".windows.net", ".microsoft.com", ".microsoftonline.com"),
    *(".azure.cn", ".chinacloudapi.cn", ".azure.us", ".usgovcloudapi.net", ".microsoftonline.us"),
    *(".loganalytics.io", ".loganalytics.us"),
)
"""How hosts end that a program must not reach while it means the emulator."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses without a slash at the end.

    ``arm`` is Resource Manager; ``service`` has the services of workspaces and registries (``/mlflow``,
    ``/history``, ``/artifact``, ``/mferp``), ``mlflow`` the host of tracking URIs; ``scoring`` is where
    endpoints answer, with ``{name}`` for theirs.
    """

    arm: str
    service: str
    scoring: str
    mlflow: str
    storage_suffix: str
    blob_direct: str = ""
    """Where the Blob service is on this machine; "" when its own host name is to be told."""
    studio: str = CLOUDS[0].studio
    """The host of the studio, which is also what tokens for endpoints are for."""

    def blob(self, account: str) -> str:
        """Return the address of an account's Blob service."""
        if self.blob_direct:
            return f"{self.blob_direct}/{account}"
        return f"https://{account}.blob.{self.storage_suffix}"

    def endpoint(self, name: str) -> str:
        """Return the address of an online endpoint, which has a host name of its own in Azure."""
        return self.scoring.format(name=name)
