"""Sweeps from a program: ``tb.sweep("train.py", {"lr": "loguniform(1e-4, 1e-1)"}, metric="loss", …)``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trackbridge.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from trackbridge.api.client import Client
    from trackbridge.api.model_results import ModelVersion
    from trackbridge.operations.job_sources.requests import JobRequest
    from trackbridge.operations.opening import UriArgument
    from trackbridge.operations.sweeps.definition import SweepDefinition, SweepLimits
    from trackbridge.operations.sweeps.records import Trial
    from trackbridge.operations.sweeps.requests import SweepRequest
    from trackbridge.operations.sweeps.running import Outcome
    from trackbridge.operations.sweeps.starting import Sweep
    from trackbridge.resolve.config import Settings

MLMODEL = "MLmodel"
FOLDERS_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What came of a sweep; ``run_id`` is that of its parent run.

    ``best`` is the trial with the best value, with ``params``, ``value`` and ``run_id``; None when none has a
    value. ``version`` is the registered model, where one was asked for.
    """

    key: str
    run_id: str
    trials: tuple[Trial, ...]
    best: Trial | None
    version: ModelVersion | None = None


def sweep(
    command: str | os.PathLike[str] | Sequence[str],
    space: Mapping[str, Any],
    *,
    metric: str,
    mode: str = "min",
    trials: int | None = None,
    parallel: int = 1,
    sampler: str | None = None,
    seed: int | None = None,
    value_of: str = "last",
    max_failures: int | None = None,
    register: str | None = None,
    key: str | None = None,
    experiment_name: str | None = None,
    on: UriArgument = None,
    on_trial: Callable[[Trial], None] | None = None,
    **job: Any,
) -> SweepResult:
    """Run a script, a project or a command many times with other parameters each, and return the best.

    Args:
        command: What ``tb.submit`` takes: a script, a folder with an MLproject, a git address, or words; in
            words, ``{lr}`` stands for the parameter lr.
        space: By the parameters' names: a value, a list of values, or a text such as
            ``loguniform(1e-4, 1e-1)``, ``uniform(0, 1, step=0.1)``, ``int(1, 8)``.
        metric: The metric to go by, as the trials' runs log it.
        mode: ``min`` or ``max``.
        trials: How many; None for every point of a grid.
        parallel: How many jobs at once.
        sampler: ``grid``, ``random``, or one of Optuna's: ``tpe``, ``cmaes``, ``qmc``, ``gp``, ``nsga2``. By
            default ``grid`` where every parameter is a list of values, else ``tpe``.
        seed: For the same proposals again.
        value_of: Which point of the metric counts: ``last``, ``min`` or ``max``.
        max_failures: No further trial is begun after so many failed ones; 10 by default.
        register: Register the model that the best trial has logged under this name.
        key: The same key is the same sweep: called again, it goes on where it was.
        experiment_name: The runs' experiment; by default the one in use.
        on: Where the jobs run: ``local``, a remote's name or a URI.
        on_trial: Told of each trial whenever it has come further.
        job: What else ``tb.submit`` takes of a job: ``name requirements env_manager code_dir variables
            secrets compute instances image time_limit_s attempts_max`` …

    Raises:
        InvalidInput: The space cannot be read or does not go with the sampler, or a word of the job is none.
        Rejected: The jobs cannot run there.
        Conflict: The key was used for another sweep.
        Locked: Another process goes on with the sweep.
        LimitReached: Too many trials have failed.
        NotFound: The best trial has logged no model, and one is to be registered.
        KeyboardInterrupt: Ctrl-C; the jobs go on, and the same call with the same key takes them up.
    """
    from trackbridge.operations.sweeps.requests import SweepRequest

    request = SweepRequest(
        space=dict(space),
        metric=metric,
        mode=mode,
        value_of=value_of,
        sampler=sampler,
        seed=seed,
        trials=trials,
        parallel=parallel,
        max_failures=max_failures,
        register=register,
        key=key,
    )
    asked = _job_request(command, job)
    return _run(request, asked, experiment_name=experiment_name, on=on, on_trial=on_trial)


