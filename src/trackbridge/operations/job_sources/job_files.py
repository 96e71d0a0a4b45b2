"""Job files: a job in YAML, in the words of the flags of ``bridge run``. See docs/jobs.md for the fields."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trackbridge.domain.jobs import Launcher
from trackbridge.operations.job_sources.documents import Document, read_document
from trackbridge.operations.job_sources.entry_points import is_uri
from trackbridge.operations.job_sources.environments import read_requirements
from trackbridge.operations.job_sources.git_sources import is_git_address
from trackbridge.operations.job_sources.requests import JobRequest
from trackbridge.operations.job_sources.words import seconds_of

ENDINGS = (".yaml", ".yml")


def read_job_file(path: Path) -> JobRequest:
    """Read a job file; paths in it start at its folder.

    Raises:
        NotFound: There is no such file.
        ConfigError: It is no YAML, or a field of it is wrong; the error says where.
    """
    return request_of(read_document(path))


def request_of(document: Document) -> JobRequest:
    """Return what the document of a job file says.

    Raises:
        NotFound: A file of requirements that it names is not there.
        ConfigError: A field of it is wrong; the error says where.
    """
    document.refuse_unknown(FIELDS)
    if ("source" in document.content) == ("command" in document.content):
        raise document.wrong(
            "command",
            "a job file names what to run either as source or as command",
            "write source: train.py (a script, a folder or a git address), or command: [make, train]",
        )
    said: dict[str, Any] = {}
    for key in document.content:
        if document.content[key] is not None:
            said.update(FIELDS[key](document, key))
    return JobRequest(**said)


Reader = Callable[[Document, str], dict[str, Any]]


def _source(document: Document, key: str) -> dict[str, Any]:
    text = document.text(key) or ""
    words = (text,) if is_git_address(text) else (_path(document, text),)
    return {"words": words}


def _command(document: Document, key: str) -> dict[str, Any]:
    if isinstance(document.content[key], str):
        hint = "write the words as a list, or a shell's line as [bash, -c, LINE]"
        raise document.wrong(key, "command is a text, and has to be a list of words", hint)
    return {"words": document.texts(key)}


def _as_text(field: str) -> Reader:
    return lambda document, key: {field: document.text(key)}


def _as_path(field: str) -> Reader:
    return lambda document, key: {field: _path(document, document.text(key) or "")}


def _as_texts_by_name(field: str) -> Reader:
    return lambda document, key: {field: _texts_by_name(document, key)}


def _as_places_by_name(field: str) -> Reader:
    def read(document: Document, key: str) -> dict[str, Any]:
        places = _texts_by_name(document, key)
        return {field: {name: _place(document, place) for name, place in places.items()}}

    return read


def _as_count(field: str) -> Reader:
    return lambda document, key: {field: _count(document, key, document.content[key])}


def _as_switch(field: str) -> Reader:
    def read(document: Document, key: str) -> dict[str, Any]:
        value = document.content[key]
        if not isinstance(value, bool):
            raise document.wrong(key, f"{key} is {value!r}", "write true or false")
        return {field: value}

    return read


def _requirements(document: Document, key: str) -> dict[str, Any]:
    value = document.content[key]
    if isinstance(value, str):
        return {"requirements": read_requirements(Path(_path(document, value)))}
    return {"requirements": document.texts(key)}


def _environment_manager(document: Document, key: str) -> dict[str, Any]:
    value = document.text(key)
    if value not in ("local", "venv"):
        raise document.wrong(key, f"{key} is {value!r}", "write local or venv")
    return {"environment_manager": value}


def _launcher(document: Document, key: str) -> dict[str, Any]:
    names = [launcher.value for launcher in Launcher]
    value = document.text(key)
    if value not in names:
        raise document.wrong(key, f"{value!r} is no launcher", f"write one of {', '.join(names)}")
    return {"launcher": Launcher(value)}


def _time_limit(document: Document, key: str) -> dict[str, Any]:
    return {"time_limit_s": seconds_of(document.content[key], f"{key} of {document.place(key)}")}


def _retries(document: Document, key: str) -> dict[str, Any]:
    return {"attempts_max": 1 + _count(document, key, document.content[key], least=0)}


def _checkpoints(document: Document, key: str) -> dict[str, Any]:
    return {"checkpoints": _place(document, document.text(key) or "")}


def _count(document: Document, key: str, value: object, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise document.wrong(key, f"{key} is {value!r}", f"write a whole number from {least} up")
    return value


def _texts_by_name(document: Document, key: str) -> dict[str, str]:
    found = {}
    for name, value in document.mapping(key).items():
        if value is None or isinstance(value, (Mapping, list)):
            raise document.wrong(key, f"{name!r} of {key} is no text or number", f"write {name}: VALUE")
        found[name] = str(value)
    return found


def _place(document: Document, text: str) -> str:
    return text if is_uri(text) else _path(document, text)


def _path(document: Document, text: str) -> str:
    return os.path.abspath(Path(document.path).parent / Path(text).expanduser())


FIELDS: Mapping[str, Reader] = {
    "source": _source,
    "command": _command,
    "entry_point": _as_text("entry_point"),
    "version": _as_text("version"),
    "parameters": _as_texts_by_name("parameters"),
    "name": _as_text("name"),
    "experiment": _as_text("experiment"),
    "on": _as_text("place"),
    "code": _as_path("code_dir"),
    "ignore_file": _as_path("ignore_file"),
    "compute": _as_text("compute"),
    "instances": _as_count("instance_count"),
    "spot": _as_switch("spot"),
    "image": _as_text("image"),
    "requirements": _requirements,
    "conda": _as_path("conda_file"),
    "python": _as_text("python"),
    "env_manager": _environment_manager,
    "inputs": _as_places_by_name("inputs"),
    "outputs": _as_places_by_name("outputs"),
    "checkpoints": _checkpoints,
    "env": _as_texts_by_name("variables"),
    "secrets": _as_texts_by_name("secrets"),
    "tags": _as_texts_by_name("tags"),
    "launcher": _launcher,
    "processes": _as_count("processes_per_node"),
    "all_ranks": _as_switch("all_ranks_track"),
    "time_limit": _time_limit,
    "retries": _retries,
}
"""What may stand in a job file, and how it is read."""
