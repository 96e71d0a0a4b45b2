"""The way from what was said to a job: ``read_source`` looks, ``job_spec`` fills in the parameters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from trackbridge.domain.file_uris import file_path
from trackbridge.domain.jobs import Compute, Environment, JobSpec, Launcher
from trackbridge.domain.runs import (
    TAG_GIT_BRANCH,
    TAG_GIT_COMMIT,
    TAG_GIT_REPOSITORY,
    TAG_SOURCE_NAME,
    TAG_SOURCE_TYPE,
)
from trackbridge.errors import InvalidInput, NotFound
from trackbridge.operations.job_sources import git_sources, job_files
from trackbridge.operations.job_sources.entry_points import EntryPoint, fill, is_uri
from trackbridge.operations.job_sources.environments import Declared, read_conda, refuse_conda_packages
from trackbridge.operations.job_sources.mlprojects import FILE, MAIN, Project, read_project
from trackbridge.operations.job_sources.requests import JobRequest
from trackbridge.operations.job_sources.words import compute_of
from trackbridge.operations.submit import command_line, refuse_missing_script
from trackbridge.resolve.home import Surroundings, bridge_home

TAG_ENTRY_POINT = "mlflow.project.entryPoint"
TAG_ENVIRONMENT = "mlflow.project.env"
TAG_BACKEND = "mlflow.project.backend"
PROJECT = "PROJECT"
CHECKOUTS = "checkouts"


class JobSource(msgspec.Struct, frozen=True, kw_only=True):
    """What a job runs and how, all but the values of its parameters; it can be stored as JSON.

    ``base`` is the job without its command. ``words`` are those of a script or a command; with an
    ``entry_point`` that is run instead. ``parameters`` are values that were said already, ``given_in`` are
    the folders that paths among them start in. ``tags`` say on the run where the code comes from.
    ``experiment`` and ``place`` are what a job file said of them.
    """

    base: JobSpec
    source_name: str
    words: tuple[str, ...] = ()
    entry_point: EntryPoint | None = None
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    given_in: tuple[str, ...] = ()
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    experiment: str | None = None
    place: str | None = None


def read_source(request: JobRequest, around: Surroundings, *, folder: Path | None = None) -> JobSource:
    """Find out what is to be run: files are read, and a git address is fetched; nothing else is touched.

    Args:
        request: What was said.
        around: The current directory, in which paths start, and the environment.
        folder: The folder of the file that said it, where that is not a job file named in the request: a
            script runs there, and paths among the parameters are looked for there, too.

    Raises:
        NotFound: A script, folder, file, entry point or version is not there.
        ConfigError: A file is wrong; the error says in which line.
        InvalidInput: What was said does not go together.
    """
    if not request.words:
        raise InvalidInput(
            "there is nothing to run",
            operation="submit",
            hint="name a script, a folder, a job file, a git address, or a command behind --",
        )
    first = request.words[0]
    if first.endswith(job_files.ENDINGS) and len(request.words) == 1:
        path = around.cwd / Path(first).expanduser()
        request = msgspec.structs.replace(request, words=()).over(job_files.read_job_file(path))
        folder = path.parent.absolute()
    request = msgspec.structs.replace(
        request,
        inputs={name: _place(place, around.cwd, name) for name, place in request.inputs.items()},
        outputs={name: _place(place, around.cwd) for name, place in request.outputs.items()},
        checkpoints=None if request.checkpoints is None else _place(request.checkpoints, around.cwd),
        ignore_file=_whole(request.ignore_file, around.cwd),
        conda_file=_whole(request.conda_file, around.cwd),
        code_dir=_whole(request.code_dir, around.cwd),
    )
    folders = dict.fromkeys((around.cwd, folder or around.cwd))
    source = _source(request, around, folder or around.cwd)
    return msgspec.structs.replace(source, given_in=tuple(map(str, folders)))


def _source(request: JobRequest, around: Surroundings, home: Path) -> JobSource:
    first = request.words[0]
    if git_sources.is_git_address(first):
        return _git_source(request, first, around)
    folder = _project_folder(around.cwd / Path(first).expanduser()) if len(request.words) == 1 else None
    if folder is None:
        code = Path(request.code_dir or home)
        if len(request.words) == 1:
            _refuse_missing(first, (around.cwd, code))
        return _command_source(request, around, code)
    if request.code_dir is not None:
        raise InvalidInput(
            f"a folder of code is named, and {folder} is one itself",
            operation="submit",
            hint="leave out --code; a project runs in its own folder",
        )
    if request.version is not None:
        address = git_sources.address_around(folder)
        if address is None:
            raise InvalidInput(
                f"a version is named, and {folder} is in no git repository",
                operation="submit",
                hint="leave out --version",
            )
        return _git_source(request, address, around)
    return _project_source(request, folder, around)


def job_spec(source: JobSource, parameters: Mapping[str, str] | None = None) -> JobSpec:
    """Return the job of a source; its parameters are joined with the given ones, which win.

    Raises:
        InvalidInput: A value is missing or of the wrong type.
        NotFound: A path among them does not exist.
    """
    given = {**source.parameters, **(parameters or {})}
    base = source.base
    if source.entry_point is None:
        command = command_line(source.words, given)
        return msgspec.structs.replace(base, command=command, parameters=given)
    filled = fill(
        source.entry_point,
        given,
        code_dir=Path(base.code_dir or "."),
        given_in=tuple(map(Path, source.given_in)),
        inputs=base.inputs,
        outputs=base.outputs,
    )
    return msgspec.structs.replace(
        base, command=filled.command, parameters=filled.parameters, inputs=filled.inputs
    )


def refuse_elsewhere(spec: JobSpec, *, is_local: bool) -> None:
    """Refuse what the place cannot have, by what only the source knows.

    Raises:
        InvalidInput: A script lies outside of the folder that is sent, or conda is asked for on this machine.
    """
    if is_local and spec.environment.conda_file:
        refuse_conda_packages(spec.environment.conda_file)
    script = next((word for word in spec.command[1:2] if word.endswith(".py")), None)
    if is_local or script is None or spec.code_dir is None:
        return
    if not Path(spec.code_dir, script).resolve().is_relative_to(Path(spec.code_dir).resolve()):
        raise InvalidInput(
            f"the script {script!r} is not in the folder that is sent, {spec.code_dir}",
            operation="submit",
            hint="start from the script's folder, or name a folder around it with --code",
        )


# The kinds of sources.


def _git_source(request: JobRequest, address: str, around: Surroundings) -> JobSource:
    checkout = git_sources.fetch(address, request.version, bridge_home(around) / CHECKOUTS)
    tags = {
        TAG_SOURCE_NAME: checkout.source_name,
        TAG_GIT_COMMIT: checkout.commit,
        TAG_GIT_REPOSITORY: checkout.address,
        **({TAG_GIT_BRANCH: checkout.branch} if checkout.branch else {}),
    }
    return _project_source(request, Path(checkout.folder), around, tags)


def _project_source(
    request: JobRequest, folder: Path, around: Surroundings, tags: Mapping[str, str] | None = None
) -> JobSource:
    declares = request.environment_manager != "local"
    project = read_project(folder, around.environ, declares=declares)
    entry = project.entry_point(request.entry_point or MAIN)
    name = tags[TAG_SOURCE_NAME] if tags else git_sources.address_around(folder) or str(folder)
    kind = project.declared.kind.value
    return JobSource(
        base=_base(request, _project_name(project, entry), folder, project.declared),
        source_name=name,
        entry_point=entry,
        parameters=request.parameters,
        tags={
            TAG_SOURCE_NAME: name,
            TAG_SOURCE_TYPE: PROJECT,
            TAG_ENTRY_POINT: entry.name,
            **({TAG_ENVIRONMENT: kind} if kind else {}),
            **(tags or {}),
            **request.tags,
        },
        experiment=request.experiment,
        place=request.place,
    )


def _command_source(request: JobRequest, around: Surroundings, folder: Path) -> JobSource:
    for field, value in (("-e", request.entry_point), ("--version", request.version)):
        if value is not None:
            raise InvalidInput(
                f"{field} is for a folder or a git address, and {request.words[0]!r} is neither",
                operation="submit",
                hint="name the project's folder, or leave it out",
            )
    words = (_script_in(request.words[0], folder, around.cwd), *request.words[1:])
    refuse_missing_script(words[0], str(folder))
    return JobSource(
        base=_base(request, Path(words[0]).name, folder, Declared()),
        source_name=words[0],
        words=words,
        parameters=request.parameters,
        tags={TAG_SOURCE_NAME: words[0], **request.tags},
        experiment=request.experiment,
        place=request.place,
    )


def _refuse_missing(word: str, folders: Iterable[Path]) -> None:
    """Refuse a path that is not there, rather than run it as a command; a whole one may be the image's.

    Raises:
        NotFound: There is neither a folder nor a file of that name; scripts have an error of their own.
    """
    is_path = word.endswith("/") or ("/" in word and not os.path.isabs(word))
    if not is_path or word.endswith(".py") or "\0" in word:
        return
    if not any(os.path.exists(folder / Path(word).expanduser()) for folder in folders):
        raise NotFound(
            f"there is neither a folder nor a file {word!r}",
            operation="submit",
            hint="name a script, a folder, a job file, a git address, or a command behind --",
        )


def _project_folder(path: Path) -> Path | None:
    """Return the folder that a path names as a project, by itself or by its MLproject file."""
    if path.is_dir():
        return Path(os.path.abspath(path))
    return Path(os.path.abspath(path.parent)) if path.name.lower() == FILE and path.is_file() else None


def _project_name(project: Project, entry: EntryPoint) -> str:
    name = project.name or Path(project.folder).name
    return name if entry.name == MAIN else f"{name} {entry.name}"


def _script_in(word: str, folder: Path, cwd: Path) -> str:
    """Return a script as it is seen from the folder that the job runs in, where it lies in it."""
    if not word.endswith(".py") or "\0" in word:
        return word
    for start in (cwd, folder):
        path = Path(os.path.abspath(start / Path(word).expanduser()))
        if path.is_file() and path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return os.path.relpath(word, folder) if Path(word).is_relative_to(folder) else word


# What all kinds have in common.


def _whole(path: str | None, cwd: Path) -> str | None:
    return None if path is None else os.path.abspath(cwd / Path(path).expanduser())


def _place(place: str, cwd: Path, needed_as: str | None = None) -> str:
    """Return a URI as it is, and a path whole; an input has to be there.

    Raises:
        NotFound: It is not.
    """
    if is_uri(place) and not place.startswith("file:"):
        return place
    path = os.path.abspath(
        cwd / (file_path(place) if place.startswith("file:") else Path(place).expanduser())
    )
    if needed_as is not None and not os.path.exists(path):
        raise NotFound(
            f"the input {needed_as!r} is {place!r}, and there is no such file or folder",
            operation="submit",
            hint="name one that exists, or a URI such as s3://BUCKET/FOLDER",
        )
    return path


def _base(request: JobRequest, name: str, folder: Path, declared: Declared) -> JobSpec:
    compute = request.compute
    if not isinstance(compute, Compute):
        compute = compute_of(compute, instance_count=request.instance_count, is_spot=request.spot)
    return JobSpec(
        name=request.name or name,
        command=(),
        code_dir=os.path.abspath(folder),
        ignore_file=request.ignore_file,
        compute=compute,
        environment=_environment(request, declared),
        variables={**declared.variables, **request.variables},
        secrets={**declared.secrets, **request.secrets},
        inputs=request.inputs,
        outputs=request.outputs,
        checkpoints=request.checkpoints,
        launcher=request.launcher or Launcher.DIRECT,
        processes_per_node=request.processes_per_node or 1,
        all_ranks_track=request.all_ranks_track,
        time_limit_s=request.time_limit_s,
        attempts_max=request.attempts_max or 1,
        tags=request.tags,
    )


def _environment(request: JobRequest, declared: Declared) -> Environment:
    """Return the environment that a project declares, with what was said instead of parts of it."""
    has_packages = bool(request.requirements or request.conda_file)
    if request.environment_manager == "local" and (has_packages or request.python):
        raise InvalidInput(
            "packages or a Python are asked for, and the environment that is there is to be used",
            operation="submit",
            hint="leave out --env-manager local",
        )
    base = Environment() if has_packages else declared.environment
    conda = read_conda(Path(request.conda_file)) if request.conda_file else Environment()
    return Environment(
        image=request.image or declared.environment.image,
        requirements=request.requirements or conda.requirements or base.requirements,
        conda_file=conda.conda_file or base.conda_file,
        python=request.python or conda.python or base.python,
    )
