"""From a URI's scheme to an adapter, by the entry-point group ``trackbridge.adapters``.

An entry point is named for the scheme: ``file``, ``http``, ``azureml``. Three schemes are served under
another name: ``arn`` by ``sagemaker``, ``databricks-uc`` by ``databricks``, and ``NAME+anything`` by
``NAME`` (so ``mlflow+sqlite:`` by ``mlflow``). Ours go through the same door as anybody's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.domain.secrets import redact, shown
from trackbridge.errors import BridgeError, ConfigError, MissingExtra, UnknownScheme
from trackbridge.ports.adapter import Adapter, AdapterContext, CanonicalUri
from trackbridge.resolve.config import SETTINGS, close_match
from trackbridge.resolve.home import Surroundings
from trackbridge.resolve.uri import TrackingUri, parse

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "trackbridge.adapters"
DISTRIBUTION = "trackbridge"

SCHEME_EXTRAS: Mapping[str, str | None] = {
    "file": None,
    "http": None,
    "https": None,
    "mlflow": "mlflow",
    "azureml": "azure",
    "arn": "aws",
    "sagemaker": "aws",
    "databricks": "databricks",
    "databricks-uc": "databricks",
    "spark": None,
    "docker": None,
}
"""Our schemes, and the extra that brings what each needs; None is the core itself."""

_SERVED_BY = {"arn": "sagemaker", "databricks-uc": "databricks"}
_DATABASES = ("sqlite", "postgresql", "postgres", "mysql", "mssql")
_ARTIFACT_SCHEMES = (
    "s3",
    "gs",
    "abfss",
    "abfs",
    "wasbs",
    "wasb",
    "dbfs",
    "hdfs",
    "runs",
    "models",
    "mlflow-artifacts",
)


def entry_point_name(scheme: str) -> str:
    """Return the name that an adapter for the scheme is registered under."""
    return _SERVED_BY.get(scheme, scheme.partition("+")[0])


def installed_names() -> frozenset[str]:
    """Return the names that installed adapters are registered under. Takes some milliseconds."""
    return frozenset(entry.name for entry in _entries())


def known_schemes() -> tuple[str, ...]:
    """Return our schemes and the installed ones, in order."""
    return tuple(sorted({*SCHEME_EXTRAS, *installed_names()}))


def open_adapter(
    uri: TrackingUri,
    *,
    home: Path,
    options: Mapping[str, str] | None = None,
    clock_ms: Callable[[], int] | None = None,
) -> Adapter:
    """Open the backend of a URI. ``options`` are those of its remote; the URI's own win.

    Raises:
        UnknownScheme: No adapter answers to the scheme.
        MissingExtra: It is one of ours, or its adapter needs a package that is not installed.
        ConfigError: Two distributions provide the scheme, the adapter is broken, or it refuses the URI.
    """
    if uri.is_name:
        raise UnknownScheme(f"{uri.text!r} is a name, not a URI", hint="bridge remotes list")
    entry = _only_entry(uri.scheme)
    factory = _load(entry, uri.scheme)
    context = AdapterContext(
        home=home,
        options=_for_adapter({**(options or {}), **dict(uri.options)}),
        clock_ms=clock_ms or _now_ms,
    )
    try:
        adapter: Adapter = factory(uri.address, context=context)
    except ConfigError as error:
        # The message and the hint say it all; a program that ends with them shows no frames of an adapter.
        raise error.with_traceback(None) from error.__cause__
    except BridgeError:
        raise
    except ImportError as error:
        raise _missing_package(entry, uri.scheme, error) from error
    except Exception as error:
        raise _broken(entry, uri.scheme, "could not open", error) from error
    return adapter


def canonical(uri: TrackingUri, *, options: Mapping[str, str], around: Surroundings) -> TrackingUri:
    """Return a URI that means everywhere what this one means here, by its adapter's ``canonical_uri``.

    ``options`` are those of its remote; a URI that is changed carries them, because it is no longer the
    remote's. A URI whose adapter has no such function, or cannot say, is returned as it is: opening it raises
    the error.

    """
    if uri.scheme == "file":  # absolute already
        return uri
    merged = {**options, **dict(uri.options)}
    try:
        entry = _only_entry(uri.scheme)
        _load(entry, uri.scheme)
        hook: CanonicalUri | None = getattr(sys.modules[entry.module], "canonical_uri", None)
        if hook is None:
            return uri
        text = hook(uri.address, options=_for_adapter(merged), environment=around.environ, folder=around.cwd)
    except BridgeError:  # said when it is opened
        return uri
    except Exception as error:
        raise _broken(entry, uri.scheme, "could not say what it means", error) from error
    if text == uri.address:
        return uri
    found = parse(text, around=around)
    return TrackingUri(found.scheme, found.address, tuple(sorted({**merged, **dict(found.options)}.items())))


def _for_adapter(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options without those that are settings of ours."""
    return {name: value for name, value in options.items() if name not in SETTINGS}


