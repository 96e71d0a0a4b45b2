"""Which alarms are found before SageMaker is given them: of each kind that CloudWatch has them in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from trackbridge_adapters.sagemaker.deployments_checks import DeploymentChecks


class CloudWatch:
    """Answers as CloudWatch does: of composite alarms only when they are asked for."""

    def call(self, service: str, operation: str, **named: Any) -> dict[str, Any]:
        kinds = named.get("AlarmTypes", ["MetricAlarm"])
        there = {"MetricAlarm": "errors", "CompositeAlarm": "anything"}
        return {
            f"{kind}s": [{"AlarmName": name, "StateValue": "OK"}]
            for kind, name in there.items()
            if kind in kinds and name in named["AlarmNames"]
        }


def test_composite_alarms_are_found_beside_those_of_metrics() -> None:
    nothing: Any = None
    checks = DeploymentChecks(cast(Any, SimpleNamespace(clients=CloudWatch())), nothing, nothing)

    found = list(checks._alarms(["errors", "anything", "none-such"]))

    assert [finding.message for finding in found] == ["there is no alarm 'none-such'"]
