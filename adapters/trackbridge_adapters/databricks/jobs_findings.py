"""What keeps a job from running on Databricks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trackbridge.domain.jobs import JobSpec
from trackbridge.domain.secrets import shown
from trackbridge.errors import BridgeError
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.jobs import features_of
from trackbridge_adapters._jobs.findings import error, problems_of, secret_variables, unfit_line
from trackbridge_adapters.databricks.jobs_compute import Workspace
from trackbridge_adapters.databricks.jobs_files import code_of, volume_path
from trackbridge_adapters.databricks.jobs_requests import (
    NAME_BYTES_MAX,
    PARAMETERS_BYTES_MAX,
    SECRET_SCHEME,
    node_type_of,
    secret_place,
    told_of,
)
from trackbridge_adapters.databricks.jobs_settings import FOLDER_HINT, JobSettings

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def findings_of(
    spec: JobSpec, settings: JobSettings, capabilities: Capabilities, workspace: Workspace
) -> Iterator[Finding]:
    """Yield what is wrong or doubtful; with an ERROR the job is not taken.

    The workspace is asked only about a spec that could run.

    Raises:
        BridgeError: The workspace cannot be asked.
    """
    found = [*_without_asking(spec, settings, capabilities)]
    yield from found
    if not any(finding.severity is Severity.ERROR for finding in found):
        yield from _compute_there(spec, settings, workspace)
        yield from _secrets_there(spec, workspace)
        yield from _inputs_there(spec, workspace)


def _without_asking(spec: JobSpec, settings: JobSettings, capabilities: Capabilities) -> Iterator[Finding]:
    yield from problems_of(spec)
    for feature in features_of(spec):
        if not capabilities.supports(feature):
            yield error("compute", capabilities.features[feature].reason, "leave it out")
    if settings.folder is None:
        yield error("job_folder", "there is no folder for the files of jobs", FOLDER_HINT)
    yield from _name(spec)
    yield from _compute(spec, settings)
    yield from _environment(spec, settings)
    yield from _secrets(spec, settings)
    yield from _data(spec)
    yield from _code(spec)


def _name(spec: JobSpec) -> Iterator[Finding]:
    size = len(spec.name.encode("utf-8", "replace"))
    if not spec.name.strip() or size > NAME_BYTES_MAX:
        yield error("name", f"it has {size} bytes", f"give it 1 to {NAME_BYTES_MAX} bytes")
    elif any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in spec.name):
        yield error("name", "it holds control characters", "remove them")
    try:
        size = len(told_of(spec).encode()) + NAME_BYTES_MAX
    except UnicodeEncodeError:  # has its own finding
        return
    if size > PARAMETERS_BYTES_MAX:
        yield error("tracking_uri", "it is too long for the parameters of a run", "use a remote's name")


def _compute(spec: JobSpec, settings: JobSettings) -> Iterator[Finding]:
    if spec.compute.cluster and spec.compute.instance_type:
        yield error("compute", "there is a cluster and an instance type", "give one of them")
    if spec.compute.spot and node_type_of(spec, settings) is None:
        fix = "give an instance type, or set the option job_node_type"
        yield error("compute", "spot capacity is for a cluster of the job's own", fix)


def _environment(spec: JobSpec, settings: JobSettings) -> Iterator[Finding]:
    environment = spec.environment
    if environment.conda_file:
        yield error("environment", "Databricks takes no conda files", "give requirements instead")
    if environment.python:
        fix = "leave it out; the runtime decides: set the option job_spark_version"
        yield error("environment", "the version of Python is that of the runtime", fix)
    if environment.image and node_type_of(spec, settings) is None:
        fix = "give an instance type, or set the option job_node_type"
        yield error("environment", "an image is for a cluster of the job's own", fix)
    for requirement in environment.requirements:
        unfit = unfit_line(
            requirement,
            secret_fix="put the package into a volume, and name its path",
            option_fix="give requirements one by one",
        )
        if unfit is not None:
            yield unfit


def _secrets(spec: JobSpec, settings: JobSettings) -> Iterator[Finding]:
    yield from secret_variables(spec)
    fix = f"keep the value in a secret scope, and write {SECRET_SCHEME}SCOPE/KEY"
    for name, reference in spec.secrets.items():
        if secret_place(reference) is None:  # not shown: by mistake it could be the value
            yield error("secrets", f"the reference of {name} leads to no secret of Databricks", fix)
        elif not _VARIABLE.fullmatch(name):
            yield error(
                "secrets", f"{name!r} is no name for a cluster's variable", "use letters, digits and _"
            )
    if spec.secrets and node_type_of(spec, settings) is None:
        fix = "give an instance type, or set the option job_node_type"
        yield error("secrets", "secrets are set as variables of a cluster of the job's own", fix)


def _data(spec: JobSpec) -> Iterator[Finding]:
    places = [("inputs", name, uri) for name, uri in spec.inputs.items()]
    places += [("outputs", name, uri) for name, uri in spec.outputs.items()]
    places += [("checkpoints", "checkpoints", spec.checkpoints)] if spec.checkpoints is not None else []
    for field, name, uri in places:
        if volume_path(uri) is None:
            message = f"{name} is {shown(uri)!r}, which a job on Databricks does not see as files"
            yield error(field, message, "copy it to a volume, or make an external volume of it: /Volumes/…")


def _code(spec: JobSpec) -> Iterator[Finding]:
    try:
        code_of(spec)
    except BridgeError as problem:
        yield error("code_dir", problem.message, problem.hint or "check the folder")
    except UnicodeEncodeError:  # has its own finding
        return


def _compute_there(spec: JobSpec, settings: JobSettings, workspace: Workspace) -> Iterator[Finding]:
    if spec.compute.cluster:
        found = workspace.clusters(spec.compute.cluster)
        if len(found) != 1:
            how_many = "no cluster" if not found else f"{len(found)} clusters"
            yield error(
                "compute", f"{how_many} have the name or id {spec.compute.cluster!r}", "give a cluster's id"
            )
        return
    node_type = node_type_of(spec, settings)
    if node_type is None:
        return
    if node_type not in workspace.node_types():
        yield error(
            "compute",
            f"the workspace has no instance type {node_type!r}",
            "choose one of: databricks clusters list-node-types",
        )
    if settings.spark_version is None and workspace.newest_runtime() is None:
        yield error("compute", "the workspace lists no runtime", "set the option job_spark_version")


def _secrets_there(spec: JobSpec, workspace: Workspace) -> Iterator[Finding]:
    for name, reference in spec.secrets.items():
        place = secret_place(reference)
        if place is not None and not workspace.has_secret(*place):
            fix = f"databricks secrets put-secret {place[0]} {place[1]}"
            yield error("secrets", f"{name} refers to {reference}, which is not there", fix)


def _inputs_there(spec: JobSpec, workspace: Workspace) -> Iterator[Finding]:
    for name, uri in spec.inputs.items():
        path = volume_path(uri)
        if path is not None and not workspace.has_data(path):
            yield error("inputs", f"{name} is {shown(uri)!r}, where there is nothing", "check the path")