def _entries() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # costs 35 ms; only opening a backend needs it

    unique = {(_distribution(entry), entry.name, entry.value): entry for entry in entry_points(group=GROUP)}
    return list(unique.values())


def _only_entry(scheme: str) -> EntryPoint:
    entries = _entries()
    name = entry_point_name(scheme)
    candidates = [entry for entry in entries if entry.name == name]
    if not candidates:
        raise _not_provided(scheme, sorted({*SCHEME_EXTRAS, *(entry.name for entry in entries)}))
    if len(candidates) > 1:
        providers = sorted({_distribution(entry) for entry in candidates})
        raise ConfigError(
            f"the scheme {scheme!r} is provided more than once: by {' and by '.join(providers)}",
            hint=f"uninstall all but one: pip uninstall {providers[-1]}",
        )
    return candidates[0]


def _load(entry: EntryPoint, scheme: str) -> Any:
    try:
        factory = entry.load()
    except BridgeError:
        raise
    except ImportError as error:
        raise _missing_package(entry, scheme, error) from error
    except Exception as error:
        raise _broken(entry, scheme, "could not be imported", error) from error
    if not callable(factory):
        raise ConfigError(
            f"the adapter for {scheme!r} of {_distribution(entry)} is not callable: {entry.value}",
            hint=f"report it to the makers of {_distribution(entry)}",
        )
    return factory


def _not_provided(scheme: str, known: list[str]) -> ConfigError:
    name = entry_point_name(scheme)
    if name in SCHEME_EXTRAS:
        return MissingExtra(
            f"the adapter for {scheme!r} belongs to trackbridge itself, but is not registered here",
            hint="pip install --force-reinstall --no-deps trackbridge",
        )
    return UnknownScheme(
        f"no adapter answers to the scheme {redact(scheme)!r}{close_match(scheme, known)}",
        hint=_advice(name, known),
    )


def install_command(extra: str) -> str:
    """Return the exact command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def _advice(name: str, known: list[str]) -> str:
    if name in _DATABASES:
        return f"a database of mlflow is written mlflow+{name}:…"
    if name in _ARTIFACT_SCHEMES:
        return "that is a place for artifacts, not for runs"
    return f"known schemes are {', '.join(known)}"


def _missing_package(entry: EntryPoint, scheme: str, error: ImportError) -> MissingExtra:
    distribution = _distribution(entry)
    extra = SCHEME_EXTRAS.get(entry_point_name(scheme)) if distribution == DISTRIBUTION else None
    command = install_command(extra) if extra else f"pip install --upgrade {distribution}"
    missing = f"the package {error.name!r}" if error.name else "a package"
    return MissingExtra(
        f"the adapter for {scheme!r} of {distribution} needs {missing}, which cannot be imported",
        adapter=entry.name,
        hint=command,
    )


def _broken(entry: EntryPoint, scheme: str, what: str, error: Exception) -> ConfigError:
    distribution = _distribution(entry)
    return ConfigError(
        f"the adapter for {scheme!r} of {distribution} {what}: {type(error).__name__}: {shown(str(error))}",
        adapter=entry.name,
        hint=f"report it to the makers of {distribution}",
    )


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown distribution"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
