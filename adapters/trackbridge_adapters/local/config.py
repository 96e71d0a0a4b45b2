"""What a ``file:`` URI and its options say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trackbridge.domain.file_uris import file_path
from trackbridge.errors import ConfigError

BUSY_TIMEOUT_S = 10.0
BUSY_TIMEOUT_S_MAX = 3600.0
JOBS_PARALLEL_MAX_MAX = 10_000
JOBS_NOTICE_S = 10.0
JOBS_NOTICE_S_MAX = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the store lies, and how long a write waits for another process's write.

    Of jobs, ``jobs_parallel_max`` run at a time, by default as many as there are CPUs; a job that is to end
    has ``jobs_notice_s`` seconds between SIGTERM and SIGKILL.
    """

    folder: Path
    busy_timeout_s: float = BUSY_TIMEOUT_S
    jobs_parallel_max: int = field(default_factory=lambda: os.cpu_count() or 1)
    jobs_notice_s: float = JOBS_NOTICE_S

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "store.db"

    @property
    def artifacts(self) -> Path:
        """The folder that holds a folder per run."""
        return self.folder / "artifacts"


def settings_of(uri: str, options: Mapping[str, str]) -> Settings:
    """Read the URI ``file:/absolute/path`` and the options, which are named like the settings.

    Raises:
        ConfigError: The path is not absolute or not a path, or an option is not a number in its range.
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
    return Settings(
        folder=folder,
        busy_timeout_s=_seconds(options, "busy_timeout_s", default=BUSY_TIMEOUT_S, most=BUSY_TIMEOUT_S_MAX),
        jobs_parallel_max=_count(options, "jobs_parallel_max", default=os.cpu_count() or 1),
        jobs_notice_s=_seconds(options, "jobs_notice_s", default=JOBS_NOTICE_S, most=JOBS_NOTICE_S_MAX),
    )


def _seconds(options: Mapping[str, str], name: str, *, default: float, most: float) -> float:
    text = options.get(name)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= most:
        raise ConfigError(
            f"{name} is {text!r}, not a number of seconds from 0 to {most:.0f}",
            adapter="local",
            hint=f"leave it out for {default:.0f} seconds",
        )
    return seconds


def _count(options: Mapping[str, str], name: str, *, default: int) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= JOBS_PARALLEL_MAX_MAX:
        raise ConfigError(
            f"{name} is {text!r}, not a number from 1 to {JOBS_PARALLEL_MAX_MAX}",
            adapter="local",
            hint=f"leave it out for {default}",
        )
    return int(text)
