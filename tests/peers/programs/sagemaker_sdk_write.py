"""Writes a run with AWS's SDK, or adds to one that is there.

Arguments: bucket, experiment, run, and "new" or "more".
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import boto3
from sagemaker.core.experiments.run import Run, load_run
from sagemaker.core.helper.session_helper import Session


def main(bucket: str, experiment: str, name: str, what: str) -> None:
    session = Session(boto_session=boto3.Session(), default_bucket=bucket)
    if what == "more":
        with load_run(run_name=name, experiment_name=experiment, sagemaker_session=session) as run:
            run.log_parameter("added_by", "the SDK")
            run.log_metric("extra", 7.5, step=0)
        return
    with Run(
        experiment_name=experiment,
        run_name=name,
        run_display_name="By-AWS",
        tags=[{"Key": "team", "Value": "vision"}],
        sagemaker_session=session,
    ) as run:
        run.log_parameters({"learning_rate": 0.25, "optimizer": "adam", "layers": 3})
        for step, value in enumerate((0.5, 0.25, 0.125)):
            run.log_metric("loss", value, step=step)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "notes.txt"
            file.write_text("written by AWS's SDK")
            run.log_file(str(file), name="notes")


if __name__ == "__main__":
    main(*sys.argv[1:])
