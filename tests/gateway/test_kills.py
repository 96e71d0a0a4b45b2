"""Nothing is lost by gateways that are killed, that end under load, or whose backend is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.gateway.writers import BATCH, Opener, Writer, value_at, writing
from tests.support.gateways import ServedGateway, gateway
from tests.support.mlflow_servers import MlflowServer, mlflow_server
from tests.support.processes import eventually
from trackbridge import Client, RunStatus

KILLS = 10
CALLS = 20
"""What each client is acknowledged at least before the next kill."""


def experiment_of(served: ServedGateway, name: str) -> str:
    return str(served.api("POST", "experiments/create", {"name": name})["experiment_id"])


def writers_of(served: ServedGateway, *others: ServedGateway) -> list[Writer]:
    """Two clients that log point by point, and one that logs batches."""
    experiment = experiment_of(served, "load")
    ports = [one.port for one in (served, *others)]
    return [Writer(ports, experiment), Writer(ports, experiment), Writer(ports, experiment, batch=BATCH)]


def check(client: Client, writers: list[Writer], *, status: RunStatus = RunStatus.RUNNING) -> None:
    """Every point that was acknowledged is there, none is twice, and nobody has closed the runs."""
    for writer in writers:
        columns = client.get_metric_columns(writer.run_id, "loss")
        steps = list(columns.steps)
        assert steps == list(range(len(steps))), "a step is missing, or is twice"
        assert writer.acknowledged <= len(steps) <= writer.sent
        assert list(columns.values) == [value_at(step) for step in steps]
        assert client.get_run(writer.run_id).info.status is status


def test_what_was_acknowledged_survives_kills(tmp_path: Path) -> None:
    uri = f"file:{tmp_path}/store"
    with gateway(uri, home=tmp_path / "home") as served:
        writers = writers_of(served)
        opener = Opener([served.port], experiment_of(served, "opened"))
        with writing([*writers, opener]) as wait:
            for _ in range(KILLS):
                wait(CALLS)
                served.kill()
                served.start()
            wait(CALLS)
        served.api("POST", "runs/update", {"run_id": writers[0].run_id, "status": "FINISHED"})
        assert served.stop()[0] == 0
    client = Client(uri)
    check(client, writers[1:])
    check(client, writers[:1], status=RunStatus.FINISHED)
    assert len(opener.run_ids) >= (KILLS + 1) * CALLS
    for number, run_id in enumerate(opener.run_ids):
        run = client.get_run(run_id)
        told = (run.info.status, run.data.params, run.data.tags["number"])
        assert told == (RunStatus.RUNNING, {"number": str(number)}, str(number))


def test_an_end_under_load_loses_nothing(tmp_path: Path) -> None:
    uri = f"file:{tmp_path}/store"
    with gateway(uri, home=tmp_path / "home") as served:
        writers = writers_of(served)
        with writing(writers) as wait:
            wait(CALLS)
            code, _ = served.stop()
        assert code == 0
    check(Client(uri), writers)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def points_at(server: MlflowServer, writer: Writer) -> list[int]:
    """Return the steps of a client's points as the database behind has them."""
    native = "SELECT run_uuid FROM tags WHERE key = 'bridge.run_id' AND value = ?"
    query = f"SELECT step FROM metrics WHERE key = 'loss' AND run_uuid IN ({native}) ORDER BY step"
    return [int(str(step)) for (step,) in server.rows(query, writer.run_id)]


def history(served: ServedGateway, writer: Writer) -> tuple[int, Any]:
    asked = urlencode({"run_id": writer.run_id, "metric_key": "loss", "max_results": 25_000})
    answer = served.request("GET", f"/api/2.0/mlflow/metrics/get-history?{asked}")
    return answer.status, json.loads(answer.body)


def test_gateways_share_a_backend(server: MlflowServer, tmp_path: Path) -> None:
    """Clients go from one to the other with each call; one of them is killed meanwhile."""
    with (
        gateway(server.url, home=tmp_path / "a") as first,
        gateway(server.url, home=tmp_path / "b") as second,
    ):
        writers = writers_of(first, second)
        with writing(writers) as wait:
            wait(CALLS)
            second.kill()
            second.start()
            wait(CALLS)
        for served in (first, second):
            assert served.stop()[0] == 0
        for writer in writers:
            eventually(lambda: len(points_at(server, writer)) >= writer.acknowledged, "delivery")  # noqa: B023
            assert points_at(server, writer) == list(range(len(points_at(server, writer))))
            assert len(points_at(server, writer)) <= writer.sent
        assert server.rows("SELECT DISTINCT status FROM runs") == [("RUNNING",)]


def test_a_backend_that_is_away_stops_no_client(server: MlflowServer, tmp_path: Path) -> None:
    with gateway(server.url, home=tmp_path / "home") as served:
        experiment = experiment_of(served, "outage")
        writer = Writer([served.port], experiment)
        with writing([writer]) as wait:
            wait(CALLS)
            eventually(lambda: history(served, writer)[0] == 200, "the first points")
            server.kill()
            wait(CALLS)
            status, told = history(served, writer)
            assert (status, told["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
            made = Writer([served.port], experiment)
            wait(CALLS)
            server.start()
            wait(CALLS)
        eventually(lambda: history(served, writer)[0] == 200, "the backend's return")
        told = history(served, writer)[1]
        assert [int(point.get("step", 0)) for point in told["metrics"]] == points_at(server, writer)
        assert points_at(server, writer) == list(range(writer.acknowledged))
        assert served.api("GET", f"runs/get?run_id={made.run_id}")["run"]["info"]["status"] == "RUNNING"
