"""Deployments of online endpoints run as processes, and answer as Azure's status codes say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.azureml_calls import Rig
from tests.support.azureml_endpoints import SCRIPT, Desk, Scored
from tests.support.processes import eventually, is_alive
from trackbridge.testing.emulators.azureml.containers import Containers
from trackbridge.testing.emulators.azureml.data_collection import DataCollection
from trackbridge.testing.emulators.azureml.online_state import OnlineEndpoints
from trackbridge.testing.emulators.azureml.scored_requests import Happenings
from trackbridge.testing.emulators.azureml.scored_requests import Scored as HappenedScored
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperations

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """A cloud with an endpoint whose deployment ``blue`` runs a script, and gets all traffic."""
    rig = Rig()
    made = Desk(rig)
    made.endpoint()
    assert made.deploy(made.script())["status"] == "Succeeded"
    made.endpoint(traffic={"blue": 100})
    yield made
    rig.cloud.close()


@pytest.fixture
def own() -> Iterator[Desk]:
    """A cloud of the test's own, with an endpoint without deployments."""
    rig = Rig()
    made = Desk(rig)
    made.endpoint()
    yield made
    rig.cloud.close()


def test_a_script_answers_with_its_model_and_tells_who_answered(desk: Desk) -> None:
    answer = desk.score({"a": 1}, x_ms_client_request_id="mine")
    assert answer.status == 200
    assert answer.content == {"version": "v1", "asked": {"a": 1}, "setting": ""}
    assert answer.headers["azureml-model-deployment"] == "blue"
    assert answer.headers["x-ms-client-request-id"] == "mine"
    assert float(answer.headers["x-ms-run-fn-exec-ms"]) >= 0


def test_health_and_the_description_are_served_too(desk: Desk) -> None:
    assert desk.score(path="/", method="GET").body == b"Healthy"
    assert "/score" in desk.score(path="/swagger.json", method="GET").content["paths"]


@pytest.mark.parametrize(("key", "text"), [("", "bad_header_not_found"), ("not-the-key", "access_denied")])
def test_without_the_key_it_is_401(desk: Desk, key: str, text: str) -> None:
    answer = desk.score({}, key=key)
    assert (answer.status, answer.body.decode()) == (401, f"key_auth_{text}")


def test_either_key_will_do_and_an_old_one_does_not(own: Desk) -> None:
    own.deploy(own.script())
    own.endpoint(traffic={"blue": 100})
    keys = own.rig.ask("POST", "onlineEndpoints/wine/listKeys").content
    assert own.score({}, key=keys["secondaryKey"]).status == 200
    again = {"keyType": "Secondary", "keyValue": keys["secondaryKey"]}
    own.rig.outcome(own.rig.ask("POST", "onlineEndpoints/wine/regenerateKeys", again))
    assert own.score({}, key=keys["secondaryKey"]).status == 401


def test_an_endpoint_with_tokens_takes_its_own_and_no_other(own: Desk) -> None:
    own.endpoint("beer", authMode="AMLToken")
    own.endpoint("cider", authMode="AADToken")
    for name in ("beer", "cider"):
        own.deploy(own.script(), endpoint=name)
        own.endpoint(name, authMode="AMLToken" if name == "beer" else "AADToken", traffic={"blue": 100})
    token = own.rig.ask("POST", "onlineEndpoints/beer/token").content["accessToken"]
    studio = own.rig.cloud.issuer.issue(audience="https://ml.azure.com").token
    arm = own.rig.cloud.issuer.issue().token
    assert own.score({}, endpoint="beer", key=token).status == 200
    assert own.score({}, endpoint="beer", key=studio).status == 401
    assert own.score({}, endpoint="cider", key=studio).status == 200
    assert own.score({}, endpoint="cider", key=arm).status == 401


def test_without_weight_it_is_404_but_for_whom_the_request_names(own: Desk) -> None:
    own.deploy(own.script())
    assert own.score({}).status == 404
    assert own.score({}, azureml_model_deployment="blue").status == 200
    assert own.score({}, azureml_model_deployment="green").status == 404
    assert own.score({}, endpoint="nobody").status == 404


