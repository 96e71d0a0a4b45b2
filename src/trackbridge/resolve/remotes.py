"""Named remotes: ``[remotes.NAME]`` in ``config.toml``, the project's before the user's.

A remote is a URI with options for its adapter. Options never hold credentials: an option such as
``token_env`` names the variable that does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.domain.secrets import has_secret_shape, is_secret_name, redact
from trackbridge.errors import ConfigError, Conflict, NotFound
from trackbridge.resolve.config import REMOTES_TABLE, OriginKind, Settings, close_match
from trackbridge.resolve.files import ConfigFile, project_file, read_document, user_file, write_document
from trackbridge.resolve.home import Surroundings
from trackbridge.resolve.uri import TrackingUri, parse

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_OPTION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Remote:
    """One remote. ``options`` are in order of name, ``place`` is the file and line that it stands in."""

    name: str
    uri: TrackingUri
    options: tuple[tuple[str, str], ...] = ()
    scope: OriginKind = OriginKind.PROJECT
    place: str = ""


def list_remotes(*, around: Surroundings | None = None) -> tuple[Remote, ...]:
    """Return the remotes in order of name. One of the project hides one of the user with the same name.

    Raises:
        ConfigError: A file, or a remote in it, is wrong.
    """
    return tuple(remote for _, remote in sorted(remotes_of(Settings(around)).items()))


def remotes_of(settings: Settings) -> dict[str, Remote]:
    """Return the remotes by name, as ``list_remotes`` does."""
    found: dict[str, Remote] = {}
    for scope, file in reversed(settings.files()):
        found.update(_read_remotes(file, scope, settings.around))
    return found


def add_remote(
    name: str,
    uri: str,
    options: Mapping[str, str] | None = None,
    *,
    user: bool = False,
    around: Surroundings | None = None,
) -> Remote:
    """Add a remote to the project's file, or to the user's. Adding the same again changes nothing.

    Raises:
        ConfigError: The name, the URI or an option is wrong, or holds a credential.
        Conflict: There is one of this name with another content, or of this URI with other options.
    """
    around = around or Surroundings.current()
    scope = OriginKind.USER if user else OriginKind.PROJECT
    remote = _checked_remote(name, uri, options or {}, scope, "", around)
    path = _file_of(scope, around)
    document = read_document(path)
    table = _remotes_table(document, path)
    wanted = {"uri": remote.uri.text, **dict(remote.options)}
    if name in table:
        if _plain(table[name]) == wanted:
            return remote
        raise Conflict(
            f"there is a remote {name!r} already",
            resource=str(path),
            hint=f"bridge remotes remove {name}, or choose another name",
        )
    _refuse_other_options(remote, around)
    table[name] = wanted
    write_document(path, document)
    return remote


def _refuse_other_options(remote: Remote, around: Surroundings) -> None:
    """Keep a URI from having two meanings: a journal names its destinations by URI alone."""
    for other in remotes_of(Settings(around)).values():
        if other.uri == remote.uri and other.options != remote.options:
            raise Conflict(
                f"the remote {other.name!r} has this URI with other options",
                resource=other.place,
                hint=f"use {other.name}, or begin with: bridge remotes remove {other.name}",
            )


def remove_remote(name: str, *, user: bool = False, around: Surroundings | None = None) -> None:
    """Remove a remote from the project's file, or from the user's. What lies there stays.

    Raises:
        NotFound: There is no such remote in that file.
    """
    path = _file_of(OriginKind.USER if user else OriginKind.PROJECT, around or Surroundings.current())
    document = read_document(path)
    table = _remotes_table(document, path)
    _require(name, table, path)
    del table[name]
    write_document(path, document)


def rename_remote(old: str, new: str, *, user: bool = False, around: Surroundings | None = None) -> None:
    """Rename a remote in the project's file, or in the user's.

    Raises:
        NotFound: There is no such remote in that file.
        Conflict: The new name is taken.
        ConfigError: The new name is not allowed.
    """
    path = _file_of(OriginKind.USER if user else OriginKind.PROJECT, around or Surroundings.current())
    document = read_document(path)
    table = _remotes_table(document, path)
    _require(old, table, path)
    _refuse_name(new)
    if new in table:
        raise Conflict(f"there is a remote {new!r} already", resource=str(path), hint="choose another name")
    table[new] = table.pop(old)
    write_document(path, document)


def _read_remotes(file: ConfigFile, scope: OriginKind, around: Surroundings) -> dict[str, Remote]:
    tables = file.content.get(REMOTES_TABLE, {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{file.place(REMOTES_TABLE)}: remotes is no table", hint="write [remotes.NAME]")
    found = {}
    for name, content in tables.items():
        place = file.place("uri", f"{REMOTES_TABLE}.{name}")
        if not isinstance(content, dict) or not isinstance(content.get("uri"), str):
            raise ConfigError(f"{place}: the remote {name[:80]!r} has no uri", hint='write uri = "…"')
        options = {key: value for key, value in content.items() if key != "uri"}
        start = around._replace(cwd=file.base)
        found[name] = _checked_remote(name, content["uri"], options, scope, place, start)
    return found


def _checked_remote(
    name: str, uri: str, options: Mapping[str, Any], scope: OriginKind, place: str, around: Surroundings
) -> Remote:
    where = f"{place}: " if place else ""
    _refuse_name(name, where)
    try:
        parsed = parse(uri, around=around)
    except ConfigError as error:
        raise ConfigError(f"{where}remote {name!r}: {error.message}", hint=error.hint) from error
    if not uri.strip() or parsed.is_name:
        raise ConfigError(
            f"{where}the uri of remote {name!r} is a bare word", hint="write azureml: or ./folder"
        )
    for key, value in options.items():
        _refuse_option(key, value, f"{where}remote {name!r}")
    texts = {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in options.items()
    }
    return Remote(name, parsed, tuple(sorted(texts.items())), scope, place)


def _refuse_name(name: str, where: str = "") -> None:
    if _NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{where}{redact(name[:80])!r} is no name for a remote",
            hint="use letters, digits, '-' and '_', a letter first, at most 64",
        )


def _refuse_option(key: str, value: object, where: str) -> None:
    if key == "uri" or _OPTION_NAME.fullmatch(key) is None:
        raise ConfigError(
            f"{where} has the malformed option {redact(key[:80])!r}", hint="use letters, digits and '_'"
        )
    if is_secret_name(key) or key.lower() == "key" or (isinstance(value, str) and has_secret_shape(value)):
        raise ConfigError(
            f"{where} holds a credential in the option {redact(key)!r}",
            hint=f'put it into an environment variable and name that: {key}_env = "VARIABLE"',
        )
    if isinstance(value, float) or not isinstance(value, (str, int)) or "\0" in str(value):
        raise ConfigError(f"{where}: the option {key!r} is not text", hint="write it in quotes")


def _file_of(scope: OriginKind, around: Surroundings) -> Path:
    path = user_file(around) if scope is OriginKind.USER else project_file(around)
    if path is None:
        raise ConfigError(
            "there is no home folder for the user's settings", hint="leave out --user, or set HOME"
        )
    return path


def _remotes_table(document: TOMLDocument, path: Path) -> Any:
    import tomlkit

    if REMOTES_TABLE not in document:
        document[REMOTES_TABLE] = tomlkit.table(is_super_table=True)
    table: Any = document[REMOTES_TABLE]
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: remotes is no table", hint="write [remotes.NAME]")
    return table


def _require(name: str, table: Any, path: Path) -> None:
    if name not in table:
        raise NotFound(
            f"there is no remote {redact(name[:80])!r}{close_match(name, table)}",
            resource=str(path),
            hint="bridge remotes list",
        )


def _plain(item: Any) -> object:
    return item.unwrap() if hasattr(item, "unwrap") else item
