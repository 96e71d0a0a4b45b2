"""Deployments: how long a plan takes on each emulated cloud, and a list of all that serves in three places.

The clouds are the emulators, in the process of the benchmark, and one endpoint serves in each of them. Each
command runs in a process of its own; measured is from after the import of the clouds' SDKs to its end.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from benchmarks import workers
from benchmarks.figures import Figure, at_most

ROUNDS, ROUNDS_QUICK = 5, 1
PLAN_S_MAX, LIST_S_MAX = 3.0, 2.0
IMAGE = "trackbridge-serving:1"
NAMED = {
    "azureml": ("--instance-type", "Standard_DS2_v2", "--image", IMAGE),
    "sagemaker": ("--instance-type", "ml.m5.large"),
}
"""What each cloud wants to be named; SageMaker's image is a variable, since its address is the account's."""


def measure(*, quick: bool) -> list[Figure]:
    """Return all figures."""
    rounds = ROUNDS_QUICK if quick else ROUNDS
    with workers.temporary_folder() as folder, _clouds() as (targets, variables):
        workers.run("deployments", "register", folder=folder, **variables)
        figures = []
        for cloud, target in targets.items():
            words: tuple[str, ...] = (
                "deploy",
                "models:/wine/1",
                "--endpoint",
                "wine",
                "--deployment",
                "first",
            )
            words = (*words, "--target", cloud, *NAMED[cloud], "--no-preflight")
            add = ("remotes", "add", cloud, target)
            workers.run("deployments", "command", json.dumps(add), folder=folder, **variables)
            taken = _taken((*words, "--plan"), rounds, folder, variables)
            figures.append(
                Figure(
                    f"plan of a deployment on {cloud}",
                    "s",
                    taken,
                    targets=(at_most(PLAN_S_MAX, taken, "s"),),
                    note="`bridge deploy --plan` on the emulator, checks of role, image and quota included; "
                    "without the import of the cloud's SDK; median",
                )
            )
            workers.run("deployments", "command", json.dumps((*words, "--yes")), folder=folder, **variables)
        taken = _taken(("endpoints", "list"), rounds, folder, variables, endpoints=len(targets))
    figures.append(
        Figure(
            "list of what serves in three places",
            "s",
            taken,
            targets=(at_most(LIST_S_MAX, taken, "s"),),
            note="`bridge endpoints list`: the local store, Azure ML and SageMaker (emulated), with an "
            "endpoint in each cloud; without the import of the SDKs; median",
        )
    )
    return figures


def _taken(
    words: tuple[str, ...], rounds: int, folder: Path, variables: dict[str, str], *, endpoints: int = 0
) -> float:
    """Return the median of the seconds that a command takes."""
    found = [
        workers.run("deployments", "command", json.dumps(words), folder=folder, **variables)
        for _ in range(rounds)
    ]
    if endpoints and found[0]["last"].get("endpoints") != endpoints:
        raise SystemExit(f"{endpoints} endpoints serve, listed was {found[0]['last']}")
    return float(median(item["elapsed_s"] for item in found))


@contextmanager
def _clouds() -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Run both emulators with an image that serves; yield their URIs, and the variables that lead there."""
    from tests.support import scoring_container

    from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
    from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

    server = [sys.executable, str(scoring_container.__file__), "{port}"]
    with ExitStack() as stack:
        azureml = stack.enter_context(AzureMlEmulator(pace=0.001))
        azureml.declare_image(IMAGE, serve=server)
        sagemaker = stack.enter_context(SageMakerEmulator(pace=0.001))
        sagemaker.declare_image(
            f"*{IMAGE.partition(':')[0]}*", serve=("env", "BRIDGE_MODEL_PATH=/opt/ml/model", *server)
        )
        variables = {**azureml.environment(), **sagemaker.environment()}
        variables["BRIDGE_SAGEMAKER_ROLE"] = sagemaker.make_role("serving")
        variables["BRIDGE_SAGEMAKER_SERVING_IMAGE"] = sagemaker.push_image(IMAGE)
        yield {"azureml": azureml.uri, "sagemaker": sagemaker.uri}, variables


# Workers.


def register() -> dict[str, object]:
    """Register a model in the local store of the current folder."""
    from trackbridge.domain.model_digest import digest_of_path
    from trackbridge.domain.models import ModelVersionSpec
    from trackbridge.operations.opening import open_place
    from trackbridge.testing.contracts.deployment_models import answering

    Path(".bridge").mkdir()
    payload = answering(Path.cwd(), "model", 1.0)
    registry = open_place().registry
    registry.ensure_model("wine")
    spec = ModelVersionSpec(name="wine", source=payload.as_uri(), digest=digest_of_path(payload))
    return {"version": registry.create_version(spec, key="wine").version}


def command(words: str) -> dict[str, object]:
    """Run a command line after the SDKs were imported; return the seconds and its last line."""
    import contextlib
    import io

    for sdk in ("azure.identity", "boto3"):
        if importlib.util.find_spec(sdk.partition(".")[0]) is not None:
            importlib.import_module(sdk)

    started_s = time.perf_counter()
    from trackbridge.cli.main import run

    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = run([*json.loads(words), "--json"])
    elapsed_s = time.perf_counter() - started_s
    if code:
        raise SystemExit(f"{words} ended with {code}: {told.getvalue()[-2000:]}")
    return {"elapsed_s": elapsed_s, "last": json.loads(told.getvalue().splitlines()[-1])}
