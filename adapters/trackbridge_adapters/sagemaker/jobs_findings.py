"""What is wrong with a job for SageMaker: told from the spec alone, or by asking AWS; see ``jobs_checks``."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from trackbridge.domain.jobs import JobSpec, Launcher
from trackbridge.domain.secrets import redact
from trackbridge.errors import BridgeError, Rejected
from trackbridge.ports.findings import Finding
from trackbridge_adapters._jobs.findings import error, problems_of, secret_variables, unfit_line, warning
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.artifacts_linked import SCHEME
from trackbridge_adapters.sagemaker.jobs_kinds import DAY_S, KINDS, OWN_CHANNELS, PROCESSING, kind_of
from trackbridge_adapters.sagemaker.limits import limit_of

SECRET_KINDS = ("secretsmanager", "ssm")


class Unfit(Rejected):
    """A part of a spec that SageMaker cannot take; ``subject`` says which."""

    subject = ""


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Say which part of the spec is refused, when it is.

    Raises:
        Unfit: It is.
    """
    try:
        yield
    except Rejected as error_:
        unfit = Unfit(error_.message, adapter=ADAPTER, operation="jobs.check", hint=error_.hint)
        unfit.subject = subject
        raise unfit from error_


def unchecked(subject: str, what: str, denied: BridgeError, action: str) -> Finding:
    """Return the finding that something could not be looked at, for want of a right."""
    return warning(subject, f"{what} could not be checked: {denied.message}", f"allow {action} to check it")


def refused(subject: str, error_: BridgeError) -> Finding:
    """Return the finding that an error stands for."""
    return error(subject, error_.message, error_.hint or "correct it")


def spec_findings(spec: JobSpec, instance_type: str) -> Iterator[Finding]:
    """Yield what is wrong or doubtful with a spec by itself."""
    yield from problems_of(spec)
    yield from _compute(spec, instance_type)
    yield from _time(spec)
    yield from _environment(spec)
    yield from _secrets(spec)
    yield from _data(spec)


def _compute(spec: JobSpec, instance_type: str) -> Iterator[Finding]:
    cluster, kind = spec.compute.cluster, kind_of(spec)
    if cluster is not None and cluster not in KINDS:
        yield error(
            "compute",
            f"SageMaker has no cluster {cluster!r}",
            "leave it out for a training job, or write 'processing' for a processing job",
        )
    path = "ResourceConfig" if kind is not PROCESSING else "ProcessingResources.ClusterConfig"
    known = limit_of("sagemaker", kind.operation, f"{path}.InstanceType", "enum") or ()
    if instance_type not in known:
        near = difflib.get_close_matches(instance_type, known, n=3)
        yield error(
            "compute",
            f"{instance_type!r} is no instance type of {kind.word.lower()} jobs",
            f"did you mean {' or '.join(near)}?" if near else "write one such as ml.m5.large",
        )
    if kind is PROCESSING and spec.compute.spot:
        yield error("compute", "processing jobs have no spot capacity", "leave out the cluster 'processing'")
    if spec.compute.spot and spec.checkpoints is None:
        yield warning(
            "checkpoints",
            "spot capacity may be taken away, and the program has nowhere to save its state",
            "name a folder in S3 as checkpoints, and go on from BRIDGE_CHECKPOINTS",
        )
    if spec.launcher is Launcher.SPARK:
        yield error("launcher", "SageMaker's jobs here run no Spark", "submit it to spark: or databricks:")
    if spec.launcher is Launcher.MPI and spec.compute.instance_count > 1:
        yield error(
            "launcher",
            "MPI starts the processes of one machine: there is no ssh between SageMaker's",
            "use torchrun, or one machine with more processors",
        )


def _time(spec: JobSpec) -> Iterator[Finding]:
    kind = kind_of(spec)
    wanted_s = (spec.time_limit_s or 0) * spec.attempts_max
    if wanted_s > kind.runtime_s_max:
        yield error(
            "time_limit_s",
            f"{spec.attempts_max} attempts of {spec.time_limit_s} s are longer than a {kind.word.lower()} "
            f"job may take: {kind.runtime_s_max // DAY_S} days",
            "give a shorter --time-limit, or fewer --retries",
        )


def _environment(spec: JobSpec) -> Iterator[Finding]:
    environment = spec.environment
    if environment.conda_file:
        yield error(
            "environment",
            "jobs of SageMaker make no conda environments",
            "give requirements, or an image that has the environment",
        )
    if environment.python and environment.image:
        yield warning("environment", "the Python is the image's own", "leave the version out")
    for requirement in environment.requirements:
        yield from _requirement(requirement)


def _requirement(requirement: str) -> Iterator[Finding]:
    unfit = unfit_line(
        requirement,
        secret_fix="make PIP_INDEX_URL one of the secrets",
        option_fix="set a variable PIP_… instead",
    )
    if unfit is not None:
        yield unfit
    elif requirement.startswith((".", "/", "file:")) or "@ file:" in requirement:
        yield error(
            "environment",
            f"{requirement!r} is a file of this machine",
            "put it into the folder of the code, and name it from there in the command; or publish it",
        )


def _secrets(spec: JobSpec) -> Iterator[Finding]:
    yield from secret_variables(spec)
    for name, reference in spec.secrets.items():
        kind, _, place = reference.partition(":")
        if kind in SECRET_KINDS and place:
            continue
        # The reference is not shown: by mistake it could be the value.
        told = "refers to this machine, which the job does not see" if kind in ("env", "file") else ""
        yield error(
            "secrets",
            f"{name} {told or 'has no reference that SageMaker knows'}",
            f"keep it in AWS: aws secretsmanager create-secret --name {name} …; then write "
            f"{name}=secretsmanager:{name}, or {name}=ssm:/PATH for a parameter",
        )


def _data(spec: JobSpec) -> Iterator[Finding]:
    kind = kind_of(spec)
    for name in sorted(OWN_CHANNELS & spec.inputs.keys()):
        yield error("inputs", f"the name {name!r} is taken by the job's own", "call the input otherwise")
    if spec.ignore_file is not None and spec.code_dir is None:
        yield error("ignore_file", "there is no folder of code", "name it by --code, or leave the file out")
    for name, address in spec.outputs.items():
        if not _is_bucket_address(address):
            yield error(
                "outputs",
                f"{name}: jobs of SageMaker write to S3, not to {redact(address)!r}",
                "write s3://BUCKET/FOLDER",
            )
        elif os.path.normpath(name) != name or "/" in name or name in (".", ".."):
            yield error("outputs", f"{name!r} cannot be the name of a folder", "use letters, digits and '-'")
    if spec.checkpoints is None:
        return
    if kind is PROCESSING:
        yield error("checkpoints", "processing jobs have no checkpoints", "run it as a training job")
    elif not _is_bucket_address(spec.checkpoints):
        yield error(
            "checkpoints",
            f"SageMaker keeps checkpoints in S3, not in {redact(spec.checkpoints)!r}",
            "write s3://BUCKET/FOLDER",
        )


def _is_bucket_address(text: str) -> bool:
    return text.startswith(SCHEME) and bool(text.removeprefix(SCHEME).partition("/")[0])
