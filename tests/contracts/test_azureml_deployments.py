"""The deployment contract on the emulator of Azure ML, which serves the models; and what is Azure's own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support import scoring_container
from tests.support.azureml_emulators import ask, azureml_emulator
from tests.support.processes import eventually
from trackbridge.domain.deployments import (
    Authentication,
    Autoscale,
    DeploymentSpec,
    EndpointStatus,
    Operation,
    Serving,
)
from trackbridge.domain.plans import Change
from trackbridge.errors import Locked, PlanStale, RateLimited, Rejected, Transient, Unavailable
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.findings import Severity
from trackbridge.testing.contracts import DeploymentContract, deployment_models
from trackbridge.testing.emulators.azureml.computes import IN_ALL, Quotas
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.scored_requests import Event, Happenings, Scored
from trackbridge_adapters.azureml import open_workspace

MACHINE = "Standard_DS2_v2"
IMAGE = "test/scoring:1"
JSON = "application/json"
ROWS = b'{"inputs": [[1.0], [2.0]]}'


def opened(azureml: AzureMlEmulator, home: Path) -> Adapter:
    context = AdapterContext(home=home, options=azureml.options, clock_ms=lambda: time.time_ns() // 1_000_000)
    return open_workspace(azureml.uri, context=context, credential=azureml.credential())


@pytest.fixture(scope="module")
def endpoints() -> Iterator[AzureMlEmulator]:
    """A workspace for the tests of this file; a fault of the emulator fails them."""
    with azureml_emulator(mlflow="") as emulator:
        emulator.declare_image(IMAGE, serve=[sys.executable, str(scoring_container.__file__), "{port}"])
        yield emulator
        emulator.raise_failures()


class TestDeployments(DeploymentContract):
    mirror_percent_max = 50
    place: AzureMlEmulator
    home: Path

    @pytest.fixture(scope="class")
    @classmethod
    def adapter(cls, endpoints: AzureMlEmulator, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
        cls.place, cls.home = endpoints, tmp_path_factory.mktemp("home")
        return opened(endpoints, cls.home)

    def open_again(self) -> Adapter:
        return opened(self.place, self.home / "again")

    def spec(
        self, model: str, deployment: str = "v1", *, endpoint: str = "contract", **fields: object
    ) -> DeploymentSpec:
        return super().spec(
            model, deployment, endpoint=endpoint, **{"instance_type": MACHINE, "image": IMAGE, **fields}
        )


class Desk:
    """Deploys models of the contract suite in a workspace, and looks at it as Azure has it."""

    def __init__(self, azureml: AzureMlEmulator, home: Path) -> None:
        self.azureml, self.home = azureml, home
        self.adapter = opened(azureml, home)

    @property
    def target(self) -> DeploymentTarget:
        assert self.adapter.deployments is not None
        return self.adapter.deployments

    def payload(self, answer: float = 1.0) -> Path:
        folder = self.home / "models" / f"answers-{answer:g}"
        return folder if folder.is_dir() else deployment_models.answering(folder.parent, folder.name, answer)

    def spec(
        self, endpoint: str, deployment: str = "v1", *, answer: float = 1.0, **fields: object
    ) -> DeploymentSpec:
        named = {"instance_type": MACHINE, "image": IMAGE, **fields}
        return deployment_models.spec_for(self.payload(answer), endpoint, deployment, **named)

    def deploy(self, spec: DeploymentSpec, payload: Path | None = None) -> DeploymentSpec:
        for change in self.target.plan(spec, self.target.observe(spec.endpoint)):
            done = self.wait(self.target.apply(change, payload=payload or self.payload()))
            assert done.error is None, done
        return spec

    def wait(self, operation: Operation) -> Operation:
        found = operation
        deadline_s = time.monotonic() + 120.0
        while not found.done:
            assert time.monotonic() < deadline_s, f"{found} was not done"
            time.sleep(0.02)
            found = self.target.poll(found)
        return found

    def traffic_change(self, endpoint: str, **shares: int) -> Change:
        state = self.target.observe(endpoint)
        assert state is not None
        (change,) = self.target.plan_traffic(endpoint, state, percent_by_deployment=shares)
        return change

    def native(self, path: str) -> dict[str, Any]:
        found = ask(self.azureml, "GET", f"onlineEndpoints/{path}")
        assert found.status == 200, found
        return dict(found.content)

    def sent(self, method: str, part: str) -> list[str]:
        return [call.path for call in self.azureml.calls if call.method == method and part in call.path]


@pytest.fixture(scope="module")
def desk(endpoints: AzureMlEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(endpoints, tmp_path_factory.mktemp("desk"))
    yield made
    for state in made.target.list_endpoints():
        made.wait(made.target.delete(state.endpoint))
    made.adapter.close()


@pytest.fixture(autouse=True)
def _no_faults(endpoints: AzureMlEmulator) -> Iterator[None]:
    yield
    endpoints.faults.clear()


# Faults.


@pytest.mark.parametrize("subject", ["endpoint", "deployment", "traffic"])
def test_a_change_whose_answer_was_lost_is_found_again(desk: Desk, subject: str) -> None:
    """As after a kill in the middle: the change was begun, and nobody knows its operation."""
    spec = desk.spec(f"lost-{subject}")
    pattern = "put */deployments/*" if subject == "deployment" else f"put *onlineendpoints/lost-{subject}"
    for change in desk.target.plan(spec, None):
        is_it = change.subject.startswith(subject)
        if is_it:
            desk.azureml.faults.fail(pattern, after=True)
            with pytest.raises(Transient):
                desk.target.apply(change, payload=desk.payload())
        puts = len(desk.sent("PUT", f"/lost-{subject}"))
        assert desk.wait(desk.target.apply(change, payload=desk.payload())).error is None
        assert len(desk.sent("PUT", f"/lost-{subject}")) == puts + (0 if is_it else 1), "begun already"
    assert desk.target.plan(spec, desk.target.observe(spec.endpoint)) == ()


def test_throttling_is_told_and_the_change_can_be_applied_again(desk: Desk) -> None:
    (first, *_) = desk.target.plan(desk.spec("throttled"), None)
    desk.azureml.faults.throttle("put *onlineendpoints/*", times=1, retry_after_s=3)
    with pytest.raises(RateLimited) as caught:
        desk.target.apply(first)
    assert caught.value.retry_after_s == 3
    assert desk.wait(desk.target.apply(first)).error is None


def test_an_operation_that_fails_in_azure_says_why(desk: Desk) -> None:
    from trackbridge.testing.emulators.azureml.slow_operations import SlowOperations

    first, second, *_ = desk.target.plan(desk.spec("no-quota"), None)
    desk.wait(desk.target.apply(first))
    desk.azureml.cloud.part(SlowOperations).fail("*/no-quota/*", code="OutOfQuota", message="no cores left")
    failed = desk.wait(desk.target.apply(second, payload=desk.payload()))
    assert "no cores left" in str(failed.error)
    state = desk.target.observe("no-quota")
    assert state is not None
    assert state.status is EndpointStatus.FAILED


def test_traffic_that_somebody_else_sets_is_left_alone(desk: Desk) -> None:
    desk.deploy(desk.spec("shared"))
    desk.deploy(desk.spec("shared", "v2", answer=2.0, traffic_percent=0), desk.payload(2.0))
    change = desk.traffic_change("shared", v1=50, v2=50)
    theirs = desk.native("shared")
    theirs["properties"]["traffic"] = {"dep-v1": 80, "dep-v2": 20}
    assert ask(desk.azureml, "PUT", "onlineEndpoints/shared", theirs).status == 200
    eventually(lambda: desk.native("shared")["properties"]["provisioningState"] == "Succeeded")

    with pytest.raises(PlanStale, match="80"):
        desk.target.apply(change)

    assert desk.native("shared")["properties"]["traffic"] == {"dep-v1": 80, "dep-v2": 20}


def test_what_others_set_of_an_endpoint_stays(desk: Desk) -> None:
    desk.deploy(desk.spec("merged"))
    theirs = desk.native("merged")
    theirs |= {"tags": {**theirs["tags"], "team": "red"}, "identity": {"type": "SystemAssigned"}}
    theirs["properties"]["description"] = "of the red team"
    ask(desk.azureml, "PUT", "onlineEndpoints/merged", theirs)
    eventually(lambda: desk.native("merged")["properties"]["provisioningState"] == "Succeeded")

    desk.deploy(desk.spec("merged", "v2", answer=2.0, traffic_percent=10), desk.payload(2.0))

    found = desk.native("merged")
    assert found["tags"]["team"] == "red"
    assert found["properties"]["description"] == "of the red team"
    assert found["properties"]["traffic"] == {"dep-v1": 90, "dep-v2": 10}
    assert found["identity"]["type"] == "SystemAssigned"


def test_a_deployment_that_somebody_else_changed_makes_the_plan_stale(desk: Desk) -> None:
    spec = desk.deploy(desk.spec("scaled"))
    (change,) = desk.target.plan(
        msgspec.structs.replace(spec, request_timeout_s=30.0), desk.target.observe("scaled")
    )
    ask(desk.azureml, "PATCH", "onlineEndpoints/scaled/deployments/dep-v1", {"sku": {"capacity": 2}})
    eventually(
        lambda: desk.native("scaled/deployments/dep-v1")["properties"]["provisioningState"] == "Succeeded"
    )
    with pytest.raises(PlanStale):
        desk.target.apply(change)
    found = desk.target.observe("scaled")
    assert found is not None
    assert found.deployments[0].spec is not None
    assert found.deployments[0].spec.instance_count == 2, "Azure's own figures are seen"


# Requests.


def test_a_request_is_sent_once_whatever_the_answer(desk: Desk) -> None:
    """azure-ai-ml sends it four times (7.2)."""
    failing = deployment_models.failing(desk.home / "models", "fails-once")
    spec = deployment_models.spec_for(failing, "once", "v1", instance_type=MACHINE, image=IMAGE)
    desk.deploy(spec, failing)
    happenings = desk.azureml.cloud.part(Happenings)
    scored = f"{desk.azureml.scope}/onlineEndpoints/once"

    with pytest.raises(Rejected, match="the model answered 500: the model failed"):
        desk.target.invoke("once", ROWS, content_type=JSON)
    assert len(happenings.of(Scored, scored)) == 1
    desk.azureml.faults.fail("post /endpoints/once*", status=500, times=10)
    before = len(desk.sent("POST", "/endpoints/once"))
    with pytest.raises(Unavailable):
        desk.target.invoke("once", ROWS, content_type=JSON)
    assert len(desk.sent("POST", "/endpoints/once")) == before + 1


def test_address_and_key_are_asked_for_once_and_a_new_key_is_found(desk: Desk) -> None:
    desk.deploy(desk.spec("keyed"))
    desk.target.invoke("keyed", ROWS, content_type=JSON)
    asked = len(desk.sent("POST", "/keyed/listKeys"))
    assert desk.target.invoke("keyed", ROWS, content_type=JSON) == b'{"predictions": [1.0, 1.0]}'
    assert len(desk.sent("POST", "/keyed/listKeys")) == asked
    ask(
        desk.azureml,
        "POST",
        "onlineEndpoints/keyed/regenerateKeys",
        {"keyType": "Primary", "keyValue": "n" * 32},
    )
    eventually(
        lambda: ask(desk.azureml, "POST", "onlineEndpoints/keyed/listKeys").content["primaryKey"] == "n" * 32
    )
    before = len(desk.sent("POST", "/endpoints/keyed"))
    assert desk.target.invoke("keyed", ROWS, content_type=JSON) == b'{"predictions": [1.0, 1.0]}'
    assert len(desk.sent("POST", "/endpoints/keyed")) == before + 2, (
        "once with the old key, once with the new"
    )
    assert "n" * 32 not in repr(vars(desk.target))


@pytest.mark.parametrize("mode", [Authentication.TOKEN, Authentication.IDENTITY], ids=lambda mode: mode.value)
def test_endpoints_with_tokens_answer(desk: Desk, mode: Authentication) -> None:
    spec = desk.deploy(desk.spec(f"by-{mode.value}", authentication=mode))
    assert b"[1.0, 1.0]" in desk.target.invoke(spec.endpoint, ROWS, content_type=JSON)
    assert desk.target.plan(spec, desk.target.observe(spec.endpoint)) == ()
    keyed = desk.spec(spec.endpoint, "v2", traffic_percent=0, authentication=Authentication.KEY)
    observed = desk.target.observe(spec.endpoint)
    assert "authentication" in {finding.subject for finding in desk.target.check(keyed, observed)}
    with pytest.raises(Rejected, match="authentication"):
        desk.deploy(keyed)


def test_an_endpoint_without_traffic_says_that_nobody_serves(desk: Desk) -> None:
    first, second, _ = desk.target.plan(desk.spec("silent"), None)
    desk.wait(desk.target.apply(first))
    desk.wait(desk.target.apply(second, payload=desk.payload()))
    with pytest.raises(Unavailable, match="no deployment gets requests"):
        desk.target.invoke("silent", ROWS, content_type=JSON)
    assert b"1.0" in desk.target.invoke("silent", ROWS, content_type=JSON, deployment="v1")


def test_azures_own_server_takes_and_keeps_payloads_in_mlflows_form(desk: Desk) -> None:
    """No image and no environment: Azure makes up the server, which takes ``input_data`` alone."""
    body = "        return [float(value) * 2 for value in model_input['a']]"
    payload = deployment_models.write_model(desk.home / "models", "doubles", body=body)
    spec = deployment_models.spec_for(
        payload, "no-code", "blue", instance_type=MACHINE, capture_percent=100, detailed_metrics=True
    )
    desk.deploy(spec, payload)

    def predicted(asked: bytes, kind: str = JSON) -> Any:
        return json.loads(desk.target.invoke("no-code", asked, content_type=kind))["predictions"]

    assert predicted(b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 0], [2, 0]]}}') == [2.0, 4.0]
    assert predicted(b'{"dataframe_records": [{"a": 3}, {"a": 4}]}') == [6.0, 8.0]
    assert predicted(b"a,b\n5,x\n6,y\n", "text/csv") == [10.0, 12.0]
    with pytest.raises(Rejected, match="exactly one"):
        desk.target.invoke("no-code", b"{}", content_type=JSON)
    with pytest.raises(Rejected, match="the model answered 500"):
        predicted(b'{"dataframe_records": [{"b": 3}]}')

    def kept() -> list[Any]:
        return list(desk.target.read_captured("no-code"))

    eventually(lambda: sum(found.response is not None for found in kept()) == 4, "what was kept")
    pairs = [(json.loads(found.request), json.loads(found.response)) for found in kept()]
    asked, answered = pairs[1]
    assert asked["dataframe_split"]["data"] == [[3], [4]]
    assert answered == {"predictions": [6.0, 8.0]}
    (figures,) = desk.target.read_metrics("no-code", window_s=600)
    assert (figures.requests, figures.errors, figures.refused) == (4, 1, 0), (
        "what was not sent is not counted"
    )
    assert (figures.captured, figures.instances, figures.deployment) == (4, 1, "blue")
    native = desk.native("no-code/deployments/blue")["properties"]
    assert native["appInsightsEnabled"] is True
    assert native["environmentId" if "environmentId" in native else "model"]


# Machines.


def test_a_deployment_grows_and_shrinks_and_is_not_started_anew_for_it(desk: Desk) -> None:
    bounds = Autoscale(instances_min=1, instances_max=3, requests_per_instance_target=120.0)
    spec = desk.deploy(desk.spec("elastic", autoscale=bounds))
    assert desk.target.plan(spec, desk.target.observe("elastic")) == ()
    (setting,) = settings_of(desk)
    profile = setting["properties"]["profiles"][0]
    assert {name: profile["capacity"][name] for name in ("minimum", "maximum")} == {
        "minimum": "1",
        "maximum": "3",
    }
    told = [
        (
            rule["metricTrigger"]["operator"],
            rule["metricTrigger"]["threshold"],
            rule["scaleAction"]["direction"],
        )
        for rule in profile["rules"]
    ]
    assert told == [("GreaterThan", 120.0, "Increase"), ("LessThan", 60.0, "Decrease")]

    wider = msgspec.structs.replace(bounds, instances_max=5)
    desk.deploy(msgspec.structs.replace(spec, autoscale=wider))
    assert settings_of(desk)[0]["properties"]["profiles"][0]["capacity"]["maximum"] == "5"
    desk.deploy(msgspec.structs.replace(spec, autoscale=None, instance_count=2))
    assert settings_of(desk) == []
    assert desk.native("elastic/deployments/dep-v1")["sku"]["capacity"] == 2
    events = desk.azureml.cloud.part(Happenings).of(Event, f"{desk.azureml.scope}/onlineEndpoints/elastic")
    assert [event.name for event in events] == ["ContainerReady", "ContainerReady"], "one more, none anew"


def test_bounds_that_were_lost_on_the_way_are_set_by_the_same_plan(desk: Desk) -> None:
    bounds = Autoscale(instances_min=1, instances_max=2, requests_per_instance_target=10.0)
    spec = desk.spec("half-way", autoscale=bounds)
    desk.azureml.faults.fail("put *autoscalesettings*", times=1, status=503)
    for change in desk.target.plan(spec, None):
        if change.subject.startswith("deployment"):
            with pytest.raises(Transient):
                desk.target.apply(change, payload=desk.payload())
        assert desk.wait(desk.target.apply(change, payload=desk.payload())).error is None
    assert desk.target.plan(spec, desk.target.observe("half-way")) == ()
    desk.wait(desk.target.delete("half-way"))
    assert settings_of(desk) == [], "a setting of nothing is nobody's"


def settings_of(desk: Desk) -> list[dict[str, Any]]:
    cloud = desk.azureml.cloud
    group = f"/subscriptions/{cloud.subscription}/resourceGroups/{cloud.group}"
    path = f"{group}/providers/Microsoft.Insights/autoscalesettings"
    return list(ask(desk.azureml, "GET", path, version="2022-10-01").content["value"])


# What would go wrong.


def findings(desk: Desk, spec: DeploymentSpec) -> dict[str, str]:
    found = desk.target.check(spec, None)
    assert all(finding.fix for finding in found)
    return {finding.subject: finding.message for finding in found if finding.severity is Severity.ERROR}


def test_a_deployment_that_can_be_made_has_no_findings_and_nothing_is_changed(desk: Desk) -> None:
    before = len(desk.azureml.calls)
    assert desk.target.check(desk.spec("fine"), None) == ()
    assert {call.method for call in desk.azureml.calls[before:]} == {"GET"}


def test_what_azure_would_refuse_is_found_before(desk: Desk) -> None:
    assert (
        "no instance type"
        in findings(desk, desk.spec("fine", instance_type="Standard_None"))["instance_type"]
    )
    assert "environment" in findings(desk, desk.spec("fine", image=None, environment="azureml:none:1"))
    missing = msgspec.structs.replace(desk.spec("fine"), model_source="azureml:none:1")
    assert "model" in findings(desk, missing)
    assert desk.azureml.cloud.part(Quotas).limits[IN_ALL] == 200
    assert (
        "cores"
        in findings(desk, desk.spec("fine", instance_type="Standard_M128s", instance_count=2))["quota"]
    )


def test_a_name_that_another_workspace_has_is_found_before(desk: Desk) -> None:
    other = desk.azureml.scope.replace("test-workspace", "other-workspace")
    assert ask(desk.azureml, "PUT", other, {"location": "westeurope", "properties": {}}).status in (
        200,
        201,
        202,
    )
    body = {"location": "westeurope", "properties": {"authMode": "Key"}}
    made = ask(desk.azureml, "PUT", f"{other}/onlineEndpoints/taken", body)
    assert made.status == 201, made
    assert "another workspace" in findings(desk, desk.spec("taken"))["endpoint"]


def test_who_may_not_deploy_is_told_so_before(desk: Desk) -> None:
    desk.azureml.permissions.discard("write")
    try:
        assert "onlineEndpoints/write" in findings(desk, desk.spec("fine"))["permissions"]
        desk.azureml.permissions.discard("read")
        assert list(findings(desk, desk.spec("fine"))) == ["workspace"]
    finally:
        desk.azureml.permissions.update({"read", "write", "secrets"})


# Others' endpoints, scripts, batches.


def test_endpoints_that_others_made_are_shown_as_far_as_known(desk: Desk) -> None:
    desk.deploy(desk.spec("theirs"))
    native = desk.native("theirs/deployments/dep-v1")
    body = {**native, "tags": {"team": "red"}}
    made = ask(desk.azureml, "PUT", "onlineEndpoints/theirs/deployments/green", body)
    assert made.status == 201, made
    eventually(
        lambda: desk.native("theirs/deployments/green")["properties"]["provisioningState"] == "Succeeded"
    )

    state = desk.target.observe("theirs")

    assert state is not None
    found = state.find("green")
    assert found is not None
    assert (found.spec, found.status) == (None, EndpointStatus.READY)
    assert found.model.endswith(native["properties"]["model"].rpartition("/models/")[2])
    (change, *_) = desk.target.plan(desk.spec("theirs", "green", traffic_percent=0), state)
    assert "what it was made from is not known" in change.why or "becomes" in change.why
    ours = state.find("v1")
    assert ours is not None
    assert (ours.user, ours.model) != ("", "")
    assert ours.time is not None


SCRIPT = """
import json, os
def init():
    global model
    model = os.listdir(os.environ["AZUREML_MODEL_DIR"])[0]
