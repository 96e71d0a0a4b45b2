"""Both sides of SageMaker's limits: the emulator refuses what is beyond, and we never send it.

What a program gives us beyond a limit is read back whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from tests.support.sagemaker_requests import NOT_OF_MODEL, STEPS, VALID, Step, named
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.domain.runs import TAG_PARENT, DatasetInput
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.registry import ModelRegistry
from trackbridge.ports.tracking import TrackingStore
from trackbridge.testing.contracts.registry_base import DIGEST, put_payload
from trackbridge.testing.contracts.samples import (
    FINITE_VALUES,
    NON_FINITE_VALUES,
    batch_of,
    bits_of,
    digest_of,
    file_of,
    points_of,
    run_spec,
)
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker import limits as emulated
from trackbridge.testing.emulators.sagemaker.experiment_records import Experiments
from trackbridge.testing.emulators.sagemaker.protocol import service_model
from trackbridge.testing.emulators.sagemaker.refusal import Refused
from trackbridge_adapters.sagemaker import open_adapter
from trackbridge_adapters.sagemaker.limits import COMPONENTS_PER_TRIAL, TRIALS_PER_EXPERIMENT

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def running() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(
    running: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[SageMakerEmulator]:
    """The emulator, empty; at the end nothing may have failed in it, nor been sent that it refuses."""
    running.reset()
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    yield running
    running.raise_failures()


@pytest.fixture
def adapter(emulator: SageMakerEmulator, tmp_path: Path) -> Iterator[Adapter]:
    context = AdapterContext(home=tmp_path / "home", options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
    adapter = wrap_adapter(open_adapter(emulator.uri, context=context))
    yield adapter
    adapter.close()
    assert beyond_limits(emulator) == []


@pytest.fixture
def store(adapter: Adapter) -> TrackingStore:
    assert adapter.tracking is not None
    return adapter.tracking


@pytest.fixture
def artifacts(adapter: Adapter) -> ArtifactStore:
    assert adapter.artifacts is not None
    return adapter.artifacts


@pytest.fixture
def registry(adapter: Adapter) -> ModelRegistry:
    assert adapter.registry is not None
    return adapter.registry


@pytest.fixture(scope="module")
def client_of(running: SageMakerEmulator) -> Callable[[str], Any]:
    """Makes boto3's client of a service, once."""
    return lru_cache(maxsize=None)(running.client)


def beyond_limits(emulator: SageMakerEmulator) -> list[str]:
    """Return what was sent to SageMaker that its service model does not allow."""
    found = []
    for call in emulator.calls:
        if not call.service.startswith("sagemaker"):
            continue
        shape = service_model(call.service).operation_model(call.operation).input_shape
        try:
            emulated.check(shape, call.params)
        except Refused as refused:
            found.append(f"{call.operation}: {refused.message}")
    return found


# The emulator refuses what is beyond.

OVER = [step for step in STEPS if step.path + repr(step.beyond) not in NOT_OF_MODEL]


@pytest.mark.parametrize("operation", sorted({(step.service, step.operation) for step in OVER}))
def test_the_emulator_refuses_every_step_beyond(
    emulator: SageMakerEmulator, client_of: Callable[[str], Any], operation: tuple[str, str]
) -> None:
    from botocore.exceptions import ClientError

    client = client_of(operation[0])
    for step in OVER:
        if (step.service, step.operation) != operation:
            continue
        with pytest.raises(ClientError) as caught:
            client._make_api_call(step.operation, step.request(step.beyond))
        told = caught.value.response["Error"]
        assert told["Code"] in ("ValidationException", "ValidationError", "SerializationException"), named(
            step
        )


@pytest.mark.parametrize("operation", ["CreateExperiment", "CreateTrialComponent", "AddTags"])
def test_the_emulator_refuses_tags_that_are_awss_own(
    emulator: SageMakerEmulator, client_of: Callable[[str], Any], operation: str
) -> None:
    from botocore.exceptions import ClientError

    client = client_of("sagemaker")
    params = dict(VALID["sagemaker", operation])
    if operation == "AddTags":
        made = client.create_experiment(ExperimentName="experiment")
        params["ResourceArn"] = made["ExperimentArn"]
    with pytest.raises(ClientError, match="aws:"):
        client._make_api_call(operation, {**params, "Tags": [{"Key": "aws:x", "Value": "1"}]})


