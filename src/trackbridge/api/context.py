"""Where a new run comes from: source, commit, user, machine, packages.

``run_context`` is quick enough for ``start_run``; ``slow_context`` belongs on a thread of its own. The
arguments of the program are never recorded: they may hold secrets.
"""

from __future__ import annotations

import functools
import getpass
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from trackbridge.api.git import git_status, read_git
from trackbridge.domain.runs import (
    TAG_GIT_BRANCH,
    TAG_GIT_COMMIT,
    TAG_GIT_DIRTY,
    TAG_GIT_REPOSITORY,
    TAG_HOST,
    TAG_PYTHON,
    TAG_SOURCE_NAME,
    TAG_SOURCE_TYPE,
    TAG_USER,
)

if TYPE_CHECKING:
    from importlib.metadata import Distribution

REQUIREMENTS_PATH = "bridge/requirements.txt"

_UNKNOWN_USER = "unknown"
_SOURCE_OF_INTERPRETER = {"": "<stdin>", "-": "<stdin>", "-c": "<string>", "-m": "<module>"}


@dataclass(frozen=True, slots=True)
class SlowContext:
    """Tags to add to the run, and the text of the artifact at ``REQUIREMENTS_PATH``."""

    tags: dict[str, str]
    requirements: str


def run_context(*, cwd: str | Path) -> dict[str, str]:
    """Return the tags of a run that starts now, without starting a process.

    The commit is that of the repository around the running script, else around ``cwd``. What is not
    known has no tag.
    """
    name, kind = _source()
    git = read_git(_source_folder(Path(cwd)))
    tags = {
        TAG_USER: _user(),
        TAG_SOURCE_NAME: name,
        TAG_SOURCE_TYPE: kind,
        TAG_GIT_COMMIT: git.commit,
        TAG_GIT_BRANCH: git.branch,
        TAG_GIT_REPOSITORY: git.repository,
        TAG_HOST: platform.node(),
        TAG_PYTHON: platform.python_version(),
    }
    return {tag: value for tag, value in tags.items() if value}


def notebook_path() -> Path | None:
    """Return the file of the running notebook, where the front end tells it and it exists."""
    name = _notebook_name()
    path = Path(name) if name else None
    return path if path is not None and path.is_file() else None


def slow_context(*, cwd: str | Path, timeout_s: float = 1.0) -> SlowContext:
    """Return what takes a process or many files: uncommitted changes, and the installed packages.

    The commit and branch are among the tags only where ``run_context`` cannot read them from git's files.
    Takes up to ``timeout_s`` seconds for git, and tens of milliseconds for a hundred packages.
    """
    folder = _source_folder(Path(cwd))
    return SlowContext(_status_tags(folder, timeout_s), installed_packages())


@functools.cache
def installed_packages() -> str:
    """Return a line ``name==version`` for each installed package, sorted, as the import system finds it.

    Read once for a program: what is installed does not change while it runs, or not for what it has imported.
    """
    from importlib.metadata import distributions

    versions: dict[str, tuple[str, str]] = {}
    for distribution in distributions():
        name, version = _name_and_version(distribution)
        if name and version:  # the first on the path is the one that is imported
            versions.setdefault(name.lower().replace("_", "-"), (name, version))
    lines = [f"{name}=={version}" for _, (name, version) in sorted(versions.items())]
    return "\n".join([f"# Python {platform.python_version()}", *lines, ""])


def _status_tags(folder: Path, timeout_s: float) -> dict[str, str]:
    status = git_status(folder, timeout_s=timeout_s)
    if status is None:
        return {}
    tags = {TAG_GIT_DIRTY: "true" if status.is_dirty else "false"}
    if read_git(folder).commit is None and status.commit:
        tags[TAG_GIT_COMMIT] = status.commit
        if status.branch:
            tags[TAG_GIT_BRANCH] = status.branch
    return tags


def _name_and_version(distribution: Distribution) -> tuple[str | None, str | None]:
    """Return both, or None where the package's own description is damaged."""
    try:
        metadata: Any = distribution.metadata
        name, version = metadata["Name"], metadata["Version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
    return _one_line(name), _one_line(version)


def _one_line(value: object) -> str | None:
    return value if isinstance(value, str) and value.isprintable() else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user id has no name
        return _UNKNOWN_USER


def _source() -> tuple[str, str]:
    """Return the script's path or the notebook's name, and mlflow's word for which of them it is."""
    notebook = _notebook_name()
    if notebook is not None:
        return notebook, "NOTEBOOK"
    script = _script()
    return _SOURCE_OF_INTERPRETER.get(script, script), "LOCAL"


def _script() -> str:
    arguments = getattr(sys, "argv", None) or [""]
    return str(arguments[0])


def _notebook_name() -> str | None:
    """Return the notebook's path where the front end tells it, ``notebook`` where it does not."""
    if "ipykernel" not in sys.modules:
        return None
    interpreter: ModuleType | None = sys.modules.get("IPython")
    shell = getattr(interpreter, "get_ipython", lambda: None)()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    told_by_editor = getattr(sys.modules.get("__main__"), "__vsc_ipynb_file__", None)
    return str(told_by_editor or os.environ.get("JPY_SESSION_NAME") or "notebook")


def _source_folder(cwd: Path) -> Path:
    """Return the script's folder; ``cwd`` for notebooks and for launchers that are installed packages."""
    script = _script()
    if script in _SOURCE_OF_INTERPRETER or _notebook_name() is not None or not os.path.isfile(script):
        return cwd
    folder = Path(os.path.abspath(script)).parent
    is_installed = "site-packages" in folder.parts or folder.is_relative_to(sys.prefix)
    return cwd if is_installed else folder
