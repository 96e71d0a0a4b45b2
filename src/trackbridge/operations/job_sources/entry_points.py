"""A command with its parameters, as an MLproject declares it, and what values make of it.

The command of an entry point is a text for bash, as in mlflow: ``{name}`` in it stands for the value of a
parameter, quoted for the shell, and parameters that it does not declare are added as ``--name value``.
``{inputs.NAME}`` and ``{outputs.NAME}`` stand for paths that are known only where the job runs: they are
handed to bash as ``$1``, ``$2`` …, so that no path is ever taken apart by the shell.
"""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.domain.file_uris import file_path
from trackbridge.errors import InvalidInput, NotFound

PATH = "path"
URI = "uri"
NUMBERS: Mapping[str, type[float] | type[int]] = {"float": float, "int": int, "integer": int}

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter: its type in mlflow's words, such as ``string`` or ``path``, and its default."""

    name: str
    kind: str = "string"
    default: str | None = None


class EntryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What can be run: a command for bash, or a script with the program that runs it."""

    name: str
    command: str = ""
    script: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """An entry point with its values: the words to run, what to log, and the inputs to bring."""

    command: tuple[str, ...]
    parameters: dict[str, str]
    inputs: dict[str, str]


def fill(
    entry: EntryPoint,
    given: Mapping[str, str],
    *,
    code_dir: Path,
    given_in: Sequence[Path],
    inputs: Mapping[str, str],
    outputs: Iterable[str] = (),
) -> Filled:
    """Return an entry point with its values.

    Args:
        entry: The entry point.
        given: Values by the names of parameters, declared or not.
        code_dir: The folder that the command runs in; default paths start there.
        given_in: The folders that paths among the given values start in.
        inputs: What is brought for the job by name.
        outputs: Names of what the job writes.

    Raises:
        InvalidInput: A value is missing or of the wrong type, or the command names what there is not.
        NotFound: A path does not exist.
    """
    _refuse_missing(entry, given)
    values: dict[str, str] = {}
    brought = dict(inputs)
    for parameter in entry.parameters:
        text = given.get(parameter.name, parameter.default)
        assert text is not None  # it would be missing
        _refuse_wrong_type(parameter, text)
        starts = given_in if parameter.name in given else (code_dir, *given_in)
        values[parameter.name] = _value(parameter, text, starts, code_dir, brought)
    defaults = {item.name: item.default for item in entry.parameters if item.default is not None}
    logged = {**defaults, **given}
    extra = {name: value for name, value in given.items() if name not in values}
    places = {f"inputs.{name}" for name in brought} | {f"outputs.{name}" for name in outputs}
    if entry.script:
        options = tuple(word for name, value in extra.items() for word in (f"--{name}", value))
        return Filled(command=(*entry.script, *options), parameters=logged, inputs=brought)
    command = _command(entry, values, places, extra)
    return Filled(command=command, parameters=logged, inputs=brought)


def is_uri(text: str) -> bool:
    """Tell whether a text is a URI; a single letter before the colon is a drive."""
    return _SCHEME.match(text) is not None


def _refuse_missing(entry: EntryPoint, given: Mapping[str, str]) -> None:
    missing = [item.name for item in entry.parameters if item.name not in given and item.default is None]
    if missing:
        raise InvalidInput(
            f"the entry point {entry.name!r} lacks values for: {', '.join(missing)}",
            operation="submit",
            hint="give them: " + " ".join(f"-P {name}=VALUE" for name in missing),
        )


def _refuse_wrong_type(parameter: Parameter, text: str) -> None:
    number = NUMBERS.get(parameter.kind)
    if number is None:
        return
    try:
        number(text)
    except ValueError:
        kind = "a number" if number is float else "a whole number"
        raise InvalidInput(
            f"the parameter {parameter.name!r} is {text!r}, which is not {kind}",
            operation="submit",
            hint=f"the entry point declares it as {parameter.kind}: -P {parameter.name}={number(1)}",
        ) from None


def _value(
    parameter: Parameter, text: str, starts: Sequence[Path], code_dir: Path, brought: dict[str, str]
) -> str:
    """Return what a parameter's place in the command becomes; may add to what is brought."""
    if parameter.kind == URI and not is_uri(text):
        return shlex.quote(str(Path(starts[0], text).absolute()))
    if parameter.kind != PATH:
        return shlex.quote(text)
    is_local = text.startswith("file:") or not is_uri(text)
    source = str(_existing(parameter, text, starts)) if is_local else text
    if is_local and Path(source).is_relative_to(code_dir):  # it is sent with the code
        return shlex.quote(str(Path(source).relative_to(code_dir)))
    if brought.get(parameter.name, source) != source:
        raise InvalidInput(
            f"{parameter.name!r} is a parameter of type path, and an input of another address",
            operation="submit",
            hint="give the input another name",
        )
    brought[parameter.name] = source
    return f"{{inputs.{parameter.name}}}"


def _existing(parameter: Parameter, text: str, starts: Sequence[Path]) -> Path:
    named = file_path(text) if text.startswith("file:") else Path(text).expanduser()
    for start in starts:
        path = Path(start, named).absolute()
        if path.exists():
            return path
    raise NotFound(
        f"the parameter {parameter.name!r} is {text!r}, and there is no such file or folder",
        operation="submit",
        hint=f"it was looked for in {' and '.join(map(str, dict.fromkeys(starts)))}",
    )


def _command(
    entry: EntryPoint, values: Mapping[str, str], places: Iterable[str], extra: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the words that run the command of an entry point."""
    template = _Template({**values, **{place: f"{{{place}}}" for place in places}})
    try:
        text = template.format(entry.command)
    except (LookupError, ValueError) as error:
        known = ", ".join(sorted({**values, **dict.fromkeys(places)})) or "none"
        raise InvalidInput(
            f"the command of the entry point {entry.name!r} cannot be filled in: {error}",
            operation="submit",
            resource=entry.command[:200],
            hint=f"it may name: {known}; a brace of the shell is written twice: {{{{ and }}}}",
        ) from error
    options = [shlex.quote(word) for name, value in extra.items() for word in (f"--{name}", value)]
    return ("bash", "-c", " ".join([text, *options]), *(["bash", *template.paths] if template.paths else []))


class _Template(string.Formatter):
    """Fills in names, and nothing of Python's beyond them; collects the paths in the order of their use."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.paths: list[str] = []

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, str]:
        """Return what a name stands for."""
        if field_name not in self._values:
            raise LookupError(f"there is no {field_name or 'name'!r} to put there")
        value = self._values[field_name]
        if not value.startswith(("{inputs.", "{outputs.")):
            return value, field_name
        if value not in self.paths:
            self.paths.append(value)
        return f'"${{{self.paths.index(value) + 1}}}"', field_name
