"""Going on with a rollout until it has ended, or a person has to decide.

Each transition is in the ledger before it is made, and making one twice is making it once: the plan of the
deployment is kept and applied again, shares are compared with those that the step before had led to. So a
process that dies anywhere is followed by another one that ends the same. What somebody else has done to the
endpoint is never undone: a rollout that does not find the endpoint as it has left it stops, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from trackbridge.domain.deployments import (
    DeploymentState,
    EndpointMetrics,
    EndpointState,
    EndpointStatus,
)
from trackbridge.domain.durations import length_text
from trackbridge.domain.plans import Change, Plan
from trackbridge.domain.rollouts import (
    GuardMetric,
    Rollout,
    RolloutPhase,
    RolloutState,
)
from trackbridge.errors import (
    AuthError,
    BridgeError,
    Conflict,
    Exhausted,
    Locked,
    PlanStale,
    Rejected,
    Transient,
)
from trackbridge.operations.applying import OnProgress, apply_plan
from trackbridge.operations.deploy import now_ms, plan_deletion, plan_removal, plan_traffic
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.opening import Opened
from trackbridge.operations.preflight.trials import Trials
from trackbridge.operations.rollout.definition import begin_rollout, shares_at
from trackbridge.operations.rollout.guards import Figures, Verdict, judge
from trackbridge.operations.rollout.ledger import RolloutLedger
from trackbridge.operations.rollout.notes import (
    note_on_version,
    publish_alarm,
    publish_ending,
    publish_step,
)
from trackbridge.operations.waiting import Pace

LOOK_SHARE = 0.05
"""How often a bake is looked at: so many parts of its length."""
LOOK_S_MIN = 0.2
LOOK_S_MAX = 30.0
TROUBLES_MAX = 20
"""How many looks in a row may fail."""
MINUTE_MS = 60_000


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollout says of itself: ``transition``, or ``look`` for the figures of a look."""

    kind: str
    text: str


OnRollout = Callable[[Rollout, Told], None]


def say_nothing(rollout: Rollout, told: Told) -> None:
    """Tell nobody what a rollout says."""


def show_nothing(number: int, total: int, change: Change, event: str) -> None:
    """Tell nobody about a change."""


def run_plan(
    plan: Plan,
    place: Opened,
    *,
    ledger: RolloutLedger,
    models: ModelSource,
    user: str = "",
    why: str = "",
    on_progress: OnRollout = say_nothing,
    on_change: OnProgress = show_nothing,
    pace: Pace | None = None,
    clock_ms: Callable[[], int] = now_ms,
    trials: Trials | None = None,
) -> Rollout:
    """Carry out a planned rollout, and return it as it stands: ended, or waiting for a person.

    Raises:
        PlanStale: The endpoint has changed since the plan was made; nothing was changed.
        Locked: Another process rolls out to the endpoint.
        Conflict: A rollout of this endpoint is not over, or this one was taken over by another process.
        BridgeError: It cannot go on now; ``resume_rollout`` does.
    """
    endpoint = str(plan.parameters["goal"]["spec"]["endpoint"])
    with ledger.going_on(place.uri, endpoint):
        rollout = begin_rollout(plan, place, ledger, user=user, why=why, time_ms=clock_ms())
        engine = Engine(
            rollout, ledger, place, models, on_progress, on_change, pace or Pace(), clock_ms, trials
        )
        return engine.run()


