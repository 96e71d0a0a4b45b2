"""Azure ML workspaces: runs and models by their MLflow endpoint, files by the routes of the run history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackbridge_adapters.azureml.config import canonical_uri as canonical_uri

if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter, AdapterContext
    from trackbridge.ports.deployments import DeploymentTarget
    from trackbridge.ports.jobs import JobBackend
    from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
    from trackbridge_adapters.azureml.identity import Credential
    from trackbridge_adapters.azureml.jobs_places import JobPlaces
    from trackbridge_adapters.azureml.model_files import ModelFiles
    from trackbridge_adapters.azureml.paths import Paths
    from trackbridge_adapters.azureml.registry import AzureRegistry
    from trackbridge_adapters.azureml.service import Backend


def open_adapter(uri: str, *, context: AdapterContext) -> Adapter:
    """Open the workspace of an ``azureml:`` URI, or the registry of ``azureml://registries/NAME``.

    Nobody is contacted.

    Raises:
        ConfigError: The URI or an option is wrong, or there is no config.json.
    """
    return open_workspace(uri, context=context)


def open_workspace(uri: str, *, context: AdapterContext, credential: Credential | None = None) -> Adapter:
    """Do as ``open_adapter``, with a credential of azure-identity that the program made itself."""
    from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
    from trackbridge_adapters.azureml.artifacts import AzureArtifacts
    from trackbridge_adapters.azureml.model_files import ModelFiles
    from trackbridge_adapters.azureml.paths import Paths
    from trackbridge_adapters.azureml.registries import is_registry_uri, open_registry
    from trackbridge_adapters.azureml.registry import AzureRegistry
    from trackbridge_adapters.azureml.service import backend_of

    if is_registry_uri(uri):
        return open_registry(uri, context, credential=credential)
    backend = backend_of(uri, context, credential=credential)
    adapter = RestAdapter(backend.service, context)
    artifacts = adapter.artifacts
    assert isinstance(artifacts, AzureArtifacts)
    paths = Paths(backend.location.workspace, backend.datastores, artifacts.files_of)
    files = ModelFiles(
        backend.location.workspace,
        backend.assets.arm,
        paths,
        datastores_of=backend.datastores_of,
        registry_of=lambda name: backend.registry_of(name, context),
        files_of_run=artifacts.files_of,
        home=context.home,
    )
    artifacts.models = files
    registry = adapter.registry = AzureRegistry(adapter.tracking, adapter.artifacts, backend.assets, files)
    adapter.jobs = jobs_of(backend, adapter, files, registry)
    adapter.deployments = deployments_of(backend, adapter, files, context)
    return adapter


def jobs_of(backend: Backend, adapter: RestAdapter, files: ModelFiles, registry: AzureRegistry) -> JobBackend:
    """Return the jobs of a workspace; nobody is contacted."""
    from trackbridge_adapters.azureml.artifacts import RunPlaces
    from trackbridge_adapters.azureml.jobs import AzureJobs
    from trackbridge_adapters.azureml.jobs_assets import JobAssets
    from trackbridge_adapters.azureml.jobs_data import JobData
    from trackbridge_adapters.azureml.jobs_results import JobResults
    from trackbridge_adapters.azureml.service import studio_link

    workspace, http, arm = backend.location.workspace, backend.service.http, backend.assets.arm
    return AzureJobs(
        arm,
        workspace,
        http,
        history_url=backend.location.history_url,
        places=places_of(backend),
        data=JobData(files, backend.assets, registry, adapter.tracking.native_run_id),
        assets=JobAssets(backend.assets, http),
        results=JobResults(files.paths, RunPlaces(http, backend.location, None).files),
        url=lambda job: studio_link(backend.cloud, workspace, job),
    )


def places_of(backend: Backend) -> JobPlaces:
    """Return what surrounds jobs and endpoints of a workspace; nobody is contacted."""
    from trackbridge_adapters.azureml.jobs_places import JobPlaces

    return JobPlaces(
        backend.assets.arm,
        backend.location.workspace,
        backend.service.http,
        vault_suffix=backend.cloud.vault_suffix,
        vault_endpoint=backend.vault_endpoint,
    )


def deployments_of(
    backend: Backend, adapter: RestAdapter, files: ModelFiles, context: AdapterContext
) -> DeploymentTarget:
    """Return the endpoints of a workspace; nobody is contacted."""
    from trackbridge_adapters.azureml.deployments import AzureDeployments
    from trackbridge_adapters.azureml.deployments_assets import DeploymentAssets
    from trackbridge_adapters.azureml.deployments_batch import BatchScoring
    from trackbridge_adapters.azureml.deployments_captured import CapturedFiles
    from trackbridge_adapters.azureml.deployments_changes import DeploymentChanges
    from trackbridge_adapters.azureml.deployments_findings import DeploymentFindings
    from trackbridge_adapters.azureml.deployments_kept import KeptBlobs
    from trackbridge_adapters.azureml.deployments_logs import DeploymentLogs
    from trackbridge_adapters.azureml.deployments_metrics import DeploymentMetrics
    from trackbridge_adapters.azureml.deployments_resources import EndpointResources
    from trackbridge_adapters.azureml.deployments_scaling import Scaling
    from trackbridge_adapters.azureml.deployments_scoring import Scoring
    from trackbridge_adapters.azureml.identity import user_of
    from trackbridge_adapters.azureml.jobs_assets import JobAssets

    workspace, http, arm = backend.location.workspace, backend.service.http, backend.assets.arm
    resources, scaling = EndpointResources(arm, workspace), Scaling(arm, workspace)
    assets = DeploymentAssets(backend.assets, workspace, files, JobAssets(backend.assets, http))
    blobs = KeptBlobs(backend.datastores, http)
    logs = DeploymentLogs(resources, blobs)
    scoring = Scoring(resources, http, studio=backend.cloud.studio, clock_ms=context.clock_ms)
    places = places_of(backend)
    changes = DeploymentChanges(
        resources,
        assets,
        scaling,
        location=places.location,
        user=lambda: user_of(http.authentication),
        clock_ms=context.clock_ms,
        before_end=logs.keep,
    )
    return AzureDeployments(
        resources,
        capabilities=adapter.capabilities,
        changes=changes,
        findings=DeploymentFindings(arm, workspace, places, assets, files),
        scaling=scaling,
        scoring=scoring,
        batch=BatchScoring(resources, http, scoring, blobs, files.paths),
        logs=logs,
        metrics=DeploymentMetrics(arm, context.clock_ms),
        captured=CapturedFiles(backend.datastores),
        blobs=blobs,
        clock_ms=context.clock_ms,
    )


def open_paths(uri: str, *, context: AdapterContext, credential: Credential | None = None) -> Paths:
    """Return what opens ``azureml://…/paths/…`` addresses of the workspace of a tracking URI.

    Nobody is contacted.

    Raises:
        ConfigError: The URI or an option is wrong, or there is no config.json.
    """
    from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
    from trackbridge_adapters.azureml.artifacts import AzureArtifacts
    from trackbridge_adapters.azureml.paths import Paths
    from trackbridge_adapters.azureml.service import backend_of

    backend = backend_of(uri, context, credential=credential)
    artifacts = RestAdapter(backend.service, context).artifacts
    assert isinstance(artifacts, AzureArtifacts)
    return Paths(backend.location.workspace, backend.datastores, artifacts.files_of)
