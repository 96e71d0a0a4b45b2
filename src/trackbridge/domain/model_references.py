"""What names a model: ``models:/wine/3``, ``models:/wine@champion``, ``runs:/<run id>/model``, a path.

::

    models:/NAME/3            a version; of some registries also models:/NAME/v-x
    models:/NAME@ALIAS        the version that an alias points at
    models:/NAME/Production   the newest version in a stage
    models:/NAME/latest       the newest version; models:/NAME is the same
    runs:/RUN_ID/PATH         what a run logged
    PATH, file:PATH           a file or folder of this machine
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from trackbridge.domain.file_uris import file_path
from trackbridge.domain.models import STAGES
from trackbridge.domain.secrets import shown
from trackbridge.errors import InvalidInput

NAME_CHARS_MAX = 250
ALIAS_CHARS_MAX = 255
LATEST = "latest"

_NAME_FORBIDDEN = re.compile(r"[/:@%\x00-\x1f\x7f\ud800-\udfff]")
_ALIAS = re.compile(r"[\w\-]+")  # as mlflow: no dot, no space
_VERSION_LIKE = re.compile(r"v\d+", re.IGNORECASE)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,254}")  # what Azure ML's clients may call one


class RegisteredReference(msgspec.Struct, frozen=True):
    """A registered version, said by one of version, alias and stage; by none of them: the newest."""

    name: str
    version: str | None = None
    alias: str | None = None
    stage: str | None = None

    def __str__(self) -> str:
        if self.alias is not None:
            return f"models:/{self.name}@{self.alias}"
        return f"models:/{self.name}/{self.version or self.stage or LATEST}"


class RunReference(msgspec.Struct, frozen=True):
    """A model that lies below ``path`` in the artifacts of a run."""

    run_id: str
    path: str

    def __str__(self) -> str:
        return f"runs:/{self.run_id}/{self.path}"


class PathReference(msgspec.Struct, frozen=True):
    """A model on this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


ModelReference = RegisteredReference | RunReference | PathReference


def parse_model_reference(text: str) -> ModelReference:
    """Read the name of a model.

    Raises:
        InvalidInput: It has none of the forms; the message says what is wrong.
    """
    if text.startswith("models:"):
        return _registered(text, text.removeprefix("models:").lstrip("/"))
    if text.startswith("runs:"):
        return _of_run(text, text.removeprefix("runs:").lstrip("/"))
    if text in ("", "file:") or "\0" in text:
        raise _wrong(text, "has none of the forms that a model's name has")
    if text.startswith("file:"):
        return PathReference(file_path(text))
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.\-]+:", text):
        raise _wrong(text, "has none of the forms that a model's name has")
    return PathReference(_expanded(text))


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise _wrong(text, "is below the home of a user who is not known") from error


def _registered(text: str, rest: str) -> RegisteredReference:
    name, at, alias = rest.partition("@")
    if at:
        return RegisteredReference(checked_model_name(name), alias=checked_alias(alias))
    name, slash, selector = rest.rpartition("/")
    if not slash:
        return RegisteredReference(checked_model_name(rest))
    checked_model_name(name)
    if selector.isdecimal() and selector.isascii():
        return RegisteredReference(name, version=str(int(selector)))
    if selector.lower() == LATEST:
        return RegisteredReference(name)
    stage = next((stage for stage in STAGES if stage.lower() == selector.lower()), None)
    if stage is not None:
        return RegisteredReference(name, stage=stage)
    if _VERSION.fullmatch(selector):
        return RegisteredReference(name, version=selector)
    raise _wrong(text, f"ends in {selector[:40]!r}, which is neither a version nor a stage")


def _of_run(text: str, rest: str) -> RunReference:
    run_id, _, path = rest.partition("/")
    if not run_id or not path.strip("/"):
        raise _wrong(text, "names no path within the run")
    return RunReference(run_id, path.strip("/"))


def _wrong(text: str, problem: str) -> InvalidInput:
    return InvalidInput(
        f"{shown(text, chars_max=120)!r} {problem}",
        operation="models",
        hint="write models:/NAME/3, models:/NAME@ALIAS, runs:/RUN_ID/PATH, or the path of a folder",
    )


def checked_model_name(name: str) -> str:
    """Return the name of a registered model unchanged.

    Raises:
        InvalidInput: It is no text, empty, longer than 250 characters, or holds ``/ : @ %``, a control
            character or a lone surrogate.
    """
    is_text = isinstance(name, str) and name.strip()
    if not is_text or len(name) > NAME_CHARS_MAX or _NAME_FORBIDDEN.search(name):
        raise InvalidInput(
            f"{shown(str(name), chars_max=80)!r} cannot be the name of a registered model",
            operation="models",
            hint=f"use up to {NAME_CHARS_MAX} characters without / : @ % and control characters",
        )
    return name


def checked_alias(alias: str) -> str:
    """Return an alias unchanged.

    Raises:
        InvalidInput: It is empty, too long, holds more than letters, digits, ``_`` and ``-``, is ``latest``,
            or looks like a version (``v3``, ``3``); mlflow takes none of these.
    """
    is_reserved = alias.lower() == LATEST or _VERSION_LIKE.fullmatch(alias) or alias.isdecimal()
    if len(alias) > ALIAS_CHARS_MAX or not _ALIAS.fullmatch(alias) or is_reserved:
        raise InvalidInput(
            f"{alias[:80]!r} cannot be an alias",
            operation="models",
            hint="use letters, digits, _ and -; not 'latest', and nothing that looks like a version",
        )
    return alias
