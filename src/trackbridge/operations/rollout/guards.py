"""Whether the guards of a rollout hold, from what the telemetry says. Pure: asks nobody.

A window without figures proves nothing: a guard is judged once there are enough requests, never before.
"""

from __future__ import annotations

from dataclasses import dataclass

from trackbridge.domain.deployments import EndpointMetrics
from trackbridge.domain.rollouts import Guard, GuardMetric, RolloutSpec

_LATENCIES = {
    GuardMetric.P50_MS: "latency_p50_ms",
    GuardMetric.P95_MS: "latency_p95_ms",
    GuardMetric.P99_MS: "latency_p99_ms",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is known of a step: telemetry of the new deployment and of the one before, and the drift.

    ``drift`` is the largest PSI that chance does not explain, ``drift_suspected`` the largest of all.
    """

    new: EndpointMetrics | None = None
    stable: EndpointMetrics | None = None
    drift: float | None = None
    drift_suspected: float = 0.0
    drift_rows: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guards say: which are broken, each with its figure, and which cannot be judged, and why."""

    broken: tuple[tuple[Guard, str], ...] = ()
    unjudged: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why it must not go on."""
        return "; ".join(told for _, told in self.broken)


def judge(rollout: RolloutSpec, figures: Figures) -> Verdict:
    """Judge every guard by what is known."""
    requests = figures.new.requests if figures.new is not None else 0
    if requests < rollout.requests_min:
        return Verdict(unjudged=(f"{requests:,} of {rollout.requests_min:,} requests",))
    broken: list[tuple[Guard, str]] = []
    unjudged: list[str] = []
    for guard in rollout.guards:
        value, lack = _value(guard, figures, rollout.requests_min)
        limit = _limit(guard, figures.stable)
        if value is None or limit is None:
            unjudged.append(lack or f"{guard.text}: the deployment before has no figures to compare with")
        elif not _holds(guard, value, limit):
            broken.append((guard, _told(guard, value, limit)))
    return Verdict(tuple(broken), tuple(unjudged))


def value_of(metric: GuardMetric, figures: EndpointMetrics | None) -> float | None:
    """Return a figure of telemetry: a share from 0 to 1, or milliseconds; None without requests."""
    if figures is None or not figures.requests:
        return None
    if metric is GuardMetric.ERROR_RATE:
        return figures.errors / figures.requests
    if metric is GuardMetric.REFUSED_RATE:
        return figures.refused / figures.requests
    latency: float | None = getattr(figures, _LATENCIES[metric])
    return latency


def _value(guard: Guard, figures: Figures, rows_min: int) -> tuple[float | None, str]:
    """Return what a guard looks at, or None and why there is none."""
    if guard.metric is not GuardMetric.DRIFT:
        value = value_of(guard.metric, figures.new)
        return value, f"{guard.text}: there is no such figure yet" if value is None else ""
    if figures.drift is None or figures.drift_rows < rows_min:
        return None, f"{guard.text}: {figures.drift_rows:,} of {rows_min:,} captured rows"
    if _holds(guard, figures.drift, guard.limit) and not _holds(guard, figures.drift_suspected, guard.limit):
        may_be = f"a PSI of {figures.drift_suspected:.3f} may be chance with {figures.drift_rows:,} rows"
        return None, f"{guard.text}: {may_be}"
    return figures.drift, ""


def _limit(guard: Guard, stable: EndpointMetrics | None) -> float | None:
    if not guard.is_relative:
        return guard.limit
    value = value_of(guard.metric, stable)
    return None if value is None else guard.limit * value


def _holds(guard: Guard, value: float, limit: float) -> bool:
    # Nothing cannot be less than a multiple of nothing: without errors before, none now is as good.
    is_equal_enough = guard.includes_limit or (guard.is_relative and limit == 0)
    return value <= limit if is_equal_enough else value < limit


def _told(guard: Guard, value: float, limit: float) -> str:
    compared = f", which is {_shown(guard.metric, limit)}" if guard.is_relative else ""
    return f"{guard.metric.value} is {_shown(guard.metric, value)}, the guard is {guard.text}{compared}"


def _shown(metric: GuardMetric, value: float) -> str:
    if metric.is_rate:
        return f"{value:.2%}"
    return f"{value:.3f}" if metric is GuardMetric.DRIFT else f"{value:,.1f} ms"
