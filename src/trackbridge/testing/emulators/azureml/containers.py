"""Containers of jobs and deployments, and what the images hold that they name: shared by all parts."""

from __future__ import annotations

from trackbridge.testing.emulators import containers as shared
from trackbridge.testing.emulators.azureml.core import Cloud


class Containers(shared.Containers):
    """All containers of a cloud; ``cloud.part(Containers)``."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__("bridge-azureml-")
        self.cloud = cloud


class Images(shared.Images):
    """The images that are known; ``cloud.part(Images)``."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        self.cloud = cloud