def _job_request(command: str | os.PathLike[str] | Sequence[str], said: Mapping[str, Any]) -> JobRequest:
    """Return what was said of the jobs.

    Raises:
        InvalidInput: A word is none, or its value is of the wrong type.
    """
    import msgspec

    from trackbridge.api.jobs import JobOptions, request_fields
    from trackbridge.operations.job_sources.requests import JobRequest

    known = JobOptions.__annotations__
    unknown = sorted(said.keys() - set(known))
    if unknown:
        raise InvalidInput(
            f"a job has no {unknown[0]!r}", operation="sweep", hint=f"there are {', '.join(known)}"
        )
    words = (os.fspath(command),) if isinstance(command, (str, os.PathLike)) else tuple(command)
    try:
        return msgspec.convert({**request_fields(said), "words": words}, JobRequest)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the job is not as it has to be: {error}", operation="sweep") from error


def _run(
    request: SweepRequest,
    job: JobRequest,
    *,
    experiment_name: str | None,
    on: UriArgument,
    on_trial: Callable[[Trial], None] | None,
) -> SweepResult:
    """Run a sweep whose runs go where this program's go."""
    from trackbridge.api import fluent
    from trackbridge.resolve.config import Settings

    settings = Settings()
    made = prepare_sweep(
        request,
        job,
        settings=settings,
        tracking_uri=fluent.client().session.destinations[0],
        experiment=experiment_name or fluent._experiment_of(None, settings)[1],
        on=on,
    )
    try:
        outcome = made.run(on_trial=on_trial or (lambda trial: None))
        if outcome.is_interrupted:
            raise KeyboardInterrupt
        return result_of(made, outcome)
    finally:
        made.close()


def prepare_sweep(
    request: SweepRequest,
    job: JobRequest,
    *,
    settings: Settings,
    tracking_uri: UriArgument,
    experiment: str | None = None,
    on: UriArgument = None,
) -> Sweep:
    """Return the sweep that was asked for, with what its jobs run read; nothing is begun.

    Raises:
        BridgeError: What was said is wrong; which one says what, where and how to put it right.
    """
    from trackbridge.api.job_submission import git_tags
    from trackbridge.operations.job_sources.sources import read_source
    from trackbridge.operations.sweeps.requests import sweep_of, with_sweep_file
    from trackbridge.operations.sweeps.starting import Sweep

    request, job, folder = with_sweep_file(request, job)
    source = read_source(job, settings.around, folder=folder)
    definition, limits = sweep_of(
        request,
        source,
        tracking_uri=tracking_uri,
        experiment=experiment or str(settings.value("experiment_name")),
        place=on,
        tags=git_tags(source.base.code_dir),
        settings=settings,
    )
    return Sweep(definition, limits, settings=settings)


def result_of(sweep: Sweep, outcome: Outcome) -> SweepResult:
    """Return what came of a sweep that has ended, having registered the best model if asked.

    Raises:
        NotFound: The best trial has logged no model.
    """
    version = None
    if sweep.limits.register_as is not None and outcome.best is not None:
        version = register_best(sweep.definition, sweep.limits, outcome.best)
    trials = tuple(trial for _, trial in sorted(outcome.trials.items()))
    return SweepResult(sweep.definition.key, sweep.definition.run_id, trials, outcome.best, version)


def register_best(definition: SweepDefinition, limits: SweepLimits, best: Trial) -> ModelVersion:
    """Register the model that the best trial has logged; registered again, it is the same version.

    Raises:
        NotFound: It has logged none.
    """
    from trackbridge.api.client import Client

    client = Client(definition.tracking_uri)
    path = model_path(client, best.run_id)
    if path is None:
        raise NotFound(
            f"the best trial, {best.number}, has logged no model",
            operation="sweep",
            resource=f"run {best.run_id}",
            hint="log one in the script: tb.log_model(model), or mlflow.sklearn.log_model(model)",
        )
    tags = {
        "sweep": definition.key,
        "sweep.trial": str(best.number),
        f"sweep.{definition.metric}": repr(best.value),
    }
    name = str(limits.register_as)
    why = f"best of sweep {definition.key}: {definition.metric} = {best.value}"
    return client.register_model(f"runs:/{best.run_id}/{path}", name, tags=tags, why=why)


def model_path(client: Client, run_id: str) -> str | None:
    """Return where in a run's artifacts its model lies: the folder with ``MLmodel`` that comes first."""
    folders: list[str | None] = [None]
    for folder in folders:
        files = client.list_artifacts(run_id, folder)
        if folder is not None and any(item.path == f"{folder}/{MLMODEL}" for item in files):
            return folder
        room = FOLDERS_LOOKED_AT - len(folders)
        folders.extend([item.path for item in files if item.is_dir][:room])
    return None
