"""What keeps a job from running on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator

from trackbridge.domain.jobs import JobSpec, Launcher
from trackbridge.domain.secrets import redact
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.findings import Finding
from trackbridge.ports.jobs import features_of
from trackbridge_adapters._jobs.findings import error, problems_of, secret_variables, unfit_line
from trackbridge_adapters.local.environments import path_of, wanted_of
from trackbridge_adapters.local.job_data import BROUGHT, path_at
from trackbridge_adapters.local.job_runner import PYTHONS

UV_HINT = "pip install 'trackbridge[jobs]'"
UV_S_MAX = 60.0
"""How long uv may take to say which versions of Python there are; it does so without a network."""

_VERSION = re.compile(r"[0-9.]+")
_pythons_seen: set[tuple[str, str]] = set()
"""Versions that a uv has, or knows where to get: a sweep does not ask again for each of its jobs."""


def find_uv() -> str | None:
    """Return the path of the uv program, None where there is none."""
    try:
        import uv

        return os.fspath(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("uv")


def findings_of(spec: JobSpec, capabilities: Capabilities) -> Iterator[Finding]:
    """Yield what is wrong or doubtful; with an ERROR the job is not taken."""
    yield from problems_of(spec)
    for feature in features_of(spec):
        if not capabilities.supports(feature):
            yield error("compute", capabilities.features[feature].reason, "leave it out")
    yield from _compute(spec)
    yield from _code_dir(spec)
    yield from _program(spec)
    yield from _environment(spec)
    yield from _secrets(spec)
    yield from _data(spec)


def _compute(spec: JobSpec) -> Iterator[Finding]:
    for field in ("cluster", "instance_type"):
        if getattr(spec.compute, field):
            yield error("compute", f"there is no {field} to choose on one machine", "leave it out")
    if spec.compute.instance_count > 1:
        yield error("compute", "there is one machine", "ask for several processes on it: --processes N")
    if spec.launcher is Launcher.SPARK:
        yield error("launcher", "local jobs start no Spark", "submit it to spark://local[*]")


def _code_dir(spec: JobSpec) -> Iterator[Finding]:
    folder = spec.code_dir
    if folder is None or "\0" in folder:
        return
    try:
        is_there = os.path.isdir(folder)
    except ValueError:  # not valid Unicode, which has its own finding
        return
    if not is_there:
        yield error("code_dir", f"{folder!r} is not a folder", "name one that exists")


def _program(spec: JobSpec) -> Iterator[Finding]:
    """Yield an error for a program that is not there; what an environment yet to be made brings, may come."""
    first = next(iter(spec.command), "")
    is_known = first in PYTHONS or "{" in first or "\0" in first  # or it has its own finding
    if not first or is_known or spec.launcher is not Launcher.DIRECT:
        return
    path = spec.variables.get("PATH") or os.pathsep.join(
        (os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath))
    )
    try:
        if os.sep in first:
            is_there = shutil.which(os.path.join(spec.code_dir or "", first)) is not None
        else:
            is_there = makes_environment(spec) or shutil.which(first, path=path) is not None
    except ValueError:  # not valid Unicode, which has its own finding
        return
    if not is_there:
        fix = "install it, or write its path as it is seen from the job's folder; a script is run by python"
        yield error("command", f"there is no program {redact(first)!r}", fix)


def makes_environment(spec: JobSpec) -> bool:
    """Tell whether uv is to make an environment for a job."""
    return bool(spec.environment.requirements or spec.environment.python)


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
            yield error(field, message, "name a folder, and copy it when the job has ended")
        elif not place.startswith(BROUGHT) or redact(place) != place:
            message = f"{name} is at {redact(place)}, from where local jobs cannot bring it"
            yield error(field, message, "copy it here, and give the path")
    elif is_read and not os.path.exists(path):
        yield error(field, f"{name} is not at {path!r}", "name a file or folder that is there")
    elif not is_read and os.path.exists(path) and not os.path.isdir(path):
        yield error(field, f"{name} is a file, {path!r}", "name a folder, or one to be made")


def _environment(spec: JobSpec) -> Iterator[Finding]:
    environment = spec.environment
    if environment.image:
        yield error("environment", "local jobs run without containers", "give requirements instead")
    if environment.conda_file:
        yield error("environment", "local jobs run without conda", "give requirements instead")
    if not makes_environment(spec):
        return
    yield from _requirements(environment.requirements)
    uv, python = find_uv(), environment.python
    if uv is None:
        yield error("environment", "uv, which makes environments, is not installed", UV_HINT)
    elif python and _VERSION.fullmatch(python) and not _has_python(uv, python):
        yield error(
            "environment",
            f"there is no Python {python} here, and uv knows none to bring",
            "name one of those that there are: uv python list",
        )


def _has_python(uv: str, version: str) -> bool:
    """Tell whether uv finds a version of Python, or knows where to get it; also where it does not say."""
    if (uv, version) in _pythons_seen:
        return True
    for words in (("find", "--no-project", "--no-python-downloads"), ("list", "--only-downloads")):
        try:
            told = subprocess.run(
                [uv, "python", *words, version],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=UV_S_MAX,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):  # the job will tell
            return True
        if told.returncode == 0 and told.stdout.strip():
            _pythons_seen.add((uv, version))
            return True
    return False


def _requirements(requirements: Iterable[str]) -> Iterator[Finding]:
    for requirement in wanted_of(requirements):
        unfit = unfit_line(
            requirement,
            secret_fix="write ${NAME} there, and set that variable",
            option_fix="set a variable UV_… instead",
        )
        if unfit is not None:
            yield unfit
        yield from _local_requirement(requirement)


def _local_requirement(requirement: str) -> Iterator[Finding]:
    path = path_of(requirement)
    if path is None or "\0" in path:
        return
    if not os.path.isabs(path):
        yield error("environment", f"{path!r} is a relative path", "write the whole path")
    elif not os.path.exists(path):
        yield error("environment", f"{path!r} does not exist", "name a wheel or a folder that does")


def _secrets(spec: JobSpec) -> Iterator[Finding]:
    yield from secret_variables(spec)
    for name, reference in spec.secrets.items():
        kind, _, place = reference.partition(":")
        if kind not in ("env", "file") or not place:
            # The reference is not shown: by mistake it could be the value.
            yield error("secrets", f"{name} has no reference", "write env:NAME or file:/PATH")
        elif kind == "file" and not os.path.isabs(place):
            yield error("secrets", f"{name} refers to a relative path", "write file:/PATH")
        elif kind == "env" and place not in os.environ:
            yield error(
                "secrets", f"{name} refers to the variable {place}, which is not set", f"export {place}=…"
            )
        elif kind == "file" and not os.access(place, os.R_OK):
            yield error("secrets", f"{name} refers to {place}, which cannot be read", "put the value there")
