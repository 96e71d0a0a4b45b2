"""The request that a spec becomes: a one-time run of one task (``/api/2.2/jobs/runs/submit``).

=================  ========================================================================
limit              value and source (docs.databricks.com/api: Jobs, create and trigger a one-time run)
=================  ========================================================================
idempotency_token  64 characters
run_name           4,096 bytes in UTF-8
parameters         10,000 bytes as JSON
=================  ========================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trackbridge.domain.jobs import JobSpec
from trackbridge_adapters.databricks.jobs_settings import SPOT, JobSettings

NAME_BYTES_MAX = 4096
PARAMETERS_BYTES_MAX = 10_000
START_S_MAX = 3600
"""What the platform may take to start and end a machine, beyond the job's own limit."""

SECRET_SCHEME = "databricks-secret:"
ENVIRONMENT_KEY = "job"
ENVIRONMENT_VERSION = "2"
RUN_ID = "{{job.run_id}}"

Json = dict[str, Any]

_SINGLE_NODE: Mapping[str, Mapping[str, str]] = {
    "spark_conf": {"spark.databricks.cluster.profile": "singleNode", "spark.master": "local[*]"},
    "custom_tags": {"ResourceClass": "SingleNode"},
}


def node_type_of(spec: JobSpec, settings: JobSettings) -> str | None:
    """Return the instance type of a job; None where it runs on a cluster that is there, or serverless."""
    return spec.compute.instance_type or (None if spec.compute.cluster else settings.node_type)


def request_of(
    spec: JobSpec,
    settings: JobSettings,
    *,
    folder: str,
    token: str,
    cluster_id: str | None,
    spark_version: str | None,
) -> Json:
    """Return the body of the request.

    Args:
        spec: Of the job.
        settings: Of jobs here.
        folder: Where its programs lie.
        token: Makes it repeatable.
        cluster_id: The cluster that is there already, where the spec names one.
        spark_version: The runtime of a new cluster.
    """
    task: Json = {
        "task_key": "job",
        "spark_python_task": {
            "python_file": f"{folder}/task_program.py",
            "parameters": [folder, RUN_ID, told_of(spec)],
            "source": "WORKSPACE",
        },
        "max_retries": 0,
    }
    request: Json = {"run_name": spec.name, "idempotency_token": token, "tasks": [task]}
    limit_s = limit_of(spec)
    if limit_s is not None:
        request["timeout_seconds"] = limit_s
    node_type = node_type_of(spec, settings)
    if cluster_id is not None:
        task["existing_cluster_id"] = cluster_id
    elif node_type is not None:
        task["new_cluster"] = _new_cluster(spec, settings, node_type, spark_version)
    else:
        task["environment_key"] = ENVIRONMENT_KEY
        environment: Json = {"environment_version": ENVIRONMENT_VERSION}
        if spec.environment.requirements:
            environment["dependencies"] = list(spec.environment.requirements)
        request["environments"] = [{"environment_key": ENVIRONMENT_KEY, "spec": environment}]
    return request


def told_of(spec: JobSpec) -> str:
    """Return what a run remembers of its spec, as one of its parameters.

    What is between double braces would be replaced by the service.
    """
    told = {"run_id": spec.run_id, "tracking_uri": spec.tracking_uri, "attempts_max": spec.attempts_max}
    return json.dumps(told).replace("{{", "{\\u007b").replace("}}", "}\\u007d")


def limit_of(spec: JobSpec) -> int | None:
    """Return the seconds after which the platform ends the run; the job's own limit ends it before."""
    return None if spec.time_limit_s is None else spec.time_limit_s * spec.attempts_max + START_S_MAX


def secret_place(reference: str) -> tuple[str, str] | None:
    """Return scope and key of ``databricks-secret:SCOPE/KEY``; None for any other reference."""
    scope, slash, key = reference.removeprefix(SECRET_SCHEME).partition("/")
    allowed = all(part and all(c.isalnum() or c in "-_.@" for c in part) for part in (scope, key))
    return (scope, key) if reference.startswith(SECRET_SCHEME) and slash and allowed else None


def _new_cluster(spec: JobSpec, settings: JobSettings, node_type: str, spark_version: str | None) -> Json:
    workers = spec.compute.instance_count - 1  # the driver is one of the machines
    cluster: Json = {"spark_version": spark_version, "node_type_id": node_type, "num_workers": workers}
    if workers == 0:
        cluster |= {name: dict(values) for name, values in _SINGLE_NODE.items()}
    places = {name: secret_place(reference) for name, reference in spec.secrets.items()}
    if places:
        cluster["spark_env_vars"] = {
            name: "{{secrets/" + "/".join(place) + "}}" for name, place in places.items() if place is not None
        }
    if spec.compute.spot:
        cluster[settings.cloud.value] = dict(SPOT[settings.cloud])
    if spec.environment.image:
        cluster["docker_image"] = {"url": spec.environment.image}
    return cluster