def resume_rollout(
    rollout: Rollout,
    place: Opened,
    *,
    ledger: RolloutLedger,
    models: ModelSource,
    accepts_few: bool = False,
    on_progress: OnRollout = say_nothing,
    on_change: OnProgress = show_nothing,
    pace: Pace | None = None,
    clock_ms: Callable[[], int] = now_ms,
    trials: Trials | None = None,
) -> Rollout:
    """Go on with a rollout that was interrupted, or waits for a person; one that is over is left as it is.

    Args:
        rollout: As the ledger has it.
        place: Where it goes on: its ``target``.
        ledger: Where it is written down.
        models: Where the files of models come from.
        accepts_few: Take the step as passed although there were too few requests to judge it by.
        on_progress: Told what happens.
        on_change: Told about each change of the endpoint.
        pace: How to wait.
        clock_ms: The time, in milliseconds since 1970.
        trials: Tries the model out before it is deployed.

    Raises:
        Locked: Another process goes on with it.
        BridgeError: It cannot go on now.
    """
    with ledger.going_on(rollout.target, rollout.endpoint):
        rollout = ledger.get(rollout.name)
        if rollout.state.is_final:
            return rollout
        engine = Engine(
            rollout, ledger, place, models, on_progress, on_change, pace or Pace(), clock_ms, trials
        )
        engine.take_up(accepts_few=accepts_few)
        return engine.run()


class _TakenOver(Exception):
    """Somebody else has written to the rollout. No error of ours: nothing on the way may catch it."""


