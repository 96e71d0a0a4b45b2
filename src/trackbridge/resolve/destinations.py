"""What a tracking URI means here: settings give the URI, remotes give names their meaning."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trackbridge.errors import ConfigError, UnknownScheme
from trackbridge.resolve.config import SETTINGS, URI_SETTINGS, Settings, close_match
from trackbridge.resolve.entry_points import SCHEME_EXTRAS, canonical, known_schemes
from trackbridge.resolve.home import bridge_home, project_folder, user_state
from trackbridge.resolve.remotes import remotes_of
from trackbridge.resolve.uri import TrackingUri, named_scheme, parse

LATER = "later"
"""The setting ``delivery`` of a job whose records are delivered from where it was submitted, at its end."""


@dataclass(frozen=True, slots=True)
class Destination:
    """One backend to write to. ``remote`` is the name it was given by.

    ``uri`` is never a bare name, and means the same in any folder and environment.
    ``options`` are for the adapter; ``settings`` are options of the URI that are settings of ours.
    """

    uri: TrackingUri
    remote: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


def resolve_destinations(
    uris: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    settings: Settings | None = None,
) -> tuple[Destination, ...]:
    """Return the backends of an argument, else of the setting ``tracking_uri``, else the project's folder.

    The first one is read from and holds the registry; all are written to.

    Raises:
        ConfigError: A URI or a setting is wrong, or two names mean one backend.
        UnknownScheme: A bare word is neither a remote nor a scheme; the hint lists what there is.
    """
    settings = settings or Settings()
    parsed = settings.resolve("tracking_uri", uris).value or (parse(None, around=settings.around),)
    destinations = tuple(_destination(uri, settings) for uri in parsed)
    addresses = [destination.uri.address for destination in destinations]
    if len(set(addresses)) < len(addresses):
        raise ConfigError(
            f"two of the tracking URIs mean the same backend: {', '.join(addresses)}", hint="name it once"
        )
    return destinations


def journal_root(destinations: Sequence[Destination], *, settings: Settings | None = None) -> Path:
    """Return the folder that holds the journals for these destinations.

    ``journal`` in the first destination's folder when that is local, else in ``bridge_home``; there, too,
    when they are delivered later, because the local folder is another machine's.
    """
    settings = settings or Settings()
    local = None if settings.value("delivery") == LATER else destinations[0].uri.path
    return (local or bridge_home(settings.around)) / "journal"


def journal_folders(
    destinations: Sequence[Destination], *, settings: Settings, everywhere: bool
) -> list[Path]:
    """Return where journals may lie, existing or not: those of the destinations and of the project.

    Args:
        destinations: The first of them says where their journals are.
        settings: Of the surroundings.
        everywhere: Whether to look at those of the user's programs outside of any project as well: where the
            code named the destination, no command can know it.
    """
    around = settings.around
    folders = [journal_root(destinations, settings=settings)] if destinations else []
    folders.append(project_folder(around) / "journal")
    state = user_state(around) if everywhere else None
    if state is not None and (state / "journal").is_dir():
        folders.append(state / "journal")
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def _destination(uri: TrackingUri, settings: Settings) -> Destination:
    if not uri.is_name:
        return _split(uri, None, {}, settings)
    remotes = remotes_of(settings)
    remote = remotes.get(uri.text)
    if remote is not None:
        return _split(remote.uri, remote.name, dict(remote.options), settings)
    word = uri.text.lower()
    if word in SCHEME_EXTRAS or word in known_schemes():
        return _split(named_scheme(word, around=settings.around), None, {}, settings)
    candidates = [*sorted(remotes), *known_schemes()]
    raise UnknownScheme(
        f"{uri.text!r} is neither a remote nor a scheme{close_match(uri.text, candidates)}",
        hint=(
            f"known are {', '.join(candidates)}; a folder is written ./{uri.text}; "
            f"a name is given by: bridge remotes add {uri.text} URI"
        ),
    )


def _split(uri: TrackingUri, remote: str | None, options: dict[str, str], settings: Settings) -> Destination:
    uri = canonical(uri, options=options, around=settings.around)
    merged = {**options, **dict(uri.options)}
    ours = {name: value for name, value in merged.items() if name in SETTINGS}
    for name in ours.keys() - URI_SETTINGS:
        raise ConfigError(
            f"{name} is no option of a tracking URI",
            hint=f"set {SETTINGS[name].variable}, or {name} in config.toml",
        )
    return Destination(uri, remote, {name: merged[name] for name in merged if name not in ours}, ours)
