"""Registered models, their versions, and where a version came from."""

from __future__ import annotations

from enum import Enum

import msgspec


class Approval(str, Enum):
    """Whether a version may be deployed."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version was first registered. Versions are compared by this, never by number."""

    registry: str
    name: str
    version: str


class ModelVersionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to create a version. ``digest`` is the content digest of the payload."""

    name: str
    source: str
    digest: str
    run_id: str | None = None
    origin: Origin | None = None
    description: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A registered version as it stood when it was read."""

    name: str
    version: str
    source: str
    digest: str | None = None
    run_id: str | None = None
    origin: Origin | None = None
    description: str = ""
    stage: str = "None"
    approval: Approval = Approval.PENDING
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    creation_time: int | None = None
    native_id: str | None = None


class RegisteredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A named series of versions. ``aliases`` maps each alias to a version."""

    name: str
    description: str = ""
    aliases: dict[str, str] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    creation_time: int | None = None
