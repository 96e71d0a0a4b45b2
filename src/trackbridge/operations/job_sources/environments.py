"""What a job runs in, from python_env.yaml, conda.yaml, docker_env and files of requirements."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.domain.jobs import Environment
from trackbridge.domain.secrets import is_secret_name
from trackbridge.errors import ConfigError, InvalidInput, NotFound
from trackbridge.operations.job_sources.documents import Document, read_document
from trackbridge.operations.submit import requirement_lines

PYTHON_ENV_FILE = "python_env.yaml"
CONDA_FILE = "conda.yaml"
NESTED_MAX = 20

_FILE_OPTION = re.compile(r"(?:-r|--requirement)(?:\s+|=)?(?P<path>\S.*)")
_CONDA_PACKAGE = re.compile(r"(?:[^\s:]+::)?(?P<name>[A-Za-z0-9_.\-]+)\s*(?P<rest>.*)")
_PIP_PROVIDES = ("python", "pip", "setuptools", "wheel")
_VERSION = re.compile(r"(?:==?|[<>]=)\s*(?P<version>\d+(?:\.\d+){0,2})(?:\.\*)?")


class Kind(str, Enum):
    """Where an environment comes from, in the words of mlflow's tag ``mlflow.project.env``."""

    NONE = ""
    PYTHON = "virtualenv"
    CONDA = "conda"
    DOCKER = "docker"


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """The environment that a project declares; variables and secrets come with an image."""

    kind: Kind = Kind.NONE
    environment: Environment = Environment()
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    secrets: dict[str, str] = msgspec.field(default_factory=dict)


def read_requirements(path: Path) -> tuple[str, ...]:
    """Return the requirements of a file, and of those that it names with ``-r``.

    Raises:
        ConfigError: A file cannot be read, or they name each other.
    """
    return _expanded(requirement_lines(path), path.parent, NESTED_MAX)


def _expanded(lines: Sequence[str], folder: Path, depth: int) -> tuple[str, ...]:
    found: list[str] = []
    for line in lines:
        nested = _FILE_OPTION.fullmatch(line)
        if nested is None:
            found.append(line)
            continue
        path = folder / nested["path"].strip("\"'")
        if depth == 0:
            raise ConfigError(
                f"files of requirements name each other more than {NESTED_MAX} times",
                operation="submit",
                resource=str(path),
                hint="take out the -r that leads back",
            )
        found += _expanded(requirement_lines(path), path.parent, depth - 1)
    return tuple(found)


def read_python_env(path: Path) -> Environment:
    """Return the environment of mlflow's python_env.yaml.

    Raises:
        NotFound: There is no such file, or none that it names.
        ConfigError: It is wrong.
    """
    document = read_document(path)
    document.refuse_unknown(("python", "build_dependencies", "dependencies"))
    lines = (*document.texts("build_dependencies"), *document.texts("dependencies"))
    return Environment(
        requirements=_expanded(requirement_lines(lines), path.parent, NESTED_MAX),
        python=document.text("python"),
    )


def read_conda(path: Path) -> Environment:
    """Return the environment of a conda file; one of pip's packages alone needs no conda.

    Raises:
        NotFound: There is no such file.
        ConfigError: It is wrong.
    """
    document = read_document(path)
    listed = document.content.get("dependencies") or []
    if not isinstance(listed, list):
        raise document.wrong("dependencies", "dependencies is no list", "write lines - PACKAGE below it")
    if conda_packages(listed):
        return Environment(conda_file=str(path.absolute()))
    pip = tuple(line for item in listed if isinstance(item, dict) for line in _pip_section(document, item))
    python, tools = _python_and_tools(listed)
    return Environment(
        requirements=(*tools, *_expanded(requirement_lines(pip), path.parent, NESTED_MAX)), python=python
    )


def conda_packages(listed: Sequence[Any]) -> tuple[str, ...]:
    """Return those of a conda file's dependencies that only conda brings."""
    packages = (item for item in listed if isinstance(item, str))
    return tuple(item for item in packages if _split(item)[0] not in _PIP_PROVIDES)


def refuse_conda_packages(conda_file: str) -> None:
    """Refuse a conda file where there is no conda.

    Raises:
        InvalidInput: Always; it names the packages.
    """
    packages = conda_packages(read_document(Path(conda_file)).content.get("dependencies") or [])
    raise InvalidInput(
        f"jobs on this machine run without conda, and the conda file asks it for: {', '.join(packages)}",
        operation="submit",
        resource=conda_file,
        hint="name them below pip: in that file, or run it with --env-manager local where they are installed",
    )


