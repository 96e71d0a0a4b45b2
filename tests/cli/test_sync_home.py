"""``bridge sync run s3://…``: journals that a platform kept are fetched and delivered; errors help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Bridge, clean_environment
from tests.support.s3_servers import BUCKET, KEY, REGION, SECRET, s3_client, s3_server
from trackbridge.domain.runs import RunStatus
from trackbridge.operations.opening import open_place

PROGRAM = """
import os, signal, trackbridge as tb
with tb.start_run(run_name="victim"):
    for step in range(50):
        tb.log_metric("loss", step / 3, step=step)
    tb.log_text("weights", "model/weights.txt")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def bucket(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of a folder that holds what was kept of a program that was killed."""
    home = project.parent / "machine"
    variables = {
        **clean_environment(),
        "BRIDGE_TRACKING_URI": open_place("./store").uri,
        "BRIDGE_HOME": str(home),
        "BRIDGE_DELIVERY": "later",
    }
    killed = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, cwd=project.parent, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    settings = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}
    for name, value in {**settings, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    with s3_server() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for path in home.rglob("*"):
            if path.is_file():
                name = f"jobs/7/{path.relative_to(home).as_posix()}"
                s3_client(endpoint).put_object(Bucket=BUCKET, Key=name, Body=path.read_bytes())
        yield f"s3://{BUCKET}/jobs/7"


def test_fetched_and_delivered_once(bridge: Bridge, bucket: str) -> None:
    done = bridge("sync", "run", bucket, "--uri", "./store", "--json")
    assert done.summary["left"] == 0
    assert done.summary["delivered"] > 50
    fetched = next(item for item in done.objects if item["type"] == "fetched")
    assert len(fetched["journals"]) == 1
    again = bridge("sync", "run", f"{bucket}/journal", "--uri", "./store", "--json")
    assert again.summary["delivered"] == 0
    assert next(item for item in again.objects if item["type"] == "fetched")["known"] == fetched["journals"]
    tracking = open_place("./store").tracking
    (experiment,) = tracking.list_experiments().items
    (run,) = tracking.list_runs(experiment.experiment_id).items
    assert list(tracking.metric_history(run.info.run_id, "loss").steps) == list(range(50))
    assert run.info.status is RunStatus.KILLED


def test_journals_for_another_place_are_left_with_a_word(bridge: Bridge, bucket: str) -> None:
    done = bridge("sync", "run", bucket, "--uri", "./another", code=3)
    assert "was not taken: it is for file:" in done.out
    assert "say --uri file:" in done.out
    assert not (Path("another") / "store.db").exists()


def test_what_is_named_wrongly(bridge: Bridge, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = bridge("sync", "run", f"{bucket}0", "--uri", "./store", code=1)
    assert f"there are no journals at {bucket}0/" in done.err
    assert "which has a folder journal/" in done.err
    done = bridge("sync", "run", bucket, "--follow", code=2)
    assert "--follow is for journals of this machine" in done.err
    done = bridge("sync", "run", "./store", "--uri", "./another", code=2)
    assert "two tracking URIs are named" in done.err
    done = bridge("sync", "run", "s3://no-such-bucket-of-ours/x", "--uri", "./store", code=1)
    assert "Traceback" not in done.err
    assert json.dumps(SECRET) not in done.err


def test_a_service_that_is_away(bridge: Bridge, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    done = bridge("sync", "run", bucket, "--uri", "./store", code=5)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert "Traceback" not in done.err
