"""What an operation is about to do: made without changing anything, shown, then applied exactly."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec


class Action(str, Enum):
    """What a change does to its subject."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    KEEP = "keep"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change: the subject (for example ``run 0193…``), its state before and after, and why."""

    action: Action
    subject: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    why: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Changes in the order of their application.

    ``basis`` is a digest of the state that the plan was made from: a plan whose basis no longer holds is
    stale and refused. ``parameters`` are what is needed to apply it, for example where; never a secret.
    ``notes`` are for people.
    """

    operation: str
    basis: str
    changes: tuple[Change, ...]
    created_time: int
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def changes_something(self) -> bool:
        """False when everything is as wanted already."""
        return any(change.action is not Action.KEEP for change in self.changes)
