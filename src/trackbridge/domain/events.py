"""Something that happened, told to whoever subscribed to it."""

from __future__ import annotations

from typing import Any

import msgspec

RUN_CLOSED = "run.closed"
BATCH_DELIVERED = "delivery.batch_delivered"
DEAD_LETTER = "delivery.dead_letter"
MODEL_VERSION_CREATED = "registry.version_created"
MODEL_ALIAS_SET = "registry.alias_set"
MODEL_STAGE_SET = "registry.stage_set"
MODEL_APPROVAL_SET = "registry.approval_set"
JOB_SUBMITTED = "job.submitted"
JOB_ENDED = "job.ended"
DEPLOY_PLANNED = "deploy.planned"
DEPLOY_APPLIED = "deploy.applied"
DEPLOY_FAILED = "deploy.failed"
DEPLOY_ROLLED_BACK = "deploy.rolled_back"
ROLLOUT_STEP = "rollout.step"
ROLLOUT_PROMOTED = "rollout.promoted"
ROLLOUT_ROLLED_BACK = "rollout.rolled_back"
ENDPOINT_ALARM = "endpoint.alarm"
ENDPOINT_DRIFT = "endpoint.drift"
ENDPOINT_DELETED = "endpoint.deleted"
MIGRATION_ENDED = "migration.ended"
REGISTRIES_SYNCED = "registry.synced"
REQUESTS_ANSWERED = "serving.requests_answered"
REQUESTS_SCORED = "serving.requests_scored"
TEST = "bridge.test"

KINDS = (
    RUN_CLOSED,
    BATCH_DELIVERED,
    DEAD_LETTER,
    MODEL_VERSION_CREATED,
    MODEL_ALIAS_SET,
    MODEL_STAGE_SET,
    MODEL_APPROVAL_SET,
    JOB_SUBMITTED,
    JOB_ENDED,
    DEPLOY_PLANNED,
    DEPLOY_APPLIED,
    DEPLOY_FAILED,
    DEPLOY_ROLLED_BACK,
    ROLLOUT_STEP,
    ROLLOUT_PROMOTED,
    ROLLOUT_ROLLED_BACK,
    ENDPOINT_ALARM,
    ENDPOINT_DRIFT,
    ENDPOINT_DELETED,
    MIGRATION_ENDED,
    REGISTRIES_SYNCED,
    REQUESTS_ANSWERED,
    REQUESTS_SCORED,
    TEST,
)
"""Every kind of event. Kinds are added, never changed or taken away."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. ``subject`` is what it is about (a run id, ``models:/wine/3``, an endpoint's name).

    ``source`` is where it happened: a tracking URI without credentials. ``data`` is JSON, without secrets.
    ``time`` is milliseconds since 1970.
    """

    event_id: str
    kind: str
    time: int
    source: str
    subject: str
    data: dict[str, Any] = msgspec.field(default_factory=dict)