def test_a_model_that_fails_is_424_with_its_own_status(desk: Desk) -> None:
    answer = desk.score({"fail": True})
    assert answer.status == 424
    assert answer.headers["ms-azureml-model-error-statuscode"] == "500"
    assert answer.headers["ms-azureml-model-error-reason"] == "model_error"
    assert "scoring script" in answer.content["message"]
    place = "onlineEndpoints/wine/deployments/blue/getLogs"
    eventually(  # what a container prints comes to its log by a pipe
        lambda: "ValueError: asked to fail" in desk.rig.ask("POST", place, {"tail": 100}).content["content"]
    )
    assert desk.score({}, path="/nowhere").headers["ms-azureml-model-error-statuscode"] == "404"


def test_logs_are_the_last_lines_of_the_container_that_is_asked_for(desk: Desk) -> None:
    place = "onlineEndpoints/wine/deployments/blue/getLogs"
    first = desk.rig.ask("POST", place, {"containerType": "StorageInitializer", "tail": 50}).content[
        "content"
    ]
    assert "Downloaded 1 files" in first
    desk.score({"last": 1})
    tail = desk.rig.ask("POST", place, {"containerType": "InferenceServer", "tail": 1}).content["content"]
    assert "loaded v1" not in tail
    assert desk.rig.ask("POST", place, {"containerType": "Nobody"}).status == 400


def test_a_model_that_is_slow_is_408(own: Desk) -> None:
    own.deploy({**own.script(), "requestSettings": {"requestTimeout": "PT0.3S"}})
    own.endpoint(traffic={"blue": 100})
    assert own.score({"sleep_s": 30}).status == 408
    assert own.score({"sleep_s": 0}).status == 408  # the worker is busy still, as it is in Azure


def test_more_than_is_allowed_to_be_pending_is_429(own: Desk) -> None:
    properties = {
        **own.script(GATED),
        "environmentVariables": {"GATE": str(own.rig.cloud.part(Containers).folder("gate") / "open")},
    }
    own.deploy(properties)
    own.endpoint(traffic={"blue": 100})
    fleet = (
        own.rig.cloud.part(OnlineEndpoints).live(f"{own.rig.workspace}/onlineEndpoints/wine").fleets["blue"]
    )
    assert fleet.pending_max == 2
    answers: list[Scored] = []
    threads = []
    for count in (1, 2):
        threads.append(own.score_aside({}, answers))
        while fleet._pending < count:
            threads[-1].join(0.005)
    assert own.score({}).status == 429
    Path(properties["environmentVariables"]["GATE"]).touch()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200, 200]
    assert own.score({}).status == 200


GATED = SCRIPT.replace(
    "    asked = json.loads(raw_data)\n",
    "    asked = json.loads(raw_data)\n"
    "    while not os.path.exists(os.environ['GATE']):\n"
    "        time.sleep(0.01)\n",
)


def test_an_endpoint_takes_so_many_requests_a_second(desk: Desk) -> None:
    state = desk.rig.cloud.part(OnlineEndpoints)
    desk.rig.cloud.clock.advance(2.0)
    state.requests_per_second_max = 2
    try:
        assert [desk.score({}).status for _ in range(3)] == [200, 200, 429]
        desk.rig.cloud.clock.advance(1.0)
        assert desk.score({}).status == 200
    finally:
        state.requests_per_second_max = 500


def test_traffic_is_split_by_weight_and_mirrored_beside_it(own: Desk) -> None:
    for name, version in (("blue", "1"), ("green", "2"), ("red", "3")):
        own.deploy(own.script(version=version), name)
    own.endpoint(traffic={"blue": 75, "green": 25}, mirrorTraffic={"red": 50})
    answered = Counter(_scored_and_mirrored(own) for _ in range(8))
    assert answered == {"v1": 6, "v2": 2}
    assert _mirrored(own) == ["red"] * 4
    own.score({}, azureml_model_deployment="blue")
    own.rig.cloud.part(OnlineEndpoints).settle()
    assert _mirrored(own) == ["red"] * 4


