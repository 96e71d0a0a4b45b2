"""Runs that others made in SageMaker, by AWS's SDK, Studio or a job, and what they added to runs of ours.

A component that has no record of ours is a run all the same: its name is its id, its parameters are params,
the last values of its metrics are metrics, its inputs are data sets. It stays as it is until something is
written to it by us; then it gets a record (``record_of``), and what is in SageMaker is taken over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trackbridge.domain.runs import (
    TAG_NAME,
    TAG_SOURCE_NAME,
    DatasetInput,
    LifecycleStage,
    Moment,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunStatus,
)
from trackbridge_adapters.sagemaker.metric_chunks import value_of
from trackbridge_adapters.sagemaker.native_runs import MORE, OWN_TAGS, Native, taggable, text_of
from trackbridge_adapters.sagemaker.run_records import RunRecord

DIGEST_CHARS = 16
STATUSES = {
    "InProgress": RunStatus.RUNNING,
    "Stopping": RunStatus.RUNNING,
    "Completed": RunStatus.FINISHED,
    "Failed": RunStatus.FAILED,
    "Stopped": RunStatus.KILLED,
}


def run_of(record: RunRecord, found: Native | None, *, gone: bool, artifact_uri: str) -> Run:
    """Return a run with a record.

    Args:
        record: The truth.
        found: Its component, whose params and metrics are shown where the record has none of that name.
        gone: Whether its experiment was deleted.
        artifact_uri: Where its files lie.
    """
    added_params, added_metrics = additions(record, found or {})
    return Run(
        info=RunInfo(
            run_id=record.run_id,
            experiment_id=record.experiment_id,
            run_name=record.name,
            user_id=record.user,
            status=record.status,
            start_time=record.start_time,
            end_time=record.end_time,
            lifecycle_stage=LifecycleStage.DELETED if gone or record.deleted else LifecycleStage.ACTIVE,
            artifact_uri=artifact_uri,
            native_id=record.component if record.component != record.run_id else None,
        ),
        data=RunData(
            metrics={**{key: value_of(point[2]) for key, point in record.latest.items()}, **added_metrics},
            moments={key: Moment(step, timestamp) for key, (step, timestamp, _) in record.latest.items()},
            params={**record.params, **added_params},
            tags=dict(record.tags),
        ),
        inputs=RunInputs(dataset_inputs=tuple(record.inputs)),
    )


def additions(record: RunRecord, found: Native) -> tuple[dict[str, str], dict[str, float]]:
    """Return the params and metrics of a component which its record does not have."""
    params = {key: value for key, value in params_of(found).items() if key not in record.params}
    metrics = {
        key: float(summary["Last"])
        for key, summary in summaries_of(found).items()
        if key not in record.latest
    }
    return params, metrics


def record_of(found: Native, tags: Mapping[str, str], *, experiment_id: str) -> RunRecord:
    """Return the record of a component that others made, without its metrics."""
    status = STATUSES.get((found.get("Status") or {}).get("PrimaryStatus", ""), RunStatus.SCHEDULED)
    component = str(found["TrialComponentName"])
    shown = str(found.get("DisplayName") or component)
    source = str((found.get("Source") or {}).get("SourceArn") or "")
    labels = {key: value for key, value in tags.items() if key not in OWN_TAGS}
    return RunRecord(
        run_id=component,
        experiment_id=experiment_id,
        component=component,
        arn=str(found.get("TrialComponentArn", "")),
        name=shown,
        user=user_of(found),
        status=status,
        start_time=milliseconds(found.get("StartTime") or found.get("CreationTime")) or 0,
        end_time=milliseconds(found.get("EndTime")) if status.is_final else None,
        adopted=True,
        params=params_of(found),
        tags={TAG_NAME: shown, **({TAG_SOURCE_NAME: source} if source else {}), **labels},
        native_tags=sorted(key for key, value in labels.items() if taggable(key, value)),
        inputs=[_dataset(key, value) for key, value in (found.get("InputArtifacts") or {}).items()],
    )


def params_of(found: Native) -> dict[str, str]:
    """Return the parameters of a component as params."""
    parameters = found.get("Parameters") or {}
    return {key: text_of(value) for key, value in parameters.items() if key != MORE}


def summaries_of(found: Native) -> dict[str, Native]:
    """Return the summary of each metric of a component; of several of one name the newest."""
    newest: dict[str, Native] = {}
    for summary in found.get("Metrics") or ():
        if summary.get("Last") is None:
            continue
        known = newest.get(summary["MetricName"])
        if known is None or _time_of(known) <= _time_of(summary):
            newest[summary["MetricName"]] = summary
    return newest


def points_time_ms(found: Native, summary: Native) -> int:
    """Return the time of points that have none: one that stays, so that reading them again finds the same.

    That of the summary moves with each new point; it stands in where the component has none.
    """
    return milliseconds(found.get("CreationTime")) or _time_of(summary)


def user_of(found: Native) -> str:
    """Return who made something: a profile of Studio, or the last part of a role's or user's ARN."""
    made_by = found.get("CreatedBy") or {}
    identity = (made_by.get("IamIdentity") or {}).get("Arn") or ""
    return str(made_by.get("UserProfileName") or identity.rpartition("/")[2])


def milliseconds(at: Any) -> int | None:
    """Return a time of SageMaker's."""
    return round(at.timestamp() * 1000) if isinstance(at, datetime) else None


def _time_of(summary: Native) -> int:
    return milliseconds(summary.get("TimeStamp")) or 0


def _dataset(key: str, artifact: Native) -> DatasetInput:
    value = str(artifact.get("Value", ""))
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_CHARS]
    kind = value.partition("://")[0] if "://" in value else "local"
    return DatasetInput(name=key, digest=digest, source_type=kind, source=value)
