"""The fluent functions: mlflow's names and meaning, on the active run of this thread."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.api import active
from trackbridge.api.active import ActiveRun
from trackbridge.api.client import MAX_RESULTS, Client, Uri, ViewType, _final_status, as_list
from trackbridge.api.job_surroundings import only_adds
from trackbridge.api.recorder import RunRecorder, now_ms
from trackbridge.api.results import Experiment, Experiments, Run
from trackbridge.api.values import checked_key, checked_mapping, checked_tag_key
from trackbridge.domain.runs import TAG_NOTE, TAG_PARENT, Metric, RunStatus
from trackbridge.errors import BridgeError, Conflict, InvalidInput, NotFound
from trackbridge.resolve.config import Settings

SEARCH_RESULTS_MAX = 100_000
"""As in mlflow's fluent search."""

_lock = threading.RLock()
_experiment: tuple[str, str] | None = None  # id and name, once set
_client: Client | None = None


def set_tracking_uri(uri: Uri) -> None:
    """Decide where runs go from now on. Runs that are open stay where they are.

    Args:
        uri: A tracking URI (``file:PATH``, ``azureml:``, ``sagemaker:``, ``https://…``, a remote's name),
            several separated by commas or in a list (the first is read from), or None for the configured one.

    Raises:
        ConfigError: The URI is wrong, or holds a credential.
        MissingExtra: Its backend needs a package; the hint is the command that installs it.
    """
    global _client, _experiment
    with _lock:
        before, Client.default_uri = Client.default_uri, uri
        if uri is None:
            _let_inherit(_URI_VARIABLE, None)
        try:
            client = Client()
            _ = client.reader.adapter  # what cannot be opened is refused here, not at the first delivery
        except BridgeError:
            Client.default_uri = before
            raise
        _client, _experiment = client, None
    if uri is not None:
        _let_inherit(_URI_VARIABLE, client.tracking_uri)
    _let_inherit(_EXPERIMENT_VARIABLE, None)


_URI_VARIABLE = "BRIDGE_TRACKING_URI"
_EXPERIMENT_VARIABLE = "BRIDGE_EXPERIMENT_NAME"
_inherited: dict[str, str] = {}  # what was set here, for the processes that this one starts


def _let_inherit(variable: str, value: str | None) -> None:
    """Let processes that this one starts do as it does, as with mlflow; take back what was set before."""
    if value is not None:
        os.environ[variable] = _inherited[variable] = value
    elif os.environ.get(variable) == _inherited.pop(variable, None):
        os.environ.pop(variable, None)


def get_tracking_uri() -> str:
    """Return the tracking URI in use, in its full form."""
    return client().tracking_uri


def client() -> Client:
    """Return the client behind the fluent functions."""
    global _client
    if _client is None:
        with _lock:
            if _client is None:
                _client = Client()
    return _client


def set_experiment(
    experiment_name: str | None = None,
    experiment_id: str | None = None,
    *,
    tags: Mapping[str, object] | None = None,
) -> Experiment:
    """Use an experiment for the runs to come, here and in processes that this one starts.

    Args:
        experiment_name: Its name; it is created when there is none.
        experiment_id: Instead of the name, the id of one that exists.
        tags: Tags to set on it.

    Raises:
        InvalidInput: Not just one of name and id is given, or the name is empty, too long, or no valid text.
        NotFound: There is no experiment of this id.
        Rejected: The experiment was deleted.
    """
    global _experiment
    if (experiment_name is None) == (experiment_id is None):
        raise InvalidInput("name the experiment either by its name or by its id", operation="set_experiment")
    if experiment_id is not None:
        experiment_name = client().get_experiment(experiment_id).name
    assert experiment_name is not None  # one of the two was given
    experiment = client().open_experiment(experiment_name, tags=tags)
    _experiment = (experiment.experiment_id, experiment.name)
    _let_inherit(_EXPERIMENT_VARIABLE, experiment.name)
    return experiment