@pytest.mark.parametrize(
    ("age_s", "value"), [(1_209_700, 1.0), (-7_300, 1.0), (0, float("nan")), (0, float("inf"))]
)
def test_the_emulator_tells_of_points_inside_of_a_200(
    emulator: SageMakerEmulator, client_of: Callable[[str], Any], age_s: int, value: float
) -> None:
    client_of("sagemaker").create_trial_component(TrialComponentName="component")
    good = {"MetricName": "loss", "Timestamp": time.time(), "Value": 1.0}
    bad = {"MetricName": "loss", "Timestamp": time.time() - age_s, "Value": value}
    answer = client_of("sagemaker-metrics").batch_put_metrics(
        TrialComponentName="component", MetricData=[good, bad]
    )
    assert [error["MetricIndex"] for error in answer["Errors"]] == [1]


# What is beyond is read back whole, and was never sent.


def opened(store: TrackingStore, name: str = "run", **fields: Any) -> str:
    return store.open_run(run_spec(name, **fields)).info.run_id


PARAMS: dict[str, dict[str, str]] = {
    "300": {f"k{index}": "v" for index in range(300)},
    "301": {f"k{index}": "v" for index in range(301)},
    "1,000 of 300 characters": {f"k{index}": "v" * 300 for index in range(1_000)},
    "a text of 2,500 characters": {"note": "x" * 2_500},
    "a text of 2,501 characters": {"note": "x" * 2_501},
    "a text of 1,251 characters beyond the first plane": {"note": "😀" * 1_251},
    "a text of 100,000 characters": {"note": "long " * 20_000},
    "ends of lines": {"n": "a\nb", "r": "a\rb", "p": "a\u2028b", "x": "a\x85b", "t": "a\tb"},
    "an empty text": {"note": ""},
    "a key of 256 characters": {"k" * 256: "v"},
    "a key of 320 characters": {"k" * 320: "v"},
    "a key of 321 characters": {"k" * 321: "v"},
    "odd keys": {"a\nb": "1", "é😀": "2", "a{b}": "3", "\u200b": "4", " ": "5"},
    "not numbers": {"a": "nan", "b": "inf", "c": "1e400", "d": "-0.0", "e": "0x10", "f": "1_000"},
    "numbers": {
        "a": "1",
        "b": "1.0",
        "c": "0.1",
        "d": "1e-3",
        "e": "007",
        "f": "9007199254740993",
        "g": "+1",
    },
}


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_params(store: TrackingStore, params: dict[str, str]) -> None:
    run_id = opened(store)
    assert store.write(batch_of(run_id, params=params.items())).rejected == ()
    assert store.get_run(run_id).data.params == params


TAGS: dict[str, dict[str, str]] = {
    "60 of them": {f"k{index}": "v" for index in range(60)},
    "keys of 128 and 129 characters": {"k" * 128: "v", "l" * 129: "v"},
    "texts of 256 and 257 characters": {"a": "v" * 256, "b": "v" * 257},
    "JSON": {"mlflow.log-model.history": '[{"run_id": "1", "flavors": {}}]'},
    "odd ones": {"a#b": "1", "é": "{}", "k": "a\nb", "aws:x": "1", "sagemaker:y": "2", "e": "", "f": "€"},
    "50,000 characters": {"note": "x" * 50_000},
}


@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS)
def test_tags(store: TrackingStore, tags: dict[str, str]) -> None:
    run_id = opened(store)
    assert store.write(batch_of(run_id, tags=tags.items())).rejected == ()
    held = store.get_run(run_id).data.tags
    assert {key: held.get(key) for key in tags} == tags


