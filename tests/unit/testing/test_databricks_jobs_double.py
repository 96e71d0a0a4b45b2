"""The double refuses what Databricks' Jobs API refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from trackbridge.testing.emulators.databricks import Databricks

NOBODY = "http://127.0.0.1:9"
CLUSTER = {
    "spark_version": "15.4.x-scala2.12",
    "node_type_id": "i3.xlarge",
    "num_workers": 0,
    "spark_conf": {"spark.databricks.cluster.profile": "singleNode"},
}
SUBMIT = "/api/2.2/jobs/runs/submit"


@pytest.fixture
def databricks() -> Iterator[Databricks]:
    with Databricks(NOBODY) as databricks:
        yield databricks


def request(task: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    program = {"python_file": "/Volumes/a/b/c/none.py", "parameters": []}
    return {
        "tasks": [{"task_key": "job", "spark_python_task": program, "new_cluster": CLUSTER, **(task or {})}],
        **fields,
    }


def asked(databricks: Databricks, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = databricks.jobs.answer(method, path, "ada", body)
    assert answer is not None
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize(
    "wrong",
    [
        request(idempotency_token="x" * 65),
        request(run_name="x" * 4097),
        request({"task_key": "a b"}),
        request({"existing_cluster_id": "0101-000000-shared"}),
        request({"new_cluster": {**CLUSTER, "node_type_id": "none"}}),
        request({"new_cluster": {**CLUSTER, "spark_version": "none"}}),
        request({"new_cluster": {**CLUSTER, "num_workers": 1}}),
        request({"new_cluster": {**CLUSTER, "spark_conf": {}}}),
        request({"spark_python_task": {"python_file": "relative.py"}}),
        request({"spark_python_task": {"python_file": "/a.py", "parameters": [1]}}),
        request({"spark_python_task": {"python_file": "/a.py", "parameters": ["x" * 10_000]}}),
        {"tasks": []},
    ],
)
def test_a_wrong_request_is_refused(databricks: Databricks, wrong: dict[str, Any]) -> None:
    status, answer = asked(databricks, "POST", SUBMIT, wrong)
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert databricks.jobs.runs == {}


def test_the_same_token_is_the_same_run_whatever_it_asks_for(databricks: Databricks) -> None:
    first = asked(databricks, "POST", SUBMIT, request(idempotency_token="x" * 64))
    assert asked(databricks, "POST", SUBMIT, request(idempotency_token="x" * 64, run_name="other")) == first
    assert asked(databricks, "POST", SUBMIT, request(idempotency_token="y"))[1] != first[1]


def test_an_unknown_run_is_a_wrong_value(databricks: Databricks) -> None:
    for method, route in (("GET", "get"), ("GET", "get-output"), ("POST", "cancel")):
        status, answer = asked(databricks, method, f"/api/2.2/jobs/runs/{route}", {"run_id": "7"})
        assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("query", [{"limit": "25"}, {"page_token": "garbage!"}])
def test_a_listing_has_bounds(databricks: Databricks, query: dict[str, str]) -> None:
    status, _ = asked(databricks, "GET", "/api/2.2/jobs/runs/list", query)
    assert status == 400
