"""Where models are registered, and how their files come to this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.domain.models import ModelVersion
from trackbridge.operations.deploy import refuse_rejected
from trackbridge.operations.opening import Opened, UriArgument, open_place
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.registry import ModelRegistry
from trackbridge.resolve.config import Settings
from trackbridge.resolve.home import bridge_home
from trackbridge.resolve.uri import parse


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where models are registered, and how their files come here.

    ``cache`` is the folder that they are brought to; ``registry`` is None where there is none to ask again,
    ``kept`` reads the files that it keeps itself.
    """

    artifacts: ArtifactStore | None
    cache: Path
    registry: ModelRegistry | None = None
    kept: ArtifactStore | None = None

    def folder_of(self, spec: DeploymentSpec) -> Path:
        """Bring the payload of a deployment's model here and return its folder.

        Raises:
            NotFound: There is nothing at its source.
            Rejected: The bytes there are not those that were registered.
        """
        from trackbridge.operations.model_payloads import materialise, reader_of

        version = _version_of(spec)
        return materialise(version, reader_of(version.source, self.kept, self.artifacts), cache=self.cache)

    def mlmodel_of(self, spec: DeploymentSpec) -> str | None:
        """Return the ``MLmodel`` of a deployment's model, None where its files have none.

        Raises:
            NotFound: There is nothing at its source.
            Unsupported: Its source cannot be read from here.
        """
        from trackbridge.operations.model_payloads import mlmodel_at, reader_of

        return mlmodel_at(spec.model_source, reader_of(spec.model_source, self.kept, self.artifacts))

    def recheck(self, spec: DeploymentSpec) -> None:
        """Refuse a model that was rejected since it was planned.

        Raises:
            Rejected: It was.
        """
        version = _version_of(spec)
        if self.registry is not None and version.name:
            refuse_rejected(self.registry.get_version(version.name, version.version))


def open_models(
    uri: UriArgument = None, *, registry_uri: str | None = None, settings: Settings
) -> ModelSource:
    """Return the source of the models of a tracking URI: its files, and where they are registered.

    Without ``registry_uri`` that is where the setting of this name says, else with the files.

    Raises:
        ConfigError: The URI or a setting is wrong.
    """
    from trackbridge.operations.model_payloads import CACHE_FOLDER

    tracking = open_place(uri, settings=settings)
    home = parse(tracking.uri).path or bridge_home(settings.around)
    registered = _registry_place(tracking, registry_uri, settings).adapter
    return ModelSource(
        artifacts=tracking.adapter.artifacts,
        cache=home / CACHE_FOLDER,
        registry=registered.registry,
        kept=registered.artifacts,
    )


def open_registry(uri: UriArgument = None, *, settings: Settings) -> Opened:
    """Return where the setting ``registry_uri`` says that models are registered, else a tracking URI's place.

    Raises:
        ConfigError: The URI or a setting is wrong.
    """
    return _registry_place(open_place(uri, settings=settings), None, settings)


def _registry_place(tracking: Opened, uri: str | None, settings: Settings) -> Opened:
    named = uri or settings.value("registry_uri")
    return open_place(str(named), settings=settings) if named else tracking


def _version_of(spec: DeploymentSpec) -> ModelVersion:
    """Return as much of the registered version as a spec holds."""
    name, _, number = spec.model.removeprefix("models:/").rpartition("/")
    is_registered = spec.model.startswith("models:/")
    return ModelVersion(
        name=name if is_registered else "",
        version=number if is_registered else "",
        source=spec.model_source,
        digest=spec.model_digest or None,
    )
