"""An emulator of Azure ML that refuses what Azure refuses. Needs the extras ``emulators`` and ``mlflow``."""

from trackbridge.testing.emulators.azureml.core import GROUP, REGION, SUBSCRIPTION, TENANT, Cloud, Refused
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator

__all__ = ["GROUP", "REGION", "SUBSCRIPTION", "TENANT", "AzureMlEmulator", "Cloud", "Refused"]
