"""Whether both sides are still as they were when a plan was made."""

from __future__ import annotations

import msgspec

from trackbridge.domain.migration import Kind
from trackbridge.domain.plans import Action, Change, Plan
from trackbridge.errors import PlanStale
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.planning import INTERRUPTED, asked_of, kind_of_change, plan_migration


def held_changes(plan: Plan, pair: Pair) -> tuple[frozenset[str], frozenset[str]]:
    """Return the subjects of changes that were made already, and of those of which nothing is there yet.

    Raises:
        PlanStale: Something is neither as it was nor as it is to be.
    """
    asked = asked_of(plan)
    pair.listed.clear()
    fresh = plan_migration(pair, msgspec.structs.replace(asked, delete_max=None), with_losses=False)
    now = {change.subject: change for change in fresh.changes}
    held: set[str] = set()
    for change in plan.changes:
        if change.action is Action.KEEP:
            continue
        found = now.get(change.subject)
        if found is None:  # gone from the source, or deleted already: seen when its turn comes
            if change.action is Action.DELETE:
                held.add(change.subject)
            continue
        if found.action is Action.KEEP:
            held.add(change.subject)
        elif not _is_as_planned(change, found):
            raise PlanStale(
                f"{change.subject} is not as it was when the plan was made",
                operation="migrate",
                resource=pair.target.uri,
                hint="make the plan anew: bridge migrate SRC DST",
            )
    absent = {change.subject for change in fresh.changes if change.action is Action.CREATE}
    return frozenset(held), frozenset(absent)


def _is_as_planned(planned: Change, found: Change) -> bool:
    """Tell whether a change is still the same, or the rest of one that was interrupted."""
    kind = kind_of_change(planned)
    if kind is Kind.RUN and planned.action is not Action.DELETE:
        before, after = planned.after or {}, found.after or {}
        is_going_on = before["status"] in ("RUNNING", "SCHEDULED")
        is_same_source = before["print"] == after["print"] or is_going_on
        was_there = (planned.before or {}).get("print")
        is_there = (found.before or {}).get("print")
        is_ours = found.why == INTERRUPTED or planned.before == found.before
        return is_same_source and (is_ours or was_there == is_there or is_going_on)
    if planned.before == found.before:
        return planned.action is found.action and _wanted(planned) == _wanted(found)
    return _wanted(planned) == _wanted(found)  # begun: what is still lacking is what was planned


def _wanted(change: Change) -> dict[str, object]:
    after = change.after or {}
    return {key: value for key, value in after.items() if key not in ("losses", "id", "at_target")}
