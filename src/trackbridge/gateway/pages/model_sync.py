"""Two registries brought in step: compared in the background, read as a plan, applied in the background."""

from __future__ import annotations

import shlex
import time
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.domain.plans import Plan
from trackbridge.errors import Conflict, InvalidInput, NotFound
from trackbridge.gateway.pages.desk import Desk, address
from trackbridge.gateway.pages.forms import Change, change_routes, form_route
from trackbridge.gateway.pages.layout import View
from trackbridge.gateway.pages.models import SECTION
from trackbridge.gateway.pages.work_pages import work_address
from trackbridge.gateway.pages.works import Outcome, Work
from trackbridge.operations.migrate.merging import Policy
from trackbridge.operations.migrate.migration import Migration
from trackbridge.operations.migrate.mirror import MirrorPlan, MirrorResult, shown_value
from trackbridge.operations.migrate.mirror_plans import MirrorAsked, plan_to_save, refuse_stale
from trackbridge.operations.migrate.planning import losses_of
from trackbridge.operations.migrate.report import summary_of_losses

PLAN_KIND = "models plan"
APPLY_KIND = "models sync"


class Clashing(msgspec.Struct, frozen=True, kw_only=True):
    """A field that was changed on both sides, with the values for people; None for none."""

    subject: str
    what: str
    agreed: str | None
    source: str | None
    target: str | None


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Two registries compared. ``plan`` holds what there is to do, and no secret; ``losses`` are lines."""

    source: str
    target: str
    asked: MirrorAsked
    plan: Plan
    clashes: tuple[Clashing, ...]
    losses: tuple[str, ...]

    @property
    def agree(self) -> bool:
        """True when there is nothing to do."""
        return not self.plan.changes and not self.clashes


# What is done.


def compare(source: str, target: str, asked: MirrorAsked) -> Compared:
    """Compare two registries; nothing is changed.

    Args:
        source: URI of the one.
        target: URI of the other.
        asked: Which models, both ways or one, and what wins.

    Raises:
        BridgeError: One of them cannot be asked, or has no registry.
    """
    with Migration(source, target) as migration:
        plan = migration.plan_mirror(asked.models, two_way=asked.two_way, policy=asked.policy)
        saved = plan_to_save(
            plan,
            asked,
            source=migration.source_uri,
            target=migration.target_uri,
            time_ms=time.time_ns() // 1_000_000,
        )
    return Compared(
        source=source,
        target=target,
        asked=asked,
        plan=saved,
        clashes=_clashes(plan),
        losses=_losses(plan),
    )


def bring_in_step(compared: Compared, user: str, work: Work) -> Outcome:
    """Apply what was compared, unless anything else would be done by now.

    Raises:
        PlanStale: A side has changed since.
        BridgeError: It cannot be applied.
    """
    asked = compared.asked
    with Migration(compared.source, compared.target) as migration:
        work.tell("comparing once more")
        fresh = migration.plan_mirror(asked.models, two_way=asked.two_way, policy=asked.policy)
        refuse_stale(compared.plan, fresh)
        total, reached = len(compared.plan.changes), 0

        def on_done(told: str) -> None:
            nonlocal reached
            reached += 1
            work.tell(told)
            work.reach(min(reached, total), total)

        result = migration.apply_mirror(
            fresh,
            preflight=asked.preflight,
            on_preflight=lambda report: work.tell(str(report)),
            on_done=on_done,
            user=user,
        )
    return _outcome(result)


def _outcome(result: MirrorResult) -> Outcome:
    problems = [f"left: {edit.subject}: {edit.what} was changed meanwhile" for edit in result.skipped]
    problems += [f"failed: {what}: {error}" for what, error in result.failed]
    problems += [f"remains: {line}" for line in result.remaining]
    text = (
        f"versions copied: {result.copied:,}; runs copied: {result.runs_copied:,}; "
        f"fields set: {result.done:,}"
    )
    return Outcome(text=text, problems=tuple(problems))


def _clashes(plan: MirrorPlan) -> tuple[Clashing, ...]:
    return tuple(
        Clashing(
            subject=clash.subject,
            what=clash.what,
            agreed=shown_value(clash.what, clash.base),
            source=shown_value(clash.what, clash.source),
            target=shown_value(clash.what, clash.target),
        )
        for clash in plan.clashes
    )


def _losses(plan: MirrorPlan) -> tuple[str, ...]:
    copies = [found for found in (plan.forward, plan.backward) if found is not None]
    losses = [loss for found in copies for change in found.changes for loss in losses_of(change)]
    return tuple(
        f"{what}: {treatment} ({records:,} in {items:,} items), for example {sample}"
        for what, treatment, records, items, sample in summary_of_losses(losses)
    )


# The pages.


def routes(desk: Desk) -> list[Route]:
    """Return the routes of these pages."""

    def asked(view: View) -> Response:
        return view.page(
            "model_sync.html",
            title="Bring two registries in step",
            section=SECTION,
            places=tuple(desk.registries()),
            policies=[policy.value for policy in Policy],
            view_fields={name: view.value(name) for name in ("source", "target", "models")},
        )

    def begun(view: View) -> Response:
        return _compare(desk, view)

    def plan(view: View) -> Plan:
        return _compared(desk, view).plan

    def apply(view: View, plan: Plan) -> Response:
        return _apply(desk, view)

    change = Change(
        path="/models/sync/apply",
        title="Bring two registries in step",
        verb="Apply",
        plan=plan,
        apply=apply,
        section=SECTION,
        twin=lambda view: _twin(_compared(desk, view)),
    )
    return [
        desk.pages.route("/models/sync", asked),
        form_route(desk.pages, "/models/sync", begun),
        *change_routes(desk.pages, change),
    ]


def _compare(desk: Desk, view: View) -> Response:
    source, target = view.value("source"), view.value("target")
    uris = desk.registry(source), desk.registry(target)
    asked = MirrorAsked(
        models=tuple(view.value("models").split()),
        two_way=bool(view.value("two_way")),
        policy=_policy(view.value("policy", "fail")),
    )

    def do(work: Work) -> Outcome:
        found = compare(*uris, asked)
        if found.agree:
            return Outcome(text="both agree: there is nothing to do", result=found)
        return Outcome(text="compared; read what there is to do", result=found)

    shown = desk.works.start(
        PLAN_KIND,
        f"Compare {source} and {target}",
        _subjects(*uris),
        do,
        back=address("/models/sync", source=source, target=target, models=view.value("models")),
        user=desk.user(view),
    )
    return view.redirect(work_address(shown.work_id))


def _apply(desk: Desk, view: View) -> Response:
    compared, user = _compared(desk, view), desk.user(view)
    shown = desk.works.start(
        APPLY_KIND,
        f"Bring {compared.target} in step with {compared.source}",
        _subjects(compared.source, compared.target),
        lambda work: bring_in_step(compared, user, work),
        back="/models/matrix",
        user=user,
    )
    return view.redirect(work_address(shown.work_id))


def _compared(desk: Desk, view: View) -> Compared:
    """Return what a work has compared.

    Raises:
        NotFound: There is no such work, or it compared nothing.
        Conflict: Fields were changed on both sides, and nobody has said which is to win.
    """
    result: Any = desk.works.get(view.value("work")).result
    if not isinstance(result, Compared):
        raise NotFound("that work has no plan to apply", operation="models sync", hint="compare them again")
    if result.clashes:
        raise Conflict(
            "fields were changed on both sides",
            operation="models sync",
            hint="compare them again, and say which side is to win",
        )
    return result


def _subjects(*uris: str) -> frozenset[str]:
    return frozenset({f"the pair {' and '.join(sorted(uris))}"})


def _policy(text: str) -> str:
    try:
        return Policy(text).value
    except ValueError as error:
        known = ", ".join(policy.value for policy in Policy)
        raise InvalidInput(f"there is no way to decide {text[:40]!r}", hint=f"use one of {known}") from error


def _twin(compared: Compared) -> str:
    asked = compared.asked
    options = (" --two-way" if asked.two_way else "") + (
        f" --conflict {asked.policy}" if asked.policy != "fail" else ""
    )
    named = " ".join(map(shlex.quote, (compared.source, compared.target, *asked.models)))
    return f"bridge models sync {named}{options} --plan --json"
