"""Telemetry and drift of a real endpoint of this machine: what was sent is what is told."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import trackbridge as tb
from tests.cli.conftest import clean_environment
from tests.support.endpoints import no_process_left, wait_until
from trackbridge.api.endpoint_records import log_telemetry
from trackbridge.cli.main import bridge as bridge_group
from trackbridge.domain import telemetry as schema
from trackbridge.domain.deployments import EndpointMetrics
from trackbridge.domain.telemetry import TelemetryPoint
from trackbridge.errors import BridgeError, Rejected
from trackbridge.operations.opening import Opened, open_place
from trackbridge.testing.contracts.deployment_models import write_model

BODY = """\
        if min(model_input['x']) < 0:
            raise RuntimeError('this model fails on purpose')
        return [float(value > 25) for value in model_input['x']]"""
BEFORE = {"x": [float(number % 50) for number in range(1000)]}
GOOD, REFUSED, FAILED = 60, 9, 5


@pytest.fixture(scope="module")
def run_id(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A project with the endpoint wine, whose model came from this run."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(clean_environment()):
            patch.delenv(name)
        patch.chdir(folder)
        patch.setenv("HOME", str(folder))
        patch.setenv("BRIDGE_DELIVERY", "off")
        with tb.start_run() as run:
            tb.log_model(
                write_model(folder, "wine", body=BODY),
                training_data=BEFORE,
                predictions=[float(value > 25) for value in BEFORE["x"]],
                registered_model_name="wine",
            )
        tb.flush()
        command("deploy", "models:/wine/1", "--endpoint", "wine", "--capture", "100", "--yes")
        place.cache_clear()
        yield str(run.info.run_id)
        place().close()
        tb.Client().session.close(10.0)
        command("endpoints", "delete", "wine", "--yes")
    no_process_left(folder)


def command(*arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(bridge_group, list(arguments))
    assert done.exit_code == code, f"{done.stdout}\n{done.stderr}\n{done.exc_info}"
    return done


def summary(*arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command(*arguments, "--json", code=code).stdout.splitlines()[-1])
    return found


@cache
def place() -> Opened:
    return open_place()


def figures() -> EndpointMetrics:
    (found,) = place().target.read_metrics("wine", window_s=3600)
    return found


def send(body: bytes) -> str:
    try:
        place().target.invoke("wine", body, content_type="application/json")
    except Rejected:
        return "refused"
    except BridgeError:
        return "failed"
    return "answered"


@pytest.mark.usefixtures("run_id")
def test_telemetry_is_what_the_load_generator_sent() -> None:
    before = figures()
    bodies = [b'{"inputs": {"x": [1.0, 30.0]}}'] * GOOD
    bodies += [b'{"nonsense": 1}'] * REFUSED
    bodies += [b'{"inputs": {"x": [-1.0]}}'] * FAILED
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(send, bodies[::2] + bodies[1::2]))
    sent = GOOD + REFUSED + FAILED
    assert told.count("answered") == GOOD
    wait_until(lambda: figures().requests >= before.requests + sent, "the telemetry")
    wait_until(lambda: (figures().captured or 0) >= (before.captured or 0) + sent, "what was captured")
    found = figures()
    assert found.requests - before.requests == sent
    assert (found.errors + found.refused) - (before.errors + before.refused) == REFUSED + FAILED
    assert found.refused - before.refused >= REFUSED
    assert sum(count for _, count in found.latency_counts) == found.requests
    assert found.captured == (before.captured or 0) + sent
    assert (found.queued, found.instances, found.window_s) == (0, 1, 3600)


def test_telemetry_comes_to_the_run_and_the_version(run_id: str) -> None:
    before = figures().requests
    send(b'{"inputs": {"x": [1.0]}}')
    wait_until(lambda: figures().requests > before, "the telemetry")
    told = summary("endpoints", "telemetry", "wine", "--window", "1h", "--log-to", "auto")
    assert (told["runs"], told["versions"]) == ([run_id], ["models:/wine/1"])
    client = tb.Client()
    requests = client.get_metric_history(run_id, "endpoint/wine/v1/requests")
    assert [point.value for point in requests] == [float(figures().requests)]
    tags = place().registry.get_version("wine", "1").tags
    assert f"requests={figures().requests}" in tags["bridge.telemetry.wine.v1"]
    assert client.get_run(run_id).info.status == "FINISHED"
    told = summary("endpoints", "telemetry", "wine", "--log-to", f"runs:/{run_id}")
    assert told["runs"] == [run_id]
    assert (
        "never-was" in command("endpoints", "telemetry", "wine", "--log-to", "runs:/never-was", code=1).stderr
    )


def test_the_same_look_twice_is_one_point(run_id: str) -> None:
    point = TelemetryPoint(
        endpoint="twice",
        deployment="v1",
        model="models:/wine/1",
        target="local",
        time=1_790_000_000_000,
        traffic_percent=100,
        status="READY",
        metrics=EndpointMetrics(deployment="v1", requests=3, errors=0, window_s=60),
    )
    client = tb.Client()
    for _ in range(2):
        log_telemetry(client, run_id, point)
    (found,) = tb.Client().get_metric_history(run_id, "endpoint/twice/v1/requests")
    assert (found.value, found.timestamp, found.step) == (3.0, point.time, point.time // 1000)


def test_drift_of_what_was_really_asked(run_id: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("x\n" + "".join(f"{value}\n" for value in BEFORE["x"][:500]))
    out = tmp_path / "out.jsonl"
    kept = figures().captured or 0
    command("endpoints", "invoke", "wine", "-i", str(rows), "--batch", "100", "--out", str(out))
    assert out.read_text().splitlines() == [str(float(value > 25)) for value in BEFORE["x"][:500]]
    wait_until(lambda: (figures().captured or 0) >= kept + 5, "what was captured")
    wanting = ("endpoints", "drift", "wine", "--log-to", "auto", "--html", str(tmp_path / "drift.html"))
    found = summary(*wanting, "--threshold", "1")
    assert [column["name"] for column in found["columns"]] == ["x", "prediction"]
    assert found["rows"] >= 500
    rows.write_text("x\n" + "40.0\n" * 3000)
    command("endpoints", "invoke", "wine", "-i", str(rows), "--out", str(out))
    wait_until(lambda: (figures().captured or 0) >= kept + 8, "what was captured")
    found = summary(*wanting, "--threshold", "1", code=4)
    assert found["moved"][0] == "x"
    points = tb.Client().get_metric_history(run_id, "endpoint/wine/v1/drift/psi/x")
    assert [point.value for point in points][-1] == pytest.approx(found["columns"][0]["psi"])
    assert len(points) == 2


@pytest.mark.usefixtures("run_id")
@pytest.mark.parametrize("page", ["telemetry", "drift"])
def test_what_the_docs_show_works(page: str) -> None:
    text = (Path(__file__).resolve().parents[2] / f"docs/{page}.md").read_text("utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for program in [block for kind, block in blocks if kind == "python"]:
        exec(compile(program, f"{page}.md", "exec"), {})
    lines = [line.partition("#")[0] for kind, block in blocks if not kind for line in block.splitlines()]
    assert lines
    send(b'{"inputs": {"x": [1.0, 2.0]}}')
    wait_until(lambda: (figures().captured or 0) > 0, "what was captured")
    for line in lines:
        done = CliRunner().invoke(bridge_group, shlex.split(line)[1:])
        assert done.exit_code in ((0, 4) if page == "drift" else (0,)), f"{line}\n{done.stderr}"


def test_the_docs_name_every_figure() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/telemetry.md").read_text("utf-8")
    figures_told = set(re.findall(r"`(\w+)`", text.partition("## OpenTelemetry")[0]))
    assert {*EndpointMetrics.__struct_fields__} - {"deployment"} <= figures_told
    assert schema.__doc__ is not None
    for name in re.findall(r"^``(trackbridge[a-z.]+)``", schema.__doc__, re.MULTILINE):
        assert f"| `{name}` |" in text
