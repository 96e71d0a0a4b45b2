"""What became of a planned change."""

from __future__ import annotations

from trackbridge.domain.migration import Counts, Loss, Outcome, State
from trackbridge.domain.plans import Change


def done(change: Change, counts: Counts, losses: tuple[Loss, ...] = ()) -> Outcome:
    """Return that the target has all of it, but for the losses."""
    return Outcome(
        subject=change.subject,
        action=change.action.value,
        state=State.DONE,
        source=counts,
        target=counts,
        losses=losses,
    )


def gone(change: Change) -> Outcome:
    """Return that an item is not at the source any more."""
    return Outcome(
        subject=change.subject,
        action=change.action.value,
        state=State.GONE,
        error="it is gone from the source since the plan was made",
    )
