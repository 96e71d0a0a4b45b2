"""What is wrong with a job before any backend has seen it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from trackbridge.domain.job_requirements import wrong_requirements
from trackbridge.domain.jobs import JobSpec
from trackbridge.domain.secrets import MASK, is_secret_name, redact

WORD_BYTES_MAX = 131_071
"""Bytes of the longest word, or variable with its name, that Linux starts a program with: MAX_ARG_STRLEN, 32
pages of 4 KiB with a NUL at the end, see execve(2)."""

_VARIABLE = re.compile(r"[^=\0]+")
_DATA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}")
_PYTHON = re.compile(r"3\.[0-9]{1,2}(\.[0-9]{1,2})?")


class JobProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why no backend can run a job: which part of the spec, what is wrong, how to fix it."""

    subject: str
    message: str
    fix: str


def job_problems(spec: JobSpec) -> tuple[JobProblem, ...]:
    """Return what keeps a job from running anywhere; backends add what keeps it from running there."""
    rules = (
        _wrong_texts,
        _wrong_command,
        _too_long,
        _wrong_names,
        _wrong_data,
        _wrong_numbers,
        _wrong_environment,
    )
    return tuple(
        JobProblem(subject=subject, message=message, fix=fix)
        for rule in rules
        for subject, message, fix in rule(spec)
    )


def shown_spec(spec: JobSpec) -> dict[str, Any]:
    """Return a spec as plain values for a person to read, without anything that looks like a secret."""
    shown: dict[str, Any] = _redacted(msgspec.to_builtins(spec))
    for field in ("variables", "parameters", "tags"):
        for name in filter(is_secret_name, shown[field]):
            shown[field][name] = MASK
    words = shown["command"]
    for number, word in enumerate(words[:-1]):
        if (
            word.startswith("-")
            and is_secret_name(word.lstrip("-"))
            and not words[number + 1].startswith("-")
        ):
            words[number + 1] = MASK
    return shown


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    return [_redacted(item) for item in value] if isinstance(value, (list, tuple)) else value


Found = Iterator[tuple[str, str, str]]


def _wrong_texts(spec: JobSpec) -> Found:
    for field in spec.__struct_fields__:
        if not all(map(_is_unicode, _texts(getattr(spec, field)))):
            yield field, "a text is not valid Unicode", "remove the lone surrogate"


def _wrong_command(spec: JobSpec) -> Found:
    if not spec.command or not spec.command[0]:
        yield "command", "there is no command", "give the program and its arguments"
    if any("\0" in word for word in (*spec.command, spec.code_dir or "")):
        yield "command", "a word of the command or its folder holds a NUL", "remove it"


def _too_long(spec: JobSpec) -> Found:
    for number, word in enumerate(spec.command):
        if (size := _size(word)) > WORD_BYTES_MAX:
            name = _parameter_in(spec, word)
            where = f"argument {number} of the command"
            yield (
                "command" if name is None else "parameters",
                (where if name is None else f"{name!r}, in {where},") + _more_than(size),
                "write it to a file, and give that with --input NAME=FILE",
            )
    for name, value in spec.variables.items():
        if (size := _size(f"{name}={value}")) > WORD_BYTES_MAX:
            fix = "write its value to a file, and give that with --input NAME=FILE"
            yield "variables", f"{name!r}" + _more_than(size), fix


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _parameter_in(spec: JobSpec, word: str) -> str | None:
    """Return the name of the longest parameter, if it is what a word mostly consists of."""
    name = max(spec.parameters, key=lambda name: len(spec.parameters[name]), default=None)
    return name if name is not None and len(spec.parameters[name]) > len(word) // 2 else None


def _more_than(size: int) -> str:
    return f" has {size:,} bytes, and no program can be started with more than {WORD_BYTES_MAX:,} in one"


def _wrong_names(spec: JobSpec) -> Found:
    for field in ("variables", "secrets"):
        for name, value in getattr(spec, field).items():
            if not _VARIABLE.fullmatch(name) or "\0" in value:
                yield field, f"{name!r} cannot be a variable", "use a name without '=', and no NUL in either"
    for name in sorted(spec.variables.keys() & spec.secrets.keys()):
        yield "secrets", f"{name!r} is a variable and a secret", "give it once"


def _wrong_numbers(spec: JobSpec) -> Found:
    numbers = {
        "instance_count": spec.compute.instance_count,
        "processes_per_node": spec.processes_per_node,
        "attempts_max": spec.attempts_max,
        "time_limit_s": spec.time_limit_s,
    }
    for name, number in numbers.items():
        if number is not None and number < 1:
            yield name, f"{name} is {number}", "ask for at least 1"


def _wrong_data(spec: JobSpec) -> Found:
    for field in ("inputs", "outputs"):
        places: dict[str, str] = getattr(spec, field)
        for name, place in places.items():
            if not _DATA.fullmatch(name):
                yield field, f"{name!r} is no name", "use letters, digits, '_', '.' and '-', at most 64"
            if not place or "\0" in place:
                yield field, f"{name!r} has no URI or path", "say where it is"
        if len({name.upper() for name in places}) < len(places):
            yield field, "two names differ only in case, and so have one variable", "rename one of them"
    if spec.checkpoints is not None and (not spec.checkpoints or "\0" in spec.checkpoints):
        yield "checkpoints", "it has no URI or path", "say where they are to be kept"


def _wrong_environment(spec: JobSpec) -> Found:
    environment = spec.environment
    if environment.conda_file and (environment.image or environment.requirements):
        fix = "give an image, requirements or both, or a conda file alone"
        yield "environment", "it has several sources", fix
    if environment.python is not None and not _PYTHON.fullmatch(environment.python):
        yield "environment", f"{environment.python!r} is no version of Python", "write 3.11, for example"
    yield from wrong_requirements(filter(_is_unicode, environment.requirements))  # else told already


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _all_texts((*value.keys(), *value.values()))
    elif isinstance(value, tuple):
        yield from _all_texts(value)
    elif isinstance(value, msgspec.Struct):
        yield from _all_texts(getattr(value, field) for field in value.__struct_fields__)


def _all_texts(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        yield from _texts(value)