def _scored_and_mirrored(own: Desk) -> str:
    version: str = own.score({}).content["version"]
    own.rig.cloud.part(OnlineEndpoints).settle()
    return version


def _mirrored(own: Desk) -> list[str]:
    found = own.rig.cloud.part(Happenings).of(HappenedScored, f"{own.rig.workspace}/onlineEndpoints/wine")
    return [
        e.deployment for e in found if isinstance(e, HappenedScored) and e.is_mirrored and e.status == 200
    ]


def test_a_script_that_does_not_load_fails_the_deployment_and_says_why(own: Desk) -> None:
    operation = own.deploy(
        own.script("raise RuntimeError('no weights')\ndef init(): pass\ndef run(x): pass\n")
    )
    assert operation["status"] == "Failed"
    assert operation["error"]["code"] == "ResourceNotReady"
    found = own.rig.ask("GET", "onlineEndpoints/wine/deployments/blue").content
    assert found["properties"]["provisioningState"] == "Failed"
    logs = own.rig.ask("POST", "onlineEndpoints/wine/deployments/blue/getLogs", {}).content["content"]
    assert "no weights" in logs
    own.endpoint(traffic={"blue": 100})
    assert own.score({}).status == 424


@pytest.mark.parametrize("missing", ["init", "run"])
def test_a_script_needs_both_functions(own: Desk, missing: str) -> None:
    other = "run" if missing == "init" else "init"
    operation = own.deploy(own.script(f"def {other}(*x): pass\n"))
    assert operation["status"] == "Failed"


def test_an_update_that_fails_leaves_the_old_one_serving(own: Desk) -> None:
    own.deploy(own.script())
    own.endpoint(traffic={"blue": 100})
    assert own.deploy(own.script("raise RuntimeError()", version="2"))["status"] == "Failed"
    assert own.score({}).content["version"] == "v1"
    assert own.deploy(own.script(version="3"))["status"] == "Succeeded"
    assert own.score({}).content["version"] == "v3"


def test_a_failure_on_demand_starts_nothing(own: Desk) -> None:
    own.rig.cloud.part(SlowOperations).fail("*/deployments/blue", code="OutOfQuota", message="no cores")
    operation = own.deploy(own.script())
    assert operation["error"]["code"] == "OutOfQuota"


def test_scaling_changes_how_much_is_taken_at_once(own: Desk) -> None:
    own.deploy(own.script())
    body = {"sku": {"name": "Default", "capacity": 2}}
    begun = own.rig.ask("PATCH", "onlineEndpoints/wine/deployments/blue", body)
    assert begun.content["properties"]["provisioningState"] == "Scaling"
    assert own.finished(begun)["status"] == "Succeeded"
    fleet = (
        own.rig.cloud.part(OnlineEndpoints).live(f"{own.rig.workspace}/onlineEndpoints/wine").fleets["blue"]
    )
    assert (len(fleet.instances), fleet.pending_max) == (2, 4)
    assert (
        own.rig.ask("PATCH", "onlineEndpoints/wine/deployments/blue", {"sku": {"capacity": 51}}).status == 400
    )
    skus = own.rig.ask("GET", "onlineEndpoints/wine/deployments/blue/skus").content["value"]
    assert skus[0]["capacity"]["maximum"] == 50


def test_a_container_that_was_killed_is_424_and_comes_back(own: Desk) -> None:
    own.deploy(own.script())
    own.endpoint(traffic={"blue": 100})
    fleet = (
        own.rig.cloud.part(OnlineEndpoints).live(f"{own.rig.workspace}/onlineEndpoints/wine").fleets["blue"]
    )
    container = fleet.instances[0].server.container
    assert container is not None
    os.killpg(container.group, signal.SIGKILL)
    container.wait(60.0)
    broken = own.score({})
    assert (broken.status, broken.headers["ms-azureml-model-error-statuscode"]) == (424, "502")
    eventually(lambda: own.score({}).status == 200, "the container's next start")
    assert own.score({}).content["version"] == "v1"


