"""Plans of mirroring as files: what was asked, what was shown, and a digest of each change.

Values of tags may be secrets, so none is kept: the plan is made anew when it is applied, and refused when it
does anything that was not in the file. What was done already is no difference: an application that was
interrupted is gone on with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from trackbridge.domain.migration import MIRROR_OPERATION
from trackbridge.domain.plans import Action, Plan
from trackbridge.errors import ConfigError, PlanStale
from trackbridge.operations.migrate.mirror import MirrorPlan
from trackbridge.operations.plans import basis_of


class MirrorAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks of a mirroring. ``preflight`` looks at versions before they are promoted."""

    models: tuple[str, ...] = ()
    two_way: bool = False
    policy: str = "fail"
    preflight: bool = True


def plan_to_save(plan: MirrorPlan, asked: MirrorAsked, *, source: str, target: str, time_ms: int) -> Plan:
    """Return a plan as a file may hold it."""
    steps = sorted(set(_steps(plan)))
    return Plan(
        operation=MIRROR_OPERATION,
        basis=basis_of(steps),
        changes=tuple(
            msgspec.structs.replace(change, subject=f"{change.subject} at the {side}")
            for side, change in plan.changes()
            if change.action is not Action.KEEP
        ),
        created_time=time_ms,
        parameters={
            "source": source,
            "target": target,
            "asked": msgspec.to_builtins(asked),
            "steps": steps,
        },
        notes=plan.notes,
    )


def asked_of_saved(plan: Plan) -> tuple[str, str, MirrorAsked]:
    """Return source, target and what was asked of a saved plan.

    Raises:
        ConfigError: It is no plan of mirroring.
    """
    source, target = plan.parameters.get("source"), plan.parameters.get("target")
    if plan.operation != MIRROR_OPERATION or not isinstance(source, str) or not isinstance(target, str):
        raise ConfigError(
            "the plan is none of keeping registries in step",
            hint="make one: bridge models sync A B --plan --out FILE",
        )
    return source, target, msgspec.convert(plan.parameters.get("asked", {}), MirrorAsked)


def refuse_stale(saved: Plan, fresh: MirrorPlan) -> None:
    """Refuse to do anything that is not in a saved plan.

    Raises:
        PlanStale: A side has changed since it was made.
    """
    known: Any = saved.parameters.get("steps", [])
    if fresh.clashes or not set(_steps(fresh)) <= set(known):
        raise PlanStale(
            "a registry is not as it was when the plan was made",
            operation=MIRROR_OPERATION,
            resource=f"{saved.parameters.get('source')} and {saved.parameters.get('target')}",
            hint="make the plan anew: bridge models sync A B --plan --out FILE",
        )


def _steps(plan: MirrorPlan) -> Iterator[str]:
    """Yield a digest of each thing that is to be done, values included."""
    for edit in plan.edits:
        yield basis_of(edit)
    for side, copies in (("target", plan.forward), ("source", plan.backward)):
        for change in copies.changes if copies is not None else ():
            if change.subject.startswith(("model ", "version ")):
                yield basis_of([side, change.subject, (change.after or {}).get("print")])
