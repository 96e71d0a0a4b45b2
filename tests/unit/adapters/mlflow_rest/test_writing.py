"""What one write becomes: which calls, in what order, and who is at fault when one is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from tests.unit.adapters.mlflow_rest.rig import NATIVE, OURS, by_route, opened, refusal, route_of, run_json
from trackbridge.errors import RateLimited, Rejected
from trackbridge.testing.contracts.samples import batch_of
from trackbridge_adapters._mlflow_rest.tracking import RestTracking


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def tracking(server: ScriptedServer, tmp_path: Path) -> RestTracking:
    tracking = opened(server, tmp_path).tracking
    tracking.ids.remember("run", OURS, NATIVE)
    return tracking


def routes(server: ScriptedServer) -> list[str]:
    return [route_of(request) for request in server.requests]


def conflict_unless_gone(request: Request) -> Answer:
    """Refuse log-batch as long as it holds the param p; the run has p = 1."""
    if route_of(request) == "runs/log-batch" and '"p"' in request.body.decode():
        return refusal(400, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed")
    if route_of(request) == "runs/get":
        return run_json(params=[{"key": "p", "value": "1"}, {"key": "r", "value": "1"}])
    return Answer()


def test_everything_of_a_batch_goes_in_one_call(server, tracking):
    batch = batch_of(OURS, metrics=[("m", 1.0, 0, 1)], params=[("p", "1")], tags=[("t", "1")])
    assert tracking.write(batch).rejected == ()
    assert routes(server) == ["runs/log-batch"]
    assert set(server.requests[0].json) == {"run_id", "metrics", "params", "tags"}


def test_a_batch_of_more_records_than_a_call_takes_goes_in_two(server, tracking):
    points = [("m", 1.0, step, 1) for step in range(1000)]
    tracking.write(batch_of(OURS, metrics=points, params=[("p", "1")], tags=[("t", "1")]))
    first, second = (request.json for request in server.requests)
    assert len(first["metrics"]) == 1000
    assert set(first) == {"run_id", "metrics"}
    assert set(second) == {"run_id", "params", "tags"}


def test_of_a_refused_batch_only_the_param_at_fault_is_rejected(server, tracking):
    server.answer = conflict_unless_gone
    batch = batch_of(
        OURS,
        metrics=[("m", 1.0, 0, 1)],
        params=[("p", "2"), ("q", "1"), ("r", "1")],
        tags=[("t", "1")],
        first_sequence=50,
    )
    (rejection,) = tracking.write(batch).rejected
    assert rejection.sequence == 51
    assert "'1'" in rejection.reason
    assert "'2'" in rejection.reason
    sent = server.requests[-1].json
    assert [param["key"] for param in sent["params"]] == ["q"]
    assert (len(sent["metrics"]), len(sent["tags"])) == (1, 1)


def test_a_run_is_renamed_also_beside_a_param_that_is_rejected(server, tracking):
    server.answer = conflict_unless_gone
    tracking.write(batch_of(OURS, params=[("p", "2")], tags=[("mlflow.runName", "new")]))
    (update,) = (request for request in server.requests if route_of(request) == "runs/update")
    assert update.json == {"run_id": NATIVE, "run_name": "new"}


def test_a_tag_that_cannot_be_there_is_deleted_without_asking_and_cannot_be_set(server, tracking):
    for key in ("ключ 🔑", "k" * 300, "a\0b"):
        assert tracking.write(batch_of(OURS, tags=[(key, None)])).rejected == ()
        (rejection,) = tracking.write(batch_of(OURS, tags=[(key, "1")], first_sequence=7)).rejected
        assert rejection.sequence == 7
    assert server.requests == []


def test_a_refusal_that_no_param_explains_is_passed_on(server, tracking):
    server.answer = by_route(
        runs_log_batch=refusal(400, "INVALID_PARAMETER_VALUE", "The run must be in the 'active' state"),
        runs_get=run_json(params=[{"key": "p", "value": "1"}]),
    )
    with pytest.raises(Rejected, match="active"):
        tracking.write(batch_of(OURS, params=[("p", "1")]))


def test_throttling_is_passed_on_before_anything_else_is_tried(server, tracking):
    server.says(Answer(status=429, headers={"Retry-After": "2"}))
    with pytest.raises(RateLimited) as caught:
        tracking.write(batch_of(OURS, params=[("p", "1")], tags=[("t", None)]))
    assert caught.value.retry_after_s == 2.0
    assert routes(server) == ["runs/log-batch"]


def test_a_parent_is_written_under_its_native_id_and_given_back_under_ours(server, tracking):
    parent = "1" * 32
    tracking.ids.remember("run", parent, "e" * 32)
    tracking.write(batch_of(OURS, tags=[("mlflow.parentRunId", parent)]))
    tags = {tag["key"]: tag["value"] for tag in server.requests[0].json["tags"]}
    assert tags == {"mlflow.parentRunId": "e" * 32, "bridge.parent_run_id": parent}
    stored = [{"key": key, "value": value} for key, value in tags.items()]
    experiment = Answer(body={"experiment": {"experiment_id": "1", "name": "e"}})
    server.answer = by_route(runs_get=run_json(tags=stored), experiments_get=experiment)
    assert tracking.get_run(OURS).data.tags == {"mlflow.parentRunId": parent}
