"""The examples of jobs, sweeps, canaries and registries in step, run here and on both emulators."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

import trackbridge as tb
from tests.docs.shell_lines import shell_problems
from tests.examples.running import EXAMPLES, OTHERS, PROGRAM_S, ran
from tests.support.azureml_emulators import azureml_emulator
from tests.support.endpoints import no_process_left, wait_until
from tests.support.mlflow_servers import mlflow_server
from tests.support.sagemaker_jobs import jobs_emulator
from tests.support.warm_python import warm_python
from trackbridge.errors import NotFound, Transient
from trackbridge.testing.contracts.deployment_models import answering
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

pytestmark = pytest.mark.timeout(900)
WORKFLOW = EXAMPLES / "ci/github/registry-sync.yml"
PIPELINE = EXAMPLES / "ci/azure-pipelines.yml"
COMPUTE = {"azureml": "serverless", "sagemaker": "ml.m5.large"}
SHELLS = {"github": ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"), "azure": ("bash", "-c")}
"""How the two systems start the lines of a step."""
OWN_DELIVERY = {"BRIDGE_DELIVERY": "thread"}
"""Of this process, which goes on: it leaves no other one behind."""
BRIDGE_LINE = re.compile(r"^(?:# +)?(bridge .+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def azureml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureMlEmulator]:
    with (
        mlflow_server(tmp_path_factory.mktemp("mlflow")) as server,
        azureml_emulator(mlflow=server.url) as emulator,
    ):
        yield emulator
        emulator.raise_failures()


@pytest.fixture(scope="module")
def sagemaker() -> Iterator[SageMakerEmulator]:
    with jobs_emulator() as emulator:
        yield emulator
        emulator.raise_failures()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH that begins with the command ``bridge`` as it is here, and an ``az`` that is signed in."""
    folder = tmp_path_factory.mktemp("bin")
    lines = {"bridge": f'exec {shlex.quote(sys.executable)} -m trackbridge "$@"', "az": "echo token-of-entra"}
    for name, line in lines.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def clouds(azureml: AzureMlEmulator, sagemaker: SageMakerEmulator, programs: str) -> dict[str, str]:
    """The variables of both clouds, as one who is signed in to both has them."""
    jobs = {name: os.environ[name] for name in ("BRIDGE_SAGEMAKER_ROLE", "BRIDGE_SAGEMAKER_IMAGE")}
    return {**azureml.environment(), **sagemaker.environment(), **jobs, "PATH": programs}