def _points() -> dict[str, list[tuple[str, float, int, int]]]:
    now_ms = time.time_ns() // 1_000_000
    values = {**FINITE_VALUES, **NON_FINITE_VALUES}
    return {
        "10 and 11 of them": [("a", float(step), step, now_ms) for step in range(11)],
        "1,000 of them": [("a", float(step), step, now_ms) for step in range(1_000)],
        "a year ago": [("a", 1.0, 0, now_ms - 365 * DAY_MS)],
        "15 days ago": [("a", 1.0, 0, now_ms - 15 * DAY_MS), ("a", 2.0, 1, now_ms - 13 * DAY_MS)],
        "3 hours ahead": [("a", 1.0, 0, now_ms + 3 * 3_600_000)],
        "the beginning of time": [("a", 1.0, 0, 0), ("a", 2.0, 0, -1)],
        "steps beyond 32 bits": [("a", 1.0, 2**31 - 1, now_ms), ("a", 2.0, 2**31, now_ms)],
        "steps below 0": [("a", 1.0, -1, now_ms), ("a", 1.0, -(2**63), now_ms)],
        "two points at one step": [("a", 1.0, 3, now_ms), ("a", 2.0, 3, now_ms), ("a", 2.0, 3, now_ms + 1)],
        "milliseconds": [("a", 1.0, step, now_ms - step) for step in range(5)],
        "long names": [("m" * 255, 1.0, 0, now_ms), ("n" * 256, 1.0, 0, now_ms)],
        "odd names": [("a\nb", 1.0, 0, now_ms), ("é/😀 {x}", 2.0, 0, now_ms)],
        **{name: [("a", value, 0, now_ms)] for name, value in values.items()},
    }


POINTS = _points()


@pytest.mark.parametrize("points", POINTS.values(), ids=POINTS)
def test_points(store: TrackingStore, points: list[tuple[str, float, int, int]]) -> None:
    run_id = opened(store)
    assert store.write(batch_of(run_id, metrics=points)).rejected == ()
    for key in {point[0] for point in points}:
        given = {(step, at, bits_of(value)) for name, value, step, at in points if name == key}
        assert set(points_of(store.metric_history(run_id, key))) == given


@pytest.mark.parametrize(
    "name",
    [
        "a_b.c/d:e f",
        "-",
        "Größe 😀",
        "first\nsecond",
        "x" * 120,
        "x" * 121,
        "x" * 5_000,
        "UPPER",
        "a--b-",
        '"quoted"',
    ],
)
def test_names_of_experiments_and_runs(store: TrackingStore, name: str) -> None:
    run_id = store.open_run(run_spec(name, experiment=name)).info.run_id
    run = store.get_run(run_id)
    assert run.info.run_name == name
    assert [found.info.run_id for found in store.list_runs(run.info.experiment_id)] == [run_id]
    assert [found.name for found in store.list_experiments()] == [name]


def test_names_that_differ_in_case_alone_are_two_experiments(store: TrackingStore) -> None:
    runs = [opened(store, experiment=name) for name in ("digits", "Digits", "DIGITS")]
    experiments = {store.get_run(run_id).info.experiment_id for run_id in runs}
    assert len(experiments) == 3
    assert sorted(found.name for found in store.list_experiments()) == ["DIGITS", "Digits", "digits"]


def test_a_parent_is_kept(store: TrackingStore) -> None:
    parent = opened(store)
    child = opened(store, tags={TAG_PARENT: parent})
    assert store.get_run(child).data.tags[TAG_PARENT] == parent


def test_more_runs_than_a_trial_holds(store: TrackingStore, client_of: Callable[[str], Any]) -> None:
    runs = [opened(store, f"run {index}", start_time=1_790_000_000_000 + index) for index in range(53)]
    experiment_id = store.get_run(runs[0]).info.experiment_id
    assert {run.info.run_id for run in store.list_runs(experiment_id)} == set(runs)
    client = client_of("sagemaker")
    counts = []
    for trial in client.list_trials()["TrialSummaries"]:
        pages = client.get_paginator("list_trial_components").paginate(TrialName=trial["TrialName"])
        counts.append(sum(len(page["TrialComponentSummaries"]) for page in pages))
    assert sorted(counts) == [3, 50]


def test_more_runs_than_an_experiment_holds(
    store: TrackingStore, emulator: SageMakerEmulator, client_of: Callable[[str], Any]
) -> None:
    """Where the account's quotas are used up, runs are whole all the same; SageMaker shows the others."""
    state = emulator.cloud.part(Experiments)
    assert (state.trials_per_experiment, state.components_per_trial) == (
        TRIALS_PER_EXPERIMENT,
        COMPONENTS_PER_TRIAL,
    )
    state.trials_per_experiment, state.components_per_trial = 2, 3
    now_ms = time.time_ns() // 1_000_000
    runs = [opened(store, f"run {index}", start_time=now_ms + index) for index in range(9)]
    for run_id in runs:
        points = [("loss", 0.5, 0, now_ms)]
        assert store.write(batch_of(run_id, params=[("a", "b")], metrics=points)).rejected == ()
        assert store.get_run(run_id).data.params == {"a": "b"}
        assert len(store.metric_history(run_id, "loss")) == 1
    listed = store.list_runs(store.get_run(runs[0]).info.experiment_id)
    assert [run.info.run_id for run in listed] == runs[::-1]
    trials = client_of("sagemaker").list_trials()["TrialSummaries"]
    assert len(trials) == 2


