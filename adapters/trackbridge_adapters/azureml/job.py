"""The job of Azure ML that this process is in: its run, and the token that it was given.

Azure sets ``MLFLOW_TRACKING_URI``, ``MLFLOW_RUN_ID`` and ``MLFLOW_TRACKING_TOKEN`` in the container. The
token belongs to Azure: it is sent to the job's own workspace on a host of Azure, and nowhere else. Programs
of jobs that we submit find these variables gone, so that no client sends the token elsewhere; what Azure had
set is kept under names that only this module reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from trackbridge.errors import AuthError
from trackbridge.transport.http import HttpClient
from trackbridge_adapters.azureml.clouds import ADAPTER, is_azure_host
from trackbridge_adapters.azureml.config import JOB_VARIABLES, Workspace, workspace_in
from trackbridge_adapters.azureml.identity import claims_of
from trackbridge_adapters.azureml.sign_in import JOB

KEPT_PREFIX = "BRIDGE_AZUREML_JOB_"
"""How the names begin under which ``jobs_hooks`` keeps what Azure has set as ``MLFLOW_…``."""


@dataclass(frozen=True, slots=True)
class JobToken:
    """A token and when it ends; its repr shows neither."""

    token: str
    expires_on: int

    def __repr__(self) -> str:
        return "<JobToken>"


def kept_variables(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables as Azure had set them, where they were taken away from the program."""
    kept = {
        f"MLFLOW_{name.removeprefix(KEPT_PREFIX)}": value
        for name, value in environment.items()
        if name.startswith(KEPT_PREFIX)
    }
    return {**environment, **kept} if kept else environment


def with_host_of_job(workspace: Workspace, environment: Mapping[str, str]) -> Workspace:
    """Return a workspace with the host that the job in it was told: its token opens that, and not ARM."""
    job = workspace_in(environment.get("MLFLOW_TRACKING_URI", ""))
    is_here = workspace.host is None and job is not None and job.address == workspace.address
    return job if job is not None and is_here else workspace


def platform_run_of(workspace: Workspace, environment: Mapping[str, str]) -> str | None:
    """Return the native id of the run that this job is, in this workspace; None anywhere else."""
    run = environment.get("AZUREML_RUN_ID") or ""
    job = workspace_in(environment.get("MLFLOW_TRACKING_URI", ""))
    if not run and job is not None:
        run = environment.get("MLFLOW_RUN_ID") or ""
    named = [environment.get(name, "") for name in JOB_VARIABLES]
    here = Workspace(*named) if all(named) else job
    return run if run and here is not None and here.address == workspace.address else None


def job_credential(
    workspace: Workspace,
    environment: Mapping[str, str],
    http: Callable[[str], HttpClient],
    history_url: Callable[[], str],
) -> JobCredential | None:
    """Return the job's own credential, where the job is in this workspace and its host is Azure's."""
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    run = platform_run_of(workspace, environment)
    job = workspace_in(environment.get("MLFLOW_TRACKING_URI", ""))
    if not token or run is None or job is None or job.host is None:
        return None
    if job.address != workspace.address or not is_azure_host(job.host) or job.host != workspace.host:
        return None
    experiment = environment.get("MLFLOW_EXPERIMENT_ID") or environment.get("AZUREML_EXPERIMENT_ID") or ""
    return JobCredential(token, experiment, run, http, history_url)


class JobCredential:
    """The job's token, renewed by the run history ahead of its end."""

    way = JOB

    def __init__(
        self,
        token: str,
        experiment: str,
        run: str,
        http: Callable[[str], HttpClient],
        history_url: Callable[[], str],
    ) -> None:
        self._known: JobToken | None = JobToken(token, int(claims_of(token).get("exp") or 0))
        self._last = token
        self._route = f"/experimentids/{experiment}/runs/{run}/token"
        self._http = http
        self._history_url = history_url

    def get_token(self, *scopes: str) -> JobToken:
        """Return the token that the job began with, from then on a new one each time."""
        if self._known is not None and self._known.expires_on:
            known, self._known = self._known, None
            return known
        url = f"{self._history_url()}{self._route}"
        if not is_azure_host(urlsplit(url).netloc):
            raise AuthError("a job's token is not sent to a host that is not Azure's", adapter=ADAPTER)
        client = self._http(self._last)
        try:
            answer = client.request("GET", url)
        finally:
            client.close()
        try:
            self._last = str(json.loads(answer.content)["token"])
        except (ValueError, KeyError, TypeError):
            raise AuthError(
                f"the job's token was not renewed (status {answer.status_code})",
                adapter=ADAPTER,
                hint=JOB.renewal,
            ) from None
        return JobToken(self._last, int(claims_of(self._last).get("exp") or 0))