def _pip_section(document: Document, item: Mapping[str, Any]) -> list[str]:
    lines = item.get("pip")
    if set(item) != {"pip"} or not isinstance(lines, list) or not all(isinstance(x, str) for x in lines):
        raise document.wrong(
            "dependencies", f"{item!r} is no dependency", "write a package, or pip: with a list of packages"
        )
    return lines


def _python_and_tools(listed: Sequence[Any]) -> tuple[str | None, list[str]]:
    """Return the version of Python, and the requirements of pip, setuptools and wheel."""
    python, tools = None, []
    for item in listed:
        if not isinstance(item, str):
            continue
        name, rest = _split(item)
        if name == "python":
            version = _VERSION.match(rest)
            python = version["version"] if version else python
        else:
            tools.append(name + re.sub(r"^=(?!=)", "==", rest))
    return python, tools


def _split(item: str) -> tuple[str, str]:
    match = _CONDA_PACKAGE.fullmatch(item.strip())
    return (match["name"].lower(), match["rest"].replace(" ", "")) if match else (item, "")


def read_docker_env(document: Document, environ: Mapping[str, str]) -> Declared:
    """Return the environment of an MLproject's ``docker_env``.

    Variables are given as ``[NAME, VALUE]``, or by name alone: those are copied from this machine, by
    reference where they look like secrets.

    Raises:
        ConfigError: It is wrong, or names a variable that is not set.
    """
    declared = document.mapping("docker_env")
    image = declared.get("image")
    if not isinstance(image, str) or not image:
        raise document.wrong("docker_env", "docker_env names no image", "write image: NAME below it")
    if declared.get("volumes"):
        raise document.wrong(
            "docker_env",
            "docker_env has volumes, which are folders of one machine",
            "take them out, and give the data with --input NAME=URI",
        )
    variables: dict[str, str] = {}
    secrets: dict[str, str] = {}
    for item in declared.get("environment") or ():
        name, value = _variable(document, item, environ)
        if isinstance(item, str) and is_secret_name(name):
            secrets[name] = f"env:{name}"
        else:
            variables[name] = value
    return Declared(
        kind=Kind.DOCKER, environment=Environment(image=image), variables=variables, secrets=secrets
    )


def _variable(document: Document, item: Any, environ: Mapping[str, str]) -> tuple[str, str]:
    if isinstance(item, str):
        if item not in environ:
            raise document.wrong(
                "docker_env", f"the variable {item} of docker_env is not set here", f"export {item}=VALUE"
            )
        return item, environ[item]
    if isinstance(item, list) and len(item) == 2:
        return str(item[0]), str(item[1])
    raise document.wrong(
        "docker_env", "environment of docker_env holds something else", "write NAME or [NAME, VALUE]"
    )


def declared_environment(document: Document | None, folder: Path, environ: Mapping[str, str]) -> Declared:
    """Return what a project declares, in its MLproject or by the files python_env.yaml and conda.yaml.

    Raises:
        NotFound: It names a file that is not there.
        ConfigError: It declares several, or one that is wrong.
    """
    content = document.content if document is not None else {}
    named = [key for key in ("docker_env", "python_env", "conda_env") if content.get(key)]
    if document is not None and len(named) > 1:
        raise document.wrong(named[1], f"it has several environments: {', '.join(named)}", "keep one of them")
    if document is not None and named == ["docker_env"]:
        return read_docker_env(document, environ)
    python_env = document.text("python_env") if document is not None else None
    conda_env = document.text("conda_env") if document is not None else None
    if python_env or (not conda_env and (folder / PYTHON_ENV_FILE).exists()):
        return Declared(
            kind=Kind.PYTHON,
            environment=read_python_env(_there(document, folder, python_env or PYTHON_ENV_FILE)),
        )
    if conda_env or (folder / CONDA_FILE).exists():
        environment = read_conda(_there(document, folder, conda_env or CONDA_FILE))
        return Declared(kind=Kind.CONDA if environment.conda_file else Kind.PYTHON, environment=environment)
    return Declared()


def _there(document: Document | None, folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise NotFound(
            f"there is no file {name!r} in {folder}",
            operation="submit",
            resource=document.path if document is not None else str(folder),
            hint="write the path as it is seen from the project's folder",
        )
    return path
