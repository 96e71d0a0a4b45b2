"""Microsoft's own client, led to the emulator of Azure ML::

    with AzureMlEmulator() as emulator:
        client(emulator).models.list()

Needs azure-ai-ml, which trackbridge itself does not use.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from trackbridge.errors import ConfigError

if TYPE_CHECKING:
    from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator

__all__ = ["client"]

PLACE = {
    "subscription_id": "AZURE_SUBSCRIPTION_ID",
    "resource_group_name": "AZURE_RESOURCE_GROUP",
    "workspace_name": "AZURE_WORKSPACE_NAME",
}
_LED_BY = ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE")


def client(emulator: AzureMlEmulator | None = None, **settings: Any) -> Any:
    """Return a stock ``azure.ai.ml.MLClient`` of the emulator's workspace.

    It uses Azure's own host names. The proxy and the certificate that lead them to the emulator are variables
    of the environment: MLClient's own clients of storage and of registries take them from nowhere else.

    Args:
        emulator: Its variables are set for the rest of this process, as ``export`` would. Without it they
            must be there: by ``bridge emulate azureml``, or by the fixture ``azureml_emulator``.
        settings: Further arguments of MLClient, such as ``workspace_name``, or ``registry_name``.

    Raises:
        ConfigError: azure-ai-ml is not installed, or the variables are not there.
    """
    if emulator is not None:
        os.environ.update(emulator.environment())
    missing = [name for name in (*_LED_BY, *PLACE.values()) if not os.environ.get(name)]
    if missing:
        message = f"no emulator of Azure ML is named by the environment: {', '.join(missing)} not set"
        raise ConfigError(message, hint="set what bridge emulate azureml prints, or hand in an emulator")
    try:
        made = import_module("azure.ai.ml").MLClient  # not named to type checkers: it need not be installed
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        message = f"the client needs {error.name}, which is not installed"
        raise ConfigError(message, hint="pip install azure-ai-ml") from error
    credential = emulator.credential() if emulator is not None else DefaultAzureCredential()
    given = {"enable_telemetry": False, **settings}
    if "registry_name" not in given:
        given = {**{name: os.environ[variable] for name, variable in PLACE.items()}, **given}
    return made(given.pop("credential", credential), **given)