# The life of a run.


def start_run(
    run_id: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    nested: bool = False,
    parent_run_id: str | None = None,
    tags: Mapping[str, object] | None = None,
    description: str | None = None,
    log_system_metrics: bool | None = None,
) -> ActiveRun:
    """Start a run and make it active; use it as a context manager, or call ``end_run``.

    Source, git commit and dirty state, user, host, Python and installed packages are recorded. In a job, it
    is the job's run; of the processes that torchrun or MPI start there, only rank 0 tracks, and the calls of
    the others are accepted and go nowhere, unless the job says ``all_ranks_track``.

    Args:
        run_id: Take up this run again instead; by default ``BRIDGE_RUN_ID`` where set.
        experiment_id: Its experiment; by default the one of ``set_experiment``.
        run_name: A name; by default a random one.
        nested: Allow a run inside of the active one.
        parent_run_id: The run in which it is nested; by default the active one.
        tags: Tags to begin with.
        description: The run's note, in markdown.
        log_system_metrics: Sample CPU, memory and GPU; by default as configured.

    Raises:
        Conflict: A run is active in this thread, and ``nested`` is False.
    """
    outer = active.current()
    if outer is not None and not outer.is_own:
        outer = None  # a forked worker: the run is its parent's, and this one its own
    if outer is not None and not nested and outer.recorder.run_id != run_id:
        raise Conflict(
            f"run {outer.recorder.run_id} is active",
            operation="start_run",
            hint="end it with end_run(), or start this one with nested=True",
        )
    settings = Settings()
    wanted = run_id or (settings.value("run_id") if outer is None else None)
    texts = {checked_tag_key(key): value for key, value in checked_mapping(tags or {}, of="tags").items()}
    if description is not None:
        texts[TAG_NOTE] = description
    if wanted and only_adds(wanted):
        recorder = client().recorder(wanted)
        recorder.tags(texts)
    elif wanted:
        recorder = client().resume_run(wanted, tags=texts)
    else:
        parent = parent_run_id or (outer.recorder.run_id if outer is not None and nested else None)
        recorder = _open(experiment_id, run_name, texts | ({TAG_PARENT: parent} if parent else {}), settings)
    run = ActiveRun(client(), recorder)
    active.push(run)
    _attach(run, settings, log_system_metrics, is_new=not wanted)
    return run


def _open(
    experiment_id: str | None, run_name: str | None, tags: dict[str, object], settings: Settings
) -> RunRecorder:
    from trackbridge.api.context import run_context

    experiment = _experiment_of(experiment_id, settings)
    context: dict[str, object] = {**run_context(cwd=Path.cwd())}
    user = settings.value("user")
    if user:
        context["mlflow.user"] = user
    return client().open_run(*experiment, run_name=run_name, tags={**context, **tags})


def _experiment_of(experiment_id: str | None, settings: Settings) -> tuple[str, str]:
    if experiment_id is not None:
        known = client().session.experiment_name(experiment_id)
        return experiment_id, known or client().get_experiment(experiment_id).name
    if _experiment is None:
        set_experiment(settings.value("experiment_name"))
    assert _experiment is not None
    return _experiment


def _attach(run: ActiveRun, settings: Settings, log_system_metrics: bool | None, *, is_new: bool) -> None:
    """Begin what goes on beside the training: reading git and packages, sampling the machine."""
    if is_new:
        from trackbridge.api.background import ContextReader

        run.attach(ContextReader(run.recorder, cwd=Path.cwd()))
    if log_system_metrics or (log_system_metrics is None and settings.value("system_metrics")):
        from trackbridge.api.system_metrics import SystemMetricsSampler

        recorder, steps = run.recorder, itertools.count()

        def log(values: dict[str, float]) -> None:
            now, step = now_ms(), next(steps)
            recorder.metrics([Metric(key, value, now, step) for key, value in values.items()])

        sampler = SystemMetricsSampler(log, interval_s=settings.value("system_metrics_interval_s"))
        sampler.start()
        run.attach(sampler)


