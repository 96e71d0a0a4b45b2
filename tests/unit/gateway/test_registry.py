"""The registry of mlflow's REST API: what is answered, with which codes, and where files are said to be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.gateway_calls import Calls
from tests.support.program_state import forget
from trackbridge.api.registry_client import RegistryMethods
from trackbridge.gateway.gateway import Gateway, GatewayOptions

MODEL = "registered-models/"
VERSION = "model-versions/"
INVALID, ABSENT = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRIDGE_DELIVERY", "off")
        patch.setenv("BRIDGE_HOME", str(folder / "home"))
        gateway = Gateway(GatewayOptions(backend=f"file:{folder}/store"))
        gateway.start()
        yield Calls(gateway)
        gateway.close()
        forget()


@pytest.fixture(scope="module")
def run_id(call: Calls) -> str:
    """A run that has logged the files of two models."""
    recorder = call.gateway.runs.create(
        call.gateway.experiments.active("0"), name="maker", user="ada", start_time=1, tags={}
    )
    recorder.content(b"flavors: {}\n", "model/MLmodel")
    recorder.content(b"flavors: {a: b}\n", "deep/other/MLmodel")
    return recorder.run_id


def source_of(run_id: str, path: str = "model") -> str:
    return f"mlflow-artifacts:/0/{run_id}/artifacts/{path}"


@pytest.fixture
def name(call: Calls, request: pytest.FixtureRequest) -> str:
    """A model of this test alone."""
    made = f"of {request.node.name}"[:100].replace("/", "-").replace(":", "-")
    call("POST", MODEL + "create", {"name": made})
    return made


def version_of(call: Calls, name: str, run_id: str, **fields: Any) -> dict[str, Any]:
    body = {"name": name, "source": source_of(run_id), "run_id": run_id, **fields}
    found: dict[str, Any] = call("POST", VERSION + "create", body)["model_version"]
    return found


def test_the_versions_of_a_page_of_models_are_read_at_once(
    call: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"at once {number}" for number in range(4)]
    for name in names:
        call("POST", MODEL + "create", {"name": name})
    everyone, latest = threading.Barrier(len(names)), RegistryMethods.get_latest_versions

    def read(*asked: Any) -> Any:
        everyone.wait(timeout=60)  # for who is one after the other, for ever
        return latest(*asked)

    monkeypatch.setattr(RegistryMethods, "get_latest_versions", read)
    asked = quote("name LIKE 'at once%'")
    found = call("GET", f"{MODEL}search?filter={asked}")["registered_models"]
    assert [model["name"] for model in found] == names


def test_a_model_is_told_as_mlflow_tells_it(call: Calls) -> None:
    tags = [{"key": "a", "value": "b"}]
    made = call("POST", MODEL + "create", {"name": "wine", "tags": tags, "description": "red"})
    found = call("GET", MODEL + "get?name=wine")["registered_model"]
    assert made["registered_model"] == found
    assert {**found, "creation_timestamp": 0, "last_updated_timestamp": 0} == {
        "name": "wine",
        "description": "red",
        "tags": tags,
        "creation_timestamp": 0,
        "last_updated_timestamp": 0,
    }
    call("PATCH", MODEL + "update", {"name": "wine", "description": "white"})
    call("POST", MODEL + "set-tag", {"name": "wine", "key": "c", "value": "d"})
    call("DELETE", MODEL + "delete-tag", {"name": "wine", "key": "a"})
    call("DELETE", MODEL + "delete-tag", {"name": "wine", "key": "never"})
    found = call("GET", MODEL + "get?name=wine")["registered_model"]
    assert (found["description"], found["tags"]) == ("white", [{"key": "c", "value": "d"}])
    call("DELETE", MODEL + "delete", {"name": "wine"})
    assert call.code("GET", MODEL + "get?name=wine") == ABSENT


def test_a_version_is_told_as_mlflow_tells_it(call: Calls, name: str, run_id: str) -> None:
    made = version_of(call, name, run_id, tags=[{"key": "k", "value": "v"}])
    times = {key: made.pop(key) for key in ("creation_timestamp", "last_updated_timestamp")}
    assert all(isinstance(time, int) for time in times.values())
    assert made == {
        "name": name,
        "version": "1",
        "current_stage": "None",
        "description": "",
        "source": source_of(run_id),
        "run_id": run_id,
        "status": "READY",
        "tags": [{"key": "k", "value": "v"}],
        "run_link": "",
    }
    again = version_of(call, name, run_id)
    assert again["version"] == "2"  # each registration is one
    uri = call("GET", f"{VERSION}get-download-uri?name={quote(name)}&version=2")["artifact_uri"]
    assert uri == source_of(run_id)


def test_versions_of_other_addresses(call: Calls, name: str, run_id: str) -> None:
    of_run = version_of(call, name, run_id, source=f"runs:/{run_id}/deep/other")
    assert of_run["source"] == source_of(run_id, "deep/other")
    through_host = f"http://gateway:5000/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/model"
    assert version_of(call, name, run_id, source=through_host)["source"] == source_of(run_id)
    call("POST", MODEL + "create", {"name": f"{name} copy"})
    copied = version_of(call, f"{name} copy", run_id, source=f"models:/{name}/1")
    assert (copied["version"], copied["source"], copied["run_id"]) == ("1", f"models:/{name}/1", run_id)
    address = f"{VERSION}get-download-uri?name={quote(name + ' copy')}&version=1"
    assert call("GET", address)["artifact_uri"] == source_of(run_id, "deep/other")


@pytest.mark.parametrize(
    "source",
    [
        "/etc",
        "file:///etc",
        "etc",
        "~/models",
        "mlflow-artifacts:/0/{run}/artifacts/../../x",
        "runs:/{run}/../x",
    ],
)
def test_files_of_the_machine_are_not_registered(call: Calls, name: str, run_id: str, source: str) -> None:
    body = {"name": name, "source": source.replace("{run}", run_id), "run_id": run_id}
    assert call.code("POST", VERSION + "create", body) == INVALID
    assert call("GET", MODEL + f"get?name={quote(name)}")["registered_model"].get("latest_versions") is None


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"run_id": None}, INVALID),
        ({"run_id": "0" * 32}, INVALID),
        ({"source": "runs:/" + "0" * 32 + "/model", "run_id": "0" * 32}, INVALID),
        ({"source": "models:/m-" + "0" * 32 + "-12345678"}, INVALID),
        ({"model_id": "m-1"}, INVALID),
        ({"source": "models:/never/1"}, ABSENT),
        ({"source": "mlflow-artifacts:/0/{run}/artifacts/none"}, ABSENT),
        ({"name": "never"}, ABSENT),
        ({"name": ""}, INVALID),
        ({"tags": [{"key": "bridge.digest", "value": "x"}]}, INVALID),
        ({"tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]}, "NOT_IMPLEMENTED"),
    ],
)
def test_wrong_versions_are_refused(
    call: Calls, name: str, run_id: str, fields: dict[str, Any], code: str
) -> None:
    body = {"name": name, "source": source_of(run_id), "run_id": run_id, **fields}
    body["source"] = body["source"].replace("{run}", run_id)
    assert call.code("POST", VERSION + "create", body) == code


def test_aliases(call: Calls, name: str, run_id: str) -> None:
    version_of(call, name, run_id)
    version_of(call, name, run_id)
    for version in ("1", "2"):
        call("POST", MODEL + "alias", {"name": name, "alias": "best", "version": version})
    by_alias = f"{MODEL}alias?name={quote(name)}&alias="
    assert call("GET", by_alias + "best")["model_version"]["version"] == "2"
    assert call("GET", by_alias + "best")["model_version"]["aliases"] == ["best"]
    assert call("GET", by_alias + "Latest")["model_version"]["version"] == "2"
    model = call("GET", MODEL + f"get?name={quote(name)}")["registered_model"]
    assert model["aliases"] == [{"alias": "best", "version": "2"}]
    assert call.code("POST", MODEL + "alias", {"name": name, "alias": "a", "version": "9"}) == ABSENT
    for alias in ("latest", "v1", "ä b"):
        body = {"name": name, "alias": alias, "version": "1"}
        assert call.code("POST", MODEL + "alias", body) == INVALID
    call("DELETE", MODEL + "alias", {"name": name, "alias": "best"})
    call("DELETE", MODEL + "alias", {"name": name, "alias": "best"})
    assert call.code("GET", by_alias + "best") == INVALID
    assert call.code("GET", f"{MODEL}alias?name=never&alias=best") == ABSENT


def test_stages_tags_and_descriptions_of_versions(call: Calls, name: str, run_id: str) -> None:
    for _ in range(2):
        version_of(call, name, run_id)
    stage: dict[str, Any] = {"name": name, "version": "1", "stage": "production"}
    assert call("POST", VERSION + "transition-stage", stage)["model_version"]["current_stage"] == "Production"
    stage = {**stage, "version": "2", "archive_existing_versions": True}
    call("POST", VERSION + "transition-stage", stage)
    latest = call("GET", f"{MODEL}get-latest-versions?name={quote(name)}&stages=Archived&stages=Production")
    assert {found["version"]: found["current_stage"] for found in latest["model_versions"]} == {
        "1": "Archived",
        "2": "Production",
    }
    assert call("POST", MODEL + "get-latest-versions", {"name": name, "stages": ["None"]}) == {}
    assert call.code("POST", MODEL + "get-latest-versions", {"name": name, "stages": ["Best"]}) == INVALID
    assert call.code("POST", VERSION + "transition-stage", {**stage, "stage": "Best"}) == INVALID
    one = {"name": name, "version": "1"}
    call("POST", VERSION + "set-tag", {**one, "key": "k", "value": "v"})
    call("PATCH", VERSION + "update", {**one, "description": "the first"})
    found = call("GET", f"{VERSION}get?name={quote(name)}&version=1")["model_version"]
    assert (found["tags"], found["description"]) == ([{"key": "k", "value": "v"}], "the first")
    call("DELETE", VERSION + "delete-tag", {**one, "key": "k"})
    call("DELETE", VERSION + "delete-tag", {**one, "key": "k"})
    assert "tags" not in call("GET", f"{VERSION}get?name={quote(name)}&version=1")["model_version"]
    call("DELETE", VERSION + "delete", one)
    for method, path in (("GET", f"get?name={quote(name)}&version=1"), ("DELETE", "delete")):
        assert call.code(method, VERSION + path, one if method == "DELETE" else None) == ABSENT
    assert call.code("GET", f"{VERSION}get?name={quote(name)}&version=one") == INVALID


def test_searches_go_page_by_page(call: Calls, run_id: str) -> None:
    names = [f"page {letter}" for letter in "abc"]
    for name in names:
        call("POST", MODEL + "create", {"name": name, "tags": [{"key": "is", "value": name[-1]}]})
        version_of(call, name, run_id)
    no_prompt = quote("name LIKE 'page %' AND tags.`mlflow.prompt.is_prompt` != 'true'")
    page = call("GET", f"{MODEL}search?filter={no_prompt}&max_results=2")
    assert [model["name"] for model in page["registered_models"]] == names[:2]
    token = page["next_page_token"]
    rest = call("GET", f"{MODEL}search?filter={no_prompt}&max_results=2&page_token={token}")
    assert [model["name"] for model in rest["registered_models"]] == names[2:]
    assert "next_page_token" not in rest
    assert rest["registered_models"][0]["latest_versions"][0]["version"] == "1"
    nothing = call("GET", f"{MODEL}search?filter={no_prompt}&max_results=0")
    assert list(nothing) == ["next_page_token"]
    ordered = call("GET", f"{MODEL}search?filter={no_prompt}&order_by={quote('name DESC')}")
    assert [model["name"] for model in ordered["registered_models"]] == names[::-1]
    of_run = call("GET", f"{VERSION}search?filter={quote(f'''run_id = '{run_id}' AND name = 'page b' ''')}")
    assert [found["name"] for found in of_run["model_versions"]] == ["page b"]


@pytest.mark.parametrize(
    "query",
    [
        "max_results=1001",
        "max_results=-1",
        "max_results=many",
        f"filter={quote('name ~ 1')}",
        "page_token=x",
        "order_by=none",
    ],
)
def test_wrong_searches_are_refused(call: Calls, query: str) -> None:
    assert call.code("GET", f"{MODEL}search?{query}") == INVALID
    assert call.code("GET", f"{VERSION}search?{query.replace('1001', '200001')}") == INVALID


@pytest.mark.parametrize("name", ["a/b", "a:b", " ", "", ".", ".."])
def test_wrong_names_are_refused(call: Calls, name: str) -> None:
    assert call.code("POST", MODEL + "create", {"name": name}) == INVALID
    assert call.code("GET", f"{MODEL}get?name={quote(name, safe='')}") == INVALID


def test_what_is_there_is_not_made_again(call: Calls, name: str) -> None:
    assert call.code("POST", MODEL + "create", {"name": name}) == "RESOURCE_ALREADY_EXISTS"
    assert call.code("POST", MODEL + "rename", {"name": name, "new_name": "b"}) == "NOT_IMPLEMENTED"
    assert call.code("POST", MODEL + "rename", {"name": "never", "new_name": "b"}) == ABSENT
    long = {"name": name, "key": "k", "value": "x" * 100_001}
    assert call.code("POST", MODEL + "set-tag", long) == INVALID


def test_a_registry_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_DELIVERY", "off")
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "home"))
    gateway = Gateway(GatewayOptions(backend=f"file:{tmp_path}/store", registry=f"file:{tmp_path}/registry"))
    gateway.start()
    call = Calls(gateway)
    recorder = gateway.runs.create(
        gateway.experiments.active("0"), name="", user="", start_time=None, tags={}
    )
    recorder.content(b"flavors: {}\n", "model/MLmodel")
    call("POST", MODEL + "create", {"name": "wine"})
    version_of(call, "wine", recorder.run_id)
    uri = call("GET", f"{VERSION}get-download-uri?name=wine&version=1")["artifact_uri"]
    assert uri == "mlflow-artifacts:/registered-models/wine/1/artifacts"
    gateway.close()
    forget()
