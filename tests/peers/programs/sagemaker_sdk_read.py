"""Tells as JSON what AWS's SDK reads of an experiment: ``list_runs``, and ``load_run`` of each run named.

Arguments: bucket, experiment, names of runs.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3
from sagemaker.core.experiments.run import list_runs, load_run
from sagemaker.core.helper.session_helper import Session


def told(run: Any) -> dict[str, Any]:
    component = run._trial_component
    return {
        "run_name": run.run_name,
        "experiment_name": run.experiment_name,
        "component": component.trial_component_name,
        "display_name": component.display_name,
        "status": component.status.primary_status if component.status else None,
        "parameters": dict(component.parameters or {}),
        "outputs": {name: found.value for name, found in (component.output_artifacts or {}).items()},
        "metrics": {
            found.metric_name: {"last": found.last, "count": found.count, "min": found.min, "max": found.max}
            for found in component.metrics or ()
        },
    }


def main(bucket: str, experiment: str, *runs: str) -> None:
    session = Session(boto_session=boto3.Session(), default_bucket=bucket)
    listed = [run.run_name for run in list_runs(experiment, sagemaker_session=session)]
    # Not in a "with": that would set the run's status.
    loaded = [
        told(load_run(run_name=name, experiment_name=experiment, sagemaker_session=session)) for name in runs
    ]
    print(json.dumps({"listed": listed, "loaded": loaded}))


if __name__ == "__main__":
    main(*sys.argv[1:])
