"""What keeps a job from running on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator

from trackbridge.domain.job_checks import job_problems
from trackbridge.domain.jobs import JobSpec
from trackbridge.domain.secrets import is_secret_name, redact
from trackbridge.ports.capabilities import Capabilities, Feature
from trackbridge.ports.findings import Finding, Severity
from trackbridge_adapters.local.environments import path_of, wanted_of

UV_HINT = "pip install 'trackbridge[jobs]'"


def find_uv() -> str | None:
    """Return the path of the uv program, None where there is none."""
    try:
        import uv

        return os.fspath(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("uv")


def features_of(spec: JobSpec) -> Iterator[Feature]:
    """Yield the optional features that a spec asks for."""
    if spec.compute.spot:
        yield Feature.JOBS_SPOT
    if spec.compute.instance_count > 1 or spec.processes_per_node > 1:
        yield Feature.JOBS_DISTRIBUTED


def findings_of(spec: JobSpec, capabilities: Capabilities) -> Iterator[Finding]:
    """Yield what is wrong or doubtful; with an ERROR the job is not taken."""
    for problem in job_problems(spec):
        yield _error(problem.subject, problem.message, problem.fix)
    for feature in features_of(spec):
        if not capabilities.supports(feature):
            yield _error("compute", capabilities.features[feature].reason, "leave it out")
    yield from _compute(spec)
    yield from _code_dir(spec)
    yield from _environment(spec)
    yield from _secrets(spec)
    for field in ("inputs", "outputs"):
        if getattr(spec, field):
            yield _error(
                field, "local jobs read and write files where they lie", "give the path as a parameter"
            )


def _compute(spec: JobSpec) -> Iterator[Finding]:
    for field in ("cluster", "instance_type"):
        if getattr(spec.compute, field):
            yield _error("compute", f"there is no {field} to choose on one machine", "leave it out")


def _code_dir(spec: JobSpec) -> Iterator[Finding]:
    folder = spec.code_dir
    if folder is None or "\0" in folder:
        return
    try:
        is_there = os.path.isdir(folder)
    except ValueError:  # not valid Unicode, which has its own finding
        return
    if not is_there:
        yield _error("code_dir", f"{folder!r} is not a folder", "name one that exists")


def _environment(spec: JobSpec) -> Iterator[Finding]:
    environment = spec.environment
    if environment.image:
        yield _error("environment", "local jobs run without containers", "give requirements instead")
    if environment.conda_file:
        yield _error("environment", "local jobs run without conda", "give requirements instead")
    if not environment.requirements:
        return
    yield from _requirements(environment.requirements)
    if find_uv() is None:
        yield _error("environment", "uv, which makes environments, is not installed", UV_HINT)


def _requirements(requirements: Iterable[str]) -> Iterator[Finding]:
    for requirement in wanted_of(requirements):
        shown = redact(requirement)
        if "\n" in requirement or "\r" in requirement:
            yield _error("environment", f"{shown!r} is more than one requirement", "give them one by one")
        elif requirement.startswith("-"):
            yield _error(
                "environment", f"{shown!r} is an option, not a requirement", "set a variable UV_… instead"
            )
        elif shown != requirement:
            yield _error(
                "environment", f"{shown!r} holds a secret", "write ${NAME} there, and set that variable"
            )
        yield from _local_requirement(requirement)


def _local_requirement(requirement: str) -> Iterator[Finding]:
    path = path_of(requirement)
    if path is None or "\0" in path:
        return
    if not os.path.isabs(path):
        yield _error("environment", f"{path!r} is a relative path", "write the whole path")
    elif not os.path.exists(path):
        yield _error("environment", f"{path!r} does not exist", "name a wheel or a folder that does")


def _secrets(spec: JobSpec) -> Iterator[Finding]:
    for name in spec.variables:
        if is_secret_name(name):
            yield _warning(
                "variables", f"{name} looks like a secret, and variables are stored", "make it one of secrets"
            )
    for name, reference in spec.secrets.items():
        kind, _, place = reference.partition(":")
        if kind not in ("env", "file") or not place:
            # The reference is not shown: by mistake it could be the value.
            yield _error("secrets", f"{name} has no reference", "write env:NAME or file:/PATH")
        elif kind == "file" and not os.path.isabs(place):
            yield _error("secrets", f"{name} refers to a relative path", "write file:/PATH")
        elif not (os.environ.get(place) if kind == "env" else os.path.exists(place)):
            yield _warning("secrets", f"{name} refers to {place}, which is not there", "set it before")


def _error(subject: str, message: str, fix: str) -> Finding:
    return Finding(severity=Severity.ERROR, subject=subject, message=message, fix=fix)


def _warning(subject: str, message: str, fix: str) -> Finding:
    return Finding(severity=Severity.WARNING, subject=subject, message=message, fix=fix)
