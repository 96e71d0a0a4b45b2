"""A workspace of Azure ML as a service of the shared REST client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from trackbridge.ports.adapter import AdapterContext
from trackbridge.transport.authentication import BearerToken
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.service import Service
from trackbridge_adapters.azureml.artifacts import artifacts_of
from trackbridge_adapters.azureml.capabilities import GAPS, HISTORY_PAGE_MAX, LIMITS
from trackbridge_adapters.azureml.clouds import ADAPTER, Cloud, cloud_of
from trackbridge_adapters.azureml.config import Workspace, plain_address, workspace_of
from trackbridge_adapters.azureml.errors import refusal_of
from trackbridge_adapters.azureml.health import check_of
from trackbridge_adapters.azureml.identity import Credential, authentication_of
from trackbridge_adapters.azureml.job import job_credential, platform_run_of
from trackbridge_adapters.azureml.workspace import Location


def service_of(
    uri: str,
    context: AdapterContext,
    *,
    credential: Credential | None = None,
    environment: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Service:
    """Describe the workspace of a tracking URI; nobody is contacted.

    Args:
        uri: Any of the forms of ``config``.
        context: Of the adapter.
        credential: Signs in instead of what the options and the environment say.
        environment: The variables to read.
        folder: Where the search for config.json begins; the current directory without it.
    """
    options = context.options
    workspace = workspace_of(uri, options, environment, folder or Path.cwd())
    cloud = cloud_of(options, environment, workspace.host)
    http = HttpClient(adapter=ADAPTER)
    location = Location(
        workspace,
        http=http,
        home=context.home,
        arm=plain_address(options, "arm_endpoint") or cloud.resource_manager,
        endpoint=plain_address(options, "endpoint"),
    )
    signed_in: Credential | None = credential
    if credential is None and not {"sign_in", "token_env", "token_file"} & options.keys():
        signed_in = job_credential(workspace, environment, _with_token, location.history_url)
    http.authentication = authentication_of(options, environment, cloud, context.clock_ms, signed_in)
    return Service(
        adapter=ADAPTER,
        address=workspace.address,
        base_url=location.mlflow_url,
        http=http,
        limits=LIMITS,
        gaps=GAPS,
        artifacts=artifacts_of(location),
        run_url=lambda experiment, run: studio_link(cloud, workspace, run),
        platform_run=platform_run_of(workspace, environment),
        dedups_points=False,
        history_page_max=HISTORY_PAGE_MAX,
        error_of=refusal_of,
        check=check_of(http.authentication, location, context.clock_ms),
    )


def studio_link(cloud: Cloud, workspace: Workspace, run: str) -> str:
    """Return the page of a run in the studio."""
    scope = (
        f"/subscriptions/{workspace.subscription}/resourcegroups/{workspace.group}"
        f"/workspaces/{workspace.name}"
    )
    return f"{cloud.studio}/runs/{quote(run, safe='')}?wsid={quote(scope)}"


def _with_token(token: str) -> HttpClient:
    return HttpClient(adapter=ADAPTER, authentication=BearerToken(token, adapter=ADAPTER))
