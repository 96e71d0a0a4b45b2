"""What mlflow's entry points name. Everything behind is imported when a URI of ours is first used."""

from __future__ import annotations

from typing import Any


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Return the tracking store of a ``bridge`` URI; ``artifact_uri`` is mlflow's and without effect."""
    from trackbridge.mlflow_plugin.tracking import BridgeTrackingStore

    return BridgeTrackingStore(store_uri)


def model_registry_store(store_uri: str, tracking_uri: str | None = None) -> Any:
    """Return the registry of a ``bridge`` URI, for the runs of a tracking URI."""
    from trackbridge.mlflow_plugin.registry import BridgeRegistryStore

    return BridgeRegistryStore(store_uri, tracking_uri)


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> Any:
    """Return the files of a run or model, below a ``bridge-artifacts:`` or ``bridge-models:`` address."""
    from trackbridge.mlflow_plugin.artifacts import BridgeArtifactRepository
    from trackbridge.mlflow_plugin.registered_files import RegisteredFilesRepository, is_location

    if is_location(artifact_uri):
        return RegisteredFilesRepository(artifact_uri, tracking_uri, registry_uri)
    return BridgeArtifactRepository(artifact_uri, tracking_uri, registry_uri)


class ExperimentProvider:
    """Tells mlflow which experiment is ours to begin with, where the tracking URI is one of ours."""

    def in_context(self) -> bool:
        """Tell whether mlflow's tracking URI is ours, and an experiment is set here."""
        from mlflow.tracking import get_tracking_uri

        if not get_tracking_uri().startswith(("bridge:", "bridge+")):
            return False
        return self._name() is not None

    def get_experiment_id(self) -> str:
        """Return the id of that experiment."""
        from mlflow.tracking import get_tracking_uri

        from trackbridge.mlflow_plugin.binding import binding_for

        name = self._name()
        assert name is not None  # in_context has seen to it
        return binding_for(get_tracking_uri()).client.open_experiment(name).experiment_id

    @staticmethod
    def _name() -> str | None:
        from trackbridge.domain.runs import DEFAULT_EXPERIMENT
        from trackbridge.resolve.config import Settings

        name = str(Settings().value("experiment_name"))
        return None if name == DEFAULT_EXPERIMENT else name