def run(folder: Path, *words: str, variables: Mapping[str, str], code: int = 0) -> str:
    """Run a command with these variables, and nothing of other backends; return what it prints."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    done = subprocess.run(
        words,
        cwd=folder,
        env={**mine, "BRIDGE_HOME": str(folder / ".bridge"), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@contextmanager
def as_variables(variables: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Have this process be who the commands are."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**variables, "BRIDGE_HOME": str(folder / ".bridge"), **OWN_DELIVERY}.items():
            patch.setenv(name, value)
        patch.setattr("trackbridge.api.fluent._client", None)
        yield


# Jobs and sweeps.


@pytest.mark.parametrize("cloud", ["azureml", "sagemaker"])
def test_the_job_runs_on_each_cloud_and_tracks_there(
    tmp_path: Path, clouds: dict[str, str], request: pytest.FixtureRequest, cloud: str
) -> None:
    uri = request.getfixturevalue(cloud).uri
    variables = {**clouds, "BRIDGE_TRACKING_URI": uri}
    job = str(EXAMPLES / "remote_job/job.yaml")
    words = ("--on", uri, "--compute", COMPUTE[cloud], "--env-manager", "local", "-P", "epochs=3")
    run(tmp_path, "bridge", "run", job, *words, variables=variables)
    with as_variables(variables, tmp_path):
        (found,) = tb.search_runs(experiment_names=["remote_job"])
        losses = tb.Client().get_metric_history(found.info.run_id, "loss")
        model = tb.load_model(f"runs:/{found.info.run_id}/model")
    assert found.info.status == "FINISHED"
    assert found.data.params == {"rate": "0.01", "epochs": "3"}
    assert [point.step for point in losses] == [0, 1, 2]
    assert found.data.metrics["accuracy"] > 0.9
    assert model.n_features_in_ == 13


def test_the_sweep_registers_the_best_and_does_nothing_twice(tmp_path: Path) -> None:
    variables = {"BRIDGE_TRACKING_URI": str(tmp_path / "runs")}
    printed = ran(tmp_path, "sweep.py", variables=variables)
    losses = {match[1]: float(match[2]) for match in re.finditer(r"rate (\S+): loss (\S+)", printed)}
    best = min(losses, key=lambda rate: losses[rate])
    assert set(losses) == {"0.001", "0.01", "0.1"}
    assert f"the best rate is {best}; its model is wine/1" in printed
    assert ran(tmp_path, "sweep.py", variables=variables) == printed
    client = tb.Client(str(tmp_path / "runs"))
    version = client.get_model_version("wine", 1)
    run_of_best = client.get_run(version.run_id or "")
    assert run_of_best.data.params["rate"] == best
    assert run_of_best.data.metrics["loss"] == pytest.approx(losses[best], abs=1e-4)
    experiments = [found.experiment_id for found in client.search_experiments()]
    assert len(client.search_runs(experiments)) == 4  # three trials and their parent


# A canary.


@pytest.fixture
def wine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with two versions of wine that answer 1 and 2; the first is the challenger."""
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / ".bridge"))
    monkeypatch.setenv("BRIDGE_TRACKING_URI", str(tmp_path / ".bridge"))
    monkeypatch.setenv("BRIDGE_DELIVERY", OWN_DELIVERY["BRIDGE_DELIVERY"])
    monkeypatch.setattr("trackbridge.api.fluent._client", None)
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        tb.register_model(answering(tmp_path, str(number), float(number)), "wine")
    tb.set_registered_model_alias("wine", "challenger", 1)
    yield tmp_path
    no_process_left(tmp_path)


