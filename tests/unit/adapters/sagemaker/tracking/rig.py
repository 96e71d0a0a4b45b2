"""Runs in the emulator: written by us, made as AWS's SDK makes them, and broken off."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from typing import Any

from trackbridge.errors import Unavailable
from trackbridge.testing.contracts.samples import run_spec
from trackbridge_adapters.sagemaker import run_records
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.tracking import SageMakerTracking

EXPERIMENT = "digits"
FOREIGN = "others"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def opened(store: SageMakerTracking, name: str = "first", **fields: Any) -> str:
    fields = {"experiment": EXPERIMENT, "start_time": now_ms(), **fields}
    return store.open_run(run_spec(name, **fields)).info.run_id


def described(sagemaker: Any, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = sagemaker.describe_trial_component(TrialComponentName=f"{EXPERIMENT}-{run_id}")
    return found


def tags_of(sagemaker: Any, arn: str) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}


def summary_of(found: dict[str, Any], name: str) -> dict[str, Any]:
    (summary,) = [item for item in found.get("Metrics", ()) if item["MetricName"] == name]
    return dict(summary)


def made_by_others(sagemaker: Any, metrics: Any, run: str = "run-1", **fields: Any) -> str:
    """Make a run as AWS's SDK does, and return the name of its component."""
    name, trial = f"{FOREIGN}-{run}", f"Default-Run-Group-{FOREIGN}"
    with contextlib.suppress(sagemaker.exceptions.ClientError):  # the second run finds them
        sagemaker.create_experiment(ExperimentName=FOREIGN)
        sagemaker.create_trial(TrialName=trial, ExperimentName=FOREIGN)
    sagemaker.create_trial_component(
        TrialComponentName=name,
        DisplayName=run,
        Tags=[
            {"Key": "sagemaker:trial-component-source", "Value": "run"},
            {"Key": "team", "Value": "blue"},
        ],
    )
    sagemaker.associate_trial_component(TrialName=trial, TrialComponentName=name)
    settings: dict[str, Any] = {
        "Status": {"PrimaryStatus": "Completed"},
        "StartTime": 1_700_000_000.25,
        "EndTime": 1_700_000_060.5,
        "Parameters": {
            "lr": {"NumberValue": 0.1},
            "epochs": {"NumberValue": 3},
            "kind": {"StringValue": "cnn"},
        },
        "InputArtifacts": {"train": {"Value": "s3://bucket/train.csv", "MediaType": "text/csv"}},
        **fields,
    }
    sagemaker.update_trial_component(TrialComponentName=name, **settings)
    at = time.time() - 60
    data = [
        {"MetricName": "loss", "Step": step, "Value": 1 / (step + 1), "Timestamp": at + step}
        for step in range(5)
    ]
    metrics.batch_put_metrics(TrialComponentName=name, MetricData=data)
    metrics.batch_put_metrics(
        TrialComponentName=name, MetricData=[{"MetricName": "stepless", "Value": 7.0, "Timestamp": at}]
    )
    return name


class Fuse:
    """Lets the n-th call of a place fail, before it is made or after: then nothing is known of it."""

    def __init__(self, backend: Backend, nth: int, *, after: bool) -> None:
        self.numbers, self.nth, self.after = itertools.count(1), nth, after
        self.is_blown = False
        self.fused = [(backend.clients, "call"), (backend.bucket, "get"), (backend.bucket, "put")]

    def __enter__(self) -> Fuse:
        for owner, name in self.fused:
            setattr(owner, name, self._fused(getattr(owner, name)))
        return self

    def __exit__(self, *error: object) -> None:
        for owner, name in self.fused:
            delattr(owner, name)

    def _fused(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def fused(*arguments: Any, **named: Any) -> Any:
            is_due = next(self.numbers) == self.nth
            self.is_blown |= is_due
            if is_due and not self.after:
                raise Unavailable("broken before")
            answer = call(*arguments, **named)
            if is_due:
                raise Unavailable("broken after")
            return answer

        return fused


def untold_of(backend: Backend, run_id: str) -> dict[str, int]:
    held = backend.bucket.get(run_records.run_key(run_id))
    assert held is not None
    return run_records.decode(held[0], run_records.RunRecord, resource="").untold
