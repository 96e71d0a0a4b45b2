"""What keeps a job from running on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator

from trackbridge.domain.job_checks import job_problems
from trackbridge.domain.jobs import JobSpec, Launcher
from trackbridge.domain.secrets import is_secret_name, redact
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.jobs import features_of
from trackbridge_adapters.local.environments import path_of, wanted_of
from trackbridge_adapters.local.job_data import BROUGHT, path_at

UV_HINT = "pip install 'trackbridge[jobs]'"


def find_uv() -> str | None:
    """Return the path of the uv program, None where there is none."""
    try:
        import uv

        return os.fspath(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("uv")


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
    yield from _data(spec)


def _compute(spec: JobSpec) -> Iterator[Finding]:
    for field in ("cluster", "instance_type"):
        if getattr(spec.compute, field):
            yield _error("compute", f"there is no {field} to choose on one machine", "leave it out")
    if spec.compute.instance_count > 1:
        yield _error("compute", "there is one machine", "ask for several processes on it: processes_per_node")
    if spec.launcher is Launcher.SPARK:
        yield _error("launcher", "local jobs start no Spark", "submit it to spark://local[*]")


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


def _data(spec: JobSpec) -> Iterator[Finding]:
    kept = {"checkpoints": spec.checkpoints} if spec.checkpoints else {}
    for field, places in (("inputs", spec.inputs), ("outputs", spec.outputs), ("checkpoints", kept)):
        for name, place in places.items():
            if place and "\0" not in place:
                yield from _place(field, name, place)


def _place(field: str, name: str, place: str) -> Iterator[Finding]:
    path, is_read = path_at(place), field == "inputs"
    if path is None:
        if not is_read:
            message = f"{name} is at {redact(place)}, and local jobs write to this machine"
            yield _error(field, message, "name a folder, and copy it when the job has ended")
        elif not place.startswith(BROUGHT) or redact(place) != place:
            message = f"{name} is at {redact(place)}, from where local jobs cannot bring it"
            yield _error(field, message, "copy it here, and give the path")
    elif is_read and not os.path.exists(path):
        yield _error(field, f"{name} is not at {path!r}", "name a file or folder that is there")
    elif not is_read and os.path.exists(path) and not os.path.isdir(path):
        yield _error(field, f"{name} is a file, {path!r}", "name a folder, or one to be made")


def _environment(spec: JobSpec) -> Iterator[Finding]:
    environment = spec.environment
    if environment.image:
        yield _error("environment", "local jobs run without containers", "give requirements instead")
    if environment.conda_file:
        yield _error("environment", "local jobs run without conda", "give requirements instead")
    if not environment.requirements and not environment.python:
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