def test_a_container_of_ones_own_is_asked_at_its_own_path(own: Desk, tmp_path: Path) -> None:
    assert own.deploy(own.container(tmp_path))["status"] == "Succeeded"
    own.endpoint(traffic={"blue": 100})
    told = own.rig.ask("GET", "onlineEndpoints/wine").content["properties"]["scoringUri"]
    assert told == "http://here/endpoints/wine/v1/models/wine:predict"
    answer = own.score(path="/v1/models/wine:predict?a=1", body=b"raw", Content_Type="text/plain")
    assert (answer.status, answer.body) == (200, b"/v1/models/wine:predict?a=1 raw")
    assert answer.headers["content-type"] == "text/x-own"
    tea = own.score(path="/v1/models/wine:predict", body=b"tea")
    assert (tea.status, tea.headers["ms-azureml-model-error-statuscode"]) == (424, "418")


def test_an_image_that_nobody_knows_is_refused_with_what_to_do(own: Desk, tmp_path: Path) -> None:
    properties = {**own.container(tmp_path), "environmentVariables": {}}
    body = {"location": "x", "properties": {"endpointComputeType": "Managed", **properties}}
    refused = own.rig.ask("PUT", "onlineEndpoints/wine/deployments/blue", body)
    assert (refused.status, refused.code) == (400, "ImageBuildFailure")
    assert "declare" in refused.message.lower()


def test_the_raw_request_and_the_status_are_the_scripts_if_it_wants(own: Desk) -> None:
    script = (
        "from azureml.contrib.services.aml_request import rawhttp\n"
        "from azureml.contrib.services.aml_response import AMLResponse\n"
        "def init(): pass\n"
        "@rawhttp\n"
        "def run(request):\n"
        "    return AMLResponse(request.method + ':' + request.get_data(True), 207, {'X-Own': 'yes'})\n"
    )
    own.deploy(own.script(script))
    own.endpoint(traffic={"blue": 100})
    answer = own.score(body=b"text")
    assert (answer.status, answer.body, answer.headers["x-own"]) == (207, b"POST:text", "yes")


def test_variables_reach_the_script_and_the_platforms_win(own: Desk) -> None:
    own.deploy({**own.script(), "environmentVariables": {"SETTING": "s", "AZUREML_MODEL_DIR": "/nowhere"}})
    own.endpoint(traffic={"blue": 100})
    assert own.score({}).content["setting"] == "s"
    told = own.rig.ask("GET", "onlineEndpoints/wine/deployments/blue").content["properties"]
    added = {"AML_APP_ROOT": "/var/azureml-app/code", "AZUREML_ENTRY_SCRIPT": "score.py"}
    assert told["environmentVariables"].items() > {"SETTING": "s", **added}.items()


def test_requests_and_answers_are_collected_as_events(own: Desk) -> None:
    collections = {
        name: {"dataCollectionMode": "enabled", "samplingRate": 0.5} for name in ("request", "response")
    }
    own.deploy({**own.script(), "dataCollector": {"collections": collections}})
    own.endpoint(traffic={"blue": 100})
    for number in range(4):
        own.score({"n": number}, x_ms_client_request_id=f"id-{number}")
    own.rig.cloud.part(DataCollection).settle()
    kept = _collected(own.rig, "request")
    assert [event["data"] for event in kept] == [{"n": 1}, {"n": 3}]
    assert [event["correlationid"] for event in kept] == ["id-1", "id-3"]
    assert kept[0]["type"] == "azureml.inference.request"
    assert [event["data"]["asked"] for event in _collected(own.rig, "response")] == [{"n": 1}, {"n": 3}]


