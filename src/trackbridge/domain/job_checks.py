"""What is wrong with a job before any backend has seen it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from trackbridge.domain.jobs import JobSpec

_VARIABLE = re.compile(r"[^=\0]+")


class JobProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why no backend can run a job: which part of the spec, what is wrong, how to fix it."""

    subject: str
    message: str
    fix: str


def job_problems(spec: JobSpec) -> tuple[JobProblem, ...]:
    """Return what keeps a job from running anywhere; backends add what keeps it from running there."""
    found = (*_wrong_texts(spec), *_wrong_command(spec), *_wrong_names(spec), *_wrong_numbers(spec))
    return tuple(
        JobProblem(subject=subject, message=message, fix=fix)
        for subject, message, fix in (*found, *_sources(spec))
    )


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


def _sources(spec: JobSpec) -> Found:
    environment = spec.environment
    given = (environment.image, environment.requirements, environment.conda_file)
    if sum(map(bool, given)) > 1:
        yield "environment", "it has several sources", "give an image, requirements or a conda file"


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