@dataclass
class Engine:
    """One process's part in a rollout; it holds ``ledger.going_on``.

    ``leaves_foreign`` ends a rollout that would go back, and finds the endpoint changed by somebody else;
    otherwise it waits for a person.
    """

    rollout: Rollout
    ledger: RolloutLedger
    place: Opened
    models: ModelSource
    on_progress: OnRollout = say_nothing
    on_change: OnProgress = show_nothing
    pace: Pace = field(default_factory=Pace)
    clock_ms: Callable[[], int] = now_ms
    trials: Trials | None = None
    leaves_foreign: bool = False
    _baseline: Mapping[str, Any] | None = None
    _troubles: int = 0
    _accepts_few: bool = False

    def take_up(self, *, accepts_few: bool = False) -> None:
        """Write down that this process goes on with it."""
        rollout = self.rollout
        waits = bool(rollout.waits_for)
        is_baking = rollout.state is RolloutState.RUNNING and rollout.phase is RolloutPhase.BAKING
        self._note("resumed", waits_for="")
        self._accepts_few = is_baking and accepts_few
        if is_baking and waits and not accepts_few:
            self._note("", deadline=self.clock_ms() + round(rollout.rollout.bake_s_max * 1000))

    def run(self) -> Rollout:
        """Go on until it has ended, or waits for a person, and return how it stands.

        Raises:
            Conflict: It was taken over by another process.
            BridgeError: It cannot go on now.
        """
        if self.trials is not None:
            self.trials.on_wait = self._stop_if_taken_over
        try:
            while not self.rollout.state.is_final and not self.rollout.waits_for:
                self._go_on()
        except _TakenOver as error:
            raise Conflict(
                f"the rollout {self.rollout.name} was taken over by another process",
                operation="rollout",
                hint=f"see how it stands: bridge rollouts show {self.rollout.name}",
            ) from error
        except (Transient, Exhausted, AuthError, Locked) as error:
            name = self.rollout.name
            error.advise(
                f"{error.hint}; " * bool(error.hint)
                + f"go on with: bridge rollouts resume {name}; go back with: bridge rollouts abort {name}"
            )
            raise
        return self.rollout

    def _go_on(self) -> None:
        if self.rollout.state is RolloutState.ROLLING_BACK:
            self._go_back()
        elif self.rollout.phase is RolloutPhase.DEPLOYING:
            self._deploy()
        elif self.rollout.phase is RolloutPhase.SHIFTING:
            self._shift()
        else:
            self._bake()

    # Forward.

    def _deploy(self) -> None:
        is_new = not self.rollout.sequence
        failure = "" if is_new or self.rollout.had_deployment else self._failure_meanwhile()
        if failure:
            self._break(failure)
            return
        try:
            problem = self._apply(self.rollout.plan, keeps_revision=True)
        except (Rejected, Locked) as error:  # refused before anything was changed, if it is new
            if is_new:
                self._end(RolloutState.ENDED, reason=error.message)
            elif isinstance(error, Rejected):
                self._break(error.message)
                return
            raise
        if problem:
            self._break(problem)
        elif not self.rollout.waits_for:
            self._note(f"{self.rollout.spec.deployment} is deployed", phase=RolloutPhase.SHIFTING)

    def _failure_meanwhile(self) -> str:
        """Return why the deployment, which an earlier process began to make, has failed; nothing if not."""
        observed = self.place.target.observe(self.rollout.endpoint)
        found = observed.find(self.rollout.spec.deployment) if observed is not None else None
        return _failure(found) if found is not None else ""

    def _shift(self) -> None:
        rollout = self.rollout
        observed = self._observe((self._shares(rollout.step - 1), self._shares(rollout.step)))
        if observed is None:
            return
        if not rollout.step and rollout.stable_figures is None and rollout.stable:
            self._keep_figures_before()
        has_others_figures = self._has_figures()
        plan = plan_traffic(self.place, rollout.endpoint, self._shares(rollout.step))
        is_first_change = not rollout.step and not rollout.plan.changes_something
        problem = self._apply(plan, keeps_revision=is_first_change)
        if problem:
            self._break(problem)
        elif not self.rollout.waits_for:
            now = self.clock_ms()
            since = now - now % MINUTE_MS + MINUTE_MS if has_others_figures else now
            shares = ", ".join(f"{name} {share} %" for name, share in self._shares(rollout.step).items())
            self._note(
                f"step {rollout.step + 1} of {len(rollout.rollout.steps)}: {shares}",
                phase=RolloutPhase.BAKING,
                step_time=since,
                deadline=since + round(rollout.rollout.bake_s_max * 1000),
            )
            publish_step(self.rollout)

    def _keep_figures_before(self) -> None:
        """Keep how the deployment before did, for guards that compare with it."""
        window_s = max(round(self.rollout.rollout.bake_s), MINUTE_MS // 1000)
        found = self._metrics(window_s).get(self.rollout.stable)
        if found is not None and found.requests >= self.rollout.rollout.requests_min:
            self._note("", stable_figures=found)

    def _has_figures(self) -> bool:
        """Tell whether this minute may hold figures of the step before, or of another one of the same name.

        Only where the platform counts by minutes; the step is then measured from the next one on. Figures
        come late, so that none need be seen yet. A bake of less than a minute is none to wait a minute for.
        """
        rollout = self.rollout
        found = self._metrics(1).get(rollout.spec.deployment)
        if found is None or found.window_s <= 1:
            return False
        if not rollout.step and found.requests:
            return True
        may_come_late = bool(rollout.step) or rollout.had_deployment
        return may_come_late and rollout.rollout.bake_s * 1000 >= MINUTE_MS

    def _bake(self) -> None:
        """Look at the step until it has passed, failed, or cannot be judged."""
        rollout = self.rollout
        look_s = min(max(rollout.rollout.bake_s * LOOK_SHARE, LOOK_S_MIN), LOOK_S_MAX)
        bake_end = rollout.step_time + round(rollout.rollout.bake_s * 1000)
        is_extended = False
        while (verdict := self._verdict()) is not None:
            now = self.clock_ms()
            if verdict.broken:
                self._alarm(verdict)
                return
            if self._accepts_few:
                self._accepts_few = False
                self._pass("taken as passed with too few requests to judge it by")
                return
            if now >= bake_end and not verdict.unjudged:
                self._pass("passed")
                return
            if now >= self.rollout.deadline:
                self._ask("; ".join(verdict.unjudged) or "its figures cannot be read")
                return
            if now >= bake_end and not is_extended:
                is_extended = True
                self._tell(f"held on: {'; '.join(verdict.unjudged)}")
            self.pace.pause(look_s)

    def _verdict(self) -> Verdict | None:
        """Look at the endpoint and its figures; None when the rollout cannot go on with it.

        What cannot be read now is not judged.
        """
        self._stop_if_taken_over()
        try:
            if self._observe((self._shares(self.rollout.step),)) is None:
                return None
            return self._look()
        except (Transient, Exhausted) as error:
            self._troubles += 1
            if self._troubles >= TROUBLES_MAX:
                raise
            if self._troubles == 1:
                self._tell(f"{error}; trying again")
            return Verdict(unjudged=(str(error),))

    def _look(self) -> Verdict:
        """Read the figures of the step and judge them."""
        if self.clock_ms() < self.rollout.step_time:
            return Verdict(unjudged=("it is measured from the next minute on",))
        figures = self._figures()
        verdict = judge(self.rollout.rollout, figures)
        if not verdict.broken and self._watches_drift:  # what is broken needs no payloads, which may fail
            figures = self._with_drift(figures)
            verdict = judge(self.rollout.rollout, figures)
        self._troubles = 0
        self._note("", figures=figures.new, stable_figures=figures.stable, drift=figures.drift)
        self.on_progress(self.rollout, Told(kind="look", text=verdict.reason or "; ".join(verdict.unjudged)))
        return verdict

    def _figures(self) -> Figures:
        rollout = self.rollout
        window_s = max(1, (self.clock_ms() - rollout.step_time) // 1000)
        found = self._metrics(window_s)
        stable = found.get(rollout.stable)
        if stable is None or stable.requests < rollout.rollout.requests_min:
            stable = rollout.stable_figures  # it serves no more, or too little: as it did before
        return Figures(new=found.get(rollout.spec.deployment), stable=stable)

    def _metrics(self, window_s: int) -> dict[str, EndpointMetrics]:
        found = self.place.target.read_metrics(self.rollout.endpoint, window_s=window_s)
        return {item.deployment: item for item in found}

    @property
    def _watches_drift(self) -> bool:
        return any(guard.metric is GuardMetric.DRIFT for guard in self.rollout.rollout.guards)

    def _with_drift(self, figures: Figures) -> Figures:
        """Return the figures with the largest drift since the rollout began, and of how many rows it is."""
        rollout = self.rollout
        from trackbridge.operations.drift import baseline_of, drift_of

        if self._baseline is None:
            self._baseline = baseline_of(rollout.spec, self.models)
        if self._baseline is None:  # it had one when this was planned
            return figures
        report = drift_of(
            self.place,
            rollout.endpoint,
            rollout.spec.deployment,
            since=rollout.creation_time,
            until=None,
            baseline=self._baseline,
        )
        if not report.columns:  # nothing that the baseline knows: no evidence
            return figures
        return replace(
            figures,
            drift=report.worst,
            drift_suspected=max(column.psi for column in report.columns),
            drift_rows=report.rows,
        )

    def _alarm(self, verdict: Verdict) -> None:
        for guard, told in verdict.broken:
            is_drift = guard.metric is GuardMetric.DRIFT
            publish_alarm(self.rollout, guard=guard.text, told=told, is_drift=is_drift)
        self._break(verdict.reason)

    def _pass(self, told: str) -> None:
        """Go on to the next step; after the last one the deployment has won."""
        step = f"step {self.rollout.step + 1} {told}"
        if self.rollout.step + 1 < len(self.rollout.rollout.steps):
            self._note(step, phase=RolloutPhase.SHIFTING, step=self.rollout.step + 1)
        else:
            self._end(RolloutState.PROMOTED, reason="")

    # Back.

    def _break(self, reason: str) -> None:
        """Begin to go back."""
        self._note(f"going back: {reason}", state=RolloutState.ROLLING_BACK, reason=reason)

    def _go_back(self) -> None:
        """Give the traffic back, take the deployment away, and say why."""
        rollout = self.rollout
        reachable = [dict(rollout.traffic_before)]
        if rollout.phase is not RolloutPhase.DEPLOYING:
            reachable += [self._shares(step) for step in (rollout.step - 1, rollout.step)]
        elif not rollout.traffic_before:
            reachable.append(self._shares(0))
        observed = self._observe(tuple(reachable), may_be_gone=True)
        if observed is not None:
            self._undo(observed)
        if not self.rollout.waits_for and not self.rollout.state.is_final:
            self._end(RolloutState.ROLLED_BACK, reason=rollout.reason)

    def _undo(self, observed: EndpointState) -> None:
        rollout, name = self.rollout, self.rollout.spec.deployment
        if rollout.traffic_before:
            self._must_apply(plan_traffic(self.place, rollout.endpoint, rollout.traffic_before))
        if self.rollout.waits_for:
            return
        stays = rollout.keeps_failed or rollout.had_deployment
        others = [found for found in observed.deployments if found.deployment != name]
        serves = bool(observed.traffic.get(name)) and not rollout.traffic_before
        if not rollout.had_endpoint and not others and not stays:
            self._must_apply(plan_deletion(self.place, rollout.endpoint))
        elif serves:
            problem = f"{name} still has all requests: nobody else could take them"
            self._note("", problems=tuple(dict.fromkeys((*rollout.problems, problem))))
        elif observed.find(name) is not None and not stays:
            self._must_apply(plan_removal(self.place, rollout.endpoint, name))

    def _must_apply(self, plan: Plan) -> None:
        problem = self._apply(plan)
        if problem:
            raise BridgeError(
                f"the rollout {self.rollout.name} cannot go back: {problem}",
                operation="rollout",
                hint=f"try again: bridge rollouts resume {self.rollout.name}",
            )

    def _end(self, state: RolloutState, *, reason: str) -> None:
        """Note how it ended on the model's version, then in the ledger, and tell."""
        ending = msgspec.structs.replace(self.rollout, state=state, reason=reason)
        problem = note_on_version(ending, self.models)
        problems = (*self.rollout.problems, problem) if problem else self.rollout.problems
        told = state.value.replace("_", " ") + (f": {reason}" if reason else "")
        self._note(told, state=state, reason=reason, problems=problems)
        publish_ending(self.rollout)

    # What both ways share.

    def _shares(self, step: int) -> dict[str, int]:
        """Return the shares that a step has led to, without zeros; before the first one those of before."""
        rollout = self.rollout
        if step < 0 and rollout.traffic_before:
            return dict(rollout.traffic_before)
        return shares_at(rollout.spec, rollout.traffic_before, rollout.rollout.steps[max(step, 0)])

    def _observe(
        self, reachable: tuple[dict[str, int], ...], *, may_be_gone: bool = False
    ) -> EndpointState | None:
        """Return the endpoint as it stands; None when the rollout cannot go on with it.

        Args:
            reachable: The shares that this rollout may have led to. With others somebody else has changed
                the endpoint, and it is left alone.
            may_be_gone: Whether endpoint and deployment may be absent.
        """
        rollout, name = self.rollout, self.rollout.spec.deployment
        observed = self.place.target.observe(rollout.endpoint)
        if observed is None and may_be_gone and not rollout.had_endpoint:
            return None
        foreign = _foreign_change(rollout, observed, reachable, may_be_gone=may_be_gone)
        if foreign:
            self._leave(foreign)
            return None
        found = observed.find(name) if observed is not None else None
        failure = _failure(found) if found is not None else ""
        if failure and rollout.state is RolloutState.RUNNING:
            self._break(failure)
            return None
        return observed

    def _leave(self, foreign: str) -> None:
        """Leave an endpoint alone that somebody else has changed."""
        rollout = self.rollout
        if rollout.state is RolloutState.ROLLING_BACK and self.leaves_foreign:
            self._end(RolloutState.ENDED, reason=f"{rollout.reason}; {foreign}, and is left as it stands")
            return
        self._ask(
            f"{foreign}, and nothing is touched; when it stands as before: bridge rollouts resume "
            f"{rollout.name}; to end the rollout: bridge rollouts abort {rollout.name}"
        )

    def _ask(self, question: str) -> None:
        """Leave the rest to a person."""
        rollout = self.rollout
        if rollout.phase is RolloutPhase.BAKING and not question.startswith("somebody else"):
            question = (
                f"step {rollout.step + 1} cannot be judged after "
                f"{length_text(rollout.rollout.bake_s_max)}: {question}; wait on: bridge rollouts resume "
                f"{rollout.name}; take it as passed: bridge rollouts resume {rollout.name} --accept-few; "
                f"go back: bridge rollouts abort {rollout.name}"
            )
        self._note(f"waiting: {question}", waits_for=question)

    def _apply(self, plan: Plan, *, keeps_revision: bool = False) -> str:
        """Apply a plan and return what went wrong, nothing where the rollout waits for a person now.

        Raises:
            BridgeError: It may work later.
        """
        rollout = self.rollout
        if not plan.changes_something:
            return ""
        try:
            applied = apply_plan(
                plan,
                self.place,
                models=self.models,
                user=rollout.user,
                why=f"rollout {rollout.name}" + (f": {rollout.why}" if rollout.why else ""),
                on_progress=self._on_change,
                pace=self.pace,
                keeps_revision=keeps_revision,
                trials=self.trials,
                on_note=self._tell,
            )
        except PlanStale as error:
            self._leave(f"somebody else has changed the endpoint ({error.message})")
            return ""
        if isinstance(applied.error, (Transient, Exhausted, AuthError)):
            raise applied.error
        if isinstance(applied.error, PlanStale):
            self._leave(f"somebody else has changed the endpoint ({applied.error.message})")
            return ""
        try:
            applied.raise_if_incomplete()
        except BridgeError as error:
            return error.message
        return ""

    def _on_change(self, number: int, total: int, change: Change, event: str) -> None:
        if event in ("started", "waiting"):
            self._stop_if_taken_over()
        self.on_change(number, total, change, event)

    def _stop_if_taken_over(self) -> None:
        if not self.ledger.is_current(self.rollout):
            raise _TakenOver

    def _note(self, told: str, **fields: Any) -> None:
        """Write the next state, and tell it."""
        following = msgspec.structs.replace(self.rollout, update_time=self.clock_ms(), **fields)
        self.rollout = self.ledger.write(following, told)
        if told:
            self._tell(told)

    def _tell(self, told: str) -> None:
        self.on_progress(self.rollout, Told(kind="transition", text=told))


def _failure(found: DeploymentState) -> str:
    """Return that and why a deployment has failed, nothing where it has not."""
    if found.status is not EndpointStatus.FAILED:
        return ""
    return f"{found.deployment} has failed: {found.reason or 'no reason is given'}"


def _foreign_change(
    rollout: Rollout,
    observed: EndpointState | None,
    reachable: tuple[dict[str, int], ...],
    *,
    may_be_gone: bool,
) -> str:
    """Return what somebody else has done to the endpoint, or nothing."""
    if observed is None:
        return "somebody else has deleted the endpoint"
    traffic = {name: share for name, share in sorted(observed.traffic.items()) if share}
    if traffic not in reachable:
        stands = ", ".join(f"{name} {share} %" for name, share in traffic.items()) or "nobody serves"
        return f"somebody else has shared the traffic otherwise ({stands})"
    found = observed.find(rollout.spec.deployment)
    if found is None:
        return "" if may_be_gone else f"somebody else has taken {rollout.spec.deployment} away"
    if found.model != rollout.spec.model and not (may_be_gone and rollout.had_deployment):
        return f"somebody else has deployed {found.model} as {rollout.spec.deployment}"
    return ""
