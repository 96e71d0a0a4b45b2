"""What Search looks through: the records of every kind of resource that is emulated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker import (
    endpoints,
    experiments,
    jobs_processing,
    jobs_training,
    models,
    registry,
)
from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.jobs_records import PROCESSING, Jobs
from trackbridge.testing.emulators.sagemaker.search_properties import told_as

COMPONENT = "ExperimentTrialComponent"
Record = dict[str, Any]
Source = Callable[[Cloud], Iterable[Record]]
"""What yields the records of a resource type, as ``SearchRecord`` has them."""


def _components(cloud: Cloud) -> Iterator[Record]:
    """Yield trial components; that of a job with the job's description."""
    jobs: dict[str, Record] | None = None
    for record in experiments.SEARCHABLE[COMPONENT](cloud):
        if "Source" not in record:
            yield record
            continue
        jobs = _job_details(cloud) if jobs is None else jobs
        arn = record["Source"]["SourceArn"]
        yield {**record, "SourceDetail": {"SourceArn": arn, **jobs.get(arn, {})}}


def _job_details(cloud: Cloud) -> dict[str, Record]:
    """Return what the components of jobs tell of them, by the job's ARN."""
    training = jobs_training.SEARCHABLE["TrainingJob"](cloud)
    details = {job["TrainingJobArn"]: {"TrainingJob": told_as("TrainingJob", job)} for job in training}
    for job in cloud.part(Jobs).find(PROCESSING):
        told = told_as("ProcessingJob", jobs_processing.described(job))
        details[job.arn] = {"ProcessingJob": told}
    return details


def _models(cloud: Cloud) -> Iterator[Record]:
    """Yield models; their tags are also a member of the model itself."""
    for record in models.SEARCHABLE["Model"](cloud):
        tags = record.get("Tags", [])
        yield {**record, "Model": {**told_as("Model", record["Model"]), "Tags": tags}}


SOURCES: Mapping[str, Source] = {
    **experiments.SEARCHABLE,
    **jobs_training.SEARCHABLE,
    **endpoints.SEARCHABLE,
    **registry.SEARCHABLE,
    COMPONENT: _components,
    "Model": _models,
}
"""What is found of the caller's account."""

SHARED: Mapping[str, Source] = registry.SHARED
"""What is found of other accounts."""