def test_more_inputs_than_a_component_links(store: TrackingStore) -> None:
    run_id = opened(store)
    inputs = [
        DatasetInput(name=f"data {index}", digest=f"{index:08x}", source="s3://b/" + "k" * 2_100)
        for index in range(65)
    ]
    assert store.write(batch_of(run_id, inputs=inputs)).rejected == ()
    held = store.get_run(run_id).inputs.dataset_inputs
    assert {(found.name, found.digest, found.source) for found in held} == {
        (given.name, given.digest, given.source) for given in inputs
    }


def test_more_files_than_a_component_links(
    store: TrackingStore, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    run_id = opened(store)
    names = [f"file {index} é.txt" for index in range(65)] + ["n" * 150, "folder/deep/file.bin"]
    for name in names:
        content = name.encode()
        file = file_of(tmp_path, content)
        artifacts.put(run_id, name, file, digest=digest_of(content), size=len(content))
    for name in names:
        with artifacts.open(run_id, name) as opened_file:
            assert opened_file.read() == name.encode()


# The registry.

LONG = "a line\nand another\t" + "x" * 5_000


@pytest.fixture
def new_version(adapter: Adapter, tmp_path: Path) -> Callable[..., ModelVersionSpec]:
    def spec(name: str, **fields: Any) -> ModelVersionSpec:
        return ModelVersionSpec(name=name, source=put_payload(adapter, tmp_path), digest=DIGEST, **fields)

    return spec


@pytest.mark.parametrize(
    "name", ["wine_quality", "Größe 😀", "w" * 63, "w" * 64, "w" * 250, "-", "Wine", "wine v2 (final)"]
)
def test_names_of_models(
    registry: ModelRegistry, new_version: Callable[..., ModelVersionSpec], name: str
) -> None:
    registry.ensure_model(name)
    made = registry.create_version(new_version(name), key="once")
    assert made.name == name
    assert registry.get_version(name, made.version).name == name
    assert [model.name for model in registry.list_models()] == [name]


def test_everything_of_a_model(registry: ModelRegistry, new_version: Callable[..., ModelVersionSpec]) -> None:
    tags = {**{f"k{index}": "v" * 300 for index in range(60)}, "json": '{"a": [1, 2]}', "l" * 200: ""}
    registry.ensure_model("wine", description=LONG, tags=tags)
    found = registry.get_model("wine")
    assert (found.description, found.tags) == (LONG, tags)
    made = registry.create_version(new_version("wine", description=LONG, tags=tags), key="k" * 500)
    held = registry.get_version("wine", made.version)
    assert (held.description, held.tags) == (LONG, tags)
    for alias in ("champion", "a b.c", "é😀", "x" * 200):
        registry.set_alias("wine", alias, version=made.version)
    assert set(registry.get_version("wine", made.version).aliases) == {"champion", "a b.c", "é😀", "x" * 200}
    changed: dict[str, str | None] = dict.fromkeys(list(tags)[:30])
    registry.set_tags("wine", made.version, tags=changed)
    left = {key: value for key, value in tags.items() if key not in changed}
    assert registry.get_version("wine", made.version).tags == left


def test_nothing_beyond_a_limit_is_left_unnoticed(
    emulator: SageMakerEmulator, client_of: Callable[[str], Any]
) -> None:
    """The judge of these tests sees what a client sends that does not look first."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError):
        client_of("sagemaker").create_experiment(ExperimentName="a_b")
    (told,) = beyond_limits(emulator)
    assert told.startswith("CreateExperiment: 1 validation error detected")


def test_steps_are_there_for_every_operation() -> None:
    assert {(step.service, step.operation) for step in STEPS} <= set(VALID)
    assert all(isinstance(step, Step) for step in OVER)
