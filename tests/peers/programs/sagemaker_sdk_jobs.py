"""Tells as JSON what AWS's SDK reads of training jobs, and which images its tables have.

Arguments: bucket, names of jobs.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from sagemaker.core import image_uris
from sagemaker.core.resources import TrainingJob


def told(name: str) -> dict[str, Any]:
    job = TrainingJob.get(training_job_name=name)
    resources, algorithm = job.resource_config, job.algorithm_specification
    return {
        "status": job.training_job_status,
        "instance_type": resources.instance_type,
        "image": algorithm.training_image,
        "arguments": list(algorithm.container_arguments),
        "channels": [channel.channel_name for channel in job.input_data_config],
        "checkpoints": job.checkpoint_config.s3_uri,
        "hyper_parameters": dict(job.hyper_parameters or {}),
        "failure_reason": job.failure_reason if isinstance(job.failure_reason, str) else None,
    }


def main(bucket: str, *names: str) -> None:
    listed = [job.training_job_name for job in TrainingJob.get_all(name_contains="bridge-")]
    image = image_uris.retrieve(
        "pytorch",
        "eu-west-1",
        version="2.10.0",
        py_version="py313",
        instance_type="ml.m5.large",
        image_scope="training",
    )
    print(json.dumps({"listed": listed, "jobs": [told(name) for name in names], "image": image}))


main(*sys.argv[1:])
