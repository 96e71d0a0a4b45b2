"""From a ``ModelTrainer`` of AWS's SDK to a job of ours; the SDK itself is not needed for it.

==========================  ====================================================================
of the trainer              of the spec
==========================  ====================================================================
``training_image``          image
``source_code``             folder, command, requirements
``hyperparameters``         parameters, and options of a script of Python: ``--NAME VALUE``
``environment``             variables
``compute``                 instance type and count, spot
``input_data_config``       inputs
``checkpoint_config``       checkpoints
``stopping_condition``      time limit
``distributed``             launcher, processes of each machine
``tags``                    tags
==========================  ====================================================================

The role, the session and the network are the place's, by its options. What has no meaning here is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trackbridge.domain.jobs import Compute, Environment, JobSpec, Launcher
from trackbridge.errors import InvalidInput
from trackbridge_adapters.sagemaker.arn import ADAPTER

LAUNCHERS = {"Torchrun": Launcher.TORCHRUN, "MPI": Launcher.MPI}
"""The SDK's names for what starts the processes (sagemaker 3.27, train/distributed.py)."""
_OPERATION = "jobs.spec_of_trainer"


def spec_of_trainer(trainer: Any, *, name: str = "") -> JobSpec:
    """Return the job that a ``ModelTrainer`` describes.

    Args:
        trainer: Of ``sagemaker.train``; anything with the same attributes will do.
        name: Of the job; by default the trainer's ``base_job_name``.

    Raises:
        InvalidInput: It names an algorithm of AWS's, runs nothing of its own, or asks for what is not here.
    """
    if getattr(trainer, "algorithm_name", None):
        raise _wrong("algorithm_name", "an algorithm of AWS's has no program to run", "name a training_image")
    source = getattr(trainer, "source_code", None)
    if source is None:
        raise _wrong("source_code", "it has none", "give one with an entry_script or a command")
    parameters = {key: _text(value) for key, value in (_of(trainer, "hyperparameters") or {}).items()}
    compute = _of(trainer, "compute")
    launcher, processes = _distribution(_of(trainer, "distributed"))
    return JobSpec(
        name=name or _of(trainer, "base_job_name") or "model-trainer",
        command=_command(source, parameters),
        code_dir=_of(source, "source_dir"),
        compute=Compute(
            instance_type=_of(compute, "instance_type"),
            instance_count=_of(compute, "instance_count") or 1,
            spot=bool(_of(compute, "enable_managed_spot_training")),
        ),
        environment=Environment(image=_of(trainer, "training_image"), requirements=_requirements(source)),
        parameters=parameters,
        variables=dict(_of(trainer, "environment") or {}),
        inputs=dict(map(_input, _of(trainer, "input_data_config") or ())),
        checkpoints=_of(_of(trainer, "checkpoint_config"), "s3_uri"),
        tags={_of(tag, "key"): _of(tag, "value") or "" for tag in _of(trainer, "tags") or ()},
        launcher=launcher,
        processes_per_node=processes,
        time_limit_s=_of(_of(trainer, "stopping_condition"), "max_runtime_in_seconds"),
    )


def _command(source: Any, parameters: Mapping[str, str]) -> tuple[str, ...]:
    command, script = _of(source, "command"), _of(source, "entry_script")
    if command:
        return ("/bin/sh", "-c", str(command))
    if not script:
        raise _wrong("source_code", "it says nothing to run", "give an entry_script or a command")
    if script.endswith(".py"):
        options = [word for name, value in parameters.items() for word in (f"--{name}", value)]
        return ("python", script, *options)
    return ("/bin/bash", script)


def _requirements(source: Any) -> tuple[str, ...]:
    named = _of(source, "requirements")
    if not named:
        return ()
    path = Path(_of(source, "source_dir") or ".", "requirements.txt" if named == "auto" else named)
    if named == "auto" and not path.exists():
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(
            "source_code", f"its requirements cannot be read: {error}", "name a text file"
        ) from error
    return tuple(_without_comments(lines))


def _without_comments(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        requirement = line.partition(" #")[0].strip()
        if requirement and not requirement.startswith("#"):
            yield requirement


def _distribution(distributed: Any) -> tuple[Launcher, int]:
    if distributed is None:
        return Launcher.DIRECT, 1
    kind = type(distributed).__name__
    if kind not in LAUNCHERS:
        raise _wrong("distributed", f"{kind} is not known here", "use Torchrun or MPI")
    return LAUNCHERS[kind], _of(distributed, "process_count_per_node") or 1


def _input(given: Any) -> tuple[str, str]:
    """Return the name and the address of an ``InputData`` or a ``Channel``."""
    name, source = str(_of(given, "channel_name")), _of(given, "data_source")
    while source is not None and not isinstance(source, str):  # DataSource, S3DataSource
        source = _of(source, "s3_data_source") or _of(source, "s3_uri")
    if not source:
        raise _wrong("input_data_config", f"{name} is not in S3", "give an s3:// address or a folder")
    return name, source


def _of(value: Any, name: str) -> Any:
    """Return an attribute; None where it, or what should have it, is not given.

    The SDK has an object of its own, ``Unassigned``, for what was not said.
    """
    found = getattr(value, name, None)
    return None if type(found).__name__ == "Unassigned" else found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _wrong(field: str, problem: str, hint: str) -> InvalidInput:
    return InvalidInput(f"the trainer's {field}: {problem}", adapter=ADAPTER, operation=_OPERATION, hint=hint)
