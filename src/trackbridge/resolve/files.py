"""Reading and changing ``config.toml``: of the project (``.bridge/``) and of the user.

::

    tracking_uri = "prod"            # any setting of ``config.SETTINGS``
    delivery = "thread"

    [remotes.prod]                   # a named remote: its URI and options of its adapter
    uri = "azureml:"
    token_env = "PROD_TOKEN"         # the name of a variable, never a credential itself

    [webhooks.audit]                 # who is told what happens: trackbridge.events.subscribers
    url = "https://example.org/hooks/bridge"
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.errors import ConfigError
from trackbridge.resolve.home import PROJECT_FOLDER, Surroundings, find_project, project_folder

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

FILE_NAME = "config.toml"
FILE_BYTES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The content of one file, as plain values; ``text`` serves to find the line of a key."""

    path: Path
    content: Mapping[str, Any]
    text: str

    def place(self, key: str, table: str = "") -> str:
        """Return ``path, line 3`` of a key, or the path alone when the line cannot be told."""
        line = _line_of(self.text, key, table)
        return f"{self.path}, line {line}" if line else str(self.path)

    @property
    def base(self) -> Path:
        """The folder that relative paths of the file start from: the project's, not its ``.bridge``."""
        folder = self.path.parent
        return folder.parent if folder.name == PROJECT_FOLDER else folder


def user_file(around: Surroundings) -> Path | None:
    """Return the path of the user's file, which need not exist; None without a home folder."""
    folder = around.xdg_folder("XDG_CONFIG_HOME", ".config")
    return folder / FILE_NAME if folder else None


def project_file(around: Surroundings) -> Path:
    """Return the path of the project's file, which need not exist."""
    return project_folder(around) / FILE_NAME


def existing_files(around: Surroundings) -> list[Path]:
    """Return the files that there are, the one that wins first."""
    project = find_project(around)
    candidates = [project / FILE_NAME if project else None, user_file(around)]
    return [path for path in candidates if path is not None and path.exists()]


def read_file(path: Path) -> ConfigFile:
    """Read one file.

    Raises:
        ConfigError: It cannot be read, or is not TOML; the message gives the line.
    """
    text, document = _load(path)
    return ConfigFile(path, document.unwrap(), text)


def read_document(path: Path) -> TOMLDocument:
    """Return the file for editing, comments and all; an empty document when there is no file."""
    import tomlkit  # costs 25 ms, which nobody without a file should pay

    return _load(path)[1] if path.exists() else tomlkit.document()


def write_document(path: Path, document: TOMLDocument) -> None:
    """Replace the file at once: a reader sees the whole old or the whole new one.

    Raises:
        ConfigError: The folder cannot be written to.
    """
    target = Path(os.path.realpath(path))  # a linked file stays a link
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
        descriptor, temporary = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
                stream.write(document.as_string())
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, mode)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", hint="check the folder's permissions and space"
        ) from error


def _load(path: Path) -> tuple[str, TOMLDocument]:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    hint = "correct the file, or move it away"
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{path} has more than {FILE_BYTES_MAX} bytes", hint=hint)
        text = path.read_bytes().decode("utf-8")
        return text, tomlkit.parse(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 at byte {error.start}", hint=hint) from error
    except TOMLKitError as error:
        line = getattr(error, "line", None)
        where = f"{path}, line {line}" if line else str(path)
        raise ConfigError(f"{where}: not valid TOML ({type(error).__name__})", hint=hint) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply", hint=hint) from error


def _line_of(text: str, key: str, table: str) -> int | None:
    """Find ``key =`` in a table, by the plain way of writing both."""
    assignment = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        if header:
            current = header[1].strip()
        elif current == table and assignment.match(line):
            return number
    return None
