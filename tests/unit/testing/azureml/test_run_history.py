"""The run history of the emulator: states of runs, and addresses of their files."""

from __future__ import annotations

import pytest

from tests.support.azureml_calls import Rig, Told
from trackbridge.testing.emulators.azureml.tokens import JOB_AUDIENCE

FILES = "experiments/7/runs/r1/artifacts"


@pytest.fixture
def history(rig: Rig) -> Rig:
    """With one run, ``r1`` of the experiment ``7``."""
    info = {
        "experiment_id": "7",
        "status": "FINISHED",
        "run_name": "first",
        "start_time": 1000,
        "end_time": 3000,
    }
    tags = [{"key": "a", "value": "b"}]
    rig.runs["r1"] = {"info": info, "data": {"tags": tags}}
    return rig


def _announce(rig: Rig, *paths: str) -> Told:
    return rig.history("POST", f"{FILES}/batch/metadata", {"paths": [{"path": path} for path in paths]})


def test_a_file_is_known_once_its_address_was_asked_for(history: Rig) -> None:
    told = _announce(history, "model/MLmodel", "model/model pkl").content

    address = told["artifactContentInformation"]["model/model pkl"]["contentUri"]
    assert "/azureml/ExperimentRun/dcid.r1/model/model%20pkl?" in address
    assert "sp=cw&" in address
    listed = history.history("GET", FILES).content["value"]
    assert [item["path"] for item in listed] == ["model/MLmodel", "model/model pkl"]


def test_a_known_file_is_a_conflict_inside_of_a_good_answer(history: Rig) -> None:
    _announce(history, "a")

    again = _announce(history, "a", "b")

    assert again.status == 200
    assert "already exists" in again.content["errors"]["a"]["error"]["message"]
    assert list(again.content["artifacts"]) == ["b"]
    writing = history.ask(
        "GET", f"/artifact/v2.0{history.workspace}/artifacts/ExperimentRun/dcid.r1/write?path=a", version=""
    )
    assert "sp=cw&" in writing.content["contentUri"]


@pytest.mark.parametrize("path", ["", "/begins", "a" * 5001])
def test_paths_that_cannot_be(history: Rig, path: str) -> None:
    assert list(_announce(history, path).content["errors"]) == [path]
    assert history.history("GET", FILES).content["value"] == []


@pytest.mark.parametrize("body", [{}, {"paths": "a"}, {"paths": [{}]}, [], {"paths": [3]}])
def test_a_body_of_another_shape_is_refused(history: Rig, body: object) -> None:
    assert history.history("POST", f"{FILES}/batch/metadata", body).status == 400


def test_reading_needs_a_known_file(history: Rig) -> None:
    _announce(history, "a/b", "a/c", "d")

    one = history.history("GET", f"{FILES}/contentinfo?path=a/b").content
    some = history.history("GET", f"{FILES}/prefix/contentinfo?path=a/").content

    assert "sp=r&" in one["contentUri"]
    assert [item["path"] for item in some["value"]] == ["a/b", "a/c"]
    assert history.history("GET", f"{FILES}/contentinfo?path=a").status == 404


def test_a_listing_comes_in_pages(history: Rig) -> None:
    _announce(history, *(f"f{number:03}" for number in range(150)))

    first = history.history("GET", FILES).content
    rest = history.history("GET", f"{FILES}?continuationToken={first['continuationToken']}").content

    assert len(first["value"]) == 100
    assert len(rest["value"]) == 50
    assert rest["continuationToken"] is None


def test_an_upload_without_a_run_has_a_place_of_its_own(history: Rig) -> None:
    base = f"/artifact/v2.0{history.workspace}/artifacts/LocalUpload/240101T000000-00000000"

    told = history.ask(
        "POST", f"{base}/batch/metadata", {"paths": [{"path": "m/MLmodel"}]}, version=""
    ).content

    address = told["artifactContentInformation"]["m/MLmodel"]["contentUri"]
    assert "/azureml/LocalUpload/240101T000000-00000000/m/MLmodel?" in address
    assert history.history("GET", FILES).content["value"] == []


def test_a_run_is_told_with_its_state(history: Rig) -> None:
    told = history.history("GET", "runs/r1/details").content

    assert (told["runId"], told["status"], told["experimentId"]) == ("r1", "Completed", "7")
    assert told["endTimeUtc"].startswith("1970-01-01T00:00:03")
    assert told["tags"] == {"a": "b"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "runs/other/details"),
        ("GET", "experiments/8/runs/r1/artifacts"),
        ("GET", "experiments/7/runs/other/artifacts"),
        ("GET", "experimentids/7/runs/other/token"),
    ],
)
def test_a_run_that_is_not_there_is_not_found(history: Rig, method: str, path: str) -> None:
    assert history.history(method, path).status == 404


def test_a_jobs_own_state_stands_before_mlflows(history: Rig) -> None:
    job = {"properties": {"status": "Running", "displayName": "training", "jobType": "Command"}}
    history.cloud.resources.put(f"{history.workspace}/jobs/r1", job)

    told = history.history("GET", "runs/r1/details").content
    history.history("PATCH", "experiments/7/runs/r1", {"hidden": True})

    assert (told["status"], told["displayName"]) == ("Running", "training")
    assert history.cloud.resources.get(f"{history.workspace}/jobs/r1")["properties"]["isArchived"] is True  # type: ignore[index]


def test_the_token_of_a_run_opens_the_workspace(history: Rig) -> None:
    token = history.history("GET", "experimentids/7/runs/r1/token").content["token"]

    refusal = history.cloud.issuer.refusal
    assert refusal(f"Bearer {token}", (JOB_AUDIENCE,)) is None
    assert refusal(f"Bearer {token}") is not None  # Resource Manager does not take it
