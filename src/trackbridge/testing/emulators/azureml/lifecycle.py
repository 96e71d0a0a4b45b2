"""What MLflow's routes keep of models beside the assets themselves: stages, aliases, sources."""

from __future__ import annotations

from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.resources import resource_key


class Lifecycle:
    """By the keys of ids; ``cloud.part(Lifecycle)``."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.stages: dict[str, str] = {}
        """Stages of versions; no other routes show them."""
        self.aliases: dict[str, dict[str, str]] = {}
        """Versions that a model's aliases point at."""
        self.sources: dict[str, tuple[str, str]] = {}
        """The source and the run that a version was made with."""

    def forget(self, version_id: str) -> None:
        """Forget a version that was deleted, by whatever route."""
        key = resource_key(version_id)
        self.stages.pop(key, None)
        self.sources.pop(key, None)
        container, _, version = key.rpartition("/versions/")
        aliases = self.aliases.get(container, {})
        for alias in [alias for alias, at in aliases.items() if at == version]:
            del aliases[alias]

    def forget_model(self, model_id: str) -> None:
        """Forget a model that was deleted."""
        self.aliases.pop(resource_key(model_id), None)
