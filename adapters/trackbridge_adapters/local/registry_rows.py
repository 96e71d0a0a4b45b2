"""From rows to registered models, versions and changes: a fixed number of statements for a whole page."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from typing import Any, NamedTuple

import msgspec

from trackbridge.domain.models import Approval, ModelVersion, Origin, RegisteredModel, RegistryChange

NUMBER_MAX = 2**63 - 1
_DIGITS_MAX = 18  # so that every number fits 64 bits

_MODELS = (
    "SELECT row, name, description, creation_time, last_update_time FROM registered_model "
    "WHERE deleted = 0 AND name {after} ? ORDER BY name LIMIT ?"
)
_MODEL_TAGS = (
    "SELECT t.owner, t.key, t.value FROM registered_model m CROSS JOIN registered_model_tag t "
    "ON t.owner = m.row WHERE m.name BETWEEN ? AND ? ORDER BY t.owner, t.key"
)
_MODEL_ALIASES = (
    "SELECT a.model, a.alias, a.number FROM registered_model m CROSS JOIN model_alias a "
    "ON a.model = m.row WHERE m.name BETWEEN ? AND ? ORDER BY a.model, a.alias"
)
_VERSIONS = (
    "SELECT row, number, source, digest, run_id, origin, datasets, description, stage, approval, user, "
    "creation_time, last_update_time FROM model_version "
    "WHERE model = ? AND deleted = 0 AND number BETWEEN ? AND ? ORDER BY number DESC LIMIT ?"
)
_VERSION_TAGS = (
    "SELECT t.owner, t.key, t.value FROM model_version v CROSS JOIN model_version_tag t "
    "ON t.owner = v.row WHERE v.model = ? AND v.number BETWEEN ? AND ? ORDER BY t.owner, t.key"
)
_VERSION_ALIASES = (
    "SELECT number, alias FROM model_alias WHERE model = ? AND number BETWEEN ? AND ? ORDER BY number, alias"
)


class VersionRow(NamedTuple):
    """What writes need of a version."""

    row: int
    number: int
    source: str
    stage: str
    approval: str


def number_of(version: str) -> int | None:
    """Return the number that a version's text stands for; None when no version can have this text."""
    is_number = version.isascii() and version.isdecimal() and version[0] != "0"
    return int(version) if is_number and len(version) <= _DIGITS_MAX else None


def find_model(connection: sqlite3.Connection, name: str, *, deleted: bool = False) -> int | None:
    """Return the row of a model; one that was deleted is found only when asked for."""
    found = connection.execute(
        "SELECT row FROM registered_model WHERE name = ? AND deleted <= ?", (name, deleted)
    ).fetchone()
    return found[0] if found else None


def find_version(connection: sqlite3.Connection, model: int, version: str) -> VersionRow | None:
    """Return a version of a model, unless it was deleted."""
    found = connection.execute(
        "SELECT row, number, source, stage, approval FROM model_version "
        "WHERE model = ? AND number = ? AND deleted = 0",
        (model, number_of(version)),
    ).fetchone()
    return VersionRow(*found) if found else None


def load_model(connection: sqlite3.Connection, name: str) -> RegisteredModel:
    """Return a model that is there."""
    return load_models(connection, name, count=1, after=">=")[0]


def load_models(
    connection: sqlite3.Connection, name: str, *, count: int, after: str = ">"
) -> list[RegisteredModel]:
    """Return so many models after a name (or from it on: ``>=``), in order of name."""
    rows = connection.execute(_MODELS.format(after=after), (name, count)).fetchall()
    if not rows:
        return []
    names = rows[0][1], rows[-1][1]
    tags: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for owner, key, value in connection.execute(_MODEL_TAGS, names):
        tags[owner][key] = value
    aliases: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for model, alias, number in connection.execute(_MODEL_ALIASES, names):
        aliases[model][alias] = str(number)
    return [
        RegisteredModel(
            name=name,
            description=description,
            aliases=aliases.get(row, {}),
            tags=tags.get(row, {}),
            creation_time=creation_time,
            last_update_time=last_update_time,
        )
        for row, name, description, creation_time, last_update_time in rows
    ]


def load_version(connection: sqlite3.Connection, name: str, model: int, number: int) -> ModelVersion:
    """Return a version that is there."""
    return load_versions(connection, name, model, number, number, count=1)[0]


def load_versions(
    connection: sqlite3.Connection, name: str, model: int, first: int, last: int, *, count: int
) -> list[ModelVersion]:
    """Return at most so many versions with a number from ``first`` to ``last``, newest first."""
    rows = connection.execute(_VERSIONS, (model, first, last, count)).fetchall()
    if not rows:
        return []
    numbers = (model, rows[-1][1], rows[0][1])
    tags: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for owner, key, value in connection.execute(_VERSION_TAGS, numbers):
        tags[owner][key] = value
    aliases: defaultdict[int, list[str]] = defaultdict(list)
    for number, alias in connection.execute(_VERSION_ALIASES, numbers):
        aliases[number].append(alias)
    return [_version(name, row, tags.get(row[0], {}), tuple(aliases.get(row[1], ()))) for row in rows]


def load_changes(
    connection: sqlite3.Connection, name: str, model: int, version: str | None, *, before: int, count: int
) -> list[RegistryChange]:
    """Return at most so many changes with a sequence below ``before``, newest first."""
    test, parameters = ("", (model,)) if version is None else (" AND number = ?", (model, number_of(version)))
    found = connection.execute(
        "SELECT row, number, what, before, after, user, time, why FROM registry_change "
        f"WHERE model = ?{test} AND row < ? ORDER BY row DESC LIMIT ?",
        (*parameters, before, count),
    )
    return [
        RegistryChange(
            sequence=row,
            name=name,
            version=None if number is None else str(number),
            what=what,
            before=before_,
            after=after,
            user=user,
            time=time,
            why=why,
        )
        for row, number, what, before_, after, user, time, why in found
    ]


def _version(name: str, row: tuple[Any, ...], tags: dict[str, str], aliases: tuple[str, ...]) -> ModelVersion:
    (
        _,
        number,
        source,
        digest,
        run_id,
        origin,
        datasets,
        description,
        stage,
        approval,
        user,
        creation_time,
        last_update_time,
    ) = row
    return ModelVersion(
        name=name,
        version=str(number),
        source=source,
        digest=digest,
        run_id=run_id,
        origin=msgspec.json.decode(origin, type=Origin | None),
        description=description,
        stage=stage,
        approval=Approval(approval),
        aliases=aliases,
        tags=tags,
        datasets=msgspec.json.decode(datasets, type=tuple[str, ...]),
        creation_time=creation_time,
        last_update_time=last_update_time,
        user=user,
    )
