"""Every setting: its name, what it may be, and where its value came from.

The first of these that has a value wins:

1. the argument of the call,
2. an option of the URI (``?delivery=off``),
3. ``BRIDGE_`` and the setting's name in capitals, in the environment,
4. the ecosystem's own variable, such as ``MLFLOW_TRACKING_URI``,
5. ``.bridge/config.toml`` of the project,
6. ``$XDG_CONFIG_HOME/trackbridge/config.toml`` of the user,
7. the default.

An empty variable counts as absent. A wrong value is an error even where another one would have done.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from trackbridge.domain.runs import DEFAULT_EXPERIMENT
from trackbridge.domain.secrets import redact
from trackbridge.errors import BridgeError, ConfigError
from trackbridge.resolve.files import ConfigFile, existing_files, read_file, user_file
from trackbridge.resolve.home import Surroundings
from trackbridge.resolve.uri import TrackingUri, parse_several, unwrapped

REMOTES_TABLE = "remotes"
WEBHOOKS_TABLE = "webhooks"
TEXT_CHARS_MAX = 1000
CLOSE = 0.8
"""How alike a variable must be to a setting's for being a slip; adapters have variables of their own."""

_BYTES = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,6})?)\s*(?P<unit>[kKMGT]?i?)B?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_BINARY_UNITS = {"ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}


class OriginKind(str, Enum):
    """Where a value came from, in order of precedence."""

    ARGUMENT = "argument"
    URI = "URI option"
    ENVIRONMENT = "environment"
    PROJECT = "project"
    USER = "user"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Origin:
    """The kind of place, and the place: a variable's name, or a file and line."""

    kind: OriginKind
    place: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value} ({self.place})" if self.place else self.kind.value


@dataclass(frozen=True, slots=True)
class Resolved:
    """The value of a setting and where it came from."""

    value: Any
    origin: Origin


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``read`` turns text or a TOML value into the value, or raises ValueError.

    ``allowed`` completes "use …". A setting that is not ``in_files`` decides where the files are.
    """

    name: str
    help: str
    read: Callable[[object, Surroundings], Any]
    allowed: str
    default: Any = None
    ecosystem: tuple[str, ...] = ()
    in_files: bool = True

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return f"BRIDGE_{self.name.upper()}"


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One line of ``bridge config show``: ``value`` is text without secrets, ``problem`` what is wrong."""

    name: str
    value: str
    origin: str
    help: str
    problem: str = ""


# What a value may be.


def _text(value: object, _: Surroundings) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > TEXT_CHARS_MAX or "\0" in value:
        raise ValueError
    return value


def _flag(value: object, _: Surroundings) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise ValueError
    return {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }[value.strip().lower()]


def _seconds(value: object, _: Surroundings) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError
    seconds = float(value)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError
    return seconds


def _percent(value: object, around: Surroundings) -> float:
    percent = _seconds(value, around)
    if percent > 100:
        raise ValueError
    return percent


def _names(value: object, _: Surroundings) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise ValueError
    names = tuple(dict.fromkeys(part.strip() for part in parts))
    if not all(_NAME.fullmatch(name) for name in names):
        raise ValueError
    return names


def _bytes(value: object, _: Surroundings) -> int:
    match = _BYTES.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        value = int(float(match["number"]) * {**_UNITS, "K": 1000, **_BINARY_UNITS}[match["unit"]])
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError
    return value


def _uris(value: object, around: Surroundings) -> tuple[TrackingUri, ...]:
    if isinstance(value, (str, Path)):
        return parse_several(value, around=around)
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, (str, Path)) for item in value):
        return parse_several(value, around=around)
    raise ValueError


def _uri(value: object, around: Surroundings) -> TrackingUri:
    uris = _uris(value, around)
    if len(uris) > 1:
        raise ValueError
    return uris[0]


def _folder(value: object, around: Surroundings) -> Path:
    if not isinstance(value, (str, Path)) or "\0" in str(value):
        raise ValueError
    return around.cwd / Path(value).expanduser()


def _one_of(*choices: str) -> Callable[[object, Surroundings], str]:
    def read(value: object, _: Surroundings) -> str:
        if not isinstance(value, str) or value.strip().lower() not in choices:
            raise ValueError
        return value.strip().lower()

    return read


_FLAG = "true or false"
_SECONDS = "a number of seconds, 0 or more"

SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            name="tracking_uri",
            help="Where runs go; the first of several is read from.",
            read=_uris,
            allowed="a tracking URI, several with commas, or a list",
            default=(),
            ecosystem=("MLFLOW_TRACKING_URI",),
        ),
        Setting(
            name="registry_uri",
            help="Where registered models go; by default the first tracking URI.",
            read=_uri,
            allowed="one tracking URI",
            ecosystem=("MLFLOW_REGISTRY_URI",),
        ),
        Setting(
            name="experiment_name",
            help="The experiment of runs that name none.",
            read=_text,
            allowed="a name",
            default=DEFAULT_EXPERIMENT,
            ecosystem=("MLFLOW_EXPERIMENT_NAME",),
        ),
        Setting(
            name="run_id",
            help="The run that start_run() takes up again.",
            read=_text,
            allowed="the id of a run",
            ecosystem=("MLFLOW_RUN_ID",),
            in_files=False,
        ),
        Setting(
            name="user",
            help="Who runs are attributed to; by default the login name.",
            read=_text,
            allowed="a name",
        ),
        Setting(
            name="home",
            help="The project's folder; by default .bridge found upward.",
            read=_folder,
            allowed="a folder",
            in_files=False,
        ),
        Setting(
            name="delivery",
            help="What delivers the journal: a child process, a thread, nothing, or later the submitter.",
            read=_one_of("child", "thread", "off", "later"),
            allowed="child, thread, off or later",
            default="child",
        ),
        Setting(
            name="delivery_exit_wait_s",
            help="How long a program waits at its end for delivery.",
            read=_seconds,
            allowed=_SECONDS,
            default=10.0,
        ),
        Setting(
            name="read_wait_s",
            help="How long reading waits until what was logged before is delivered.",
            read=_seconds,
            allowed=_SECONDS,
            default=5.0,
        ),
        Setting(
            name="journal_bytes_max",
            help="Bound of what is not delivered yet; by default 10 GB or 10 % of the free disk, if less.",
            read=_bytes,
            allowed="a number of bytes, or a text such as 500MB or 2GiB",
        ),
        Setting(
            name="journal_fsync_interval_s",
            help="How much time of logging a power cut may cost (a killed program costs nothing).",
            read=_seconds,
            allowed=_SECONDS,
            default=1.0,
        ),
        Setting(
            name="strict",
            help="Raise when the journal refuses a record (disk full, bound reached), not only warn once.",
            read=_flag,
            allowed=_FLAG,
            default=False,
        ),
        Setting(
            name="system_metrics",
            help="Log CPU, memory and GPU use of every run.",
            read=_flag,
            allowed=_FLAG,
            default=False,
            ecosystem=("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING",),
        ),
        Setting(
            name="system_metrics_interval_s",
            help="How often system metrics are taken.",
            read=_seconds,
            allowed=_SECONDS,
            default=10.0,
            ecosystem=("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL",),
        ),
        Setting(
            name="opentelemetry",
            help="Send events and calls of backends as spans and metrics to OTEL_EXPORTER_OTLP_ENDPOINT.",
            read=_flag,
            allowed=_FLAG,
            default=False,
        ),
        Setting(
            name="telemetry_sinks",
            help="Where scoring servers send their metrics: cloudwatch, otlp, application_insights.",
            read=_names,
            allowed="names with commas between them",
            default=(),
        ),
        Setting(
            name="telemetry_requests_percent",
            help="Share of the scored requests that sinks are told of one by one, without payloads.",
            read=_percent,
            allowed="a number from 0 to 100",
            default=0.0,
        ),
    )
}


URI_SETTINGS = frozenset(
    (
        "delivery",
        "delivery_exit_wait_s",
        "journal_bytes_max",
        "journal_fsync_interval_s",
        "read_wait_s",
        "strict",
    )
)
"""The settings that a URI can give as options: how what is logged there is kept, delivered and read."""