def test_what_the_script_collects_itself_goes_the_same_way(own: Desk) -> None:
    script = (
        "import json, os, urllib.request\n"
        "def init(): pass\n"
        "def run(raw):\n"
        "    host, port = os.environ['AZUREML_MDC_HOST'], os.environ['AZUREML_MDC_PORT']\n"
        "    place = f'http://{host}:{port}/modeldata/log'\n"
        "    headers = {'Content-Type': 'application/json', 'ce-type': 'azureml.inference.model_inputs'}\n"
        "    urllib.request.urlopen(urllib.request.Request(place, raw.encode(), headers)).read()\n"
        "    return json.load(open(os.environ['AZUREML_MDC_CONFIG_PATH']))\n"
    )
    collector = {"collections": {"model_inputs": {"dataCollectionMode": "Enabled"}}}
    own.deploy({**own.script(script), "dataCollector": collector})
    own.endpoint(traffic={"blue": 100})
    answer = own.score([{"a": 1}])
    assert answer.content["collections"]["model_inputs"] == {"enabled": True, "sampleRatePercentage": 100}
    own.rig.cloud.part(DataCollection).settle()
    assert [event["data"] for event in _collected(own.rig, "model_inputs")] == [[{"a": 1}]]


def _collected(rig: Rig, collection: str) -> list[dict[str, Any]]:
    start = f"modelDataCollector/wine/blue/{collection}/"
    found = [text for (_, _, path), text in sorted(rig.storage.held.items()) if path.startswith(start)]
    return [json.loads(line) for text in found for line in text.splitlines()]


def test_a_reset_ends_what_runs_and_what_is_only_starting(own: Desk) -> None:
    own.deploy(own.script())
    state = own.rig.cloud.part(OnlineEndpoints)
    running = state.live(f"{own.rig.workspace}/onlineEndpoints/wine").fleets["blue"].instances[0]
    slow = own.script("import time\ndef init(): time.sleep(600)\ndef run(x): pass\n", version="2")
    body = {"location": "x", "properties": {"endpointComputeType": "Managed", **slow}}
    assert own.rig.ask("PUT", "onlineEndpoints/wine/deployments/green", body).status == 201
    assert [thread.name for thread in state.going_on()] != []
    own.rig.cloud.reset()
    assert state.going_on() == []
    assert not running.folder.exists()
    assert running.server.container is None
    assert own.rig.ask("GET", "onlineEndpoints/wine").status == 404


def test_an_endpoint_that_is_deleted_ends_its_processes(own: Desk) -> None:
    own.deploy(own.script())
    state = own.rig.cloud.part(OnlineEndpoints)
    running = state.live(f"{own.rig.workspace}/onlineEndpoints/wine").fleets["blue"].instances[0]
    own.rig.outcome(own.rig.ask("DELETE", "onlineEndpoints/wine"))
    state.settle()
    assert running.server.container is None
    assert not running.folder.exists()


def test_a_model_whose_files_are_gone_fails_the_deployment(own: Desk) -> None:
    properties = own.script()
    own.rig.storage.held.clear()
    operation = own.deploy(properties)
    assert operation["error"]["code"] == "ResourceNotReady"
    assert "no files at" in operation["error"]["message"]


KILLED = """
import time
from tests.support.azureml_calls import Rig
from tests.support.azureml_endpoints import Desk
from trackbridge.testing.emulators.azureml.online_state import OnlineEndpoints
rig = Rig()
desk = Desk(rig)
desk.endpoint()
assert desk.deploy(desk.script())["status"] == "Succeeded"
live = rig.cloud.part(OnlineEndpoints).live(f"{rig.workspace}/onlineEndpoints/wine")
instance = live.fleets["blue"].instances[0]
print(instance.server.container.group, instance.folder, flush=True)
time.sleep(600)
"""


def test_when_the_emulator_is_killed_its_deployments_end_too() -> None:
    command = [sys.executable, "-c", KILLED]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as emulator:
        assert emulator.stdout is not None
        group, folder = emulator.stdout.readline().split()
        assert Path(folder).exists()
        emulator.kill()
    eventually(lambda: not Path(folder).exists() and not is_alive(int(group)), "the end of its deployment")
