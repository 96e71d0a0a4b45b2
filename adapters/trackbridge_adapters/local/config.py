"""What a ``file:`` URI and its options say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trackbridge.domain.file_uris import file_path
from trackbridge.errors import ConfigError

BUSY_TIMEOUT_S = 10.0
BUSY_TIMEOUT_S_MAX = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the store lies, and how long a write waits for another process's write."""

    folder: Path
    busy_timeout_s: float = BUSY_TIMEOUT_S

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "store.db"

    @property
    def artifacts(self) -> Path:
        """The folder that holds a folder per run."""
        return self.folder / "artifacts"


def settings_of(uri: str, options: Mapping[str, str]) -> Settings:
    """Read the URI ``file:/absolute/path`` and the option ``busy_timeout_s``.

    Raises:
        ConfigError: The path is not absolute or not a path, or the option is not a number of seconds.
    """
    folder = file_path(uri)
    if not uri.startswith("file:") or "\0" in str(folder) or not folder.is_absolute():
        raise ConfigError(
            f"{uri!r} does not name an absolute folder",
            adapter="local",
            hint="write file:/absolute/path, or a plain path",
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigError(
            f"{folder} is a file, not a folder",
            adapter="local",
            hint="name a folder; a database of mlflow is written mlflow+sqlite:///PATH",
        )
    return Settings(folder=folder, busy_timeout_s=_seconds(options.get("busy_timeout_s")))


def _seconds(text: str | None) -> float:
    if text is None:
        return BUSY_TIMEOUT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= BUSY_TIMEOUT_S_MAX:
        raise ConfigError(
            f"busy_timeout_s is {text!r}, not a number of seconds from 0 to {BUSY_TIMEOUT_S_MAX:.0f}",
            adapter="local",
            hint=f"leave it out for {BUSY_TIMEOUT_S:.0f} seconds",
        )
    return seconds