class Settings:
    """The settings as they stand in some surroundings. Files are read once, when first needed.

    Args:
        around: The surroundings; None for those of now.
        options: Settings that a URI gives.
    """

    def __init__(
        self, around: Surroundings | None = None, *, options: Mapping[str, str] | None = None
    ) -> None:
        self.around = around or Surroundings.current()
        self._options = options or {}
        self._files: list[tuple[OriginKind, ConfigFile]] | None = None

    def with_options(self, options: Mapping[str, str]) -> Settings:
        """Return the same settings, but for those that a URI gives."""
        return Settings(self.around, options=options) if options else self

    def resolve(self, name: str, argument: object = None) -> Resolved:
        """Return the value of a setting with its origin; an argument of None counts as absent.

        Raises:
            ConfigError: The value is wrong; the message says where it stands and the hint what is allowed.
        """
        setting = SETTINGS[name]
        if argument is not None:
            return self._read(setting, argument, Origin(OriginKind.ARGUMENT))
        if name in self._options:
            return self._read(setting, self._options[name], Origin(OriginKind.URI))
        for variable in (setting.variable, *setting.ecosystem):
            text = self.around.environ.get(variable)
            if text and setting.read in (_uris, _uri) and variable in setting.ecosystem:
                text = unwrapped(text)  # mlflow's variable may name our own plugin
            if text:
                return self._read(setting, text, Origin(OriginKind.ENVIRONMENT, variable))
        for kind, file in self.files() if setting.in_files else ():
            if name in file.content:
                origin = Origin(kind, file.place(name))
                return self._read(setting, file.content[name], origin, base=file.base)
        return Resolved(setting.default, Origin(OriginKind.DEFAULT))

    def value(self, name: str, argument: object = None) -> Any:
        """Return the value of a setting, as ``resolve`` does."""
        return self.resolve(name, argument).value

    def files(self) -> list[tuple[OriginKind, ConfigFile]]:
        """Return the files that there are, the one that wins first.

        Raises:
            ConfigError: One cannot be read, or holds a key that is no setting.
        """
        if self._files is None:
            user = user_file(self.around)
            files = [read_file(path) for path in existing_files(self.around)]
            for file in files:
                _refuse_unknown_keys(file)
            kinds = (OriginKind.USER if file.path == user else OriginKind.PROJECT for file in files)
            self._files = list(zip(kinds, files, strict=True))
        return self._files

    def describe(self) -> list[SettingLine]:
        """Return every setting with value and origin, for people; a wrong value is a line with a problem."""
        return [self._line(setting) for setting in SETTINGS.values()]

    def unknown_variables(self) -> list[tuple[str, str]]:
        """Return each ``BRIDGE_…`` variable that is no setting but nearly one, and the one meant."""
        known = {setting.variable for setting in SETTINGS.values()}
        candidates = sorted(name for name in self.around.environ if name.startswith("BRIDGE_"))
        close = (
            (name, difflib.get_close_matches(name, known, 1, cutoff=CLOSE))
            for name in candidates
            if name not in known
        )
        return [(name, meant[0]) for name, meant in close if meant]

    def _line(self, setting: Setting) -> SettingLine:
        try:
            resolved = self.resolve(setting.name)
        except ConfigError as error:
            return SettingLine(setting.name, "", "", setting.help, problem=str(error))
        return SettingLine(setting.name, _shown(resolved.value), str(resolved.origin), setting.help)

    def _read(self, setting: Setting, raw: object, origin: Origin, *, base: Path | None = None) -> Resolved:
        around = self.around._replace(cwd=base) if base else self.around
        try:
            return Resolved(setting.read(raw, around), origin)
        except BridgeError as error:
            raise ConfigError(f"{setting.name} from {origin}: {error.message}", hint=error.hint) from error
        except (ValueError, KeyError, OverflowError, RuntimeError):
            # The cause may quote the value, which may be a secret in the wrong variable.
            raise ConfigError(
                f"{setting.name} from {origin} has a value that is not allowed", hint=f"use {setting.allowed}"
            ) from None


def resolve_setting(name: str, argument: object = None, *, around: Surroundings | None = None) -> Resolved:
    """Return one setting with its origin; use ``Settings`` for several.

    Raises:
        ConfigError: The value is wrong.
    """
    return Settings(around).resolve(name, argument)


def describe(*, around: Surroundings | None = None) -> list[SettingLine]:
    """Return every setting with value and origin, for ``bridge config show``."""
    return Settings(around).describe()


def close_match(word: str, candidates: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the nearest candidate, or nothing."""
    meant = difflib.get_close_matches(word, list(candidates), 1)
    return f"; did you mean {meant[0]!r}?" if meant else ""


def _refuse_unknown_keys(file: ConfigFile) -> None:
    known = {
        REMOTES_TABLE,
        WEBHOOKS_TABLE,
        *(setting.name for setting in SETTINGS.values() if setting.in_files),
    }
    for key in file.content:
        if key not in known:
            raise ConfigError(
                f"{file.place(key)}: {key[:80]!r} is no setting{close_match(key, known)}",
                hint=f"the settings of a file are {', '.join(sorted(known))}",
            )


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return redact(str(value))
