"""What only SageMaker's deployments have, as boto3 sees it: kinds of endpoints, scaling, files, telemetry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from tests.support.sagemaker_endpoints import Deployer, endpoints_emulator
from trackbridge.domain.deployment_changes import removal_changes
from trackbridge.domain.deployments import Autoscale, EndpointState, EndpointStatus, Serving
from trackbridge.errors import NotFound, Rejected, Unavailable
from trackbridge.ports.findings import Severity
from trackbridge.testing.contracts import deployment_models
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.autoscaling import COUNT, scale
from trackbridge.testing.emulators.sagemaker.endpoint_targets import targets

SCALING = Autoscale(instances_min=1, instances_max=3, requests_per_instance_target=120.0)
QUEUE = Autoscale(instances_min=0, instances_max=2, requests_per_instance_target=5.0)


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    with endpoints_emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def deployer(emulator: SageMakerEmulator, tmp_path_factory: pytest.TempPathFactory) -> Deployer:
    return Deployer(emulator, tmp_path_factory.mktemp("home"))


@pytest.fixture
def endpoint(request: pytest.FixtureRequest, deployer: Deployer) -> Iterator[str]:
    """The name of an endpoint for one test; deleted afterwards, with all that it had."""
    name = "e-" + request.node.name.removeprefix("test_").replace("_", "-")[:18].strip("-")
    yield name
    deployer.delete(name)
    assert deployer.left_of(name) == []


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that comes by itself."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_boto3_sees_what_we_made(deployer: Deployer, endpoint: str) -> None:
    spec = deployer.spec(endpoint, detailed_metrics=True, variables={"A": "1"}, concurrency_max=2)
    state = deployer.deploy(endpoint, detailed_metrics=True, variables={"A": "1"}, concurrency_max=2)
    told = deployer.native(endpoint)
    (variant,) = told["ProductionVariants"]
    assert (told["EndpointStatus"], variant["VariantName"], variant["CurrentWeight"]) == (
        "InService",
        "v1",
        100,
    )
    assert state.native_id == told["EndpointArn"]
    config = deployer.config(endpoint)
    assert config["MetricsConfig"] == {"EnableEnhancedMetrics": True, "EnableDetailedObservability": True}
    (asked,) = config["ProductionVariants"]
    model = deployer.sagemaker.describe_model(ModelName=asked["ModelName"])
    container = model["PrimaryContainer"]
    source = container["ModelDataSource"]["S3DataSource"]
    assert (source["S3DataType"], source["CompressionType"]) == ("S3Prefix", "None"), (
        "used as it is, no archive"
    )
    assert container["Environment"]["A"] == "1"
    assert container["Environment"]["BRIDGE_SERVING_WORKERS"] == "2"
    assert container["ContainerMetricsConfig"]["MetricsEndpoints"][0]["MetricsEndpointPath"] == "/metrics"
    tags = deployer.sagemaker.list_tags(ResourceArn=model["ModelArn"])["Tags"]
    assert {"Key": "bridge.model", "Value": spec.model} in tags
    assert {"Key": "bridge.digest", "Value": spec.model_digest} in tags
    found = state.find("v1")
    assert found is not None
    assert found.user
    assert found.time is not None


def test_a_model_in_s3_is_used_where_it_lies(deployer: Deployer, endpoint: str) -> None:
    s3 = deployer.emulator.client("s3")
    s3.create_bucket(Bucket="models-of-others")
    payload = deployer.payload("two")
    for path in (path for path in payload.rglob("*") if path.is_file()):
        key = f"wine/1/{path.relative_to(payload).as_posix()}"
        s3.put_object(Bucket="models-of-others", Key=key, Body=path.read_bytes())
    spec = deployer.spec(endpoint, model="two")
    spec = msgspec.structs.replace(spec, model_source="s3://models-of-others/wine/1")
    assert deployer.target.check(spec, None) == ()
    for change in deployer.plan(spec):
        assert deployer.finished(deployer.target.apply(change)).error is None
    assert deployer.ask(endpoint) == 2.0
    (variant,) = deployer.config(endpoint)["ProductionVariants"]
    model = deployer.sagemaker.describe_model(ModelName=variant["ModelName"])
    source = model["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]
    assert source["S3Uri"] == "s3://models-of-others/wine/1/"


def test_what_is_captured_changes_for_all_deployments_and_makes_no_plan_stale(
    deployer: Deployer, endpoint: str
) -> None:
    deployer.deploy(endpoint)
    state = deployer.deploy(endpoint, "v2", model="two", traffic_percent=0)
    (removal,) = removal_changes(endpoint, "v2", state)
    deployer.deploy(endpoint, capture_percent=100)
    found = deployer.target.observe(endpoint)
    assert found is not None
    assert [each.spec.capture_percent for each in found.deployments if each.spec is not None] == [100, 100]
    assert deployer.finished(deployer.start(removal)).error is None
    assert deployer.ask(endpoint) == 1.0


def test_serverless(deployer: Deployer, endpoint: str) -> None:
    serverless: dict[str, Any] = {"serving": Serving.SERVERLESS, "memory_mib": 3072, "concurrency_max": 7}
    deployer.deploy(endpoint, **serverless)
    (variant,) = deployer.config(endpoint)["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 3072, "MaxConcurrency": 7}
    assert "InstanceType" not in variant
    assert deployer.ask(endpoint) == 1.0
    deployer.deploy(endpoint, model="two", **serverless)
    assert deployer.ask(endpoint) == 2.0
    state = deployer.target.observe(endpoint)
    with pytest.raises(Rejected, match="one deployment"):
        deployer.target.plan(deployer.spec(endpoint, "v2", traffic_percent=0, **serverless), state)
    with pytest.raises(Rejected, match="is serverless"):
        deployer.target.plan(deployer.spec(endpoint), state)


def test_asynchronous(deployer: Deployer, endpoint: str) -> None:
    queue: dict[str, Any] = {
        "serving": Serving.ASYNCHRONOUS,
        "request_timeout_s": 600.0,
        "concurrency_max": 4,
    }
    deployer.deploy(endpoint, autoscale=QUEUE, **queue)
    config = deployer.config(endpoint)["AsyncInferenceConfig"]
    assert config["ClientConfig"] == {"MaxConcurrentInvocationsPerInstance": 4}
    assert config["OutputConfig"]["S3FailurePath"].startswith("s3://")
    assert deployer.ask(endpoint) == 1.0
    rows = [[1.0]] * 40_000
    body = json.dumps({"inputs": rows}).encode()
    answer = deployer.target.invoke(endpoint, body, content_type="application/json")
    assert json.loads(answer)["predictions"] == [1.0] * 40_000
    with pytest.raises(Rejected, match="expected"):
        deployer.target.invoke(endpoint, b"[]", content_type="application/json")
    (found,) = deployer.target.read_metrics(endpoint, window_s=600)
    assert (found.requests, found.refused, found.errors) == (3, 1, 0)
    assert found.queued in (0, 1), "the last may still be being counted"
    state = deployer.target.observe(endpoint)
    assert state is not None
    assert state.deployments[0].spec is not None
    assert state.deployments[0].spec.autoscale == QUEUE


def test_scaling_comes_and_goes_without_new_machines(deployer: Deployer, endpoint: str) -> None:
    deployer.deploy(endpoint, autoscale=SCALING)
    config = deployer.native(endpoint)["EndpointConfigName"]
    assert scaled(deployer, endpoint) == {"v1"}
    more = Autoscale(instances_min=2, instances_max=5, requests_per_instance_target=60.0)
    deployer.deploy(endpoint, autoscale=more)
    state = deployer.deploy(endpoint, instance_count=2)
    assert scaled(deployer, endpoint) == set()
    assert deployer.native(endpoint)["EndpointConfigName"] == config, "nothing was started anew"
    assert state.deployments[0].instance_count == 2
    deployer.deploy(endpoint, instance_count=2, autoscale=SCALING)
    deployer.deploy(endpoint, "v2", model="two", traffic_percent=0)
    traffic = deployer.target.plan_traffic(
        endpoint, observed(deployer, endpoint), percent_by_deployment={"v2": 100}
    )
    assert deployer.finished(deployer.start(traffic[0])).error is None
    (removal,) = deployer.target.plan_removal(endpoint, "v1", observed(deployer, endpoint))
    assert deployer.finished(deployer.start(removal)).error is None
    assert scaled(deployer, endpoint) == set(), "what goes scales no more"
    assert deployer.ask(endpoint) == 2.0


def observed(deployer: Deployer, endpoint: str) -> EndpointState:
    """Return an endpoint that is there."""
    state = deployer.target.observe(endpoint)
    assert state is not None
    return state


def scaled(deployer: Deployer, endpoint: str) -> set[str]:
    """Return the variants of an endpoint that scale by themselves."""
    found = (resource.split("/") for resource, _ in targets(deployer.emulator.cloud))
    return {variant for _, name, _, variant in found if name == endpoint}


def test_instances_that_somebody_changed_are_seen_and_kept(deployer: Deployer, endpoint: str) -> None:
    deployer.deploy(endpoint)
    deployer.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint, DesiredWeightsAndCapacities=[{"VariantName": "v1", "DesiredInstanceCount": 3}]
    )
    until(lambda: deployer.native(endpoint)["EndpointStatus"] == "InService")
    (change,) = deployer.plan(deployer.spec(endpoint))
    assert "instance_count" in change.why
    deployer.deploy(endpoint, "v2", traffic_percent=0)
    counts = {
        each["VariantName"]: each["CurrentInstanceCount"]
        for each in deployer.native(endpoint)["ProductionVariants"]
    }
    assert counts == {"v1": 3, "v2": 1}


def test_an_update_keeps_the_instances_that_the_load_has_brought(deployer: Deployer, endpoint: str) -> None:
    deployer.deploy(endpoint, autoscale=SCALING)
    scale(deployer.emulator.cloud, f"endpoint/{endpoint}/variant/v1", COUNT, 3)
    state = deployer.deploy(endpoint, autoscale=SCALING, variables={"A": "1"})
    assert state.deployments[0].instance_count == 3


def test_an_update_bakes_and_is_guarded(deployer: Deployer, endpoint: str) -> None:
    cloudwatch = deployer.emulator.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "v1"}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    deployer.deploy(endpoint)
    before = deployer.native(endpoint)["EndpointConfigName"]
    guarded = deployer.spec(
        endpoint,
        model="fails",
        alarms=["errors"],
        options={"update": "canary", "update_percent": "50", "update_wait_s": "3600"},
    )
    (change,) = deployer.plan(guarded)
    operation = deployer.start(change, guarded)
    until(lambda: fails(deployer, endpoint))
    ended = deployer.finished(operation)
    assert ended.error is not None
    assert "took the change back" in ended.error
    told = deployer.native(endpoint)
    assert (told["EndpointStatus"], told["EndpointConfigName"]) == ("InService", before)
    routing = told["LastDeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert (routing["Type"], routing["CanarySize"]["Value"]) == ("CANARY", 50)
    found = observed(deployer, endpoint).deployments[0]
    assert "took the change back" in found.reason
    assert deployer.ask(endpoint) == 1.0
    assert len(deployer.left_of(endpoint)) == 3, "one endpoint, config and model: the new ones went"
    assert deployer.plan(guarded), "a failure is not what is wanted"


def fails(deployer: Deployer, endpoint: str) -> bool:
    """Tell whether the model that fails answers."""
    try:
        deployer.ask(endpoint)
    except Rejected:
        return True
    return False


def test_files_are_scored(deployer: Deployer, endpoint: str) -> None:
    deployer.deploy(endpoint)
    s3 = deployer.emulator.client("s3")
    s3.create_bucket(Bucket="batches")
    s3.put_object(
        Bucket="batches", Key="in/a.jsonl", Body=b'{"inputs": [[1.0]]}\n{"inputs": [[2.0], [3.0]]}\n'
    )
    for _ in range(2):
        operation = deployer.target.start_batch(
            endpoint, source="s3://batches/in/", destination="s3://batches/out/", key="k1"
        )
        assert deployer.finished(operation).error is None
    answers = s3.get_object(Bucket="batches", Key="out/a.jsonl.out")["Body"].read().splitlines()
    assert [json.loads(line)["predictions"] for line in answers] == [[1.0], [1.0, 1.0]]
    jobs = deployer.sagemaker.list_transform_jobs(NameContains=endpoint)["TransformJobSummaries"]
    assert len(jobs) == 1, "the same key is the same work"
    with pytest.raises(NotFound):
        deployer.target.start_batch(
            endpoint, source="s3://batches/none/", destination="s3://batches/o", key="k2"
        )
    with pytest.raises(Rejected, match="not in S3"):
        deployer.target.start_batch(endpoint, source="/tmp/x", destination="s3://batches/o", key="k3")
    with pytest.raises(NotFound, match="v9"):
        deployer.target.start_batch(
            endpoint, source="s3://batches/in/", destination="s3://batches/o", key="k4", deployment="v9"
        )


def test_a_batch_endpoint_is_models_without_machines(deployer: Deployer, endpoint: str) -> None:
    batch: dict[str, Any] = {"serving": Serving.BATCH, "instance_count": 2, "request_timeout_s": 300.0}
    state = deployer.deploy(endpoint, **batch)
    assert (state.status, state.traffic, state.url) == (EndpointStatus.READY, {"v1": 100}, None)
    deployer.deploy(endpoint, "v2", model="two", traffic_percent=0, **batch)
    assert len(deployer.left_of(endpoint)) == 2, "two models, no endpoint, no config"
    traffic = deployer.target.plan_traffic(
        endpoint, observed(deployer, endpoint), percent_by_deployment={"v2": 100}
    )
    assert deployer.finished(deployer.start(traffic[0])).error is None
    s3 = deployer.emulator.client("s3")
    s3.create_bucket(Bucket="tables")
    s3.put_object(Bucket="tables", Key="in/a.jsonl", Body=b'{"inputs": [[1.0]]}')
    operation = deployer.target.start_batch(
        endpoint, source="s3://tables/in/", destination="s3://tables/out", key="b1"
    )
    assert deployer.finished(operation).error is None
    assert b"2.0" in s3.get_object(Bucket="tables", Key="out/a.jsonl.out")["Body"].read()
    (job,) = deployer.sagemaker.list_transform_jobs(NameContains=endpoint)["TransformJobSummaries"]
    told = deployer.sagemaker.describe_transform_job(TransformJobName=job["TransformJobName"])
    assert told["TransformResources"]["InstanceCount"] == 2
    (removal,) = deployer.target.plan_removal(endpoint, "v1", observed(deployer, endpoint))
    assert deployer.finished(deployer.start(removal)).error is None
    assert len(deployer.left_of(endpoint)) == 1
    with pytest.raises(Rejected, match="is batch"):
        deployer.plan(deployer.spec(endpoint))


def test_telemetry_is_what_was_sent(deployer: Deployer, endpoint: str) -> None:
    deployer.deploy(endpoint)
    for _ in range(30):
        deployer.ask(endpoint)
    for _ in range(3):
        with pytest.raises(Rejected):
            deployer.target.invoke(endpoint, b"{", content_type="application/json")
    (found,) = deployer.target.read_metrics(endpoint, window_s=300)
    assert (found.requests, found.refused, found.errors, found.mirrored) == (33, 3, 0, 0)
    assert sum(count for _, count in found.latency_counts) == 33
    assert 300 <= found.window_s < 360
    assert found.instances == 1


def test_a_failing_request_is_sent_once_and_says_why(deployer: Deployer, endpoint: str) -> None:
    deployer.deploy(endpoint, model="fails")
    before = asked(deployer)
    with pytest.raises(Rejected, match="fails on purpose"):
        deployer.ask(endpoint)
    assert asked(deployer) == before + 1


def asked(deployer: Deployer) -> int:
    """Return how many requests the runtime was sent."""
    return sum(call.operation == "InvokeEndpoint" for call in deployer.emulator.calls)


def test_an_overload_is_not_sent_again(deployer: Deployer, endpoint: str) -> None:
    deployer.deploy(endpoint)
    before = asked(deployer)
    deployer.emulator.faults.fail("InvokeEndpoint", code="ServiceUnavailable", status=503)
    with pytest.raises(Unavailable):
        deployer.ask(endpoint)
    assert asked(deployer) == before + 1


def test_an_endpoint_of_somebody_else_is_shown_and_can_be_joined(deployer: Deployer, endpoint: str) -> None:
    deployer.deploy("stranger")
    (theirs,) = deployer.config("stranger")["ProductionVariants"]
    deployer.sagemaker.create_endpoint_config(
        EndpointConfigName="by-hand",
        ProductionVariants=[{**theirs, "VariantName": "AllTraffic", "InitialVariantWeight": 1.0}],
    )
    deployer.sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName="by-hand")
    until(lambda: deployer.native(endpoint)["EndpointStatus"] == "InService")
    (found,) = observed(deployer, endpoint).deployments
    assert (found.deployment, found.traffic_percent, found.spec) == ("AllTraffic", 100, None)
    spec = deployer.spec(endpoint, "v2", model="two", traffic_percent=20)
    warned = deployer.target.check(spec, observed(deployer, endpoint))
    assert [finding.severity for finding in warned] == [Severity.WARNING]
    state = deployer.deploy(endpoint, "v2", model="two", traffic_percent=20)
    assert state.traffic == {"AllTraffic": 80, "v2": 20}
    assert deployer.ask(endpoint, "v2") == 2.0
    assert "by-hand" in [
        row["EndpointConfigName"] for row in deployer.sagemaker.list_endpoint_configs()["EndpointConfigs"]
    ], "what is theirs stays"
    deployer.delete("stranger")


def test_a_place_with_a_prefix_has_endpoints_of_its_own(
    deployer: Deployer, emulator: SageMakerEmulator
) -> None:
    team = Deployer(emulator, deployer.folder, uri=f"{emulator.uri}/team")
    team.deploy("wine")
    assert team.ask("wine") == 1.0
    assert [state.endpoint for state in team.target.list_endpoints()] == ["wine"]
    assert deployer.native("team-wine")["EndpointStatus"] == "InService"
    assert deployer.target.observe("wine") is None
    team.delete("wine")
    assert deployer.left_of("team-wine") == []


def test_findings_before_anything_is_billed(deployer: Deployer) -> None:
    index = deployer.emulator.push_image("indexed:1", "application/vnd.oci.image.index.v1+json")
    spec = deployer.spec(
        "checked",
        image=index,
        alarms=["none-such"],
        options={"role": deployer.emulator.make_role("of-ec2", "ec2.amazonaws.com")},
    )
    found = {finding.subject: finding for finding in deployer.target.check(spec, None)}
    assert set(found) == {"image", "alarms", "role"}
    assert all(finding.severity is Severity.ERROR and finding.fix for finding in found.values())
    assert deployer.target.check(deployer.spec("checked"), None) == ()
    many = deployer.spec("checked", instance_count=21)
    (quota,) = deployer.target.check(many, None)
    assert quota.subject == "quota"
    assert deployer.left_of("checked") == []
    deployer.emulator.deny("iam:GetRole")
    try:
        (unchecked,) = deployer.target.check(deployer.spec("checked"), None)
    finally:
        deployer.emulator.access.allow_all()
    assert unchecked.severity is Severity.WARNING


def test_our_own_server_serves_there(deployer: Deployer, endpoint: str) -> None:
    body = "        return list(model_input.iloc[:, 0] * 2)"
    payload = deployment_models.write_model(deployer.folder, "doubles", body=body)
    image = deployer.emulator.push_image("mlflow-pyfunc:1")
    spec = deployment_models.spec_for(payload, endpoint, "v1", image=image)
    for change in deployer.plan(spec):
        assert deployer.finished(deployer.target.apply(change, payload=payload)).error is None
    rows = b'{"dataframe_split": {"columns": ["a"], "data": [[1.5], [2.0]]}}'
    answer = deployer.target.invoke(endpoint, rows, content_type="application/json")
    assert json.loads(answer) == {"predictions": [3.0, 4.0]}
    assert f"{endpoint}/v1" in deployer.target.read_logs(endpoint, "v1").text
