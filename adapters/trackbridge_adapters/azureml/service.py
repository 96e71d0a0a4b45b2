"""A workspace of Azure ML as a service of the shared REST client."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trackbridge.ports.adapter import AdapterContext
from trackbridge.transport.authentication import BearerToken
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.service import Service
from trackbridge_adapters.azureml.arm import Arm
from trackbridge_adapters.azureml.artifacts import artifacts_of
from trackbridge_adapters.azureml.assets import Assets
from trackbridge_adapters.azureml.capabilities import DEPLOYMENTS, GAPS, HISTORY_PAGE_MAX, JOBS, LIMITS
from trackbridge_adapters.azureml.clouds import ADAPTER, NOT_RUNNING_HINT, Cloud, cloud_of
from trackbridge_adapters.azureml.config import Workspace, plain_address, uses_account, workspace_of
from trackbridge_adapters.azureml.datastores import Datastores, datastores_of
from trackbridge_adapters.azureml.errors import refusal_of
from trackbridge_adapters.azureml.health import check_of
from trackbridge_adapters.azureml.identity import Credential, authentication_of
from trackbridge_adapters.azureml.job import (
    job_credential,
    kept_variables,
    platform_run_of,
    with_host_of_job,
)
from trackbridge_adapters.azureml.limits import check
from trackbridge_adapters.azureml.registries import Discovery
from trackbridge_adapters.azureml.registry_organisation import OrganisationRegistry
from trackbridge_adapters.azureml.workspace import Location


@dataclass(frozen=True, slots=True)
class Backend:
    """A workspace: its MLflow endpoint, where it is, its assets in ARM, and its cloud."""

    service: Service
    location: Location
    assets: Assets
    cloud: Cloud
    datastores: Datastores
    datastores_of: Callable[[Workspace], Datastores]
    """Opens the datastores of any workspace of the cloud."""
    discovery: str
    """Who knows where registries are."""
    vault_endpoint: str | None = None
    """An address of key vaults instead of their own."""

    def registry_of(self, name: str, context: AdapterContext) -> OrganisationRegistry:
        """Open a registry, signed in as for the workspace; nobody is contacted."""
        http = self.service.http
        return OrganisationRegistry(
            name, Discovery(http, self.discovery, name), http, self.assets.arm, context
        )


def service_of(uri: str, context: AdapterContext, **named: Any) -> Service:
    """Do as ``backend_of``, for the MLflow endpoint alone."""
    return backend_of(uri, context, **named).service


def backend_of(
    uri: str,
    context: AdapterContext,
    *,
    credential: Credential | None = None,
    environment: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Backend:
    """Describe the workspace of a tracking URI; nobody is contacted.

    Args:
        uri: Any of the forms of ``config``.
        context: Of the adapter.
        credential: Signs in instead of what the options and the environment say.
        environment: The variables to read.
        folder: Where the search for config.json begins; the current directory without it.
    """
    options = context.options
    environment = kept_variables(environment)
    workspace = with_host_of_job(workspace_of(uri, options, environment, folder or Path.cwd()), environment)
    cloud = cloud_of(options, environment, workspace.host)
    http = HttpClient(adapter=ADAPTER, not_running_hint=NOT_RUNNING_HINT)
    location = _location_of(workspace, context, cloud, http)
    signed_in: Credential | None = credential
    if credential is None and not {"sign_in", "token_env", "token_file"} & options.keys():
        signed_in = job_credential(workspace, environment, _with_token, location.history_url)
    http.authentication = authentication_of(options, environment, cloud, context.clock_ms, signed_in)
    arm = Arm(http, location.arm_url)

    def opened(other: Workspace) -> Datastores:
        return datastores_of(
            arm,
            other,
            http,
            http.authentication if signed_in is credential else None,  # a job's token is for its workspace
            clock_ms=context.clock_ms,
            blob_endpoint=plain_address(options, "blob_endpoint"),
            suffix=cloud.storage_suffix,
        )

    datastores = opened(workspace)
    service = Service(
        adapter=ADAPTER,
        address=workspace.address,
        base_url=location.mlflow_url,
        http=http,
        limits=LIMITS,
        gaps={**GAPS, **JOBS, **DEPLOYMENTS},
        artifacts=artifacts_of(location, datastores if uses_account(options) else None),
        run_url=lambda experiment, run: studio_link(cloud, workspace, run),
        platform_run=platform_run_of(workspace, environment),
        dedups_points=False,
        history_page_max=HISTORY_PAGE_MAX,
        error_of=partial(refusal_of, authentication=http.authentication),
        refuse_experiment=_refuse_experiment,
        check=check_of(http.authentication, location, context.clock_ms, arm, datastores),
    )
    return Backend(
        service,
        location,
        Assets(arm, workspace.scope, home=context.home),
        cloud,
        datastores,
        lambda other: datastores if other.address == workspace.address else opened(other),
        plain_address(options, "endpoint") or cloud.discovery,
        plain_address(options, "vault_endpoint"),
    )


def _location_of(workspace: Workspace, context: AdapterContext, cloud: Cloud, http: HttpClient) -> Location:
    return Location(
        workspace,
        http=http,
        home=context.home,
        arm=plain_address(context.options, "arm_endpoint") or cloud.resource_manager,
        endpoint=plain_address(context.options, "endpoint"),
    )


def _refuse_experiment(name: str, tags: Mapping[str, str]) -> None:
    operation = "tracking.ensure_experiment"
    check("experiment.name", name, operation=operation)
    check("experiment.tags", len(tags), operation=operation)


def studio_link(cloud: Cloud, workspace: Workspace, run: str) -> str:
    """Return the page of a run in the studio."""
    scope = (
        f"/subscriptions/{workspace.subscription}/resourcegroups/{workspace.group}"
        f"/workspaces/{workspace.name}"
    )
    return f"{cloud.studio}/runs/{quote(run, safe='')}?wsid={quote(scope)}"


def _with_token(token: str) -> HttpClient:
    authentication = BearerToken(token, adapter=ADAPTER)
    return HttpClient(adapter=ADAPTER, authentication=authentication, not_running_hint=NOT_RUNNING_HINT)