def run(raw_data):
    return {"asked": json.loads(raw_data), "model": model, "setting": os.environ["SETTING"]}
"""
BATCH_SCRIPT = """
import pathlib
def init():
    pass
def run(mini_batch):
    return [f"{pathlib.Path(name).name}={pathlib.Path(name).read_text()}" for name in mini_batch]
"""


def scripted(desk: Desk, endpoint: str, script: str, **fields: Any) -> DeploymentSpec:
    folder = desk.home / f"code-{endpoint}"
    folder.mkdir()
    (folder / "score.py").write_text(script)
    ask(desk.azureml, "PUT", "environments/plain/versions/1", {"properties": {"image": "python:3.11"}})
    options = {"code": str(folder), "scoring_script": "score.py", **fields.pop("options", {})}
    return desk.spec(endpoint, image=None, environment="azureml:plain:1", options=options, **fields)


def test_a_scoring_script_of_ones_own_takes_its_own_payloads(desk: Desk) -> None:
    spec = desk.deploy(scripted(desk, "scripted", SCRIPT, variables={"SETTING": "on"}))
    answer = json.loads(desk.target.invoke("scripted", b'{"mine": 1}', content_type=JSON))
    assert answer == {"asked": {"mine": 1}, "model": "answers-1", "setting": "on"}
    assert desk.target.plan(spec, desk.target.observe("scripted")) == ()


def test_files_are_scored_by_a_batch_endpoint_once_for_a_key(desk: Desk) -> None:
    body = {
        "computeType": "AmlCompute",
        "properties": {"vmSize": MACHINE, "scaleSettings": {"maxNodeCount": 2}},
    }
    ask(desk.azureml, "PUT", "computes/cpu", {"location": "westeurope", "properties": body})
    spec = scripted(desk, "files", BATCH_SCRIPT, serving=Serving.BATCH, options={"compute": "cpu"})
    desk.deploy(msgspec.structs.replace(spec, instance_type=None))
    for name, text in (("a", "1"), ("b", "2")):
        desk.azureml.cloud.storage.put(f"in/{name}.txt", text.encode())
    source, result = (f"azureml://datastores/workspaceblobstore/paths/{folder}/" for folder in ("in", "out"))

    started = desk.target.start_batch("files", source=source, destination=result, key="one")
    again = desk.target.start_batch("files", source=source, destination=result, key="one")

    assert again == started
    assert len(desk.sent("POST", "/endpoints/files/jobs")) == 1
    assert desk.wait(started).error is None
    written = desk.azureml.cloud.storage.get("out/predictions.csv").decode()
    assert sorted(written.split()) == ["a.txt=1", "b.txt=2"]
    state = desk.target.observe("files")
    assert state is not None
    assert (state.traffic, state.deployments[0].spec is not None) == ({"v1": 100}, True)
    assert "files" in [found.endpoint for found in desk.target.list_endpoints()]
    with pytest.raises(Rejected, match="scores files"):
        desk.target.invoke("files", ROWS, content_type=JSON)
    with pytest.raises(Rejected, match="no address"):
        desk.target.start_batch("files", source="s3://b/in", destination=result, key="two")


def test_a_model_that_is_registered_here_is_named_and_not_sent_again(desk: Desk) -> None:
    place = "LocalUpload/named/model"
    for file in desk.payload(3.0).rglob("*"):
        if file.is_file():
            path = f"{place}/{file.relative_to(desk.payload(3.0)).as_posix()}"
            desk.azureml.cloud.storage.put(path, file.read_bytes())
    uri = f"azureml://datastores/workspaceblobstore/paths/{place}"
    body = {"properties": {"modelType": "mlflow_model", "modelUri": uri}}
    made = ask(desk.azureml, "PUT", "models/named/versions/3", body)
    spec = msgspec.structs.replace(desk.spec("by-name", answer=3.0), model_source="azureml:named:3")
    assert desk.target.can_read(spec.model_source)
    first, second, *_ = desk.target.plan(spec, None)
    desk.wait(desk.target.apply(first))

    assert desk.wait(desk.target.apply(second)).error is None, "without a payload"

    assert desk.native("by-name/deployments/dep-v1")["properties"]["model"] == made.content["id"]
    assert b"3.0" in desk.target.invoke("by-name", ROWS, content_type=JSON, deployment="v1")
    by_path = msgspec.structs.replace(spec, deployment="by-path", model_source=uri, traffic_percent=0)
    (change,) = desk.target.plan(by_path, desk.target.observe("by-name"))[:1]
    assert desk.wait(desk.target.apply(change)).error is None, "without a payload"
    assert b"3.0" in desk.target.invoke("by-name", ROWS, content_type=JSON, deployment="by-path")


def test_a_lock_says_who_has_it_and_ends(desk: Desk) -> None:
    other = opened(desk.azureml, desk.home / "other")
    assert other.deployments is not None
    held = desk.target.lock("guarded")
    with pytest.raises(Locked, match=r"being changed by .+ on .+, since 20"):
        other.deployments.lock("guarded")
    with held:
        pass
    with other.deployments.lock("guarded"):
        pass
    other.close()


def test_our_script_serves_on_an_environment_of_ones_own(desk: Desk) -> None:
    """It tells what is wrong with a payload, and why a model failed; Azure's own server does neither."""
    ask(desk.azureml, "PUT", "environments/plain/versions/1", {"properties": {"image": "python:3.11"}})
    body = "        return [float(value) * 2 for value in model_input['a']]"
    payload = deployment_models.write_model(desk.home / "models", "doubles-too", body=body)
    spec = deployment_models.spec_for(
        payload,
        "by-script",
        "blue",
        instance_type=MACHINE,
        environment="azureml:plain:1",
        detailed_metrics=True,
    )
    desk.deploy(spec, payload)

    answer = desk.target.invoke("by-script", b"a,b\n5,x\n6,y\n", content_type="text/csv")
    assert json.loads(answer) == {"predictions": [10.0, 12.0]}
    azures = b'{"input_data": {"columns": ["a"], "data": [[1]]}}'
    assert json.loads(desk.target.invoke("by-script", azures, content_type=JSON)) == {"predictions": [2.0]}
    with pytest.raises(Rejected, match="the model answered 400: the payload is not taken"):
        desk.target.invoke("by-script", b"{", content_type=JSON)
    with pytest.raises(Rejected, match="the model answered 500: the model failed: KeyError"):
        desk.target.invoke("by-script", b'{"dataframe_records": [{"b": 3}]}', content_type=JSON)
    variables = desk.native("by-script/deployments/blue")["properties"]["environmentVariables"]
    assert variables["BRIDGE_TELEMETRY_SINKS"] == "application_insights"
    assert variables["APPLICATIONINSIGHTS_CONNECTION_STRING"].startswith("InstrumentationKey=")
    assert desk.target.plan(spec, desk.target.observe("by-script")) == ()
    (figures,) = desk.target.read_metrics("by-script", window_s=600)
    assert (figures.requests, figures.errors, figures.refused) == (4, 1, 1)


def test_our_own_server_serves_in_an_image(desk: Desk) -> None:
    """The image of every platform: here its program alone, told where the model is by Azure's variable."""
    serve = ["env", "BRIDGE_SERVING_PORT={port}", sys.executable, "-m", "trackbridge.serving.container"]
    desk.azureml.declare_image("ours/serving:*", serve=serve)
    desk.deploy(desk.spec("our-image", image="ours/serving:1", concurrency_max=2))

    assert json.loads(desk.target.invoke("our-image", ROWS, content_type=JSON)) == {"predictions": [1.0, 1.0]}
    with pytest.raises(Rejected, match="the model answered 400"):
        desk.target.invoke("our-image", b"{", content_type=JSON)
    variables = desk.native("our-image/deployments/dep-v1")["properties"]["environmentVariables"]
    assert {name: value for name, value in variables.items() if name.startswith("BRIDGE_")} == {
        "BRIDGE_SERVING_NAME": "our-image/v1",
        "BRIDGE_SERVING_MODEL": "models:/answers-1/1",
        "BRIDGE_SERVING_TIMEOUT_S": "59",
        "BRIDGE_SERVING_WORKERS": "2",
    }
