"""Rollouts: a new deployment gets the live requests in steps, is watched at each, and keeps all or loses all.

::

    DEPLOYING -> SHIFTING -> BAKING --(guards hold)--> SHIFTING of the next step ... -> PROMOTED
        |            |          |
        `------------+----------+--(it fails, or a guard is broken)--> ROLLING_BACK -> ROLLED_BACK

A rollout that cannot go on by itself says so in ``waits_for``: somebody else has changed the endpoint, or
there are too few requests to judge by. It then waits for a person, who resumes or aborts it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from enum import Enum

import msgspec

from trackbridge.domain.deployments import DeploymentSpec, EndpointMetrics
from trackbridge.domain.durations import length_text, seconds_of
from trackbridge.domain.plans import Plan
from trackbridge.errors import InvalidInput

OPERATION = "rollout"
BAKE_S = 600.0
BAKE_GROWTH_MAX = 3.0
"""A bake with too few requests is extended to so many times its length, unless said otherwise."""
REQUESTS_MIN = 50
"""How many requests a guard needs before it is judged, unless said otherwise."""
GUARDS_DEFAULT = ("error_rate<1%",)
STEPS_MAX = 100

_GUARD = re.compile(
    r"(?P<metric>[a-z0-9_]+)\s*(?P<sign><=|<|>=)\s*(?P<number>\d{1,12}(?:\.\d{1,9})?)\s*(?P<unit>%|x)?"
)


class GuardMetric(str, Enum):
    """What a guard looks at: shares of requests, latencies in milliseconds, and the largest drift (PSI)."""

    ERROR_RATE = "error_rate"
    REFUSED_RATE = "refused_rate"
    P50_MS = "p50_ms"
    P95_MS = "p95_ms"
    P99_MS = "p99_ms"
    DRIFT = "drift"

    @property
    def is_rate(self) -> bool:
        """True for shares of the requests, which are written in percent."""
        return self in (GuardMetric.ERROR_RATE, GuardMetric.REFUSED_RATE)


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold for the new deployment: a figure is below a limit, or at most it.

    ``limit`` is a share from 0 to 1, milliseconds or a PSI; where ``is_relative``, a multiple of the same
    figure of the deployment that served before.
    """

    metric: GuardMetric
    limit: float
    is_relative: bool = False
    includes_limit: bool = False

    @property
    def text(self) -> str:
        """The guard as it is written: ``error_rate<1%``."""
        sign = "<=" if self.includes_limit else "<"
        if self.is_relative:
            return f"{self.metric.value}{sign}{self.limit:.10g}x"
        if self.metric.is_rate:
            return f"{self.metric.value}{sign}{self.limit * 100:.10g}%"
        return f"{self.metric.value}{sign}{self.limit:.10g}"


class RolloutSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How to roll out.

    ``steps`` are the shares of the new deployment in percent, ascending, the last 100. Each is held for
    ``bake_s`` seconds, and on to ``bake_s_max`` while there are less than ``requests_min`` requests of it.
    """

    steps: tuple[int, ...]
    bake_s: float = BAKE_S
    bake_s_max: float = BAKE_S * BAKE_GROWTH_MAX
    guards: tuple[Guard, ...] = ()
    requests_min: int = REQUESTS_MIN

    @property
    def guards_text(self) -> str:
        """All guards, as they are written."""
        return ", ".join(guard.text for guard in self.guards)

    @property
    def text(self) -> str:
        """The rollout in one line: ``5,25,100 %, 10m each, error_rate<1%``."""
        steps = ",".join(str(step) for step in self.steps)
        return f"{steps} %, {length_text(self.bake_s)} each, {self.guards_text}"


class RolloutState(str, Enum):
    """How far a rollout is. ``ENDED``: somebody ended it without its going back by itself."""

    RUNNING = "running"
    ROLLING_BACK = "rolling_back"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ENDED = "ended"

    @property
    def is_final(self) -> bool:
        """True once nothing will be done any more."""
        return self not in (RolloutState.RUNNING, RolloutState.ROLLING_BACK)


class RolloutPhase(str, Enum):
    """What a running rollout does."""

    DEPLOYING = "deploying"
    SHIFTING = "shifting"
    BAKING = "baking"


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as the ledger holds it: what is needed to go on with it, and how it stands.

    ``name`` is ``<endpoint>.<number>``. ``target`` is where it goes on, ``models_uri`` and ``registry_uri``
    where its model comes from, all without credentials. ``plan`` brings the deployment without traffic.
    ``traffic_before`` are the shares to return to, empty where nobody served; ``stable`` is the deployment
    that had most of them, ``had_endpoint`` and ``had_deployment`` say what was there. ``keeps_failed`` leaves
    a deployment that failed where it is, without traffic. ``step`` counts from 0, ``step_time`` is since when
    it is measured, ``deadline`` until when it waits for enough requests; both in milliseconds since 1970.
    ``figures`` and ``stable_figures`` are the last ones of both deployments, ``drift`` the last PSI.
    ``waits_for`` is what a person has to decide, ``reason`` why it went back or ended, ``problems`` what
    could not be done beside it. ``sequence`` counts what was written of it.
    """

    name: str
    target: str
    endpoint: str
    spec: DeploymentSpec
    rollout: RolloutSpec
    plan: Plan
    models_uri: str = ""
    registry_uri: str = ""
    user: str = ""
    why: str = ""
    traffic_before: dict[str, int] = msgspec.field(default_factory=dict)
    stable: str = ""
    had_endpoint: bool = False
    had_deployment: bool = False
    keeps_failed: bool = False
    state: RolloutState = RolloutState.RUNNING
    phase: RolloutPhase = RolloutPhase.DEPLOYING
    step: int = 0
    step_time: int = 0
    deadline: int = 0
    figures: EndpointMetrics | None = None
    stable_figures: EndpointMetrics | None = None
    drift: float | None = None
    waits_for: str = ""
    reason: str = ""
    problems: tuple[str, ...] = ()
    creation_time: int = 0
    update_time: int = 0
    sequence: int = 0

    @property
    def percent(self) -> int:
        """The share of the new deployment at the step that is under way, or was reached."""
        return self.rollout.steps[self.step]

    @property
    def status(self) -> str:
        """Its state in one word; ``waiting`` when a person has to decide."""
        return "waiting" if self.waits_for else self.state.value


