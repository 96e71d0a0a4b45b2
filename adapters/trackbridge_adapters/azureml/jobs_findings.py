"""What keeps a job from running in Azure ML, said before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from trackbridge.domain.jobs import Compute, Environment, JobSpec, Launcher
from trackbridge.domain.secrets import shown
from trackbridge.errors import AuthError, BridgeError, ConfigError, InvalidInput, NotFound, Rejected
from trackbridge.ports.findings import Finding, Severity
from trackbridge_adapters._jobs.code_files import list_code
from trackbridge_adapters._jobs.findings import error, problems_of, secret_variables, unfit_line, warning
from trackbridge_adapters.azureml.jobs_assets import environment_of, is_named
from trackbridge_adapters.azureml.jobs_data import NAME, OURS, output_problem
from trackbridge_adapters.azureml.jobs_places import sizes_instead
from trackbridge_adapters.azureml.jobs_request import IMAGE
from trackbridge_adapters.azureml.limits import most

if TYPE_CHECKING:
    from trackbridge_adapters.azureml.jobs_assets import JobAssets
    from trackbridge_adapters.azureml.jobs_data import JobData
    from trackbridge_adapters.azureml.jobs_places import JobPlaces, Size

VAULT = "keyvault"
NAME_CHARS_MAX = 256
CODE_BYTES_ADVISED = 300 * 1024 * 1024
"""learn.microsoft.com, how-to-save-write-experiment-files: snapshots have at most 300 MB."""
HIDDEN = (NotFound, ConfigError, InvalidInput, Rejected)
"""What looking at a part of a spec may end with, and that is then a finding."""


def findings_of(spec: JobSpec, places: JobPlaces, data: JobData, assets: JobAssets) -> Iterator[Finding]:
    """Yield what is wrong or doubtful; with an ERROR the job is not taken. Azure is asked last."""
    own = [*_own_findings(spec)]
    yield from own
    if any(finding.severity is Severity.ERROR for finding in own):
        return
    yield from _compute(spec.compute, places)
    yield from _named_environment(spec.environment, assets)
    yield from _inputs(spec.inputs, data)
    yield from _stored_secrets(spec.secrets, places)


def _own_findings(spec: JobSpec) -> Iterator[Finding]:
    """Yield what is seen without asking anybody."""
    problems = [*problems_of(spec)]
    yield from problems
    if problems:
        return  # texts that are none cannot be looked at further
    yield from _name(spec.name)
    yield from _tags(spec.tags)
    yield from _launcher(spec)
    yield from _environment(spec.environment)
    yield from _code(spec)
    yield from _places(spec)
    yield from _variables(spec)


def _name(name: str) -> Iterator[Finding]:
    if not name or not name.isprintable() or len(name) > NAME_CHARS_MAX:
        yield error(
            "name",
            f"{shown(name, chars_max=60)!r} cannot be a job's name in Azure ML",
            f"use 1 to {NAME_CHARS_MAX} printable characters",
        )


def _tags(tags: dict[str, str]) -> Iterator[Finding]:
    count_max, key_max, value_max = most("run.tags") - 1, most("run.tag.key"), most("run.tag.value")
    if len(tags) > count_max:
        yield error("tags", f"there are {len(tags)} tags", f"use at most {count_max}")
    for key, value in tags.items():
        if not key or len(key) > key_max or len(value) > value_max:
            yield error(
                "tags",
                f"the tag {shown(key, chars_max=60)!r} is longer than Azure ML takes, or has no name",
                f"a name has 1 to {key_max} characters, a value at most {value_max:,}",
            )


def _launcher(spec: JobSpec) -> Iterator[Finding]:
    if spec.launcher is Launcher.SPARK:
        yield error(
            "launcher",
            "Spark jobs of Azure ML are another kind of job, which is not built yet",
            "submit it to spark://… or databricks:, or start Spark in the program itself",
        )
    if spec.launcher is Launcher.MPI and spec.attempts_max > 1:
        yield error(
            "attempts_max",
            "Azure ML starts the processes of MPI itself, and does not start them again",
            "leave --retries out, and submit it again when it fails",
        )


def _environment(environment: Environment) -> Iterator[Finding]:
    image = environment.image
    if image and not is_named(environment) and IMAGE.fullmatch(image) is None:
        yield error(
            "environment",
            f"{shown(image, chars_max=100)!r} is no image, and no environment of Azure ML",
            "write registry/name:tag, or azureml:NAME:VERSION",
        )
    if is_named(environment) and (environment.python or environment.conda_file):
        yield error(
            "environment", "an environment of the workspace has its own packages", "give requirements instead"
        )
    yield from _requirements(environment.requirements)
    try:
        environment_of(environment)
    except HIDDEN as problem:
        yield error("environment", problem.message, problem.hint or "name a conda file that exists")


def _requirements(requirements: Iterable[str]) -> Iterator[Finding]:
    for requirement in requirements:
        unfit = unfit_line(requirement, secret_fix="write ${NAME} there, and make NAME one of secrets")
        if unfit is not None:
            yield unfit
        elif requirement.startswith((".", "/", "file:")) or "@ file:" in requirement:
            yield error(
                "environment",
                f"{requirement!r} is a path of this machine, which the job's does not have",
                "put the wheel into the folder of the code's index, or name a released version",
            )


def _code(spec: JobSpec) -> Iterator[Finding]:
    try:
        code = list_code(spec.code_dir, spec.ignore_file)
    except BridgeError as problem:
        yield error("code_dir", problem.message, problem.hint or "correct the folder")
        return
    if code.size_bytes > CODE_BYTES_ADVISED:
        yield warning(
            "code_dir",
            f"the code has {code.size_bytes / 1e6:,.0f} MB, and Azure ML advises at most 300",
            "exclude data by .bridgeignore, and give it as an input",
        )


def _places(spec: JobSpec) -> Iterator[Finding]:
    for field in ("inputs", "outputs"):
        for name in getattr(spec, field):
            if NAME.fullmatch(name) is None or name.lower().startswith(OURS):
                yield error(
                    field,
                    f"{shown(name, chars_max=60)!r} cannot be a name in Azure ML",
                    f"use letters, digits and '_', at most 63, a letter first, and not {OURS}…",
                )
    for name, uri in (*spec.outputs.items(), ("the folder", spec.checkpoints)):
        problem = output_problem(uri) if uri is not None else None
        if problem is not None:
            message, fix = problem
            is_output = name in spec.outputs
            yield error("outputs" if is_output else "checkpoints", f"{name}: {message}", fix)


def _variables(spec: JobSpec) -> Iterator[Finding]:
    yield from secret_variables(spec)
    for name, reference in spec.secrets.items():
        kind, _, place = reference.partition(":")
        if kind == "env":
            yield error(
                "secrets",
                f"{name} refers to a variable of this machine, which the job's does not have",
                "put the value into the workspace's key vault (az keyvault secret set --vault-name VAULT "
                f"--name NAME --value …), and write {name}=keyvault:NAME",
            )
        elif kind != VAULT or not place:
            # The reference is not shown: by mistake it could be the value.
            yield error(
                "secrets", f"{name} has no reference that Azure ML knows", f"write {name}=keyvault:NAME"
            )
        elif not all(letter.isascii() and (letter.isalnum() or letter == "-") for letter in place):
            yield error("secrets", f"{name} names no secret", "a vault's names are letters, digits and '-'")


# What Azure is asked.


def _compute(compute: Compute, places: JobPlaces) -> Iterator[Finding]:
    if compute.cluster is not None and compute.instance_type is not None:
        yield error("compute", "a cluster has its own instance type", "give one of the two")
    elif compute.cluster is not None:
        yield from _cluster(compute, compute.cluster, places)
    elif compute.instance_type is not None:
        yield from _size(compute, compute.instance_type, places)


def _cluster(compute: Compute, name: str, places: JobPlaces) -> Iterator[Finding]:
    try:
        found = places.find_cluster(name)
    except NotFound:  # no compute can be called so
        found = None
    if found is None:
        known = ", ".join(places.cluster_names()) or "none"
        yield error(
            "compute",
            f"the workspace has no compute {shown(name, chars_max=60)!r}; there is {known}",
            "make it (az ml compute create), or give an instance type for serverless compute",
        )
        return
    if found.state.lower() not in ("succeeded", ""):
        yield error("compute", f"the compute {name} is {found.state}", "wait for it, or make it anew")
    if found.nodes_max is not None and compute.instance_count > found.nodes_max:
        yield error(
            "compute",
            f"the job wants {compute.instance_count} machines, and {name} has at most {found.nodes_max}",
            "ask for fewer, or let the cluster grow: az ml compute update --max-instances",
        )
    if compute.spot and not found.is_spot:
        yield error(
            "compute",
            f"{name} is no cluster of spot capacity",
            "name one of the tier low_priority, or give an instance type for serverless compute",
        )
    if found.is_spot and not compute.spot:
        yield warning(
            "compute",
            f"the machines of {name} are spot capacity, which may be taken away",
            "ask for spot, so that the job goes on elsewhere",
        )


def _size(compute: Compute, name: str, places: JobPlaces) -> Iterator[Finding]:
    known = {size.name.lower(): size for size in places.sizes()}
    size = known.get(name.lower())
    if size is None:
        yield error(
            "compute",
            f"the workspace's region has no instance type {shown(name, chars_max=60)!r}",
            sizes_instead(name, known.values()),
        )
        return
    if compute.spot and not size.has_spot:
        yield error("compute", f"there is no spot capacity of {size.name}", "choose another type, or no spot")
        return
    yield from _quota(compute, size, places)


def _quota(compute: Compute, size: Size, places: JobPlaces) -> Iterator[Finding]:
    wanted = size.cores * compute.instance_count
    for quota in places.quotas(size, spot=compute.spot):
        told = f"the job wants {wanted} cores; {quota.name}: {quota.limit} are allowed, {quota.used} in use"
        if wanted > quota.limit:
            yield error("quota", told, "ask for more in the portal, or choose fewer or smaller machines")
        elif wanted > quota.limit - quota.used:
            yield warning("quota", f"{told}: it will wait", "nothing, or ask for more in the portal")


def _named_environment(environment: Environment, assets: JobAssets) -> Iterator[Finding]:
    try:
        assets.environment_id(environment)
    except HIDDEN as problem:
        yield error("environment", problem.message, problem.hint or "list them: az ml environment list")


def _inputs(inputs: dict[str, str], data: JobData) -> Iterator[Finding]:
    for name, uri in inputs.items():
        try:
            data.input(uri)
        except HIDDEN as problem:
            yield error("inputs", f"{name}: {problem.message}", problem.hint or "name what exists")


def _stored_secrets(secrets: dict[str, str], places: JobPlaces) -> Iterator[Finding]:
    for name, reference in secrets.items():
        secret = reference.partition(":")[2]
        try:
            is_there = places.has_secret(secret)
        except AuthError as problem:
            yield warning(
                "secrets",
                f"nobody here may look whether the vault has {secret}: {problem.message}",
                "ask for the role 'Key Vault Secrets User' on it, or make sure yourself",
            )
            continue
        except NotFound as problem:
            yield error("secrets", problem.message, "make a key vault for the workspace")
            return
        if not is_there:
            vault = places.vault_name()
            yield error(
                "secrets",
                f"{name}: the vault {vault} has no secret {secret}",
                f"az keyvault secret set --vault-name {vault} --name {secret} --value …",
            )


def hours_of(seconds: int | None) -> float | None:
    """Return hours, rounded up to hundredths; None where there is no limit."""
    return None if seconds is None else math.ceil(seconds / 36) / 100
