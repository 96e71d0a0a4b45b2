"""Applying the plan of an endpoint, exactly as it was shown.

::

    lock -> observe -> what is left must be the plan, or its end -> the target's checks, the model's trial
         -> save how it stands -> each change: payload, apply, poll until done
         -> observe -> nothing may be left to do

A plan whose application was interrupted is applied again: what is done already is seen from the state alone,
so that nothing has to be written down between two changes, and no death of this process can leave a wrong
note. The change before those that are left may still be under way, and is waited for. What a failed
deployment has left, and did not stand before, is taken away where that is asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackbridge.domain import events
from trackbridge.domain.deployments import (
    DeploymentSpec,
    EndpointRevision,
    EndpointState,
    EndpointStatus,
    Operation,
)
from trackbridge.domain.plans import Action, Change, Plan
from trackbridge.errors import BridgeError, NotFound, PlanStale, Rejected, TimedOut, Transient
from trackbridge.operations.deploy import goal_of, now_ms, revision_why
from trackbridge.operations.deployment_checks import refuse_errors, tried_out
from trackbridge.operations.endpoint_goals import (
    Delete,
    Deploy,
    Goal,
    OnFailure,
    Restore,
    changes_to,
    is_deletion,
    specs_of,
    state_for_basis,
)
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.opening import Opened
from trackbridge.operations.plans import basis_of, changes_only, find_progress
from trackbridge.operations.preflight.trials import Trials
from trackbridge.operations.waiting import Pace
from trackbridge.ports.capabilities import Feature

CHANGE_S_MAX = 1800.0
"""How long one change may take, in seconds; clouds start machines for it."""

SETTLE_S_MAX = 60.0
"""How long to wait, in seconds, for what an interrupted command has left under way."""

LOG_TAIL_CHARS = 2000
LOG_PIECES_MAX = 200

_UNDER_WAY = (EndpointStatus.CREATING, EndpointStatus.UPDATING)

OnProgress = Callable[[int, int, Change, str], None]
"""Called with the number of a change (from 1), how many there are, the change, and what becomes of it:
``started``, ``done``, ``failed``, or while it lasts ``waiting`` again and again."""


@dataclass(kw_only=True)
class Applied:
    """What came of a plan.

    ``done`` are the changes that hold now, ``resumed`` how many of them held before; ``failed`` is the one
    that did not work, for the reason ``error``, ``left`` those after it. ``differences`` are changes that
    would still be needed although all were applied; ``problems`` say what else is not well. ``state`` is how
    the endpoint stands now, ``is_untouched`` whether that is as before the plan. ``removed`` is what a failed
    deployment had made and was taken away, ``log_tail`` the last that it said.
    """

    endpoint: str
    done: list[Change] = field(default_factory=list)
    resumed: int = 0
    failed: Change | None = None
    error: BridgeError | None = None
    left: tuple[Change, ...] = ()
    differences: tuple[Change, ...] = ()
    problems: tuple[str, ...] = ()
    revision: int | None = None
    state: EndpointState | None = None
    is_untouched: bool = False
    removed: list[str] = field(default_factory=list)
    log_tail: str = ""

    @property
    def is_complete(self) -> bool:
        """True when the endpoint stands as planned."""
        return self.error is None and not self.differences and not self.problems

    def raise_if_incomplete(self) -> None:
        """Raise what went wrong.

        Raises:
            BridgeError: What the failed change met with, or what is different from the plan.
        """
        if self.error is not None:
            raise self.error
        if not self.is_complete:
            told = "; ".join(
                [*(f"{change.action.value} {change.subject}" for change in self.differences), *self.problems]
            )
            raise BridgeError(
                f"the endpoint {self.endpoint!r} does not stand as planned: {told}",
                operation="deploy",
                hint=f"see it with: bridge endpoints show {self.endpoint}",
            )


def last_words(place: Opened, endpoint: str, deployment: str) -> str:
    """Return the end of what a deployment has logged after a failure, nothing where it cannot be read."""
    if not place.capabilities.supports(Feature.DEPLOYMENTS_LOGS):
        return ""
    text, cursor = "", ""
    with contextlib.suppress(BridgeError):  # the failure itself is what has to be told
        for _ in range(LOG_PIECES_MAX):
            chunk = place.target.read_logs(endpoint, deployment, cursor=cursor)
            text, cursor = (text + chunk.text)[-LOG_TAIL_CHARS:], chunk.cursor
            if chunk.done or not chunk.text:
                break
    return text


def apply_plan(
    plan: Plan,
    place: Opened,
    *,
    models: ModelSource,
    user: str = "",
    why: str = "",
    on_progress: OnProgress = lambda number, total, change, event: None,
    pace: Pace | None = None,
    change_s_max: float = CHANGE_S_MAX,
    trials: Trials | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    keeps_revision: bool = True,
) -> Applied:
    """Apply the plan of an endpoint; nothing is changed unless the plan still holds.

    Args:
        plan: Made by ``deploy.plan_…``, now or in another process.
        place: Where the endpoint is.
        models: Where the files of models come from.
        user: Who does it, for the revisions.
        why: Why, for the revisions.
        on_progress: Told about each change.
        pace: How to wait.
        change_s_max: How long one change may take, in seconds.
        trials: Tries a new model out before anything is changed, where the plan says so.
        on_note: Told what is worth to know beside the changes.
        keeps_revision: Whether to save how the endpoint stands, for a rollback; not within a longer
            operation that has done so.

    Returns:
        What was done; see ``Applied.is_complete``. A change that fails stops the rest.

    Raises:
        PlanStale: Something else has changed since the plan was made.
        Locked: Somebody else is changing the endpoint.
        Rejected: The model was rejected since, does not load or answer, or the target would not take it.
    """
    goal = goal_of(plan)
    application = _Application(
        plan, goal, place, models, on_progress, pace or Pace(), change_s_max, trials, on_note
    )
    application.keeps_revision = keeps_revision
    with _lock(place, goal.endpoint):
        return application.run(user, why)


def _lock(place: Opened, endpoint: str) -> AbstractContextManager[None]:
    if place.capabilities.supports(Feature.DEPLOYMENTS_LOCK):
        return place.target.lock(endpoint)
    return contextlib.nullcontext()


class _Application:
    """One application of a plan, under the endpoint's lock."""

    def __init__(
        self,
        plan: Plan,
        goal: Goal,
        place: Opened,
        models: ModelSource,
        on_progress: OnProgress,
        pace: Pace,
        change_s_max: float,
        trials: Trials | None,
        on_note: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._goal = goal
        self._place = place
        self._models = models
        self._on_progress = on_progress
        self._pace = pace
        self._change_s_max = change_s_max
        self._trials = trials
        self._on_note = on_note
        self._changes = changes_only(plan.changes)
        self._result = Applied(endpoint=goal.endpoint)
        self.keeps_revision = True

    def run(self, user: str, why: str) -> Applied:
        """Apply what is left, and check."""
        observed = self._place.target.observe(self._goal.endpoint)
        progress = self._progress(observed)
        if progress == 0:
            observed = self._settled(observed)
        if isinstance(self._goal, Deploy):
            self._models.recheck(self._goal.spec)
            if progress == 0 and self._changes:
                self._look_before(self._goal.spec, observed)
        if progress == 0 and self._changes and self.keeps_revision:
            self._save_revision(observed, user, why)
        self._result.resumed = progress
        self._result.done += self._changes[:progress]
        if progress:  # it may still be under way
            self._result.done.pop()
        for number in range(max(0, progress - 1), len(self._changes)):
            if not self._apply(number):
                self._take_away_what_failed()
                self._see_what_stands()
                break
        else:
            self._check()
        self._tell()
        return self._result

    def _look_before(self, spec: DeploymentSpec, observed: EndpointState | None) -> None:
        """Look whether it can work before anything is changed, or billed.

        Raises:
            Rejected: It cannot.
        """
        refuse_errors(self._place.target.check(spec, observed), spec.endpoint)
        brings = any(
            change.subject.startswith("deployment ") and change.action in (Action.CREATE, Action.REPLACE)
            for change in self._changes
        )
        if brings and self._trials is not None and self._plan.parameters.get("preflight"):
            self._on_note(f"pre-flight: loading {spec.model} in an environment of its own ...")
            self._on_note(tried_out(spec, self._models, self._trials))

    def _take_away_what_failed(self) -> None:
        """Delete what this plan has made and what now serves nobody, so that nobody pays for it.

        Only what did not stand before; after an ambiguous end (a time limit) all is left as it is.
        """
        goal, failed = self._goal, self._result.failed
        if not isinstance(goal, Deploy) or failed is None:
            return
        subject = f"deployment {goal.spec.endpoint}/{goal.spec.deployment}"
        if failed.subject == subject:
            self._result.log_tail = last_words(self._place, goal.spec.endpoint, goal.spec.deployment)
        begun = (*self._result.done, failed)
        is_made = any(change.subject == subject and change.action is Action.CREATE for change in begun)
        is_certain = not isinstance(self._result.error, (TimedOut, Transient))
        if goal.on_failure is not OnFailure.DELETE or not is_made or not is_certain:
            return
        try:
            self._remove(goal.spec)
        except BridgeError as error:
            self._result.problems = (f"what the failure has left could not be taken away: {error}",)

    def _remove(self, spec: DeploymentSpec) -> None:
        """Take a new deployment away, and the endpoint if it is new and empty then.

        Raises:
            BridgeError: It could not be.
        """
        target = self._place.target
        observed = self._idle(target.observe(spec.endpoint))
        if observed is None:
            return
        others = [found for found in observed.deployments if found.deployment != spec.deployment]
        made_endpoint = any(
            change.subject == f"endpoint {spec.endpoint}" and change.action is Action.CREATE
            for change in self._changes
        )
        failed = self._result.failed
        is_in_use = (
            failed is not None and failed.subject.startswith("traffic ") and any(observed.traffic.values())
        )
        if made_endpoint and not others and not is_in_use:
            self._undone(target.delete(spec.endpoint), f"endpoint {spec.endpoint}")
            return
        for change in changes_only(target.plan_removal(spec.endpoint, spec.deployment, observed)):
            self._undone(target.apply(change), change.subject)

    def _undone(self, operation: Operation, subject: str) -> None:
        finished = self._finished(operation, lambda: None)
        if finished.error is not None:
            raise BridgeError(finished.error, operation=self._plan.operation, resource=subject)
        self._result.removed.append(subject)

    def _settled(self, observed: EndpointState | None) -> EndpointState | None:
        """Return how the endpoint stands once what another, interrupted plan began is no longer under way.

        What this plan changes itself is applied again, and waited for then.
        """
        return self._idle(observed, but={change.subject for change in self._changes})

    def _idle(self, observed: EndpointState | None, *, but: Set[str] = frozenset()) -> EndpointState | None:
        """Return how the endpoint stands once no deployment is under way, or ``SETTLE_S_MAX`` is over.

        Args:
            observed: How it stands now.
            but: Subjects of deployments that are not waited for.
        """
        started_s = self._pace.clock()
        while observed is not None and any(
            found.status in _UNDER_WAY and f"deployment {observed.endpoint}/{found.deployment}" not in but
            for found in observed.deployments
        ):
            if self._pace.clock() - started_s > SETTLE_S_MAX:
                break
            self._pace.wait(started_s)
            observed = self._place.target.observe(self._goal.endpoint)
        return observed

    def _progress(self, observed: EndpointState | None) -> int:
        """Return how many changes are done.

        Raises:
            PlanStale: What is left to do is not what was shown.
        """
        try:
            done = find_progress(self._changes, self._changes_from(observed))
        except (NotFound, Rejected):  # the endpoint, or what the plan builds on, is gone
            done = None
        is_untouched = basis_of(state_for_basis(observed)) == self._plan.basis
        if done is None or (done == 0 and not is_untouched and self._changes):
            raise PlanStale(
                f"the endpoint {self._goal.endpoint!r} has changed since the plan was made",
                adapter=self._place.capabilities.adapter,
                operation=self._plan.operation,
                hint="nothing was changed; make the plan anew",
            )
        return done

    def _changes_from(self, observed: EndpointState | None) -> tuple[Change, ...]:
        place = self._place
        return changes_to(self._goal, observed, target=place.target, capabilities=place.capabilities)

    def _save_revision(self, observed: EndpointState | None, user: str, why: str) -> None:
        if not self._place.capabilities.supports(Feature.DEPLOYMENTS_REVISIONS):
            return
        if observed is not None and observed.deployments and not any(observed.traffic.values()):
            return  # left by an interruption: nothing serves, and nobody wants to return there
        saved = self._place.target.save_revision(
            EndpointRevision(
                endpoint=self._goal.endpoint,
                deployments=specs_of(observed),
                operation=self._plan.operation,
                user=user,
                time=now_ms(),
                why=revision_why(self._goal, why),
            )
        )
        self._result.revision = saved.number

    def _apply(self, number: int) -> bool:
        """Apply one change; False when it failed."""
        change = self._changes[number]
        told = (number + 1, len(self._changes), change)
        self._on_progress(*told, "started")
        try:
            operation = self._finished(self._started(change), lambda: self._on_progress(*told, "waiting"))
            if operation.error is not None:
                raise BridgeError(
                    f"{change.action.value} {change.subject}: {operation.error}",
                    adapter=self._place.capabilities.adapter,
                    operation=self._plan.operation,
                )
        except BridgeError as error:
            self._on_progress(*told, "failed")
            self._result.failed, self._result.error = change, error
            self._result.left = self._changes[number + 1 :]
            return False
        self._on_progress(*told, "done")
        self._result.done.append(change)
        return True

    def _started(self, change: Change) -> Operation:
        target = self._place.target
        if is_deletion(change):
            return target.delete(self._goal.endpoint)
        return target.apply(change, payload=self._payload(change))

    def _payload(self, change: Change) -> Path | None:
        """Return the folder of the model that a change brings, None where none is needed."""
        spec = self._spec_of(change)
        brings = change.action in (Action.CREATE, Action.REPLACE, Action.UPDATE)
        if spec is None or not brings or not spec.model_source:
            return None
        if self._place.target.can_read(spec.model_source):
            return None
        return self._models.folder_of(spec)

    def _spec_of(self, change: Change) -> DeploymentSpec | None:
        kind, _, subject = change.subject.partition(" ")
        if kind != "deployment":
            return None
        name = subject.rpartition("/")[2]
        specs: tuple[DeploymentSpec, ...] = ()
        if isinstance(self._goal, Deploy):
            specs = (self._goal.spec,)
        elif isinstance(self._goal, Restore):
            specs = self._goal.deployments
        return next((spec for spec in specs if spec.deployment == name), None)

    def _finished(self, operation: Operation, on_wait: Callable[[], None]) -> Operation:
        """Wait for the end of an operation.

        Raises:
            TimedOut: It lasts too long; it goes on all the same.
        """
        started_s = self._pace.clock()
        while not operation.done:
            if self._pace.clock() - started_s > self._change_s_max:
                raise TimedOut(
                    f"not done within {self._change_s_max:,.0f} s; it goes on",
                    ambiguous=True,
                    operation=self._plan.operation,
                    hint=f"see how it stands: bridge endpoints show {self._goal.endpoint}; then apply again",
                )
            on_wait()
            self._pace.wait(started_s)
            operation = self._place.target.poll(operation)
        return operation

    def _see_what_stands(self) -> None:
        """Look what a failure has left; a target that cannot be asked now may have been changed."""
        try:
            self._result.state = self._place.target.observe(self._goal.endpoint)
        except BridgeError as error:
            self._result.problems = (f"how it stands is not known: {error}",)
            return
        self._result.is_untouched = basis_of(state_for_basis(self._result.state)) == self._plan.basis

    def _check(self) -> None:
        """Read back: nothing may be left to do, and what was deployed must be well."""
        observed = self._place.target.observe(self._goal.endpoint)
        self._result.state = observed
        try:
            self._result.differences = self._changes_from(observed)
        except (NotFound, Rejected) as error:
            self._result.problems = (str(error),)
            return
        if observed is None or isinstance(self._goal, Delete):
            return
        wanted = {spec.deployment for spec in _specs_wanted(self._goal)}
        self._result.problems = tuple(
            f"deployment {found.deployment} has failed: {found.reason or 'no reason is given'}"
            for found in observed.deployments
            if found.deployment in wanted and found.status is EndpointStatus.FAILED
        )

    def _tell(self) -> None:
        from trackbridge.events import publish

        result = self._result
        if not self._changes:
            return
        data: dict[str, Any] = {
            "operation": self._plan.operation,
            "done": [f"{change.action.value} {change.subject}" for change in result.done],
        }
        if result.state is not None:
            data["traffic"] = result.state.traffic
        kind = events.DEPLOY_FAILED
        if result.is_complete:
            kinds = {"rollback": events.DEPLOY_ROLLED_BACK, "delete": events.ENDPOINT_DELETED}
            kind = kinds.get(self._plan.operation, events.DEPLOY_APPLIED)
        elif result.error is not None:
            data["error"] = str(result.error)
        publish(kind, subject=self._goal.endpoint, source=self._place.uri, data=data)


def _specs_wanted(goal: Goal) -> tuple[DeploymentSpec, ...]:
    if isinstance(goal, Deploy):
        return (goal.spec,)
    return goal.deployments if isinstance(goal, Restore) else ()