def rollout_spec(
    steps: str | Iterable[int],
    *,
    bake: str | float = BAKE_S,
    bake_max: str | float | None = None,
    guards: Sequence[str] = (),
) -> RolloutSpec:
    """Return a rollout from what a user writes.

    Args:
        steps: Shares in percent: ``"5,25,100"`` or ``[5, 25, 100]``.
        bake: How long each is held: ``"10m"``, or seconds.
        bake_max: Until when it is held while there are too few requests; by default three times ``bake``.
        guards: ``error_rate<1%``, ``p95_ms<200``, ``p95_ms<1.5x``, ``drift<0.2``, ``requests>=50``.

    Raises:
        InvalidInput: One of them cannot be.
    """
    bake_s = _seconds(bake)
    bake_s_max = bake_s * BAKE_GROWTH_MAX if bake_max is None else _seconds(bake_max)
    if bake_s_max < bake_s:
        raise InvalidInput(
            f"a bake of {length_text(bake_s)} cannot end after {length_text(bake_s_max)}",
            operation=OPERATION,
            hint="let --bake-max be as long as --bake, or longer",
        )
    parsed, requests_min = parse_guards(guards)
    return RolloutSpec(
        steps=parse_steps(steps),
        bake_s=bake_s,
        bake_s_max=bake_s_max,
        guards=parsed,
        requests_min=requests_min,
    )


def _seconds(length: str | float) -> float:
    return seconds_of(length) if isinstance(length, str) else seconds_of(f"{length:.6f}")


def parse_steps(steps: str | Iterable[int]) -> tuple[int, ...]:
    """Return the shares of a rollout.

    Raises:
        InvalidInput: They are no whole percents that ascend to 100.
    """
    words = steps.split(",") if isinstance(steps, str) else list(steps)
    try:
        found = tuple(int(str(word).strip().removesuffix("%")) for word in words)
    except ValueError:
        found = ()
    ascends = all(low < high for low, high in itertools.pairwise(found))
    if not found or not ascends or found[0] < 1 or found[-1] != 100:
        told = ",".join(str(word).strip() for word in words)[:80]
        raise InvalidInput(
            f"the steps {told!r} are no whole percents that ascend to 100",
            operation=OPERATION,
            hint="write for example: --canary 5,25,100",
        )
    return found


def parse_guards(texts: Sequence[str]) -> tuple[tuple[Guard, ...], int]:
    """Return the guards, and how many requests are needed to judge them.

    Raises:
        InvalidInput: One is none, or there are two of a kind.
    """
    guards: list[Guard] = []
    requests_min: int | None = None
    for text in texts:
        match = _GUARD.fullmatch(text.strip().lower())
        if match is None:
            raise _no_guard(text)
        if match["metric"] == "requests":
            if requests_min is not None:
                raise InvalidInput(f"there are two guards on requests, one is {text!r}", hint="name one")
            requests_min = _requests(text, match)
            continue
        guard = _guard(text, match)
        if any((other.metric, other.is_relative) == (guard.metric, guard.is_relative) for other in guards):
            raise InvalidInput(f"there are two guards on {guard.metric.value}", hint="name one of a kind")
        guards.append(guard)
    if not guards:
        guards = list(parse_guards(GUARDS_DEFAULT)[0])
    return tuple(guards), REQUESTS_MIN if requests_min is None else requests_min


def _requests(text: str, match: re.Match[str]) -> int:
    number = float(match["number"])
    if match["sign"] != ">=" or match["unit"] or number != int(number) or number < 1:
        raise _no_guard(text)
    return int(number)


def _guard(text: str, match: re.Match[str]) -> Guard:
    try:
        metric = GuardMetric(match["metric"])
    except ValueError as error:
        raise _no_guard(text) from error
    limit, unit = float(match["number"]), match["unit"]
    if (
        match["sign"] == ">="
        or (unit == "%" and not metric.is_rate)
        or (unit == "x" and metric is GuardMetric.DRIFT)
    ):
        raise _no_guard(text)
    if unit == "%":
        limit /= 100
    if metric.is_rate and unit != "x" and (limit > 1 or (limit == 1 and not unit)):
        raise InvalidInput(
            f"{text!r} asks for a share of 100 % or more", hint=f"write for example {metric.value}<1%"
        )
    includes_limit = match["sign"] == "<="
    if not limit and not includes_limit:
        raise InvalidInput(f"{text!r} can never hold", hint=f"write for example {text.replace('<', '<=', 1)}")
    return Guard(metric=metric, limit=limit, is_relative=unit == "x", includes_limit=includes_limit)


def _no_guard(text: str) -> InvalidInput:
    metrics = ", ".join(metric.value for metric in GuardMetric)
    return InvalidInput(
        f"{text[:80]!r} is no guard",
        operation=OPERATION,
        hint=f"write for example error_rate<1%, p95_ms<200, p95_ms<1.5x (of the deployment before) or "
        f"requests>=50; the figures are {metrics}",
    )
