"""Where a project's files lie: its ``.bridge`` folder, and what stands in for it."""

from __future__ import annotations

import os
import stat
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from trackbridge.errors import ConfigError

PROJECT_FOLDER = ".bridge"
HOME_VARIABLE = "BRIDGE_HOME"

_SYSTEM_OWNERS = (0,)


class Surroundings(NamedTuple):
    """What paths and settings depend on, so that tests can stand in for the world."""

    cwd: Path
    environ: Mapping[str, str]

    @classmethod
    def current(cls) -> Surroundings:
        """Return the process's own.

        Raises:
            ConfigError: The current directory was deleted.
        """
        try:
            return cls(Path.cwd(), os.environ)
        except OSError as error:
            raise ConfigError(
                f"the current directory cannot be read: {error.strerror}",
                hint="change to a directory that exists",
            ) from error

    @property
    def user_folder(self) -> Path | None:
        """The user's home folder, or None where there is none."""
        named = self.environ.get("HOME")
        if named:
            return Path(named)
        try:
            return Path.home()
        except RuntimeError:  # neither HOME nor an entry in the password database
            return None

    def xdg_folder(self, variable: str, default: str) -> Path | None:
        """Return ``trackbridge`` below an XDG base folder; None without a home folder."""
        named = self.environ.get(variable, "")
        if os.path.isabs(named):  # the specification says to ignore relative ones
            return Path(named) / "trackbridge"
        user_folder = self.user_folder
        return user_folder / default / "trackbridge" if user_folder else None


def find_project(around: Surroundings) -> Path | None:
    """Return the project's existing folder, or None.

    ``BRIDGE_HOME`` where set (existing or not), else the nearest ``.bridge`` folder from the current
    directory upward, as git finds ``.git``; never above the user's home.
    """
    named = around.environ.get(HOME_VARIABLE)
    if named:
        return around.cwd / Path(named).expanduser()
    user_folder = around.user_folder
    for folder in (around.cwd, *around.cwd.parents):
        candidate = folder / PROJECT_FOLDER
        if candidate.is_dir() and not _planted(candidate):
            return candidate
        if folder == user_folder:
            return None
    return None


def project_folder(around: Surroundings) -> Path:
    """Return the project's folder, or where it would be made: ``./.bridge``."""
    return find_project(around) or around.cwd / PROJECT_FOLDER


def bridge_home(around: Surroundings, *, warn: bool = True) -> Path:
    """Return the folder for journal and ledger of remote backends; it exists afterwards.

    The project's folder, else ``$XDG_STATE_HOME/trackbridge``, else a temporary folder of this user with a
    ``RuntimeWarning`` where ``warn``, because what lies there may not survive a restart of the machine.

    Raises:
        ConfigError: ``BRIDGE_HOME`` or the project's folder cannot be written to.
    """
    project = find_project(around)
    if project is not None:
        return _made(project)
    state = user_state(around)
    if state is not None and _can_write(state):
        return state
    folder = _temporary_folder()
    if warn:
        warnings.warn(
            f"no folder of yours can be written to; the journal lies in {folder} and may be lost when the "
            f"machine restarts. Set {HOME_VARIABLE} to a lasting folder.",
            RuntimeWarning,
            stacklevel=2,
        )
    return folder


def user_state(around: Surroundings) -> Path | None:
    """Return the folder that stands in for a project's where there is none; None where it is never used."""
    if around.environ.get(HOME_VARIABLE):
        return None
    return around.xdg_folder("XDG_STATE_HOME", ".local/state")


def _planted(folder: Path) -> bool:
    """Tell whether somebody else may have put the folder into a place that everybody can write to.

    Its settings say where this user's data goes, so a ``/tmp/.bridge`` of a stranger is not followed.
    """
    if not hasattr(os, "getuid"):
        return False
    owner = folder.stat().st_uid
    return bool(folder.parent.stat().st_mode & stat.S_IWOTH) and owner not in (os.getuid(), *_SYSTEM_OWNERS)


def _made(folder: Path) -> Path:
    if _can_write(folder):
        return folder
    raise ConfigError(
        f"the folder {folder} cannot be written to",
        hint=f"make it writable, or set {HOME_VARIABLE} to another folder",
    )


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _temporary_folder() -> Path:
    """Return one folder per user, so that the next program finds what this one left."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"trackbridge-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:  # a file of that name: somebody else's
        return Path(tempfile.mkdtemp(prefix="trackbridge-"))
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077
    return folder if is_ours or not hasattr(os, "getuid") else Path(tempfile.mkdtemp(prefix="trackbridge-"))
