"""Names of experiments: to Databricks they are paths of the workspace, of a folder that exists.

==========================  ======================================================================
our name                    path of the workspace
==========================  ======================================================================
``/Shared/churn``           the same
``/Workspace/Shared/churn``  ``/Shared/churn``: Databricks creates it there, and then does not find it by
                            the longer name (mlflow#11077)
``churn``                   ``/Users/<me>/churn``, or below the option ``experiment_folder``
``team/churn``              ``/Users/<me>/team/churn``; the folder ``team`` is made
==========================  ======================================================================

Every path has one name here, and further names that lead to it; an experiment is shown by the one that it was
opened with, where its tag tells it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from trackbridge.errors import Rejected
from trackbridge_adapters.databricks.config import ADAPTER

WORKSPACE = "/Workspace"
HOMES = "/Users/"


class WorkspacePaths:
    """Names and paths, both ways.

    Args:
        folder: Returns the folder of names that are no paths; asked once, and only where it matters.
        beginning: How that folder begins in any case; other paths are not in it.
    """

    def __init__(self, folder: Callable[[], str], *, beginning: str = HOMES) -> None:
        self._ask = folder
        self._beginning = beginning
        self._lock = threading.Lock()
        self._folder: str | None = None

    def folder(self) -> str:
        """Return the folder of names that are no paths."""
        with self._lock:
            if self._folder is None:
                self._folder = self._ask()
            return self._folder

    def native(self, name: str) -> str:
        """Return the path of a name.

        Raises:
            Rejected: No path can be made of it.
        """
        problem = _problem(name)
        if problem is not None:
            raise Rejected(
                f"the experiment's name {problem}: on Databricks it is a path of the workspace",
                adapter=ADAPTER,
                hint="name it as churn, team/churn or /Shared/churn",
            )
        if not name.startswith("/"):
            return f"{self.folder()}/{name}"
        return name.removeprefix(WORKSPACE) if name.startswith(f"{WORKSPACE}/") else name

    def ours(self, path: str) -> str:
        """Return the shortest name of a path."""
        if not path.startswith(self._beginning):
            return path
        folder = f"{self.folder()}/"
        return path.removeprefix(folder) if len(path) > len(folder) else path

    def names(self, path: str) -> tuple[str, ...]:
        """Return every name that leads to a path, the one by which Databricks shows it first."""
        return (path, self.ours(path), f"{WORKSPACE}{path}")


def parent_of(path: str) -> str:
    """Return the folder that a path is in."""
    return path.rpartition("/")[0] or "/"


def _problem(name: str) -> str | None:
    parts = name.removeprefix("/").split("/")
    if "" in parts:
        return "is empty, or has an empty part"
    if "." in parts or ".." in parts:
        return "has a part '.' or '..'"
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in name):
        return "holds control characters"
    return None