def end_run(status: str | RunStatus = RunStatus.FINISHED) -> None:
    """End the active run; without one nothing happens.

    Args:
        status: FINISHED, FAILED or KILLED.
    """
    final = _final_status(status)
    run = active.pop()
    if run is not None:
        run.end(final)


def active_run() -> ActiveRun | None:
    """Return the active run of this thread, or None."""
    return active.current()


def _recorder(run_id: str | None) -> RunRecorder:
    """Return the recorder of a run, by default the active one, which is started when there is none."""
    run = active.current()
    if run_id is not None and (run is None or run.recorder.run_id != run_id):
        return client().recorder(run_id)
    return (run or start_run()).recorder


def _client_of(run_id: str | None) -> Client:
    """Return the client of a run: an active one stays where it was opened."""
    run = active.current() or (start_run() if run_id is None else None)
    if run is not None and run_id in (None, run.recorder.run_id):
        return run.client
    return client()


# Logging.


def log_metric(
    key: str,
    value: float,
    step: int | None = None,
    timestamp: int | None = None,
    run_id: str | None = None,
    *,
    synchronous: bool | None = None,
) -> None:
    """Log one point of a metric: a few microseconds, and it survives the death of the program.

    The same run, key, step, timestamp and value is one point, however often it is logged.

    Args:
        key: Name of the metric.
        value: A number, or an array or tensor of one element; NaN and infinities are kept.
        step: A whole number of 64 bits, 0 by default; may be negative.
        timestamp: Milliseconds since 1970; by default now.
        run_id: The run; by default the active one, which is started when there is none.
        synchronous: Taken for mlflow's sake and without effect: no call waits, and none is lost.

    Raises:
        InvalidInput: The key, value, step or timestamp is none of these.
    """
    if run_id is None:
        runs = active._stacks.runs
        if runs:
            runs[-1].recorder.metric(key, value, step, timestamp)
            return
    _recorder(run_id).metric(key, value, step, timestamp)


def log_metrics(
    metrics: Mapping[str, float],
    step: int | None = None,
    timestamp: int | None = None,
    run_id: str | None = None,
) -> None:
    """Log one point of each of several metrics, all of them at the same step and time."""
    now = now_ms() if timestamp is None else timestamp
    values = checked_mapping(metrics, of="metrics")
    points = [Metric(key, value, now, 0 if step is None else step) for key, value in values.items()]
    _recorder(run_id).metrics(points)


def log_batch(
    metrics: Sequence[Any] = (),
    params: Sequence[Any] | Mapping[str, object] = (),
    tags: Sequence[Any] | Mapping[str, object] = (),
    run_id: str | None = None,
) -> None:
    """Log many points, params and tags; see ``Client.log_batch``."""
    _client_of(run_id).log_batch(_recorder(run_id).run_id, metrics, params, tags)


def log_param(key: str, value: Any, run_id: str | None = None) -> Any:
    """Log a param, kept as text, and return its value. A param is written once.

    Raises:
        Conflict: This program has logged another value for it.
    """
    _recorder(run_id).params({checked_key(key, kind="param"): value})
    return value


def log_params(params: Mapping[str, Any], run_id: str | None = None) -> None:
    """Log several params; see ``log_param``."""
    _recorder(run_id).params(checked_mapping(params, of="params"))


def set_tag(key: str, value: Any, run_id: str | None = None) -> None:
    """Set a tag, kept as text. Tags under ``bridge.`` are reserved."""
    _recorder(run_id).tags({checked_tag_key(key): str(value)})


def set_tags(tags: Mapping[str, Any], run_id: str | None = None) -> None:
    """Set several tags."""
    values = checked_mapping(tags, of="tags")
    _recorder(run_id).tags({checked_tag_key(key): str(value) for key, value in values.items()})


