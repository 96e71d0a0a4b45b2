"""The registry port over ``store.db``."""

# ruff: noqa: D102  the docstrings of the port are the contract

from __future__ import annotations

import getpass
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.file_uris import file_path
from trackbridge.domain.model_references import checked_model_name
from trackbridge.domain.models import (
    NO_REASON,
    STAGES,
    Approval,
    ChangeReason,
    ModelVersion,
    ModelVersionSpec,
    RegisteredModel,
    RegistryChange,
)
from trackbridge.domain.paging import Page
from trackbridge.domain.secrets import shown
from trackbridge.errors import Conflict, NotFound, Rejected
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.registry import ModelRegistry
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.registry_edits import Edit
from trackbridge_adapters.local.registry_rows import (
    NUMBER_MAX,
    VersionRow,
    find_model,
    find_version,
    load_changes,
    load_model,
    load_models,
    load_version,
    load_versions,
    number_of,
)
from trackbridge_adapters.local.tokens import listing_of, page_size, place_of, token_of

UNKNOWN_USER = "unknown"

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]+:")


class LocalRegistry(ModelRegistry):
    """Registered models in a folder."""

    def __init__(self, database: Database, artifacts: ArtifactStore, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._artifacts = artifacts
        self._clock_ms = clock_ms

    def ensure_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: ChangeReason = NO_REASON,
    ) -> RegisteredModel:
        checked_model_name(name)
        with self._database.writing("registry.ensure_model", _resource(name)) as connection:
            if find_model(connection, name) is None:
                edit = self._edit(connection, _row_for(connection, name), reason)
                edit.create_model(name, description, tags or {})
            return load_model(connection, name)

    def get_model(self, name: str) -> RegisteredModel:
        with self._reading("registry.get_model", name) as (connection, _):
            return load_model(connection, name)

    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        operation = "registry.create_version"
        with self._changing(operation, spec.name, None, reason) as (edit, _):
            number = _number_of_key(edit, spec, key, operation)
            if number is None:
                self._check_source(spec.source, operation, spec.name)
                number = edit.create_version(spec, key)
            return load_version(edit.connection, spec.name, edit.model, number)

    def get_version(self, name: str, version: str) -> ModelVersion:
        operation = "registry.get_version"
        with self._reading(operation, name, version) as (connection, model):
            found = load_versions(connection, name, model, *_only(version), count=1)
            if not found:
                raise _no_version(operation, name, version)
            return found[0]

    def list_models(self, *, max_results: int = 1000, token: str | None = None) -> Page[RegisteredModel]:
        operation = "registry.list_models"
        size = page_size(max_results, operation=operation)
        listing = listing_of(operation)
        place = place_of(token, listing, operation=operation, types=(str,)) or [""]
        with self._database.reading(operation) as connection:
            if connection is None:
                return Page(items=())
            found = load_models(connection, place[0], count=size + 1)
        more = token_of(listing, [found[size - 1].name]) if len(found) > size else None
        return Page(items=tuple(found[:size]), token=more)

    def list_versions(
        self, name: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[ModelVersion]:
        operation = "registry.list_versions"
        size = page_size(max_results, operation=operation)
        listing = listing_of(operation, name)
        place = place_of(token, listing, operation=operation, types=(int,)) or [NUMBER_MAX]
        with self._database.reading(operation, _resource(name)) as connection:
            model = find_model(connection, name) if connection else None
            if connection is None or model is None:
                return Page(items=())
            found = load_versions(connection, name, model, 1, place[0], count=size + 1)
        more = token_of(listing, [int(found[size].version)]) if len(found) > size else None
        return Page(items=tuple(found[:size]), token=more)

    def set_tags(
        self,
        name: str,
        version: str | None,
        *,
        tags: Mapping[str, str | None],
        reason: ChangeReason = NO_REASON,
    ) -> None:
        with self._changing("registry.set_tags", name, version, reason) as (edit, found):
            edit.set_tags(found, tags)

    def set_description(
        self, name: str, version: str | None, *, description: str, reason: ChangeReason = NO_REASON
    ) -> None:
        with self._changing("registry.set_description", name, version, reason) as (edit, found):
            edit.describe(found, description)

    def set_alias(
        self, name: str, alias: str, *, version: str | None, reason: ChangeReason = NO_REASON
    ) -> None:
        with self._changing("registry.set_alias", name, version, reason) as (edit, found):
            edit.point(alias, found.number if found else None)

    def set_stage(self, name: str, version: str, *, stage: str, reason: ChangeReason = NO_REASON) -> None:
        operation = "registry.set_stage"
        if stage not in STAGES:
            raise Rejected(
                f"{stage[:40]!r} is not a stage",
                adapter=ADAPTER,
                operation=operation,
                resource=_resource(name, version),
                hint=f"use one of {', '.join(STAGES)}",
            )
        self._set_field(operation, name, version, "stage", stage, reason)

    def set_approval(
        self, name: str, version: str, *, approval: Approval, reason: ChangeReason = NO_REASON
    ) -> None:
        self._set_field("registry.set_approval", name, version, "approval", approval.value, reason)

    def list_changes(
        self, name: str, version: str | None = None, *, max_results: int = 1000, token: str | None = None
    ) -> Page[RegistryChange]:
        operation = "registry.list_changes"
        size = page_size(max_results, operation=operation)
        listing = listing_of(operation, name, version)
        place = place_of(token, listing, operation=operation, types=(int,)) or [NUMBER_MAX]
        with self._database.reading(operation, _resource(name, version)) as connection:
            model = find_model(connection, name, deleted=True) if connection else None
            if connection is None or model is None:
                return Page(items=())
            found = load_changes(connection, name, model, version, before=place[0], count=size + 1)
        more = token_of(listing, [found[size - 1].sequence]) if len(found) > size else None
        return Page(items=tuple(found[:size]), token=more)

    def delete_version(self, name: str, version: str, *, reason: ChangeReason = NO_REASON) -> None:
        # What is absent is deleted already; nobody else needs to be told that it is.
        with (
            suppress(NotFound),
            self._changing("registry.delete_version", name, version, reason) as (edit, found),
        ):
            edit.delete_versions([found] if found else [])

    def delete_model(self, name: str, *, reason: ChangeReason = NO_REASON) -> None:
        with suppress(NotFound), self._changing("registry.delete_model", name, None, reason) as (edit, _):
            edit.delete_model(name)

    # What the methods share.

    def _set_field(
        self, operation: str, name: str, version: str, field: str, value: str, reason: ChangeReason
    ) -> None:
        with self._changing(operation, name, version, reason) as (edit, found):
            if found is not None:
                edit.set_field(found, field, value)

    @contextmanager
    def _reading(
        self, operation: str, name: str, version: str | None = None
    ) -> Iterator[tuple[sqlite3.Connection, int]]:
        """Give a connection and the row of a model that is there."""
        with self._database.reading(operation, _resource(name, version)) as connection:
            model = find_model(connection, name) if connection else None
            if connection is None or model is None:
                raise _no_model(operation, name)
            yield connection, model

    @contextmanager
    def _changing(
        self, operation: str, name: str, version: str | None, reason: ChangeReason
    ) -> Iterator[tuple[Edit, VersionRow | None]]:
        """Give what changes a model that is there, and the version, which is there too when one was named."""
        with self._database.updating(operation, _resource(name, version)) as connection:
            model = find_model(connection, name) if connection else None
            if connection is None or model is None:
                raise _no_model(operation, name)
            found = None if version is None else find_version(connection, model, version)
            if found is None and version is not None:
                raise _no_version(operation, name, version)
            yield self._edit(connection, model, reason), found

    def _edit(self, connection: sqlite3.Connection, model: int, reason: ChangeReason) -> Edit:
        return Edit(connection, model, reason.user or _login_name(), reason.why, self._clock_ms())

    def _check_source(self, source: str, operation: str, name: str) -> None:
        if not self._is_there(source):
            raise NotFound(
                f"nothing lies at {shown(source, chars_max=200)!r}",
                adapter=ADAPTER,
                operation=operation,
                resource=_resource(name),
                hint="log the model first; 'bridge sync status' shows what was not delivered yet",
            )

    def _is_there(self, source: str) -> bool:
        """Tell whether a payload is there, as far as it can be known here."""
        artifact = split_artifact_uri(source)
        if artifact is None:
            is_elsewhere = _SCHEME.match(source) and not source.startswith("file:")
            return bool(is_elsewhere) or os.path.exists(_path_of(source))
        run_id, path = artifact
        if not path:
            return len(self._artifacts.list(run_id, max_results=1)) > 0
        with suppress(NotFound):
            self._artifacts.stat(run_id, path)
            return True
        return False


def _path_of(source: str) -> str:
    return os.fspath(file_path(source)) if source.startswith("file:") else source


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user id has no name
        return UNKNOWN_USER


def _row_for(connection: sqlite3.Connection, name: str) -> int:
    """Return the row for a model that is to be created; one that was deleted has its row still."""
    found = find_model(connection, name, deleted=True)
    if found is not None:
        return found
    created = connection.execute(
        "INSERT INTO registered_model (name, description, creation_time, last_update_time) "
        "VALUES (?, '', 0, 0)",
        (name,),
    )
    return int(created.lastrowid or 0)


def _number_of_key(edit: Edit, spec: ModelVersionSpec, key: str, operation: str) -> int | None:
    """Return the number of the version that the key stands for; None for a new key."""
    found = edit.connection.execute(
        "SELECT number, source, digest, deleted FROM model_version WHERE model = ? AND key = ?",
        (edit.model, key),
    ).fetchone()
    if found is None:
        return None
    number, source, digest, deleted = found
    if (source, digest) != (spec.source, spec.digest):
        raise Conflict(
            f"the key stands for version {number}, which has another source or digest",
            adapter=ADAPTER,
            operation=operation,
            resource=_resource(spec.name, str(number)),
            hint="use a new key for a new version",
        )
    if deleted:
        raise _no_version(operation, spec.name, str(number), "it was deleted; register it with a new key")
    return int(number)


def _only(version: str) -> tuple[int, int]:
    number = number_of(version) or 0
    return number, number


def _resource(name: str, version: str | None = None) -> str:
    return f"model {name[:80]!r}" if version is None else f"model {name[:80]!r}, version {version[:20]!r}"


def _no_model(operation: str, name: str) -> NotFound:
    return NotFound(
        f"there is no registered model {name[:80]!r}",
        adapter=ADAPTER,
        operation=operation,
        hint="'bridge models list' shows those that there are",
    )


def _no_version(operation: str, name: str, version: str, hint: str = "") -> NotFound:
    return NotFound(
        f"model {name[:80]!r} has no version {version[:20]!r}",
        adapter=ADAPTER,
        operation=operation,
        hint=hint or "'bridge models show' lists the versions that there are",
    )
