"""What is a guard, and when it holds."""

from __future__ import annotations

from typing import Any

import pytest

from trackbridge.domain.deployments import EndpointMetrics
from trackbridge.domain.rollouts import RolloutSpec, parse_guards, parse_steps, rollout_spec
from trackbridge.errors import InvalidInput
from trackbridge.operations.rollout.guards import Figures, Verdict, judge


def figures(**fields: Any) -> EndpointMetrics:
    return EndpointMetrics(**{"deployment": "v2", "requests": 100, "errors": 0, **fields})


def verdict(guard: str, new: EndpointMetrics | None, **others: Any) -> Verdict:
    return judge(rollout_spec("5,100", guards=[guard]), Figures(new=new, **others))


@pytest.mark.parametrize(
    ("guard", "fields", "holds"),
    [
        ("error_rate<1%", {"errors": 0}, True),
        ("error_rate<1%", {"errors": 1}, False),
        ("error_rate<=1%", {"errors": 1}, True),
        ("error_rate < 0.02", {"errors": 1}, True),
        ("refused_rate<5%", {"refused": 5}, False),
        ("p50_ms<10", {"latency_p50_ms": 9.9}, True),
        ("P95_MS<200", {"latency_p95_ms": 200.0}, False),
        ("p99_ms<=200", {"latency_p99_ms": 200.0}, True),
    ],
)
def test_a_guard_holds_below_its_limit(guard: str, fields: dict[str, Any], holds: bool) -> None:
    found = verdict(guard, figures(**fields))
    assert (not found.broken, found.unjudged) == (holds, ())


@pytest.mark.parametrize(
    ("guard", "new", "stable", "holds"),
    [
        ("p95_ms<1.5x", {"latency_p95_ms": 14.9}, {"latency_p95_ms": 10.0}, True),
        ("p95_ms<1.5x", {"latency_p95_ms": 15.0}, {"latency_p95_ms": 10.0}, False),
        ("error_rate<2x", {"errors": 3}, {"errors": 2}, True),
        ("error_rate<2x", {"errors": 0}, {"errors": 0}, True),
        ("error_rate<2x", {"errors": 1}, {"errors": 0}, False),
    ],
)
def test_a_guard_compares_with_the_deployment_before(
    guard: str, new: dict[str, Any], stable: dict[str, Any], holds: bool
) -> None:
    found = verdict(guard, figures(**new), stable=figures(**stable))
    assert (not found.broken, found.unjudged) == (holds, ())


@pytest.mark.parametrize(
    ("guard", "known", "lack"),
    [
        ("error_rate<1%", {"new": None}, "0 of 50 requests"),
        ("error_rate<1%", {"new": figures(requests=49, errors=49)}, "49 of 50 requests"),
        ("p95_ms<200", {"new": figures()}, "p95_ms<200: there is no such figure yet"),
        ("p95_ms<2x", {"new": figures(latency_p95_ms=1.0)}, "no figures to compare with"),
        ("drift<0.2", {"new": figures()}, "0 of 50 captured rows"),
        ("drift<0.2", {"new": figures(), "drift": 9.0, "drift_rows": 49}, "49 of 50 captured rows"),
        (
            "drift<0.2",
            {"new": figures(), "drift": 0.1, "drift_suspected": 0.6, "drift_rows": 50},
            "a PSI of 0.600 may be chance with 50 rows",
        ),
    ],
)
def test_what_is_not_known_is_neither_held_nor_broken(guard: str, known: dict[str, Any], lack: str) -> None:
    found = judge(rollout_spec("5,100", guards=[guard]), Figures(**known))
    assert found.broken == ()
    (told,) = found.unjudged
    assert lack in told


def test_how_many_requests_are_needed_can_be_said() -> None:
    rollout = rollout_spec("5,100", guards=["requests>=3", "error_rate<1%"])
    assert judge(rollout, Figures(new=figures(requests=3, errors=3))).reason.startswith(
        "error_rate is 100.00%"
    )


def test_what_is_written_is_read_back() -> None:
    texts = ["error_rate<1%", "refused_rate<=0.5%", "p50_ms<10", "p95_ms<1.5x", "p99_ms<1000", "drift<0.2"]
    assert [guard.text for guard in parse_guards(texts)[0]] == texts
    assert rollout_spec([5, 25, 100], bake="90s").text == "5,25,100 %, 90s each, error_rate<1%"


@pytest.mark.parametrize(
    "guard",
    [
        *(
            "",
            "error_rate",
            "error_rate>1%",
            "wine<1",
            "p95_ms<5%",
            "drift<2x",
            "error_rate<-1",
            "p95_ms<inf",
        ),
        *("requests>50", "requests>=0", "requests>=1.5", "requests>=5%", "error_rate<150%", "p95_ms<nan"),
        *("error_rate<1%;p95_ms<2", "p95_ms<1e3"),
        *("error_rate<1", "refused_rate<=1", "p95_ms<0", "error_rate<0%", "drift<0.0"),
    ],
)
def test_what_is_no_guard_is_refused(guard: str) -> None:
    with pytest.raises(InvalidInput):
        parse_guards([guard])


def test_two_of_a_kind_are_refused() -> None:
    for pair in (["error_rate<1%", "error_rate<2%"], ["requests>=1", "requests>=2"]):
        with pytest.raises(InvalidInput, match="there are two guards"):
            parse_guards(pair)
    assert len(parse_guards(["p95_ms<200", "p95_ms<2x"])[0]) == 2


@pytest.mark.parametrize("steps", ["", "5", "0,100", "5,5,100", "100,100", "5,101", "5.5,100", "a,100", []])
def test_steps_ascend_to_100(steps: Any) -> None:
    with pytest.raises(InvalidInput, match="ascend to 100"):
        parse_steps(steps)


def test_steps() -> None:
    assert parse_steps("5%, 25 ,100") == parse_steps([5, 25, 100]) == (5, 25, 100)
    assert parse_steps("100") == (100,)


@pytest.mark.parametrize("length", ["soon", "0", 0, -1.0, float("nan"), float("inf")])
def test_a_bake_is_a_length_of_time(length: Any) -> None:
    with pytest.raises(InvalidInput):
        rollout_spec("100", bake=length)


def test_a_bake_ends() -> None:
    spec: RolloutSpec = rollout_spec("100", bake=2, bake_max="1m")
    assert (spec.bake_s, spec.bake_s_max) == (2.0, 60.0)
    with pytest.raises(InvalidInput, match="cannot end after"):
        rollout_spec("100", bake="10m", bake_max="1m")
