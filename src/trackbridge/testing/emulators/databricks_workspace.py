"""Folders of the Databricks double's workspace, and what names experiments may have in them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from trackbridge.testing.emulators.front import Result, json_result

_LONG = "/Workspace"


class Folders:
    """The folders that exist: one for each user, ``/Shared``, and what is made below.

    Args:
        users: Who has a folder.
    """

    def __init__(self, users: Iterable[str]) -> None:
        self._first = frozenset({"/", "/Users", "/Shared", *(f"/Users/{user}" for user in users)})
        self._lock = threading.Lock()
        self.paths = set(self._first)

    def clear(self) -> None:
        """Forget what was made."""
        with self._lock:
            self.paths = set(self._first)

    def make(self, user: str, path: str, is_experiment: Callable[[str], bool]) -> Result:
        """Answer ``workspace/mkdirs``: make a folder and those above it."""
        problem = _path_problem(path)
        if problem is not None:
            return refused(400, "INVALID_PARAMETER_VALUE", problem)
        path = _short(path).rstrip("/")
        parts = path.split("/")
        wanted = ["/".join(parts[:count]) for count in range(2, len(parts) + 1)]
        missing = [folder for folder in wanted if folder not in self.paths]
        if missing and not self._may_write(user, missing[0]):
            return _denied(user, missing[0])
        for folder in missing:
            if is_experiment(folder):
                return refused(400, "RESOURCE_ALREADY_EXISTS", f"Node named {folder!r} is not a folder")
        with self._lock:
            self.paths.update(missing)
        return json_result(200, {})

    def place(self, user: str, name: str) -> tuple[str, Result | None]:
        """Return where an experiment of a name is to be, or why that cannot be."""
        if not name.startswith("/"):
            message = (
                f"Got an invalid experiment name {name!r}. An experiment name must be an absolute path "
                "within the Databricks workspace, e.g. '/Users/<some-username>/my-experiment'."
            )
            return name, refused(400, "INVALID_PARAMETER_VALUE", message)
        problem = _path_problem(name)
        if problem is not None:
            return name, refused(400, "INVALID_PARAMETER_VALUE", problem)
        path = _short(name)
        parent = path.rpartition("/")[0] or "/"
        if parent not in self.paths:
            return path, refused(404, "RESOURCE_DOES_NOT_EXIST", f"Parent directory {parent} does not exist.")
        if path in self.paths:
            return path, refused(400, "RESOURCE_ALREADY_EXISTS", f"Node named {path!r} already exists")
        return path, None if self._may_write(user, path) else _denied(user, path)

    def lookup_problem(self, name: str) -> Result | None:
        """Return why no experiment is found by a name: Databricks does not look for the longer form."""
        if name.startswith(f"{_LONG}/") or not name.startswith("/"):
            return refused(404, "RESOURCE_DOES_NOT_EXIST", f"Node {name} does not exist")
        return None

    def _may_write(self, user: str, path: str) -> bool:
        return path.startswith((f"/Users/{user}/", "/Shared/"))


def refused(status: int, code: str, message: str) -> Result:
    """Return an error as the workspace words it."""
    return json_result(status, {"error_code": code, "message": message})


def _short(path: str) -> str:
    return path.removeprefix(_LONG) if path.startswith(f"{_LONG}/") else path


def _path_problem(path: str) -> str | None:
    if not path.startswith("/"):
        return f"Path ({path}) doesn't start with '/'"
    if any(part in ("", ".", "..") for part in path.rstrip("/")[1:].split("/")):
        return f"Path ({path}) has a part that is empty or a dot"
    if any(ord(letter) < 0x20 for letter in path):
        return "Path holds control characters"
    return None


def _denied(user: str, path: str) -> Result:
    return refused(403, "PERMISSION_DENIED", f"{user} does not have permission to create in {path}")
