"""Registered models, their versions, where a version came from, and what was changed since."""

from __future__ import annotations

from enum import Enum

import msgspec

STAGES = ("None", "Staging", "Production", "Archived")
"""The stages of a version, as in mlflow."""


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


class ChangeReason(msgspec.Struct, frozen=True, kw_only=True):
    """Who changes something, and why. Without a user the backend's own identity is noted."""

    user: str = ""
    why: str = ""


NO_REASON = ChangeReason()


class ModelVersionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to create a version.

    ``source`` is the address of the payload, usually ``bridge-artifacts:/<run id>/<path>``; ``digest`` its
    content digest. ``datasets`` name the data that it was trained on, as ``name@digest``.
    """

    name: str
    source: str
    digest: str
    run_id: str | None = None
    origin: Origin | None = None
    description: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    datasets: tuple[str, ...] = ()


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A registered version as it stood when it was read. Times are milliseconds since 1970."""

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
    datasets: tuple[str, ...] = ()
    creation_time: int | None = None
    last_update_time: int | None = None
    user: str = ""
    native_id: str | None = None


class RegisteredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A named series of versions. ``aliases`` maps each alias to a version."""

    name: str
    description: str = ""
    aliases: dict[str, str] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    creation_time: int | None = None
    last_update_time: int | None = None


class RegistryChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a model or of one of its versions: what, who, when, from, to, why.

    ``what`` is ``created``, ``deleted``, ``description``, ``stage``, ``approval``, ``alias:<name>`` or
    ``tag:<key>``. ``before`` and ``after`` are texts, None where there was, or is, nothing; for an alias
    they are versions. ``version`` is None for a change of the model itself.
    """

    sequence: int
    name: str
    version: str | None
    what: str
    before: str | None
    after: str | None
    user: str
    time: int
    why: str = ""
