"""Changes of the registry: each is made, dated and noted in the history in one place."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from trackbridge.domain.models import Approval, ModelVersionSpec
from trackbridge_adapters.local.registry_rows import VersionRow

Note = tuple[int | None, str, str | None, str | None]
"""Number of the version (None: the model itself), what, before, after."""

_MODEL_TAGS, _VERSION_TAGS = "registered_model_tag", "model_version_tag"


@dataclass(frozen=True, slots=True)
class Edit:
    """The changes of one model within one transaction: who makes them, why and when (``now`` in ms)."""

    connection: sqlite3.Connection
    model: int
    user: str
    why: str
    now: int

    def describe(self, version: VersionRow | None, description: str) -> None:
        """Replace the description of a version or of the model."""
        table, row, number = self._place(version)
        (before,) = self.connection.execute(
            f"SELECT description FROM {table} WHERE row = ?", (row,)
        ).fetchone()
        if before == description:
            return
        self.connection.execute(f"UPDATE {table} SET description = ? WHERE row = ?", (description, row))
        self._note([(number, "description", before or None, description or None)])

    def set_field(self, version: VersionRow, field: str, value: str) -> None:
        """Set the ``stage`` or the ``approval`` of a version."""
        before: str = getattr(version, field)
        if before == value:
            return
        self.connection.execute(f"UPDATE model_version SET {field} = ? WHERE row = ?", (value, version.row))
        self._note([(version.number, field, before, value)])

    def set_tags(self, version: VersionRow | None, tags: Mapping[str, str | None]) -> None:
        """Set and delete tags of a version or of the model."""
        _, row, number = self._place(version)
        table = _MODEL_TAGS if version is None else _VERSION_TAGS
        held = dict(self.connection.execute(f"SELECT key, value FROM {table} WHERE owner = ?", (row,)))
        changed = [(key, held.get(key), value) for key, value in tags.items() if held.get(key) != value]
        for key, _, value in changed:
            if value is None:
                self.connection.execute(f"DELETE FROM {table} WHERE owner = ? AND key = ?", (row, key))
            else:
                self.connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", (row, key, value))
        self._note((number, f"tag:{key}", before, after) for key, before, after in changed)

    def point(self, alias: str, number: int | None) -> None:
        """Point an alias at a version, or (None) remove it."""
        found = self.connection.execute(
            "SELECT number FROM model_alias WHERE model = ? AND alias = ?", (self.model, alias)
        ).fetchone()
        before: int | None = found[0] if found else None
        if before == number:
            return
        if number is None:
            self.connection.execute(
                "DELETE FROM model_alias WHERE model = ? AND alias = ?", (self.model, alias)
            )
        else:
            self.connection.execute(
                "INSERT OR REPLACE INTO model_alias VALUES (?, ?, ?)", (self.model, alias, number)
            )
        concerned = [version for version in (before, number) if version is not None]
        self._note((version, f"alias:{alias}", _text(before), _text(number)) for version in concerned)

    def create_version(self, spec: ModelVersionSpec, key: str) -> int:
        """Add a version and return its number, one more than any that the model ever had."""
        (number,) = self.connection.execute(
            "SELECT coalesce(max(number), 0) + 1 FROM model_version WHERE model = ?", (self.model,)
        ).fetchone()
        created = self.connection.execute(
            "INSERT INTO model_version (model, number, key, source, digest, run_id, origin, datasets, "
            "description, stage, approval, user, creation_time, last_update_time) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'None', ?, ?, ?, ?)",
            (
                self.model,
                number,
                key,
                spec.source,
                spec.digest,
                spec.run_id,
                _json(spec.origin),
                _json(spec.datasets),
                spec.description,
                Approval.PENDING.value,
                self.user,
                self.now,
                self.now,
            ),
        )
        self._insert_tags(_VERSION_TAGS, created.lastrowid or 0, spec.tags)
        self._note([(number, "created", None, spec.source)])
        return int(number)

    def create_model(self, name: str, description: str, tags: Mapping[str, str]) -> None:
        """Fill the row of a model that is new, or new again."""
        self.connection.execute(
            "UPDATE registered_model SET deleted = 0, description = ?, creation_time = ? WHERE row = ?",
            (description, self.now, self.model),
        )
        self._insert_tags(_MODEL_TAGS, self.model, tags)
        self._note([(None, "created", None, name)])

    def delete_versions(self, versions: Iterable[VersionRow]) -> None:
        """Delete versions, and the aliases that point at them."""
        for version in versions:
            aliases = self.connection.execute(
                "SELECT alias FROM model_alias WHERE model = ? AND number = ? ORDER BY alias",
                (self.model, version.number),
            ).fetchall()
            for (alias,) in aliases:
                self.point(alias, None)
            self.connection.execute("UPDATE model_version SET deleted = 1 WHERE row = ?", (version.row,))
            self.connection.execute("DELETE FROM model_version_tag WHERE owner = ?", (version.row,))
            self._note([(version.number, "deleted", version.source, None)])

    def delete_model(self, name: str) -> None:
        """Delete the model with all its versions."""
        self.delete_versions(
            VersionRow(*row)
            for row in self.connection.execute(
                "SELECT row, number, source, stage, approval FROM model_version "
                "WHERE model = ? AND deleted = 0 ORDER BY number",
                (self.model,),
            ).fetchall()
        )
        self.connection.execute("DELETE FROM registered_model_tag WHERE owner = ?", (self.model,))
        self.connection.execute("UPDATE registered_model SET deleted = 1 WHERE row = ?", (self.model,))
        self._note([(None, "deleted", name, None)])

    def _place(self, version: VersionRow | None) -> tuple[str, int, int | None]:
        """Return table, row and number of what is changed."""
        if version is None:
            return "registered_model", self.model, None
        return "model_version", version.row, version.number

    def _insert_tags(self, table: str, owner: int, tags: Mapping[str, str]) -> None:
        self.connection.executemany(
            f"INSERT INTO {table} VALUES (?, ?, ?)", [(owner, key, value) for key, value in tags.items()]
        )

    def _note(self, notes: Iterable[Note]) -> None:
        """Add changes to the history, and date what they changed."""
        noted = list(notes)
        if not noted:
            return
        self.connection.executemany(
            "INSERT INTO registry_change (model, number, what, before, after, user, time, why) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(self.model, *note, self.user, self.now, self.why) for note in noted],
        )
        self.connection.execute(
            "UPDATE registered_model SET last_update_time = ? WHERE row = ?", (self.now, self.model)
        )
        self.connection.executemany(
            "UPDATE model_version SET last_update_time = ? WHERE model = ? AND number = ?",
            [(self.now, self.model, number) for number, *_ in noted if number is not None],
        )


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
