"""The file MLproject, as mlflow reads it: https://mlflow.org/docs/latest/ml/projects/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.errors import NotFound
from trackbridge.operations.job_sources.documents import Document, read_document
from trackbridge.operations.job_sources.entry_points import EntryPoint, Parameter
from trackbridge.operations.job_sources.environments import Declared, declared_environment
from trackbridge.resolve.config import close_match

FILE = "mlproject"  # in any case of letters
MAIN = "main"

SCRIPT_PROGRAMS = {".py": "python", ".sh": "bash"}


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that can be run: its name, its entry points, and the environment that it declares."""

    folder: str
    name: str = ""
    entry_points: dict[str, EntryPoint] = msgspec.field(default_factory=dict)
    declared: Declared = Declared()

    def entry_point(self, name: str) -> EntryPoint:
        """Return an entry point by its name, or a script of the folder as one.

        Raises:
            NotFound: There is neither.
        """
        if name in self.entry_points:
            return self.entry_points[name]
        program = SCRIPT_PROGRAMS.get(Path(name).suffix)
        if program is not None and Path(self.folder, name).is_file():
            script = f"./{name}" if name.startswith("-") else name
            return EntryPoint(name=name, script=(program, script))
        known = ", ".join(self.entry_points)
        there = (
            f"its entry points are: {known};" if known else "the folder has no file MLproject that names one;"
        )
        raise NotFound(
            f"there is no entry point {name!r}{close_match(name, self.entry_points)}",
            operation="submit",
            resource=self.folder,
            hint=f"{there} name a script of it that ends in .py or .sh with -e",
        )


def find_mlproject(folder: Path) -> Path | None:
    """Return the MLproject file of a folder, whatever its case; None where there is none."""
    found = sorted(path for path in folder.iterdir() if path.name.lower() == FILE)
    return found[0] if found else None


def read_project(folder: Path, environ: Mapping[str, str], *, declares: bool = True) -> Project:
    """Read a folder, with an MLproject file or without; ``declares`` off leaves its environment aside.

    Raises:
        NotFound: A file that it names is not there.
        ConfigError: The MLproject file, or one that it names, is wrong.
    """
    path = find_mlproject(folder)
    document = read_document(path) if path is not None else None
    if document is not None and "databricks_spark_job" in document.content:
        raise document.wrong(
            "databricks_spark_job",
            "databricks_spark_job works with mlflow run alone",
            "write an entry point with a command, and run it with --on databricks:",
        )
    return Project(
        folder=str(folder),
        name=(document.text("name") if document is not None else None) or "",
        entry_points=_entry_points(document) if document is not None else {},
        declared=declared_environment(document, folder, environ) if declares else Declared(),
    )


def _entry_points(document: Document) -> dict[str, EntryPoint]:
    return {
        name: _entry_point(document, name, declared)
        for name, declared in document.mapping("entry_points").items()
    }


def _entry_point(document: Document, name: str, declared: Any) -> EntryPoint:
    command = declared.get("command") if isinstance(declared, Mapping) else None
    if not isinstance(command, str) or not command.strip():
        raise document.wrong(
            "entry_points", f"the entry point {name!r} has no command", "write command: TEXT below it"
        )
    parameters = declared.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise document.wrong(
            "entry_points",
            f"the parameters of {name!r} are no mapping",
            "write NAME: TYPE, or NAME: {type: …}",
        )
    return EntryPoint(
        name=name,
        command=command,
        parameters=tuple(_parameter(document, str(key), value) for key, value in parameters.items()),
    )


def _parameter(document: Document, name: str, declared: Any) -> Parameter:
    if isinstance(declared, str):
        return Parameter(name=name, kind=declared)
    if not isinstance(declared, Mapping):
        raise document.wrong(
            "entry_points",
            f"the parameter {name!r} is {declared!r}, which is no type",
            f"write {name}: string, or {name}: {{type: string, default: VALUE}}",
        )
    default = declared.get("default")
    return Parameter(
        name=name,
        kind=str(declared.get("type", "string")),
        default=None if default is None else str(default),
    )
