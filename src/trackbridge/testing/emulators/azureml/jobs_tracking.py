"""A job's run in MLflow: opened by the platform, and closed by it; and what the program is told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from trackbridge.testing.emulators.azureml.core import Cloud, Refused, Request, guid_of
from trackbridge.testing.emulators.azureml.jobs_records import Job
from trackbridge.testing.emulators.azureml.mlflow_endpoint import MlflowBehind
from trackbridge.testing.emulators.azureml.tokens import JOB_AUDIENCE

USER = "Someone"
_NETWORK = (
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "AZUREML_CURRENT_CLOUD",
)
_IDENTITY = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_TOKEN_CREDENTIALS")
_STATUS = {
    "Completed": "FINISHED",
    "Failed": "FAILED",
    "Canceled": "KILLED",
    "Running": "RUNNING",
    "Queued": "SCHEDULED",
}


class JobRun:
    """The run of one job. Without an MLflow server there is none."""

    def __init__(self, cloud: Cloud, job: Job) -> None:
        self._cloud, self._job = cloud, job
        self._behind = cloud.part(MlflowBehind)
        self._has_server = bool(cloud.mlflow())

    def open(self) -> None:
        """Open the run, in the job's experiment, which is made when it is not there."""
        job = self._job
        experiment = str(job.asked["experimentName"])
        if not self._has_server:
            job.experiment_id = guid_of(f"{job.workspace_id}/experiments/{experiment}")
            return
        job.experiment_id = self._experiment(experiment)
        tags = {
            "mlflow.user": USER,
            "mlflow.rootRunId": job.name,
            "mlflow.runName": job.asked["displayName"],
            **(job.asked.get("tags") or {}),
        }
        made = self._call(
            "runs/create",
            {
                "experiment_id": job.experiment_id,
                "start_time": int(job.created_s * 1000),
                "run_name": job.asked["displayName"],
                "tags": [{"key": key, "value": str(value)} for key, value in tags.items()],
            },
        )
        job.run_id = made["run"]["info"]["run_id"]
        self._behind.names.add(job.name, job.run_id)
        self._tell("SCHEDULED")

    def follow(self, status: str) -> None:
        """Tell MLflow the job's status, where it has one for it."""
        if status in _STATUS and self._job.run_id:
            self._tell(_STATUS[status])

    def _tell(self, status: str) -> None:
        told: dict[str, Any] = {"run_id": self._job.run_id, "status": status}
        if self._job.ended_s is not None:
            told["end_time"] = int(self._job.ended_s * 1000)
        self._call("runs/update", told)

    def _experiment(self, name: str) -> str:
        found = self._behind.call(
            "GET", "experiments/get-by-name", query=f"experiment_name={quote(name, safe='')}"
        )
        if found.status == 200:
            return str(json.loads(found.body)["experiment"]["experiment_id"])
        return str(self._call("experiments/create", {"name": name})["experiment_id"])

    def _call(self, route: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = self._behind.call("POST", route, request)
        if answer.status != 200:
            message = f"{route}: {answer.status} {answer.body[:300]!r}"
            raise Refused(400, "UserError", f"The run could not be opened or changed: {message}")
        content: dict[str, Any] = json.loads(answer.body or b"{}")
        return content


def delete_run(cloud: Cloud, job: Job) -> None:
    """Delete the run of a job that was deleted: nobody finds it any more by the job's name."""
    behind = cloud.part(MlflowBehind)
    if job.run_id and behind.names.id_of(job.name) == job.run_id:
        behind.names.remove(job.name)
        behind.call("POST", "runs/delete", {"run_id": job.run_id})


def job_variables(cloud: Cloud, job: Job) -> dict[str, str]:
    """Return what Azure sets in a job's container; it wins over what the job itself asks for.

    The token is the workspace's: its services take it, Resource Manager does not.
    """
    names = job.workspace_id.strip("/").split("/")
    # Its requests come through the proxy, under Azure's own host names.
    at = cloud.addresses(Request("GET", "/", {}, host="management.azure.com", is_tls=True))
    token = cloud.issuer.issue(audience=JOB_AUDIENCE)
    return {
        "MLFLOW_TRACKING_URI": f"azureml://{at.mlflow}/mlflow/v1.0{job.workspace_id}?",
        "MLFLOW_TRACKING_TOKEN": token.token,
        "MLFLOW_RUN_ID": job.name,
        "MLFLOW_EXPERIMENT_ID": job.experiment_id,
        "MLFLOW_EXPERIMENT_NAME": str(job.asked["experimentName"]),
        "AZUREML_RUN_ID": job.name,
        "AZUREML_ROOT_RUN_ID": job.name,
        "AZUREML_RUN_TOKEN": token.token,
        "AZUREML_RUN_TOKEN_EXPIRY": str(token.expires_on),
        "AZUREML_EXPERIMENT_ID": job.experiment_id,
        "AZUREML_ARM_SUBSCRIPTION": names[1],
        "AZUREML_ARM_RESOURCEGROUP": names[3],
        "AZUREML_ARM_WORKSPACE_NAME": names[7],
        "AZUREML_ARM_PROJECT_NAME": str(job.asked["experimentName"]),
        "AZUREML_WORKSPACE_ID": guid_of(job.workspace_id),
        "AZUREML_WORKSPACE_SCOPE": job.workspace_id,
        "AZUREML_EXPERIMENT_SCOPE": f"{job.workspace_id}/experiments/{job.asked['experimentName']}",
        "AZUREML_SERVICE_ENDPOINT": at.service,
        "AZUREML_DISCOVERY_SERVICE_ENDPOINT": f"{at.service}/discovery",
    }


def network_variables(cloud: Cloud, identity: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what leads a job to this cloud; only a job with a managed identity has more than its token."""
    kind = str((identity or {}).get("identityType", "")).lower()
    wanted = (*_NETWORK, *_IDENTITY) if kind == "managed" else _NETWORK
    return {name: cloud.environment[name] for name in wanted if name in cloud.environment}
