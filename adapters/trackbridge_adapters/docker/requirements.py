"""What an image installs: the model's own requirements, and our server with what it needs, pinned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from trackbridge.domain.secrets import has_secret_shape, shown, userinfo_length
from trackbridge.errors import Rejected
from trackbridge_adapters.docker.config import ADAPTER

EXTRAS = ("serve", "mlflow")
PINNED_EXTRAS = ("serve",)
"""What mlflow, and OpenTelemetry with it, may be is the model's own business: its requirements say it."""
CONSTRAINTS = "model-constraints.txt"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_CONSTRAINT = re.compile(r"(?:-c|--constraint)[\s=]+(\S+)")
_OPTION = re.compile(
    r"--(?:extra-index-url|index-url|find-links|pre|prefer-binary|no-binary|only-binary)\b|-[if]\b"
)
_ELSEWHERE = re.compile(r"[./~\\-]|file:")
_MLFLOW_VERSION = re.compile(rb"^mlflow_version:\s*([0-9][0-9A-Za-z.]*)\s*$", re.MULTILINE)


def model_lines(model: Path) -> list[str]:
    """Return the lines of a model's requirements.txt, each as pip takes it in a context's folder.

    Raises:
        Rejected: There is none, or a line cannot be had in an image: a path, a secret.
    """
    file = model / "requirements.txt"
    if not file.is_file():
        raise _rejected(
            "the model has no requirements.txt, so that nobody knows what it needs",
            "log it again with mlflow 1.20 or later, or with pip_requirements=[...]",
        )
    lines = (_COMMENT.sub("", line).strip() for line in file.read_text("utf-8").splitlines())
    found = [_checked(line, model) for line in lines if line]
    if found.count(f"-c {CONSTRAINTS}") > 1:
        raise _rejected(
            "the model's requirements name more than one file of constraints",
            "write them into one, or name the constraints as requirements",
        )
    if "mlflow" not in names_of(found) and "mlflow-skinny" not in names_of(found):
        version = _MLFLOW_VERSION.search((model / "MLmodel").read_bytes())
        found.append(f"mlflow=={version[1].decode()}" if version else "mlflow")
    return found


def _checked(line: str, model: Path) -> str:
    constraint = _CONSTRAINT.match(line)
    if constraint and (model / constraint[1]).is_file() and "/" not in constraint[1]:
        return f"-c {CONSTRAINTS}"
    return _checked_package(line)


def _checked_package(line: str) -> str:
    if has_secret_shape(line) or ("://" in line and userinfo_length(line.partition("://")[2])):
        raise _rejected(
            f"a requirement of the model holds a credential: {shown(line, chars_max=80)}",
            "take it out; give pip its credentials where the image is built",
        )
    if _ELSEWHERE.match(line) and not _OPTION.match(line):
        raise _rejected(
            f"the model needs {shown(line, chars_max=80)!r}, which no image can install",
            "name the package and its version; put own code into the model with code_paths",
        )
    return line


def constraints_of(model: Path) -> str | None:
    """Return the constraints that a model's requirements name in a file.

    Raises:
        Rejected: A line cannot be had in an image: a path, a secret, another file.
    """
    for line in (model / "requirements.txt").read_text("utf-8").splitlines():
        constraint = _CONSTRAINT.match(line.strip())
        if constraint:
            text = (model / constraint[1]).read_text("utf-8")
            lines = (_COMMENT.sub("", each).strip() for each in text.splitlines())
            return "".join(f"{_checked_package(each)}\n" for each in lines if each)
    return None


def names_of(lines: Iterable[str]) -> set[str]:
    """Return the names of the packages that lines require, as an index has them."""
    return {_normal(match[0]) for line in lines if (match := _NAME.match(line))}


def pins(found: Distribution, *, but: set[str]) -> list[str]:
    """Return what pins our server's packages to the versions that serve here, but for those of the model."""
    pinned: dict[str, str] = {}
    waiting = list(_needs(found, PINNED_EXTRAS))
    while waiting:
        name = waiting.pop()
        if name in pinned or name in but:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:  # for another platform or Python, or an extra that is not here
            continue
        pinned[name] = package.version
        waiting += _needs(package, ())
    return [f"{name}=={version}" for name, version in sorted(pinned.items())]


def _needs(package: Distribution, extras: tuple[str, ...]) -> Iterator[str]:
    for line in package.requires or ():
        match, extra = _NAME.match(line), _EXTRA.search(line)
        if match and (extra is None or extra[1] in extras):
            yield _normal(match[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _rejected(message: str, hint: str) -> Rejected:
    return Rejected(message, adapter=ADAPTER, operation="deployments.apply", hint=hint)
