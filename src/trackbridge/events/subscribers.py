"""Who has subscribed: entry points, webhooks of the configuration files, OpenTelemetry.

::

    [webhooks.audit]
    url = "https://example.org/hooks/bridge"
    events = ["run.*", "deploy.*"]     # by default all
    secret_env = "AUDIT_HOOK_SECRET"   # the variable with the secret that signs what is sent
    allow_http = false                 # true: http to another machine, where everybody may read along

An entry point of the group ``trackbridge.subscribers`` is a callable ``subscriber(event: Event) -> None``; of
the group ``trackbridge.telemetry_sinks``, see ``trackbridge.events.sinks``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from trackbridge.domain.events import KINDS, REQUESTS_ANSWERED, REQUESTS_SCORED, TEST
from trackbridge.domain.secrets import has_secret_shape, is_secret_name, redact, shown
from trackbridge.errors import BridgeError, ConfigError, MissingExtra, NotFound
from trackbridge.resolve.config import WEBHOOKS_TABLE, OriginKind, Settings, close_match

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from trackbridge.resolve.files import ConfigFile

GROUP = "trackbridge.subscribers"
SINKS_GROUP = "trackbridge.telemetry_sinks"
OUR_SINKS = {
    "otlp": "trackbridge.events.sink_otlp:OtlpSink",
    "application_insights": "trackbridge.events.sink_application_insights:ApplicationInsightsSink",
}
"""Where the sinks are that come with us, by the names that the setting ``telemetry_sinks`` takes."""
IN_SERVER_SINK = "cloudwatch"
"""A sink as well, but the server serves it itself: see ``trackbridge.serving.embedded_metrics``."""
TELEMETRY_SETTING = "opentelemetry"
URL_CHARS_MAX = 2_000

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_KEYS = ("url", "events", "secret_env", "allow_http")
_EVERYTHING = ("*",)


class SubscriberKind(str, Enum):
    """What sort of subscriber it is; the value is how its name begins."""

    ENTRY_POINT = "entry_point"
    WEBHOOK = "webhook"
    TELEMETRY = "opentelemetry"
    SINK = "sink"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """One subscriber. ``url`` and ``secret_env`` are a webhook's; ``target`` is for people, without secrets.

    ``problem`` is what keeps it from working; it then gets nothing.
    """

    name: str
    kind: SubscriberKind
    events: tuple[str, ...] = _EVERYTHING
    target: str = ""
    place: str = ""
    url: str = ""
    secret_env: str = ""
    problem: BridgeError | None = None

    @property
    def identifier(self) -> str:
        """Kind and name; two kinds may have the same name."""
        return f"{self.kind.value}:{self.name}"

    def wants(self, kind: str) -> bool:
        """Tell whether it subscribed to a kind of event."""
        return kind == TEST or any(fnmatchcase(kind, pattern) for pattern in self.events)

    def __repr__(self) -> str:
        """Without the address, which may be a secret itself."""
        return f"Subscriber({self.identifier}, {self.target})"


def read_subscribers(settings: Settings) -> tuple[Subscriber, ...]:
    """Return every subscriber in order of kind and name; one that is wrong carries its problem.

    Raises:
        ConfigError: A configuration file, ``opentelemetry`` or ``telemetry_sinks`` cannot be read.
    """
    found = [*_entry_point_subscribers(), *_webhooks(settings)]
    if settings.value(TELEMETRY_SETTING):
        found.append(_telemetry())
    found += read_sinks(settings)
    return tuple(sorted(found, key=lambda item: item.identifier))


def find_subscriber(name: str, settings: Settings) -> Subscriber:
    """Return the subscriber with this name or identifier.

    Raises:
        NotFound: There is none.
        ConfigError: Two kinds have one of this name.
    """
    known = read_subscribers(settings)
    found = [item for item in known if name in (item.name, item.identifier)]
    if not found:
        raise NotFound(
            f"there is no subscriber {redact(name[:80])!r}{close_match(name, [item.name for item in known])}",
            hint="bridge events list",
        )
    if len(found) > 1:
        choices = " or ".join(item.identifier for item in found)
        raise ConfigError(f"{name!r} is the name of two subscribers", hint=f"name {choices}")
    return found[0]


# Entry points.


def load_entry_point(name: str, group: str = GROUP) -> Callable[..., Any]:
    """Import the subscriber of an entry point.

    Raises:
        ConfigError: It cannot be imported, or is not callable.
    """
    entry = next((entry for entry in _entries(group) if entry.name == name), None)
    if entry is None:
        raise ConfigError(f"no installed package has the subscriber {name!r}", hint="bridge events list")
    try:
        loaded = entry.load()
    except Exception as error:
        raise ConfigError(
            f"the subscriber {entry.value} cannot be imported: {type(error).__name__}: {shown(str(error))}",
            hint=_report_it(entry),
        ) from error
    if not callable(loaded):
        raise ConfigError(f"the subscriber {entry.value} is not callable", hint=_report_it(entry))
    subscriber: Callable[..., Any] = loaded
    return subscriber


def _entries(group: str) -> list[EntryPoint]:
    from importlib.metadata import entry_points  # costs 35 ms

    return list({entry.name: entry for entry in entry_points(group=group)}.values())


def _entry_point_subscribers() -> list[Subscriber]:
    return [_of_entry(entry, SubscriberKind.ENTRY_POINT) for entry in _entries(GROUP)]


def _of_entry(entry: EntryPoint, kind: SubscriberKind, events: tuple[str, ...] = _EVERYTHING) -> Subscriber:
    return Subscriber(
        name=entry.name,
        kind=kind,
        events=events,
        target=entry.value,
        place=_distribution(entry),
        problem=_missing_module(entry),
    )


# Sinks.


def read_sinks(settings: Settings) -> list[Subscriber]:
    """Return the sinks: those of installed packages, and ours that the setting ``telemetry_sinks`` names.

    Raises:
        ConfigError: The setting cannot be read.
    """
    named: tuple[str, ...] = settings.value("telemetry_sinks")
    is_told_each = settings.value("telemetry_requests_percent") > 0
    events = (REQUESTS_ANSWERED, REQUESTS_SCORED) if is_told_each else (REQUESTS_ANSWERED,)
    installed = [_of_entry(entry, SubscriberKind.SINK, events) for entry in _entries(SINKS_GROUP)]
    theirs = {sink.name for sink in installed}
    wanted = [name for name in named if name not in theirs and name != IN_SERVER_SINK]
    return [*installed, *(_our_sink(name, events, theirs) for name in wanted)]


def _our_sink(name: str, events: tuple[str, ...], others: set[str]) -> Subscriber:
    target = OUR_SINKS.get(name)
    problem: BridgeError | None = None
    if target is None:
        known = [*OUR_SINKS, IN_SERVER_SINK, *others]
        problem = ConfigError(
            f"telemetry_sinks names {name!r}, which is none{close_match(name, known)}",
            hint=f"use {', '.join(known)}, or install the package that brings it",
        )
    elif name == "otlp":
        problem = telemetry_problem()
    return Subscriber(
        name=name, kind=SubscriberKind.SINK, events=events, target=target or "", problem=problem
    )


def _missing_module(entry: EntryPoint) -> ConfigError | None:
    """Tell whether the module is not there. Only its topmost package is looked for: nothing is imported."""
    top = entry.module.partition(".")[0]
    try:
        is_there = find_spec(top) is not None
    except (ImportError, ValueError):
        is_there = False
    if is_there:
        return None
    return ConfigError(f"the module of {entry.value} is not installed", hint=_report_it(entry))


def _report_it(entry: EntryPoint) -> str:
    return f"report it to the makers of {_distribution(entry)}, or uninstall it"


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown distribution"


# OpenTelemetry.


def _telemetry() -> Subscriber:
    target = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://localhost:4318"
    return Subscriber(
        name=TELEMETRY_SETTING,
        kind=SubscriberKind.TELEMETRY,
        target=_origin(target),
        problem=telemetry_problem(),
    )


def telemetry_problem() -> MissingExtra | None:
    """Return what is to be installed for OpenTelemetry, None when all is there."""
    try:
        is_there = find_spec("opentelemetry.sdk") and find_spec("opentelemetry.exporter.otlp.proto.http")
    except ImportError:
        is_there = None
    if is_there:
        return None
    from trackbridge.resolve.entry_points import install_command

    return MissingExtra(
        "the setting opentelemetry is on, and OpenTelemetry's SDK or its OTLP exporter is not installed",
        hint=install_command("otel"),
    )


# Webhooks.


def _webhooks(settings: Settings) -> list[Subscriber]:
    found: dict[str, Subscriber] = {}
    for scope, file in reversed(settings.files()):
        tables = file.content.get(WEBHOOKS_TABLE, {})
        if not isinstance(tables, dict):
            place = file.place(WEBHOOKS_TABLE)
            raise ConfigError(f"{place}: webhooks is no table", hint="write [webhooks.NAME]")
        for name, content in tables.items():
            found[name] = _webhook(name, content, file, scope)
    return list(found.values())


def _webhook(name: str, content: object, file: ConfigFile, scope: OriginKind) -> Subscriber:
    table = f"{WEBHOOKS_TABLE}.{name}"
    place = f"{scope.value} ({file.place('url', table)})"
    try:
        return _checked_webhook(name, content, place)
    except ConfigError as error:
        problem = ConfigError(f"{place}: webhook {redact(name[:80])!r}: {error.message}", hint=error.hint)
        return Subscriber(name=redact(name[:80]), kind=SubscriberKind.WEBHOOK, place=place, problem=problem)


def _checked_webhook(name: str, content: object, place: str) -> Subscriber:
    if _NAME.fullmatch(name) is None:
        raise ConfigError("the name is not allowed", hint="use letters, digits, '-', '_' and '.'")
    if not isinstance(content, dict) or not isinstance(content.get("url"), str):
        raise ConfigError("it has no url", hint='write url = "https://…"')
    for key in content:
        if key not in _KEYS:
            raise _unknown_key(key)
    allows_http = content.get("allow_http", False)
    if not isinstance(allows_http, bool):
        raise ConfigError("allow_http is neither true nor false", hint="write allow_http = true")
    url = _checked_url(content["url"], allows_http=allows_http)
    return Subscriber(
        name=name,
        kind=SubscriberKind.WEBHOOK,
        events=_checked_events(content.get("events")),
        target=_origin(url),
        place=place,
        url=url,
        secret_env=_checked_variable(content),
    )


def _unknown_key(key: str) -> ConfigError:
    if is_secret_name(key) and key != "secret_env":
        return ConfigError(
            f"it holds a credential in {redact(key[:80])!r}",
            hint='put it into an environment variable and name that: secret_env = "VARIABLE"',
        )
    return ConfigError(
        f"{redact(key[:80])!r} is no key of a webhook{close_match(key, _KEYS)}",
        hint=f"the keys are {', '.join(_KEYS)}",
    )


def _checked_url(url: str, *, allows_http: bool) -> str:
    hint = "write https://HOST/PATH"
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigError("the url has a bad host or port", hint=hint) from None
    if len(url) > URL_CHARS_MAX or re.search(r"[\x00-\x20\x7f]|[^\x00-\x7f]", url) or parts.fragment:
        raise ConfigError("the url is too long, has a fragment, or characters to be escaped", hint=hint)
    if not has_host or parts.scheme not in ("http", "https"):
        raise ConfigError("the url is no address on the web", hint=hint)
    if _has_credentials(parts):
        raise ConfigError(
            "the url holds a credential",
            hint="leave it out; what is sent is signed with the variable that secret_env names",
        )
    if parts.scheme == "http" and not allows_http and not is_loopback(parts.hostname or ""):
        raise ConfigError(
            "the url is http to another machine, where everybody on the way may read along",
            hint="write https://, or allow_http = true",
        )
    return url


def _has_credentials(parts: SplitResult) -> bool:
    names = [unquote(pair.partition("=")[0]) for pair in re.split("[&;]", parts.query)]
    return "@" in parts.netloc or any(map(is_secret_name, names)) or has_secret_shape(unquote(parts.query))


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, whatever its name service says."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _origin(url: str) -> str:
    """Return the part of an address that may be shown: a path may hold a token."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    shown_host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown_host}{f':{port}' if port else ''}"


def _checked_events(patterns: object) -> tuple[str, ...]:
    if patterns is None:
        return _EVERYTHING
    if not isinstance(patterns, list) or not patterns or not all(isinstance(item, str) for item in patterns):
        raise ConfigError("events is no list of kinds", hint='write events = ["run.*", "deploy.applied"]')
    for pattern in patterns:
        if not any(fnmatchcase(kind, pattern) for kind in KINDS):
            raise ConfigError(
                f"there is no event {redact(pattern[:80])!r}{close_match(pattern, KINDS)}",
                hint=f"the events are {', '.join(KINDS)}",
            )
    return tuple(patterns)


def _checked_variable(content: Mapping[str, Any]) -> str:
    variable = content.get("secret_env", "")
    if not isinstance(variable, str) or (variable and _VARIABLE.fullmatch(variable) is None):
        raise ConfigError("secret_env is no name of a variable", hint='write secret_env = "HOOK_SECRET"')
    if has_secret_shape(variable):
        raise ConfigError("secret_env is the secret itself", hint='write secret_env = "HOOK_SECRET"')
    return variable