def delete_tag(key: str, run_id: str | None = None) -> None:
    """Delete a tag; deleting an absent one succeeds."""
    _recorder(run_id).tags({checked_tag_key(key): None})


def log_input(
    dataset: Any,
    context: str | None = None,
    *,
    name: str | None = None,
    source: str = "",
    targets: Any = None,
    tags: Mapping[str, object] | None = None,
    run_id: str | None = None,
) -> None:
    """Log a data set that the run reads.

    Args:
        dataset: A frame, array, mapping of columns, path of a file, or a data set of mlflow.
        context: What it is read for, for example ``training``.
        name: Its name; by default derived from its kind or file.
        source: Where it comes from, for example an address; kept without credentials.
        targets: What is to be predicted: the name of a column, or an array beside an array.
        tags: Tags of this use of the data.
        run_id: The run; by default the active one.
    """
    from trackbridge.api.datasets import dataset_input

    described = dataset_input(dataset, name=name, source=source, context=context, targets=targets)
    texts = {key: str(value) for key, value in checked_mapping(tags or {}, of="tags").items()}
    _recorder(run_id).input(msgspec.structs.replace(described, tags={**described.tags, **texts}))


# Artifacts.


def log_artifact(
    local_path: str | os.PathLike[str], artifact_path: str | None = None, run_id: str | None = None
) -> None:
    """Log a file, or a folder with all in it, below ``artifact_path``. What it holds now is what is kept."""
    _client_of(run_id).log_artifact(_recorder(run_id).run_id, local_path, artifact_path)


def log_artifacts(
    local_dir: str | os.PathLike[str], artifact_path: str | None = None, run_id: str | None = None
) -> None:
    """Log all files of a folder below ``artifact_path``."""
    _client_of(run_id).log_artifacts(_recorder(run_id).run_id, local_dir, artifact_path)


def log_text(text: str, artifact_file: str, run_id: str | None = None) -> None:
    """Log text as a file."""
    _client_of(run_id).log_text(_recorder(run_id).run_id, text, artifact_file)


def log_dict(dictionary: Any, artifact_file: str, run_id: str | None = None) -> None:
    """Log a dictionary or list as JSON, or as YAML by the file's ending."""
    _client_of(run_id).log_dict(_recorder(run_id).run_id, dictionary, artifact_file)


def log_figure(figure: Any, artifact_file: str, run_id: str | None = None, **save_options: Any) -> None:
    """Log a matplotlib or plotly figure."""
    _client_of(run_id).log_figure(_recorder(run_id).run_id, figure, artifact_file, **save_options)


def log_image(
    image: Any,
    artifact_file: str | None = None,
    key: str | None = None,
    step: int | None = None,
    timestamp: int | None = None,
    run_id: str | None = None,
) -> None:
    """Log an image (PIL, or an array of H x W or H x W x C) as a file, or under a key and step."""
    _client_of(run_id).log_image(_recorder(run_id).run_id, image, artifact_file, key, step, timestamp)


def log_table(data: Any, artifact_file: str, run_id: str | None = None) -> None:
    """Log a table (a mapping of columns, or a frame); rows are added to what the file holds."""
    _client_of(run_id).log_table(_recorder(run_id).run_id, data, artifact_file)


# The exploratory part.


def note(text: str, run_id: str | None = None) -> None:
    """Add a time-stamped note to the run's description, for example why a column was dropped."""
    from trackbridge.api.notes import append_note

    recorder = _recorder(run_id)
    existing = recorder.snapshot().data.tags.get(TAG_NOTE, "")
    recorder.tags({TAG_NOTE: append_note(existing, text, now_ms())})


