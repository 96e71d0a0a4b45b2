"""What a rollout leaves for others: a tag with its history on the model's version, and events."""

from __future__ import annotations

from trackbridge.domain import events
from trackbridge.domain.model_references import RegisteredReference, parse_model_reference
from trackbridge.domain.models import ChangeReason
from trackbridge.domain.rollouts import Rollout, RolloutState
from trackbridge.errors import BridgeError
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.rollout.definition import fields_of

TAG = "bridge.rollout"
TEXT_CHARS_MAX = 250
"""Registries hold values of 256 characters and more."""


def note_on_version(rollout: Rollout, models: ModelSource) -> str:
    """Write to the model's version how its rollout ended; return what kept that from being done, or nothing.

    The registry's history, where it keeps one, says so too: who, when and why.
    """
    reference = parse_model_reference(rollout.spec.model)
    if models.registry is None or not isinstance(reference, RegisteredReference) or not reference.version:
        return f"how it ended is not noted on {rollout.spec.model}: its registry is not known"
    text = ending_text(rollout)
    try:
        models.registry.set_tags(
            reference.name,
            reference.version,
            tags={TAG: text[:TEXT_CHARS_MAX]},
            reason=ChangeReason(user=rollout.user, why=text),
        )
    except BridgeError as error:
        return f"how it ended is not noted on {rollout.spec.model}: {error}"
    return ""


def ending_text(rollout: Rollout) -> str:
    """Return how a rollout ended: ``rolled_back at 25 % (wine.3): error_rate is …``."""
    text = f"{rollout.state.value} at {rollout.percent} % ({rollout.name})"
    return f"{text}: {rollout.reason}" if rollout.reason else text


def publish_ending(rollout: Rollout) -> None:
    """Tell the subscribers how a rollout ended."""
    from trackbridge.events import publish

    is_promoted = rollout.state is RolloutState.PROMOTED
    kind = events.ROLLOUT_PROMOTED if is_promoted else events.ROLLOUT_ROLLED_BACK
    publish(kind, subject=rollout.endpoint, source=rollout.target, data=_data(rollout))


def publish_step(rollout: Rollout) -> None:
    """Tell the subscribers that a step has begun."""
    from trackbridge.events import publish

    publish(events.ROLLOUT_STEP, subject=rollout.endpoint, source=rollout.target, data=_data(rollout))


def publish_alarm(rollout: Rollout, *, guard: str, told: str, is_drift: bool) -> None:
    """Tell the subscribers that a guard is broken."""
    from trackbridge.events import publish

    kind = events.ENDPOINT_DRIFT if is_drift else events.ENDPOINT_ALARM
    data = {**_data(rollout), "guard": guard, "reason": told}
    publish(kind, subject=rollout.endpoint, source=rollout.target, data=data)


def _data(rollout: Rollout) -> dict[str, object]:
    fields = fields_of(rollout)
    del fields["endpoint"]  # the event's subject
    return fields
