"""AWS's own SDK reads jobs that we submitted, and names images for them: ``make peers-sagemaker``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.sagemaker_sdk.test_runs import PROGRAMS, PYTHON
from tests.support.sagemaker_jobs import jobs_emulator, open_place
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobSpec
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

WAIT_S = 120.0
LOOKS_UP = """
import sys
sys.path.append(sys.argv[1])
from trackbridge_adapters.sagemaker.jobs_images import framework_image
print(framework_image("pytorch", "eu-west-1", "ml.m5.large", None))
print(framework_image("pytorch", "eu-west-1", "ml.g5.xlarge", "3.12"))
"""


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    with jobs_emulator() as emulator:
        yield emulator


def by_the_sdk(*words: str, emulator: SageMakerEmulator | None = None) -> str:
    """Run a program in the SDK's environment and return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables = kept | (emulator.environment() if emulator else {})
    done = subprocess.run(
        [str(PYTHON), *words], env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_our_jobs_are_read_by_the_sdk(emulator: SageMakerEmulator, tmp_path: Path) -> None:
    jobs = open_place(emulator.uri, tmp_path).jobs
    assert jobs is not None
    ended = []
    for code in ("", "raise SystemExit(3)"):
        spec = JobSpec(name="peer", command=(sys.executable, "-c", code), parameters={"lr": "0.1"})
        state = jobs.submit(spec, key=mint_id())
        deadline_s = time.monotonic() + WAIT_S
        while not (state := jobs.status(state.job_id)).status.is_final:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        ended.append(state)
    program = str(PROGRAMS / "sagemaker_sdk_jobs.py")
    names = [state.job_id for state in ended]
    told = json.loads(by_the_sdk(program, "bucket", *names, emulator=emulator).splitlines()[-1])
    assert sorted(told["listed"]) == sorted(names)
    good, bad = told["jobs"]
    assert (good["status"], good["failure_reason"]) == ("Completed", None)
    assert (bad["status"], "exit code: 3" in bad["failure_reason"]) == ("Failed", True)
    assert good["instance_type"] == ended[0].facts.instance_type
    assert good["channels"] == ["bridge", "plan"]
    assert good["hyper_parameters"] == {"lr": "0.1"}
    assert ended[0].kept_uri.startswith(good["checkpoints"])
    assert told["image"] == "763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:2.10.0-cpu-py313"


def test_the_tables_of_the_sdk_name_an_image() -> None:
    packages = by_the_sdk("-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip()
    done = subprocess.run(
        [sys.executable, "-c", LOOKS_UP, packages], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    newest, asked = done.stdout.splitlines()
    assert newest.startswith("763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:")
    assert "-cpu-" in newest
    assert "-gpu-py312" in asked
