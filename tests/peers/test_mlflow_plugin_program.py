"""A program for mlflow alone leaves the same on mlflow's own store and, by the plugin, on each backend."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from tests.support.azureml_emulators import azureml_emulator
from tests.support.mlflow_servers import mlflow_server
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.testing.emulators.databricks import Databricks
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow

PROGRAMS = Path(__file__).parent / "programs"
TIMEOUT_S = 240


@dataclass(frozen=True)
class Difference:
    """What is not as on mlflow's own SQLite store: where, and why."""

    where: str
    reason: str


EVERYWHERE = (
    Difference(
        r"logged models/fit-\d/model/metrics/2/2",
        "mlflow's store turns the NaN of a logged model's metric into 0; ours stays NaN",
    ),
    Difference(
        r"logged models/fit-\d/model/tags/mlflow.modelVersions",
        "version numbers are texts, as from every mlflow server; mlflow's SQLite store gives whole numbers",
    ),
    Difference(
        r"registered models/wine/versions/\d/source",
        "addresses that mlflow sees are ours: bridge-artifacts:/RUN/model instead of models:/MODEL",
    ),
    Difference(
        r"registered models/wine/versions/\d/has model",
        "ours knows which logged model a version is; mlflow's SQLite store does not say it",
    ),
    Difference(r"registered models/wine/versions/\d/user", "ours says who registered; mlflow leaves it out"),
    Difference(
        r"runs/fit-1/artifacts/model/registered_model_meta",
        "mlflow's load_model writes this file into a model that lies on the same machine",
    ),
)
"""Differences that every backend has. This list, and the next, are what docs show; no more and no less."""

OF_BACKEND: dict[str, tuple[Difference, ...]] = {}
"""Further ones, which a backend forces."""


@dataclass(frozen=True)
class Target:
    """Where the program is sent: its tracking URI and environment; ``native`` is mlflow's own way there."""

    uri: str
    environment: dict[str, str] = field(default_factory=dict)
    native: str | None = None


@contextmanager
def local(folder: Path) -> Iterator[Target]:
    """What ``bridge:`` means is configured; mlflow's own variable is not asked."""
    yield Target(
        "bridge:", {"BRIDGE_TRACKING_URI": f"file:{folder}/store", "MLFLOW_TRACKING_URI": "http://no"}
    )


@contextmanager
def server(folder: Path) -> Iterator[Target]:
    with mlflow_server(folder / "server") as running:
        yield Target(f"bridge+{running.url}", native=running.url)


@contextmanager
def azure(folder: Path) -> Iterator[Target]:
    """By Azure's own host names: the variables of the emulator are all that the program is given."""
    with azureml_emulator() as workspace:
        yield Target(f"bridge+{workspace.uri}", workspace.environment())
        workspace.raise_failures()


@contextmanager
def sagemaker(folder: Path) -> Iterator[Target]:
    bucket = s3_bucket()
    try:
        with (
            mlflow_server(folder / "server", artifacts=f"s3://{BUCKET}/root") as running,
            SignedMlflow(running.url) as aws,
        ):
            host, port = bucket.get_host_and_port()
            environment = {**aws.environment(), "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}"}
            yield Target(f"bridge+{aws.arn}", environment)
    finally:
        bucket.stop()


@contextmanager
def sagemaker_experiments(folder: Path) -> Iterator[Target]:
    with sagemaker_emulator() as aws:
        yield Target("bridge+sagemaker:", aws.environment())
        aws.raise_failures()


def s3_bucket() -> ThreadedMotoServer:
    import boto3

    store = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket=BUCKET)
    return store


@contextmanager
def databricks(folder: Path) -> Iterator[Target]:
    with mlflow_server(folder / "server") as running, Databricks(running.url) as workspace:
        yield Target("bridge+databricks:", workspace.principal_environment())


BUCKET = "artifacts"
BACKENDS: dict[str, Callable[[Path], AbstractContextManager[Target]]] = {
    "local": local,
    "mlflow": server,
    "azureml": azure,
    "sagemaker": sagemaker,
    "sagemaker-experiments": sagemaker_experiments,
    "databricks": databricks,
}


LOADED_BY_MLFLOW = ["trackbridge._version", "trackbridge.mlflow_plugin", "trackbridge.mlflow_plugin.entry"]
"""All of ours that a program loads whose URI is not ours."""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program leaves on mlflow's own SQLite store."""
    folder = tmp_path_factory.mktemp("theirs")
    found = flat(described(folder, Target(f"sqlite:///{folder}/mlflow.db"))[0])
    assert json.loads((folder / "described.json.loaded").read_text()) == {"of ours": LOADED_BY_MLFLOW}
    assert not (folder / ".bridge").exists()
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_leaves_the_same(backend: str, theirs: dict[str, Any], tmp_path: Path) -> None:
    with BACKENDS[backend](tmp_path) as target:
        ours, natively = described(tmp_path, target)
    assert found_otherwise(theirs, flat(ours)) == expected_otherwise(backend, theirs, flat(ours))
    if natively is not None:
        assert without_ours(flat(natively)) == without_ours(flat(ours))


def described(folder: Path, target: Target) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Run the program in a process of its own, and return what can be read back of it."""
    file = folder / "described.json"
    command = [sys.executable, str(PROGRAMS / "run_and_describe.py"), str(PROGRAMS / "mlflow_program.py")]
    ended = subprocess.run(
        [*command, target.uri, str(file), *([target.native] if target.native else [])],
        cwd=folder,
        env={**os.environ, "BRIDGE_HOME": str(folder / ".bridge"), **target.environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert "trackbridge:" not in ended.stderr, ended.stderr[
        -4000:
    ]  # nothing was left, or put aside, at the end
    natively = Path(f"{file}.other")
    return json.loads(file.read_text()), json.loads(natively.read_text()) if natively.exists() else None


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of a tree by their paths."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if items is None:
        return {path: value}
    return {
        place: leaf
        for key, inner in items
        for place, leaf in flat(inner, f"{path}/{key}" if path else str(key)).items()
    }


def found_otherwise(theirs: dict[str, Any], ours: dict[str, Any]) -> set[str]:
    return {place for place in theirs.keys() | ours.keys() if theirs.get(place, "-") != ours.get(place, "-")}


def expected_otherwise(backend: str, theirs: dict[str, Any], ours: dict[str, Any]) -> set[str]:
    """Return the places that the lists name; each item of theirs names one at least."""
    expected: set[str] = set()
    for difference in (*EVERYWHERE, *OF_BACKEND.get(backend, ())):
        named = {place for place in theirs.keys() | ours.keys() if re.fullmatch(difference.where, place)}
        assert named, f"{difference.where} names nothing"
        expected |= named
    return expected


COMPARED_NATIVELY = re.compile(r"runs/[^/]+/(status|stage|times|params|metrics|history|tags|inputs)/?.*")
"""What mlflow's own client of a server sees of the runs, without our plugin."""


def without_ours(leaves: dict[str, Any]) -> dict[str, Any]:
    return {
        place: leaf
        for place, leaf in leaves.items()
        if COMPARED_NATIVELY.fullmatch(place) and "/tags/bridge." not in place
    }