def log_notebook(path: str | os.PathLike[str] | None = None, run_id: str | None = None) -> None:
    """Log a notebook and a readable preview of its cells; nothing in it is executed.

    Args:
        path: The ``.ipynb`` file; None for the one that is running, where its path is known.
        run_id: The run; by default the active one.
    """
    from trackbridge.api.context import notebook_path
    from trackbridge.api.notes import encode_notebook

    found = Path(path) if path is not None else notebook_path()
    if found is None:
        raise InvalidInput(
            "the path of the running notebook is not known",
            operation="log_notebook",
            hint="name it: log_notebook('analysis.ipynb')",
        )
    notebook = encode_notebook(found)
    recorder = _recorder(run_id)
    recorder.content(notebook.content, f"notebooks/{found.name}")
    recorder.content(notebook.preview.encode(), f"notebooks/{found.stem}.md")


# Reading.


def get_run(run_id: str) -> Run:
    """Return a run with its params, tags, inputs and the last value of each metric.

    Raises:
        NotFound: There is no such run.
    """
    return client().get_run(run_id)


def search_runs(
    experiment_ids: Sequence[str] | None = None,
    filter_string: str = "",
    run_view_type: str = ViewType.ACTIVE_ONLY,
    max_results: int = SEARCH_RESULTS_MAX,
    order_by: Sequence[str] | None = None,
    *,
    experiment_names: Sequence[str] | None = None,
    search_all_experiments: bool = False,
    page_token: str | None = None,
    output_format: str = "list",
) -> Any:
    """Return the runs that fulfil a filter; ``to_frame()`` makes a pandas or polars frame of them.

    Args:
        experiment_ids: Where to look; by default the experiment of ``set_experiment``.
        filter_string: For example ``metrics.acc > 0.9 and params.lr = '0.1' and tags.x LIKE 'a%'``.
        run_view_type: A value of ``ViewType``.
        max_results: Runs to return at the most.
        order_by: Columns such as ``metrics.acc DESC``.
        experiment_names: Where to look, by name.
        search_all_experiments: Look everywhere.
        page_token: The token of an earlier result of the same search.
        output_format: ``list``, or ``pandas`` or ``polars`` for a frame at once.

    Raises:
        InvalidQuery: The filter or the order is wrong; the error says where.
        NotFound: There is no experiment of a name in ``experiment_names``.
    """
    found = _experiment_ids(experiment_ids, experiment_names, search_all_experiments)
    runs = client().search_runs(found, filter_string, run_view_type, max_results, order_by, page_token)
    return runs if output_format == "list" else runs.to_frame(output_format)


def _experiment_ids(
    ids: Sequence[str] | None, names: Sequence[str] | None, everywhere: bool
) -> Sequence[str]:
    if ids is not None and names is not None:
        raise InvalidInput("name experiments by id or by name, not both", operation="search_runs")
    if ids is not None:
        return ids
    if names is not None:
        return [_existing(name).experiment_id for name in as_list(names)]
    if everywhere:
        return [found.experiment_id for found in client().search_experiments(max_results=SEARCH_RESULTS_MAX)]
    if _experiment is not None:
        return [_experiment[0]]
    default = client().get_experiment_by_name(Settings().value("experiment_name"))
    return [] if default is None else [default.experiment_id]


def _existing(name: str) -> Experiment:
    found = client().get_experiment_by_name(name)
    if found is None:
        raise NotFound(f"there is no experiment {name!r}", hint="see: bridge experiments list")
    return found


def search_experiments(
    view_type: str = ViewType.ACTIVE_ONLY,
    max_results: int = MAX_RESULTS,
    filter_string: str | None = None,
    order_by: Sequence[str] | None = None,
) -> Experiments:
    """Return the experiments that fulfil a filter such as ``name LIKE 'wine%'``."""
    return client().search_experiments(view_type, max_results, filter_string, order_by)


def flush(timeout_s: float | None = None) -> None:
    """Wait until everything that was logged so far is delivered; see ``Client.flush``."""
    client().flush(timeout_s)
