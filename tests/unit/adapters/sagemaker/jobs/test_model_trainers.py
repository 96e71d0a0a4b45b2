"""A ModelTrainer of AWS's SDK becomes a spec; here in the shape that sagemaker 3.27 gives it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace as Shape
from typing import Any

import pytest

from trackbridge.domain.jobs import Compute, Environment, JobSpec, Launcher
from trackbridge.errors import InvalidInput
from trackbridge_adapters.sagemaker.model_trainers import spec_of_trainer

IMAGE = "763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:2.10.0-cpu-py313"


class Unassigned:
    """As ``sagemaker.core.utils.utils.Unassigned``."""


class Torchrun(Shape):
    """As ``sagemaker.train.distributed.Torchrun``."""


class Smdistributed(Shape):
    """What is not known here."""


def trainer(**changed: Any) -> Shape:
    return Shape(
        **{
            "training_image": IMAGE,
            "algorithm_name": None,
            "source_code": Shape(source_dir="src", entry_script="train.py", command=None, requirements=None),
            "compute": Shape(
                instance_type="ml.m5.large", instance_count=2, enable_managed_spot_training=True
            ),
            "hyperparameters": {"lr": 0.1, "layers": [1, 2], "name": "x"},
            "environment": {"A": "1"},
            "input_data_config": [
                Shape(channel_name="train", data_source="s3://b/train"),
                Shape(
                    channel_name="test",
                    data_source=Shape(
                        s3_data_source=Shape(s3_uri="s3://b/test"), file_system_data_source=None
                    ),
                ),
            ],
            "checkpoint_config": Shape(s3_uri="s3://b/kept", local_path="/opt/ml/checkpoints"),
            "stopping_condition": Shape(max_runtime_in_seconds=60, max_wait_time_in_seconds=Unassigned()),
            "distributed": None,
            "tags": [Shape(key="team", value="vision")],
            "base_job_name": "digits",
            **changed,
        }
    )


def test_all_of_it_is_taken_over() -> None:
    assert spec_of_trainer(trainer()) == JobSpec(
        name="digits",
        command=("python", "train.py", "--lr", "0.1", "--layers", "[1, 2]", "--name", "x"),
        code_dir="src",
        compute=Compute(instance_type="ml.m5.large", instance_count=2, spot=True),
        environment=Environment(image=IMAGE),
        parameters={"lr": "0.1", "layers": "[1, 2]", "name": "x"},
        variables={"A": "1"},
        inputs={"train": "s3://b/train", "test": "s3://b/test"},
        checkpoints="s3://b/kept",
        tags={"team": "vision"},
        time_limit_s=60,
    )


def test_what_is_not_said_stays_open() -> None:
    least = Shape(source_code=Shape(command="make train", entry_script=None), compute=Unassigned())
    assert spec_of_trainer(least, name="mine") == JobSpec(
        name="mine", command=("/bin/sh", "-c", "make train")
    )


def test_requirements_and_launchers(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# of the model\nnumpy==2.0 # fast\n\nrequests\n")
    source = Shape(source_dir=str(tmp_path), entry_script="run.sh", command=None, requirements="auto")
    spec = spec_of_trainer(trainer(source_code=source, distributed=Torchrun(process_count_per_node=4)))
    assert spec.environment.requirements == ("numpy==2.0", "requests")
    assert (spec.launcher, spec.processes_per_node) == (Launcher.TORCHRUN, 4)
    assert spec.command == ("/bin/bash", "run.sh")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"algorithm_name": "xgboost"}, "algorithm_name"),
        ({"source_code": None}, "source_code"),
        ({"source_code": Shape(command=None, entry_script=None)}, "nothing to run"),
        (
            {"source_code": Shape(entry_script="a.py", requirements="/none/r.txt")},
            "cannot be read",
        ),
        ({"distributed": Smdistributed()}, "Smdistributed"),
        ({"input_data_config": [Shape(channel_name="a", data_source=Shape())]}, "a is not in S3"),
    ],
)
def test_what_has_no_meaning_here_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        spec_of_trainer(trainer(**changed))
    assert caught.value.hint
