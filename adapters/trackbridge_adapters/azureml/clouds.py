"""The clouds of Azure: where each signs in, manages and shows workspaces (azure-ai-ml's own table)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from trackbridge.errors import ConfigError

ADAPTER = "azureml"
NOT_RUNNING_HINT = "is the emulator running? bridge emulate azureml"
"""What to do where nothing listens at an address of this machine: no cloud is there."""
_HOST = re.compile(r"([a-z0-9.-]+)(?::[0-9]+)?")
"""A host and its port: what else stands there, a user's name say, would make it another host."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """Hosts of one cloud.

    Every workspace's host ends in one of ``service_suffixes``; ``discovery`` knows where registries are;
    ``storage_suffix`` ends the hosts of storage accounts whose datastore names no end, ``vault_suffix`` those
    of key vaults, behind ``.vault.``.
    """

    name: str
    resource_manager: str
    authority: str
    studio: str
    service_suffixes: tuple[str, ...]
    discovery: str
    storage_suffix: str
    vault_suffix: str

    @property
    def scope(self) -> str:
        """What tokens are asked for; the workspace's own hosts take the same ones."""
        return f"{self.resource_manager}/.default"


PUBLIC = Cloud(
    "AzureCloud",
    "https://management.azure.com",
    "login.microsoftonline.com",
    "https://ml.azure.com",
    (".api.azureml.ms",),
    "https://eastus.api.azureml.ms",
    "core.windows.net",
    "azure.net",
)
CLOUDS = (
    PUBLIC,
    Cloud(
        "AzureChinaCloud",
        "https://management.chinacloudapi.cn",
        "login.chinacloudapi.cn",
        "https://ml.azure.cn",
        (".api.ml.azure.cn",),
        "https://chinaeast2.api.ml.azure.cn",
        "core.chinacloudapi.cn",
        "azure.cn",
    ),
    Cloud(
        "AzureUSGovernment",
        "https://management.usgovcloudapi.net",
        "login.microsoftonline.us",
        "https://ml.azure.us",
        (".api.ml.azure.us",),
        "https://usgovarizona.api.ml.azure.us",
        "core.usgovcloudapi.net",
        "usgovcloudapi.net",
    ),
)


def cloud_of(options: Mapping[str, str], environment: Mapping[str, str], host: str | None) -> Cloud:
    """Return the cloud that the option ``cloud`` names, else of the host, else of the environment.

    Raises:
        ConfigError: There is no cloud of that name.
    """
    if options.get("cloud"):
        return _named(options["cloud"], "the option cloud")
    for cloud in CLOUDS:
        if host and host.lower().endswith(cloud.service_suffixes):
            return cloud
    if environment.get("AZUREML_CURRENT_CLOUD"):
        return _named(environment["AZUREML_CURRENT_CLOUD"], "AZUREML_CURRENT_CLOUD")
    authority = environment.get("AZURE_AUTHORITY_HOST", "").lower()
    return next((cloud for cloud in CLOUDS if cloud.authority in authority), PUBLIC)


def _named(name: str, where: str) -> Cloud:
    for cloud in CLOUDS:
        if cloud.name.lower() == name.lower():
            return cloud
    known = ", ".join(cloud.name for cloud in CLOUDS)
    raise ConfigError(f"{where} is {name!r}, which is no cloud", adapter=ADAPTER, hint=f"known are {known}")


def is_azure_host(host: str) -> bool:
    """Tell whether a host belongs to Azure ML, so that a job's token may be sent there."""
    return is_below(host, *(end for cloud in CLOUDS for end in cloud.service_suffixes))


def is_below(host: str, *suffixes: str) -> bool:
    """Tell whether a host, with or without a port, ends in one of some suffixes."""
    name = _HOST.fullmatch(host.lower())
    return name is not None and name[1].endswith(suffixes)