@contextmanager
def asking(answers: list[float]) -> Iterator[None]:
    """Ask the endpoint as long as it is there, as its users do."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.03):
            with suppress(NotFound, Transient):  # it is not there yet
                answers.append(tb.endpoint("wine").predict([[1.0]])[0])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


def test_a_challenger_becomes_the_champion_by_its_canary(
    wine: Path, programs: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    variables = {"PATH": programs, "BRIDGE_TRACKING_URI": str(wine / ".bridge")}
    script = str(EXAMPLES / "deploy_canary.sh")
    guards = ("--bake", "1s", "--bake-max", "4m", "--guard", "error_rate<1%", "--guard", "requests>=3")
    answers: list[float] = []
    with warm_python(tmp_path_factory.mktemp("warm")) as python, asking(answers):
        words = (script, "local", *guards, "-C", f"python={python}")
        run(wine, *words, variables=variables)
        assert tb.endpoint("wine").traffic == {"v1": 100}
        tb.set_registered_model_alias("wine", "challenger", 2)
        told = run(wine, *words, variables=variables)
        assert tb.endpoint("wine").traffic == {"v1": 0, "v2": 100}
        wait_until(lambda: answers[-1] == 2.0, "an answer of the new version")
        champion = tb.Client().get_model_version_by_alias("wine", "champion")
        run(wine, "bridge", "endpoints", "rollback", "wine", "--yes", variables=variables)
        wait_until(lambda: answers[-1] == 1.0, "an answer of the old version again")
    assert champion.version == "2"
    assert set(answers) == {1.0, 2.0}
    assert "step 3 of 3" in told or "100" in told
    run(wine, "bridge", "endpoints", "delete", "wine", "--yes", variables=variables)


# Registries in step.


def github_steps(document: Any, *, is_pull_request: bool) -> list[str]:
    """Return the lines of the steps that run, but for the installation."""
    (job,) = document["jobs"].values()
    steps = [step for step in job["steps"] if "run" in step and step["name"] != "Install"]
    return [step["run"] for step in steps if not (is_pull_request and "if" in step)]


def azure_steps(document: Any) -> list[str]:
    return [step["inputs"]["inlineScript"] for step in document["steps"] if step.get("task") == "AzureCLI@2"]


@pytest.fixture
def models(azureml: AzureMlEmulator, clouds: dict[str, str], tmp_path: Path) -> Callable[[str], None]:
    """What registers another version of a model in Azure ML, as its champion."""

    def register(name: str) -> None:
        with as_variables({**clouds, "BRIDGE_TRACKING_URI": azureml.uri}, tmp_path):
            file = tmp_path / "weights.txt"
            file.write_text(f"weights of {name}, {os.urandom(8).hex()}")
            with tb.start_run() as run:
                tb.log_artifact(file)
            tb.flush()
            version = tb.register_model(f"runs:/{run.info.run_id}/{file.name}", name)
            tb.set_registered_model_alias(name, "champion", version.version)

    return register


@pytest.mark.parametrize("system", ["github", "azure"])
def test_a_pull_request_shows_the_plan_and_main_applies_it(
    tmp_path: Path,
    clouds: dict[str, str],
    azureml: AzureMlEmulator,
    sagemaker: SageMakerEmulator,
    models: Callable[[str], None],
    system: str,
) -> None:
    model, summary = f"synced-by-{system}", tmp_path / "summary.md"
    given = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"), "AWS_AUDIENCE": "api://aws"}
    variables = {
        **clouds,
        **given,
        "SOURCE": azureml.uri,
        "TARGET": sagemaker.uri,
        "GITHUB_STEP_SUMMARY": str(summary),
    }
    document = yaml.safe_load((WORKFLOW if system == "github" else PIPELINE).read_text())
    models(model)

    def begin(reason: str) -> str:
        asked = reason == "PullRequest"
        steps = github_steps(document, is_pull_request=asked) if system == "github" else azure_steps(document)
        return "".join(
            run(tmp_path, *SHELLS[system], lines, variables={**variables, "BUILD_REASON": reason})
            for lines in steps
        )

    def copied() -> list[str]:
        with as_variables({**clouds, "BRIDGE_TRACKING_URI": sagemaker.uri}, tmp_path):
            return [version.version for version in tb.search_model_versions(f"name = '{model}'")]

    told = begin("PullRequest")
    shown = summary.read_text() if system == "github" else told
    assert f"+ version {model}/1 at the target" in shown
    assert "there is something to do" in told
    assert copied() == []

    assert "1 version copied" in begin("IndividualCI")
    assert copied() == ["1"]
    assert "the registries agree" in begin("PullRequest")
    if system == "azure":
        assert (tmp_path / "token").read_text() == "token-of-entra\n"


def test_what_the_steps_of_ci_say_there_is() -> None:
    workflow, pipeline = (yaml.safe_load(file.read_text()) for file in (WORKFLOW, PIPELINE))
    lines = github_steps(workflow, is_pull_request=False) + azure_steps(pipeline)
    (job,) = workflow["jobs"].values()
    lines += [step["run"] for step in job["steps"] if step.get("name") == "Install"]
    lines += [step["script"] for step in pipeline["steps"] if "script" in step]
    assert len(lines) == 6
    assert [shell_problems(text) for text in lines] == [[]] * len(lines)


@pytest.mark.parametrize(
    ("schema", "file", "options"),
    [
        ("github-workflows", WORKFLOW, ()),
        (
            "azure-pipelines",
            PIPELINE,
            ("--data-transform", "azure-pipelines", "--regex-variant", "nonunicode"),
        ),
    ],
    ids=["github", "azure"],
)
def test_the_files_of_ci_have_the_shape_that_their_systems_publish(
    schema: str, file: Path, options: tuple[str, ...]
) -> None:
    words = ("--builtin-schema", f"vendor.{schema}", *options, str(file))
    done = CliRunner().invoke(check_jsonschema, words)
    assert done.exit_code == 0, done.output


def test_no_secret_is_asked_for_in_ci() -> None:
    assert "secrets." not in WORKFLOW.read_text() + PIPELINE.read_text()


@pytest.mark.parametrize(
    "name", ["remote_job/train.py", "sweep.py", "deploy_canary.sh", "spark_batch.py", "spark_streaming.py"]
)
def test_the_commands_that_an_example_names_are_there(name: str) -> None:
    head = (EXAMPLES / name).read_text().partition("from __future__")[0]
    lines = BRIDGE_LINE.findall(head)
    assert shell_problems("\n".join(lines)) == []
    if name.startswith("remote_job"):
        assert len(lines) == 3
