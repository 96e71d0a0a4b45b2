"""Rolling an endpoint back: planned, read, confirmed, then done in the background."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.domain import plans
from trackbridge.domain.deployments import EndpointState
from trackbridge.domain.rollouts import Rollout
from trackbridge.errors import InvalidInput
from trackbridge.gateway.pages.desk import Desk, refuse_stale
from trackbridge.gateway.pages.endpoints import SECTION, endpoint_address
from trackbridge.gateway.pages.forms import Change, change_routes
from trackbridge.gateway.pages.layout import View
from trackbridge.gateway.pages.work_pages import work_address
from trackbridge.gateway.pages.works import Outcome, Work
from trackbridge.operations.applying import Applied, apply_plan
from trackbridge.operations.deploy import goal_of, plan_rollback
from trackbridge.operations.endpoint_goals import Restore
from trackbridge.operations.model_source import open_models
from trackbridge.operations.opening import Opened
from trackbridge.operations.plans import basis_of
from trackbridge.operations.preflight.trials import Trials
from trackbridge.operations.rollout import ended_rollout, open_ledger
from trackbridge.resolve.config import Settings
from trackbridge.resolve.home import bridge_home


def routes(desk: Desk) -> list[Route]:
    """Return the routes of this change."""

    def plan(view: View) -> plans.Plan:
        return planned(desk, view)

    def apply(view: View, plan: plans.Plan) -> Response:
        return view.redirect(work_address(begin(desk, view, plan)))

    rollback = Change(
        path="/endpoints/rollback",
        title="Roll back",
        verb="Roll back",
        plan=plan,
        apply=apply,
        section=SECTION,
        is_dangerous=True,
        twin=_twin,
    )
    return change_routes(desk.pages, rollback)


def planned(desk: Desk, view: View) -> plans.Plan:
    """Return the plan of the way back; fields: ``target``, ``name``, ``to`` (a revision), ``why``.

    Raises:
        NotFound: The place, the endpoint or the revision is not known.
        Unsupported: The target keeps no revisions.
    """
    return _plan(desk.target(view.value("target")), view.value("name"), _revision(view))


def _plan(place: Opened, name: str, revision: int | None) -> plans.Plan:
    plan = plan_rollback(place, name, to=revision)
    rollout = _unfinished(place, name)
    notes = plan.notes
    if rollout is not None:
        stands = f"which is {rollout.status} at {rollout.percent} %"
        notes = (*notes, f"this ends the rollout {rollout.name}, {stands}")
    # The basis of the operation is how the endpoint stands; what is confirmed is also where it goes, and
    # which rollout it ends.
    ended = rollout.name if rollout is not None else ""
    basis = basis_of([plan.basis, plan.changes, ended])
    return msgspec.structs.replace(plan, basis=basis, notes=notes)


def begin(desk: Desk, view: View, plan: plans.Plan) -> str:
    """Begin to roll back, and return the id of the work.

    Raises:
        Locked: The endpoint is being changed here.
    """
    name, target, user = view.value("name"), view.value("target"), desk.user(view)
    why = desk.reason(view).why
    place = desk.target(target)

    def do(work: Work) -> Outcome:
        refuse_stale(plan, _plan(place, name, _revision(view)))
        return _roll_back(place, name, plan, user, why, work)

    shown = desk.works.start(
        "rollback",
        f"Roll back {name} at {target}",
        frozenset({f"the endpoint {name} at {target}"}),
        do,
        back=endpoint_address(target, name),
        user=user,
    )
    return shown.work_id


def _roll_back(place: Opened, name: str, plan: plans.Plan, user: str, why: str, work: Work) -> Outcome:
    goal = goal_of(plan)
    assert isinstance(goal, Restore), "the plan is that of a rollback"
    settings = Settings()
    with _rollout_ended(place, name, user, why, work) as rollout:
        models = open_models(
            rollout.models_uri if rollout and rollout.models_uri else place.uri,
            registry_uri=(rollout.registry_uri or None) if rollout else None,
            settings=settings,
        )
        fresh = plan_rollback(place, name, to=goal.revision)
        with Trials(bridge_home(settings.around)) as trials:
            applied = apply_plan(
                fresh,
                place,
                models=models,
                user=user,
                why=why,
                on_progress=lambda *told: _tell(work, *told),
                trials=trials,
                on_note=work.tell,
            )
    return _outcome(applied)


@contextlib.contextmanager
def _rollout_ended(place: Opened, name: str, user: str, why: str, work: Work) -> Iterator[Rollout | None]:
    """End the rollout of the endpoint, where there is one, and keep others from beginning one meanwhile."""
    settings = Settings()
    ledger = open_ledger(settings)
    try:
        rollout = ledger.unfinished(place.uri, name)
        if rollout is None:
            yield None
            return
        models = open_models(
            rollout.models_uri or place.uri, registry_uri=rollout.registry_uri or None, settings=settings
        )
        reason = f"rolled back on a page by {user or 'somebody'}{f': {why}' if why else ''}"
        work.tell(f"ending the rollout {rollout.name}")
        with ended_rollout(ledger, place, name, models=models, reason=reason):
            yield rollout
    finally:
        ledger.close()


def _tell(work: Work, number: int, total: int, change: plans.Change, event: str) -> None:
    if event == "waiting":
        return
    work.tell(f"[{number}/{total}] {change.action.value} {change.subject}: {event}")
    work.reach(number if event == "done" else number - 1, total)


def _outcome(applied: Applied) -> Outcome:
    """Return how it ended.

    Raises:
        BridgeError: Nothing was changed, for this reason.
    """
    if applied.error is not None and applied.is_untouched:
        raise applied.error
    problems = [f"not as planned: {change.action.value} {change.subject}" for change in applied.differences]
    if applied.failed is not None:
        problems.append(f"failed: {applied.failed.action.value} {applied.failed.subject}: {applied.error}")
    problems += [f"not done: {change.action.value} {change.subject}" for change in applied.left]
    return Outcome(text=_stands(applied.endpoint, applied.state), problems=(*problems, *applied.problems))


def _stands(name: str, state: EndpointState | None) -> str:
    if state is None:
        return f"{name} is gone"
    shares = ", ".join(f"{deployment} {share} %" for deployment, share in state.traffic.items())
    return f"{name} is {state.status.value}: {shares or 'no deployments'}"


def _unfinished(place: Opened, name: str) -> Rollout | None:
    ledger = open_ledger(Settings())
    try:
        return ledger.unfinished(place.uri, name)
    finally:
        ledger.close()


def _revision(view: View) -> int | None:
    text = view.value("to")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidInput(f"{text[:20]!r} is no number of a revision", hint="choose one in the history")
    return int(text)


def _twin(view: View) -> str:
    to = f" --to {view.value('to')}" if view.value("to") else ""
    name, target = shlex.quote(view.value("name")), shlex.quote(view.value("target"))
    return f"bridge endpoints rollback {name}{to} --target {target} --json"
