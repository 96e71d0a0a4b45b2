"""Batch endpoints: an invocation is a job that really scores files, in mini-batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.azureml_calls import Rig
from tests.support.azureml_endpoints import BATCH_SCRIPT, BatchDesk
from trackbridge.testing.emulators.azureml.storage import CONTAINER


@pytest.fixture
def desk() -> Iterator[BatchDesk]:
    """A cloud with a batch endpoint; its clock runs, since jobs take their time."""
    rig = Rig(pace=0.01)
    made = BatchDesk(rig)
    made.batch()
    rig.cloud.clock.go_on()
    yield made
    rig.cloud.close()


def test_defaults_are_those_of_the_service(desk: BatchDesk) -> None:
    kept = desk.batch_deployment(desk.batch_script())["properties"]
    assert (kept["miniBatchSize"], kept["errorThreshold"], kept["outputAction"]) == (10, -1, "AppendRow")
    assert kept["retrySettings"] == {"maxRetries": 3, "timeout": "PT30S"}
    assert kept["outputFileName"] == "predictions.csv"


def test_files_are_scored_in_mini_batches_and_rows_are_appended(desk: BatchDesk) -> None:
    desk.batch_deployment(desk.batch_script(miniBatchSize=2))
    desk.batch(defaults={"deploymentName": "ONE"})
    job = desk.ended(desk.invoke(desk.files(a="1", b="2", c="3"), properties={"experimentName": "mine"}))
    assert (job.status, job.asked["experimentName"]) == ("Completed", "mine")
    assert desk.output(job) == "['v1', 2, 'a.txt']\n['v1', 2, 'b.txt']\n['v1', 1, 'c.txt']\n"
    assert desk.output(job, "beside.txt") == "own"


def test_an_invocation_may_name_deployment_sizes_and_file(desk: BatchDesk) -> None:
    desk.batch_deployment(desk.batch_script(), "one")
    answer = desk.invoke(
        desk.files(a="1", b="2"), deployment="one", miniBatchSize=1, outputFileName="own.csv"
    )
    job = desk.ended(answer)
    assert desk.output(job) is None
    assert (desk.output(job, "own.csv") or "").startswith("['v1', 1, 'a.txt']")


def test_the_output_may_lie_elsewhere(desk: BatchDesk) -> None:
    desk.batch_deployment(desk.batch_script())
    uri = "azureml://datastores/workspaceblobstore/paths/out/here"
    outputs = {"score": {"jobOutputType": "UriFolder", "uri": uri}}
    desk.ended(desk.invoke(desk.files(a="1"), deployment="one", outputData=outputs))
    assert b"a.txt" in desk.rig.storage.get("out/here/predictions.csv", container=CONTAINER)


@pytest.mark.parametrize(("threshold", "status"), [(-1, "Completed"), (1, "Completed"), (0, "Failed")])
def test_so_many_files_may_fail(desk: BatchDesk, threshold: int, status: str) -> None:
    retry = {"maxRetries": 1, "timeout": "PT30S"}
    desk.batch_deployment(desk.batch_script(miniBatchSize=1, errorThreshold=threshold, retrySettings=retry))
    job = desk.ended(desk.invoke(desk.files(a="1", b="bad", c="3"), deployment="one"))
    assert job.status == status
    rows = (desk.output(job) or "").splitlines()
    assert len(rows) == (2 if status == "Completed" else 1)


def test_a_mini_batch_that_takes_too_long_has_failed(desk: BatchDesk) -> None:
    slow = BATCH_SCRIPT.replace("    texts =", "    import time; time.sleep(60)\n    texts =")
    retry = {"maxRetries": 0, "timeout": "PT0.2S"}
    desk.batch_deployment(desk.batch_script(slow, errorThreshold=0, retrySettings=retry))
    assert desk.ended(desk.invoke(desk.files(a="1"), deployment="one")).status == "Failed"


def test_tables_are_written_with_spaces_and_without_a_head(desk: BatchDesk) -> None:
    table = (
        "import pandas\n"
        "def init(): pass\n"
        "def run(mini_batch): return pandas.DataFrame({'file': ['a b', 'c'], 'score': [1.5, 2.0]})\n"
    )
    desk.batch_deployment(desk.batch_script(table))
    job = desk.ended(desk.invoke(desk.files(a="1", b="2"), deployment="one"))
    assert desk.output(job) == '"a b" 1.5\nc 2.0\n'


def test_a_summary_writes_nothing_of_what_run_returns(desk: BatchDesk) -> None:
    desk.batch_deployment(desk.batch_script(outputAction="SummaryOnly"))
    job = desk.ended(desk.invoke(desk.files(a="1"), deployment="one"))
    assert (desk.output(job), desk.output(job, "beside.txt")) == (None, "own")


def test_jobs_are_listed_by_endpoint_and_by_deployment(desk: BatchDesk) -> None:
    for name in ("one", "two"):
        desk.batch_deployment(desk.batch_script(), name)
    uri = desk.files(a="1")
    jobs = [desk.ended(desk.invoke(uri, deployment=name)).name for name in ("one", "two")]
    base = f"/mferp/managementfrontend{desk.rig.workspace}/batchEndpoints/scores"
    listed = desk.rig.ask("GET", f"{base}/jobs", version="2020-09-01-dataplanepreview").content["value"]
    assert [job["name"] for job in listed] == jobs[::-1]
    assert {job["properties"]["status"] for job in listed} == {"Completed"}
    of_one = desk.rig.ask("GET", f"{base}/deployments/two/jobs", version="").content["value"]
    assert [job["name"] for job in of_one] == [jobs[1]]


def test_who_may_invoke_and_what(desk: BatchDesk) -> None:
    uri = desk.files(a="1")
    assert desk.invoke(uri).status == 400  # no default deployment
    desk.batch_deployment(desk.batch_script())
    assert desk.invoke(uri, key="", deployment="one").status == 401
    arm = desk.rig.cloud.issuer.issue().token
    assert desk.invoke(uri, key=arm, deployment="one").status == 401
    assert desk.invoke(uri, deployment="nobody").status == 404
    assert desk.invoke(uri, deployment="one", inputData={}).status == 400
    literal = {"a": {"jobInputType": "Literal", "value": "1"}}
    assert desk.invoke(uri, deployment="one", inputData=literal).status == 400


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {"referenceType": "OutputPath", "path": "x"}}, "of the type Id"),
        ({"codeConfiguration": None}, "mlflow_model"),
        ({"environmentId": None}, "needs an environment"),
        ({"miniBatchSize": 0}, "1 or more"),
    ],
)
def test_a_deployment_that_makes_no_sense_is_refused(
    desk: BatchDesk, change: dict[str, Any], words: str
) -> None:
    body = {"location": "westeurope", "properties": {**desk.batch_script(), **change}}
    refused = desk.rig.ask("PUT", "batchEndpoints/scores/deployments/one", body)
    assert refused.status == 400
    assert words in refused.message


def test_keys_are_not_for_batch_endpoints_and_the_default_must_be_there(desk: BatchDesk) -> None:
    body: dict[str, Any] = {"location": "westeurope", "properties": {"authMode": "Key"}}
    assert "AADToken" in desk.rig.ask("PUT", "batchEndpoints/other", body).message
    body["properties"] = {"authMode": "AADToken", "defaults": {"deploymentName": "nobody"}}
    assert "does not exist" in desk.rig.ask("PUT", "batchEndpoints/scores", body).message


def test_a_deployment_that_goes_is_the_default_no_more(desk: BatchDesk) -> None:
    desk.batch_deployment(desk.batch_script())
    desk.batch(defaults={"deploymentName": "one"})
    desk.rig.outcome(desk.rig.ask("DELETE", "batchEndpoints/scores/deployments/one"))
    found = desk.rig.ask("GET", "batchEndpoints/scores").content["properties"]
    assert found["defaults"]["deploymentName"] is None
    desk.rig.outcome(desk.rig.ask("DELETE", "batchEndpoints/scores"))
    assert desk.rig.ask("GET", "batchEndpoints/scores").status == 404


def test_an_answer_tells_the_job_as_azure_ai_ml_reads_it(desk: BatchDesk) -> None:
    desk.batch_deployment(desk.batch_script())
    answer = desk.invoke(desk.files(a="1"), deployment="one", name="own-name")
    told = json.loads(answer.body)
    assert told["name"] == "own-name"
    assert told["id"].endswith("/batchEndpoints/scores/jobs/own-name")
    desk.ended(answer)
