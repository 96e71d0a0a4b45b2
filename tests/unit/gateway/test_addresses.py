"""Addresses of files that clients are told, and those that they send."""

from __future__ import annotations

import pytest

from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.runs import DEFAULT_EXPERIMENT, RunInfo, RunStatus
from trackbridge.errors import InvalidInput, NotFound
from trackbridge.gateway.addresses import (
    Kind,
    Place,
    artifact_uri_of,
    model_uri_of,
    place_of,
    safe_path,
    split,
    trace_uri_of,
    version_uri_of,
)

RUN = "0198f3c1a2b37c4d8e5f60718293a4b5"
EXPERIMENT = experiment_id_of("spam")
MODEL = f"m-{RUN}-0a1b2c3d"


def _info(experiment_id: str) -> RunInfo:
    return RunInfo(
        run_id=RUN,
        experiment_id=experiment_id,
        run_name="one",
        user_id="me",
        status=RunStatus.RUNNING,
        start_time=1,
        artifact_uri="",
    )


def test_a_run_tells_the_address_that_mlflows_server_tells() -> None:
    info = _info(EXPERIMENT)
    assert artifact_uri_of(info) == f"mlflow-artifacts:/{EXPERIMENT}/{RUN}/artifacts"


def test_the_default_experiment_is_0() -> None:
    info = _info(experiment_id_of(DEFAULT_EXPERIMENT))
    assert artifact_uri_of(info) == f"mlflow-artifacts:/0/{RUN}/artifacts"
    assert split(f"0/{RUN}/artifacts").experiment_id == info.experiment_id


@pytest.mark.parametrize(
    "path", ["", "a.txt", "plots/loss.png", "models/m-1/artifacts", "ä b/100%.txt", "%41"]
)
def test_what_is_told_is_understood(path: str) -> None:
    for kind, owner in ((Kind.RUN, RUN), (Kind.MODEL, MODEL), (Kind.TRACE, f"tr-{RUN}")):
        place = Place(EXPERIMENT, owner, path, kind)
        assert place_of(place.uri) == place
        assert split(place.uri.removeprefix("mlflow-artifacts:/")) == place


def test_models_and_traces_have_folders_of_their_own() -> None:
    assert model_uri_of(EXPERIMENT, MODEL) == f"mlflow-artifacts:/{EXPERIMENT}/models/{MODEL}/artifacts"
    assert trace_uri_of("1", "tr-2") == "mlflow-artifacts:/1/traces/tr-2/artifacts"
    assert split("1/models/m-2/artifacts/MLmodel") == Place("1", "m-2", "MLmodel", Kind.MODEL)
    assert split("1/run/artifacts/models/x") == Place("1", "run", "models/x")


def test_versions_that_only_the_backend_reaches_have_a_folder_too() -> None:
    uri = version_uri_of("wine", "3")
    assert uri == "mlflow-artifacts:/registered-models/wine/3/artifacts"
    place = Place("", "wine/3", "data/x", Kind.VERSION)
    assert place_of(f"{uri}/data/x") == place == place_of(place.uri)


@pytest.mark.parametrize(
    "path",
    [
        "x",
        "registered-models/wine/artifacts",
        "0",
        f"0/{RUN}",
        f"0/{RUN}/files/a",
        "0//artifacts/a",
        "0/.incoming/artifacts/a",
        "0/traces/.incoming/artifacts",
        "0/models/artifacts",
        "models/x",
    ],
)
def test_other_places_hold_nothing(path: str) -> None:
    with pytest.raises(NotFound):
        split(path)


HOSTILE = [
    "",
    "/",
    "//",
    "..",
    ".",
    "../x",
    "a/../../x",
    "a/./x",
    "/etc/passwd",
    "//etc/passwd",
    "a//b",
    "%2e%2e/x",
    "a/%2E%2e/%2e./x",
    "%252e%252e/x",
    "%25252e%25252e%25252fx",
    "%2fetc/passwd",
    "a%2f..%2fb",
    "..%5cx",
    "a\\b",
    "%5c",
    "C:/windows",
    "file:///etc/passwd",
    "file:x",
    "a\0b",
    "a%00b",
    "a\nb",
    "a%0d%0ab",
    "a\x7fb",
    "a#b",
    "a%23b",
    "x" * 256,
    "/".join(["x" * 200] * 6),
    "%" + "25" * 20 + "41",
    "a\udce4",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        safe_path(path)


@pytest.mark.parametrize("path", [path for path in HOSTILE if path.strip("/")])
def test_hostile_paths_below_a_run_are_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        split(f"0/{RUN}/artifacts/{path}")


def test_a_path_may_be_as_long_as_elsewhere() -> None:
    path = "/".join(["x" * 203] * 5)
    assert split(f"0/{RUN}/artifacts/{path}").path == path
    assert safe_path("folder/") == "folder"


@pytest.mark.parametrize(
    "uri",
    [
        f"mlflow-artifacts://tracking.example:5000/0/{RUN}/artifacts/a",
        f"http://localhost:5000/api/2.0/mlflow-artifacts/artifacts/0/{RUN}/artifacts/a",
        f"https://x.example/behind/api/2.0/mlflow-artifacts/artifacts/0/{RUN}/artifacts/a/",
    ],
)
def test_addresses_with_a_host_are_understood(uri: str) -> None:
    assert place_of(uri) == Place(experiment_id_of(DEFAULT_EXPERIMENT), RUN, "a")


@pytest.mark.parametrize(
    "uri", ["", "s3://b/k", "bridge-artifacts:/r/p", "http://x/y", "models:/m/1", "http://[x/"]
)
def test_other_addresses_are_left_alone(uri: str) -> None:
    assert place_of(uri) is None


def test_an_address_that_climbs_is_refused() -> None:
    with pytest.raises(InvalidInput):
        place_of(f"mlflow-artifacts:/0/{RUN}/artifacts/../../x")
