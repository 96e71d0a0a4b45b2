"""The second half of ``bridge demo``: the best models are registered, served, compared live, rolled back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trackbridge.cli.demo_results import Result
from trackbridge.cli.demo_training import MODEL, load_digits
from trackbridge.cli.output import Output
from trackbridge.errors import BridgeError

if TYPE_CHECKING:
    from trackbridge.api.client import Client
    from trackbridge.api.endpoints import Endpoint
    from trackbridge.domain.deployments import EndpointMetrics
    from trackbridge.operations.opening import Opened

NAME = "digits"
ALIAS = "champion"
REQUESTS = 300
SECOND_PERCENT = 10
TELEMETRY_S_MAX = 10.0
POLL_S = 0.1


@dataclass(frozen=True)
class Served:
    """What the endpoint did with one round of requests. ``traffic`` are the shares wanted, in percent."""

    requests: int
    correct: int
    elapsed_s: float
    traffic: dict[str, int]
    metrics: dict[str, EndpointMetrics]


class ServingDemo:
    """Takes the best models of a sweep through their life on an endpoint.

    Args:
        output: Where to tell it.
        client: The store of the runs, which serves them too.
        results: What the trainings came to.
    """

    def __init__(self, output: Output, client: Client, results: Sequence[Result]) -> None:
        from trackbridge.api.endpoints import Endpoint
        from trackbridge.operations.opening import open_place

        self._output = output
        self._client = client
        self._place: Opened = open_place(client.tracking_uri)
        self._endpoint: Endpoint = Endpoint(NAME, client.tracking_uri)
        finished = [result for result in results if result.training.killed_ms is None]
        self._ranked = sorted(finished, key=lambda result: -result.objective)

    def run(self) -> dict[str, Any]:
        """Register, deploy, ask, shift, roll back, clean up; return what was seen as a JSON object.

        Raises:
            BridgeError: Something did not come out as it should.
        """
        try:
            return self._run()
        finally:
            self._clean_up()
            self._place.close()

    def _run(self) -> dict[str, Any]:
        first = self._register(self._ranked[0])
        self._client.set_registered_model_alias(NAME, ALIAS, first, why="best validation accuracy")
        self._say(f"models:/{NAME}@{ALIAS} is version {first}, {_name(self._ranked[0])}.")
        self._deploy(f"models:/{NAME}@{ALIAS}", None)
        alone = self._ask()
        self._tell(alone)
        second = self._register(self._ranked[1])
        self._say(f"models:/{NAME}/{second} is {_name(self._ranked[1])}; it gets {SECOND_PERCENT} %.")
        self._deploy(f"models:/{NAME}/{second}", SECOND_PERCENT)
        shared = self._ask()
        self._tell(shared)
        self._say("Rolled back:")
        self._roll_back()
        after = self._ask()
        self._tell(after)
        self._check(first, second, alone, shared, after)
        return {
            "versions": {"first": first, "second": second},
            "rounds": [_record(served) for served in (alone, shared, after)],
        }

    def _register(self, result: Result) -> str:
        source = f"runs:/{result.run.info.run_id}/{MODEL}"
        return str(self._client.register_model(source, NAME).version)

    def _deploy(self, model: str, traffic: int | None) -> None:
        from trackbridge.operations.deploy import pinned_spec, plan_deploy

        spec = pinned_spec(
            model, self._place.registry, endpoint=NAME, deployment=None, traffic_percent=traffic
        )
        self._apply(plan_deploy(self._place, spec))

    def _roll_back(self) -> None:
        from trackbridge.operations.deploy import plan_rollback

        self._apply(plan_rollback(self._place, NAME))

    def _apply(self, plan: Any) -> None:
        from trackbridge.cli.plans import apply_and_tell, show_plan

        show_plan(self._output, plan)
        apply_and_tell(self._output, plan, self._place, why="bridge demo")

    def _ask(self) -> Served:
        """Send the images of the test set, one by one, and count how many digits were read as they are."""
        images, labels = load_digits()["test"]
        before = self._metrics()
        began = time.monotonic()
        correct = sum(
            self._endpoint.predict(images[number : number + 1])[0] == labels[number]
            for number in range(REQUESTS)
        )
        elapsed_s = time.monotonic() - began
        deadline = time.monotonic() + TELEMETRY_S_MAX
        while (metrics := self._metrics()) and _count(metrics) < _count(before) + REQUESTS:
            if time.monotonic() > deadline:
                raise BridgeError(
                    f"the telemetry counts {_count(metrics) - _count(before)} of {REQUESTS} requests"
                )
            time.sleep(POLL_S)
        return Served(REQUESTS, int(correct), elapsed_s, self._endpoint.traffic, _since(before, metrics))

    def _metrics(self) -> dict[str, EndpointMetrics]:
        return self._endpoint.metrics(window_s=3600)

    def _tell(self, served: Served) -> None:
        rate = served.requests / served.elapsed_s
        self._output.show(
            f"{served.requests} images of the test set asked one by one: {served.correct} read right "
            f"({served.correct / served.requests:.1%}), {rate:.0f} requests/s."
        )
        self._output.table(
            ("DEPLOYMENT", "TRAFFIC", "REQUESTS", "ERRORS", "P50 MS", "P95 MS", "P99 MS"),
            [
                (
                    name,
                    f"{served.traffic.get(name, 0)} %",
                    metrics.requests,
                    metrics.errors,
                    _ms(metrics.latency_p50_ms),
                    _ms(metrics.latency_p95_ms),
                    _ms(metrics.latency_p99_ms),
                )
                for name, metrics in served.metrics.items()
            ],
        )
        self._output.event("served", _record(served))

    def _check(self, first: str, second: str, alone: Served, shared: Served, after: Served) -> None:
        """See that every request was answered by the deployments that it was meant for.

        Raises:
            BridgeError: It was not.
        """
        one, two = f"v{first}", f"v{second}"
        expected = REQUESTS * SECOND_PERCENT // 100
        counts = [
            {name: metrics.requests for name, metrics in served.metrics.items() if metrics.requests}
            for served in (alone, shared, after)
        ]
        wanted = [{one: REQUESTS}, {one: REQUESTS - expected, two: expected}, {one: REQUESTS}]
        errors = sum(
            metrics.errors for served in (alone, shared, after) for metrics in served.metrics.values()
        )
        if counts != wanted or errors:
            raise BridgeError(
                f"the endpoint answered {counts} with {errors} errors, not {wanted}",
                hint="please report it with the output of: bridge demo --json",
            )

    def _clean_up(self) -> None:
        from trackbridge.operations.deploy import plan_deletion

        if self._place.target.observe(NAME) is None:
            return
        self._say("Cleaned up:")
        self._apply(plan_deletion(self._place, NAME))

    def _say(self, text: str) -> None:
        self._output.show()
        self._output.show(text)


def _name(result: Result) -> str:
    return f"{result.run.info.run_name} (validation accuracy {result.objective:.4f})"


def _count(metrics: dict[str, EndpointMetrics]) -> int:
    return sum(item.requests for item in metrics.values())


def _since(
    before: dict[str, EndpointMetrics], after: dict[str, EndpointMetrics]
) -> dict[str, EndpointMetrics]:
    """Return the telemetry with the requests and errors of one round; latencies are those of all rounds."""
    import msgspec

    return {
        name: msgspec.structs.replace(
            item,
            requests=item.requests - (before[name].requests if name in before else 0),
            errors=item.errors - (before[name].errors if name in before else 0),
        )
        for name, item in sorted(after.items())
    }


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _record(served: Served) -> dict[str, Any]:
    return {
        "requests": served.requests,
        "correct": served.correct,
        "requests_per_s": round(served.requests / served.elapsed_s, 1),
        "traffic": served.traffic,
        "deployments": served.metrics,
    }
