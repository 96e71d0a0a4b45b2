"""Payloads that a deployment target keeps, and telemetry beyond counts."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pytest

from trackbridge.domain.deployments import CapturedPayload
from trackbridge.errors import InvalidInput
from trackbridge.operations.drift_payloads import inputs_of, predictions_of
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.deployments_base import JSON, DeploymentTests
from trackbridge.testing.contracts.tracking_base import GARBAGE_TOKENS, all_pages

INVOKE, CAPTURE, METRICS = (
    Feature.DEPLOYMENTS_INVOKE,
    Feature.DEPLOYMENTS_CAPTURE,
    Feature.DEPLOYMENTS_METRICS,
)
KEEPING = "capturing"
ASKED = 12
CLOCK_SLACK_MS = 60_000


class CaptureTests(DeploymentTests):
    """Captured payloads; the tests share the endpoint ``capturing``."""

    def asked(self) -> list[CapturedPayload]:
        """Ask a deployment that keeps everything, and return what it kept, in time."""
        state = self.target.observe(KEEPING)
        if state is None or state.find("v1") is None:
            self.deploy("one", endpoint=KEEPING, capture_percent=100)
        before = self.read_all()
        for number in range(ASKED):
            body = json.dumps({"inputs": [[float(number)], [0.5]]}).encode()
            self.target.invoke(KEEPING, body, content_type=JSON)

        def is_kept() -> bool:
            whole = self.read_all()  # an answer may be kept later than its request
            return len(whole) >= len(before) + ASKED and all(kept.response is not None for kept in whole)

        self.wait_until(is_kept, "what was captured")
        known = {payload.request_id for payload in before}
        found = [payload for payload in self.read_all() if payload.request_id not in known]
        assert len(found) == ASKED, "each request is kept once"
        return found

    def read_all(self, **only: object) -> list[CapturedPayload]:
        """Return everything that is kept."""
        return all_pages(
            lambda token: self.target.read_captured(KEEPING, token=token, **only),  # type: ignore[arg-type]
            size=1000,
        )

    @requires(CAPTURE, INVOKE)
    def test_what_was_asked_and_answered_is_kept(self) -> None:
        began = time.time_ns() // 1_000_000
        found = self.asked()
        assert sorted(_numbers(found)) == sorted([0.5] * ASKED + [float(number) for number in range(ASKED)])
        answered = [predictions_of(payload.response, ()) for payload in found]
        assert [table.columns for table in answered if table] == [{"prediction": [1.0, 1.0]}] * ASKED
        assert {payload.deployment for payload in found} == {"v1"}
        assert {payload.status for payload in found} <= {200, None}
        ended = time.time_ns() // 1_000_000
        assert all(began - CLOCK_SLACK_MS <= payload.time <= ended + CLOCK_SLACK_MS for payload in found), (
            "milliseconds since 1970"
        )

    @requires(CAPTURE, INVOKE)
    def test_what_was_kept_is_read_in_pages(self) -> None:
        whole = self.read_all() or self.asked()
        for size in (1, 5):
            paged = all_pages(
                lambda token, size=size: self.target.read_captured(KEEPING, max_results=size, token=token),  # type: ignore[misc]
                size=size,
            )
            assert paged == whole

    @requires(CAPTURE, INVOKE)
    def test_what_was_kept_is_chosen_by_deployment_and_time(self) -> None:
        whole = self.read_all() or self.asked()
        assert self.read_all(deployment="v1") == whole
        assert self.read_all(deployment="v9") == []
        middle = sorted(payload.time for payload in whole)[len(whole) // 2]
        assert self.read_all(since=middle) == [payload for payload in whole if payload.time >= middle]
        assert self.read_all(until=middle) == [payload for payload in whole if payload.time < middle]
        assert self.read_all(since=middle, until=middle) == []

    @requires(CAPTURE, INVOKE)
    def test_without_capture_nothing_is_kept(self) -> None:
        self.deploy("one", endpoint="alone")
        self.ask(endpoint="alone")
        assert list(self.target.read_captured("alone")) == []

    @requires(CAPTURE)
    def test_of_what_never_was_nothing_is_kept(self) -> None:
        assert list(self.target.read_captured("never-was")) == []

    @requires(CAPTURE, INVOKE)
    def test_what_was_kept_outlives_the_endpoint(self) -> None:
        whole = self.read_all() or self.asked()
        self.delete(KEEPING)
        assert self.read_all() == whole

    @requires(CAPTURE)
    @pytest.mark.parametrize("token", GARBAGE_TOKENS)
    def test_a_token_of_nobody_is_refused(self, token: str) -> None:
        with pytest.raises(InvalidInput):
            self.target.read_captured(KEEPING, token=token)

    @requires(CAPTURE)
    def test_a_page_holds_something(self) -> None:
        with pytest.raises(InvalidInput):
            self.target.read_captured(KEEPING, max_results=0)

    @requires(METRICS, INVOKE)
    def test_telemetry_adds_up(self) -> None:
        self.deploy("one", endpoint="alone")
        self.ask(endpoint="alone")
        self.wait_until(
            lambda: self.target.read_metrics("alone", window_s=600)[0].requests > 0, "the telemetry"
        )
        (found,) = self.target.read_metrics("alone", window_s=600)
        assert found.window_s >= 600, "at least what was asked for; clouds count by minutes"
        if found.latency_counts:
            bounds = [bound for bound, _ in found.latency_counts]
            assert bounds[-1] is None
            assert bounds[:-1] == sorted(set(bounds[:-1]))  # type: ignore[type-var]
            assert sum(count for _, count in found.latency_counts) == found.requests
        for number in (found.queued, found.instances, found.captured):
            assert number is None or number >= 0
        assert found.instances in (None, 1)


def _numbers(payloads: Sequence[CapturedPayload]) -> list[float]:
    tables = [inputs_of(payload.request, payload.content_type, ["x"]) for payload in payloads]
    return [float(value) for table in tables if table for value in next(iter(table.columns.values()))]
