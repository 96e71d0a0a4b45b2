"""Endpoints of the SageMaker emulator really serve, and tell what went wrong as AWS's do."""

from __future__ import annotations

import base64
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.sagemaker_scenes import (
    BUCKET,
    IMAGE,
    ROLE,
    SERVER,
    Scenes,
    client_error,
    model_of,
    refused,
)
from tests.support.scoring_servers import DEADLINE_S, order, save_obedient_model
from trackbridge.testing.emulators.sagemaker.containers import Containers
from trackbridge.testing.emulators.sagemaker.endpoint_records import Endpoints
from trackbridge.testing.emulators.sagemaker.images import COMMAND_VARIABLE
from trackbridge.testing.emulators.sagemaker.quotas import Quotas


def test_an_endpoint_is_created_then_serves(scenes: Scenes) -> None:
    config = scenes.config("c", scenes.variant("all", scenes.model("m")))
    scenes.cloud.clock.stop()
    scenes.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName=config)
    assert scenes.described("e")["EndpointStatus"] == "Creating"
    code, message = refused(scenes.runtime.invoke_endpoint, EndpointName="e", Body=b"1")
    assert (code, "not found" in message) == ("ValidationError", True)
    scenes.cloud.clock.go_on()
    told = scenes.reached("e")
    (variant,) = told["ProductionVariants"]
    assert (variant["CurrentWeight"], variant["CurrentInstanceCount"]) == (1.0, 2)
    assert variant["DeployedImages"][0]["SpecifiedImage"] == IMAGE
    answer = scenes.invoke("e", b"x,y", ContentType="text/csv", CustomAttributes="a=1")
    assert json.loads(answer["Body"]) == {"model": "one", "got": "x,y", "type": "text/csv"}
    assert answer["InvokedProductionVariant"] == "all"
    assert answer["ContentType"] == "application/json"
    assert answer["CustomAttributes"] == "a=1;seen"


def test_a_model_that_is_not_healthy_fails_the_endpoint(scenes: Scenes) -> None:
    scenes.cloud.part(Endpoints).health_s = 0.3
    config = scenes.config("c", scenes.variant("all", scenes.model("m", "sick")))
    told = scenes.endpoint("e", config, status="Failed")
    assert "did not pass the ping health check" in told["FailureReason"]
    scenes.sagemaker.delete_endpoint(EndpointName="e")
    scenes.until(lambda: scenes.sagemaker.list_endpoints()["Endpoints"], lambda rows: rows == [])


def test_a_container_that_ends_fails_the_endpoint_at_once(scenes: Scenes) -> None:
    model = scenes.model("m", Environment={COMMAND_VARIABLE: "/bin/sh -c 'echo dying; exit 4'"})
    told = scenes.endpoint("e", scenes.config("c", scenes.variant("all", model)), status="Failed")
    assert "exit code 4" in told["FailureReason"]
    assert scenes.logs("/aws/sagemaker/Endpoints/e") == ["dying"]


@pytest.mark.parametrize(
    "port", ["{port}", "8080", "import os; port = os.environ['SAGEMAKER_BIND_TO_PORT']"], ids=lambda p: p[:8]
)
def test_a_container_learns_its_port_in_one_of_three_ways(scenes: Scenes, port: str) -> None:
    program, argument = (SERVER, port) if len(port) < 8 else (SERVER.replace("sys.argv[1]", "port"), "")
    start = "" if len(port) < 8 else f"{port}\n"
    scenes.emulator.declare_image("*:own-way", serve=[sys.executable, "-SEc", start + program, argument])
    model = scenes.model("m", Image=IMAGE.replace(":1", ":own-way"))
    scenes.endpoint("e", scenes.config("c", scenes.variant("all", model)))
    assert model_of(scenes.invoke("e")) == "one"


def test_model_data_that_is_no_archive_fails_the_endpoint(scenes: Scenes) -> None:
    scenes.put("broken.tar.gz", b"this is no archive")
    model = scenes.model("m", ModelDataUrl=f"s3://{BUCKET}/broken.tar.gz")
    told = scenes.endpoint("e", scenes.config("c", scenes.variant("all", model)), status="Failed")
    assert "Failed to extract model data" in told["FailureReason"]


def test_without_mounts_the_model_is_found_all_the_same(scenes: Scenes) -> None:
    scenes.cloud.part(Containers).is_mounted = False
    assert model_of(scenes.invoke(scenes.served("rewritten"))) == "rewritten"


def test_a_model_that_was_deleted_is_not_served(scenes: Scenes) -> None:
    config = scenes.config("c", scenes.variant("all", scenes.model("m")))
    scenes.sagemaker.delete_model(ModelName="m")
    call = scenes.sagemaker.create_endpoint
    assert "Could not find model" in refused(call, EndpointName="e", EndpointConfigName=config)[1]
    assert scenes.sagemaker.list_endpoints()["Endpoints"] == []


def test_the_containers_of_a_pipeline_hand_on_their_answers(scenes: Scenes) -> None:
    uris = {
        text: scenes.put(f"{text}.tar.gz", scenes.archive({"model.txt": text})) for text in ("one", "two")
    }
    containers = [{"Image": IMAGE, "ModelDataUrl": uri} for uri in uris.values()]
    scenes.sagemaker.create_model(ModelName="m", Containers=containers, ExecutionRoleArn=ROLE)
    scenes.endpoint("e", scenes.config("c", scenes.variant("all", "m")))
    last = json.loads(scenes.invoke("e", b"5")["Body"])
    assert (last["model"], last["type"]) == ("two", "application/json")
    first = json.loads(last["got"])
    assert (first["model"], first["got"]) == ("one", "5")


def test_an_unknown_image_fails_the_endpoint_and_says_why(scenes: Scenes) -> None:
    model = scenes.model("m", Image="elsewhere/unknown:1")
    told = scenes.endpoint("e", scenes.config("c", scenes.variant("all", model)), status="Failed")
    assert COMMAND_VARIABLE in told["FailureReason"]


def test_an_uncompressed_model_is_served_in_place(scenes: Scenes) -> None:
    scenes.put("folder/model.txt", "plain")
    source = {"S3Uri": f"s3://{BUCKET}/folder/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": IMAGE, "ModelDataSource": {"S3DataSource": source}}
    scenes.sagemaker.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    scenes.endpoint("e", scenes.config("c", scenes.variant("all", "m")))
    assert model_of(scenes.invoke("e")) == "plain"


def test_a_folder_of_mlflow_is_served_where_its_image_is_known(scenes: Scenes, tmp_path: Path) -> None:
    folder = save_obedient_model(tmp_path / "model")
    for path in folder.rglob("*"):
        if path.is_file():
            scenes.put(f"mlflow/{path.relative_to(folder).as_posix()}", path.read_bytes())
    source = {"S3Uri": f"s3://{BUCKET}/mlflow/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    image = "210987654321.dkr.ecr.us-east-1.amazonaws.com/mlflow-pyfunc:3.1"
    container = {"Image": image, "ModelDataSource": {"S3DataSource": source}}
    scenes.sagemaker.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    config = scenes.config("c", scenes.variant("all", "m"))
    scenes.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName=config)
    scenes.until(
        lambda: scenes.described("e")["EndpointStatus"], lambda status: status == "InService", DEADLINE_S
    )
    answer = scenes.invoke("e", order("echo"), ContentType="application/json")
    assert len(json.loads(answer["Body"])["predictions"]) == 1


def test_a_deleted_endpoint_is_gone_with_its_process(scenes: Scenes) -> None:
    name = scenes.served()
    variant = scenes.cloud.part(Endpoints).get(name).fleet.variants[0]
    assert variant.servers is not None
    server = variant.servers.last
    assert server.is_running()
    scenes.sagemaker.delete_endpoint(EndpointName=name)
    scenes.until(lambda: scenes.sagemaker.list_endpoints()["Endpoints"], lambda rows: rows == [])
    assert not server.is_running()
    assert "Could not find" in refused(scenes.sagemaker.describe_endpoint, EndpointName=name)[1]


def test_an_endpoint_is_made_once_and_not_touched_while_it_changes(scenes: Scenes) -> None:
    config = scenes.config("c", scenes.variant("all", scenes.model("m")))
    scenes.cloud.clock.stop()
    scenes.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName=config)
    sagemaker = scenes.sagemaker
    told = refused(sagemaker.create_endpoint, EndpointName="e", EndpointConfigName=config)
    assert "already existing endpoint" in told[1]
    assert "in-progress" in refused(sagemaker.delete_endpoint, EndpointName="e")[1]
    told = refused(sagemaker.update_endpoint, EndpointName="e", EndpointConfigName=config)
    assert "in-progress" in told[1]
    scenes.cloud.clock.go_on()
    scenes.reached("e")
    told = refused(sagemaker.create_endpoint, EndpointName="f", EndpointConfigName="missing")
    assert "Could not find endpoint configuration" in told[1]


def test_endpoints_have_instances_up_to_their_quota(scenes: Scenes) -> None:
    name = scenes.served()
    scenes.cloud.part(Quotas).limits["ml.m5.large", "endpoint"] = 3
    sagemaker = scenes.sagemaker
    told = refused(sagemaker.create_endpoint, EndpointName="f", EndpointConfigName="c")
    assert told[0] == "ResourceLimitExceeded"
    assert "'ml.m5.large for endpoint usage' is 3 Instances, with current utilization of 2" in told[1]
    assert refused(sagemaker.update_endpoint, EndpointName=name, EndpointConfigName="c")[0] == told[0]
    call = sagemaker.update_endpoint_weights_and_capacities
    for count, is_refused in ((4, True), (3, False), (1, False)):
        change = [{"VariantName": "all", "DesiredInstanceCount": count}]
        if is_refused:
            answer = refused(call, EndpointName=name, DesiredWeightsAndCapacities=change)
            assert answer[0] == told[0]
        else:
            call(EndpointName=name, DesiredWeightsAndCapacities=change)
            scenes.reached(name)


def test_endpoints_are_found_by_search_and_listed(scenes: Scenes) -> None:
    scenes.served()
    scenes.sagemaker.add_tags(
        ResourceArn=scenes.described("e")["EndpointArn"], Tags=[{"Key": "k", "Value": "v"}]
    )
    filters = [{"Name": "Tags.k", "Operator": "Equals", "Value": "v"}]
    found = scenes.sagemaker.search(Resource="Endpoint", SearchExpression={"Filters": filters})["Results"]
    assert [row["Endpoint"]["EndpointName"] for row in found] == ["e"]
    listed = scenes.sagemaker.list_endpoints(StatusEquals="InService", NameContains="e")["Endpoints"]
    assert [row["EndpointName"] for row in listed] == ["e"]


def test_requests_go_by_weight_or_where_they_are_told(scenes: Scenes) -> None:
    a = scenes.variant("a", scenes.model("ma", "A"), InitialVariantWeight=3)
    b = scenes.variant("b", scenes.model("mb", "B"), InitialVariantWeight=1)
    scenes.endpoint("e", scenes.config("c", a, b))
    seen = [scenes.invoke("e")["InvokedProductionVariant"] for _ in range(8)]
    assert (seen.count("a"), seen.count("b")) == (6, 2)
    assert model_of(scenes.invoke("e", TargetVariant="b")) == "B"
    told = refused(scenes.runtime.invoke_endpoint, EndpointName="e", Body=b"1", TargetVariant="x")
    assert told[0] == "ValidationError"


def test_weights_change_without_a_new_configuration(scenes: Scenes) -> None:
    a = scenes.variant("a", scenes.model("ma", "A"))
    b = scenes.variant("b", scenes.model("mb", "B"))
    scenes.endpoint("e", scenes.config("c", a, b))
    change = [{"VariantName": "a", "DesiredWeight": 0}, {"VariantName": "b", "DesiredInstanceCount": 5}]
    scenes.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="e", DesiredWeightsAndCapacities=change
    )
    told = {row["VariantName"]: row for row in scenes.reached("e")["ProductionVariants"]}
    assert told["a"]["CurrentWeight"] == 0.0
    assert (told["b"]["CurrentInstanceCount"], told["b"]["DesiredInstanceCount"]) == (5, 5)
    assert {scenes.invoke("e")["InvokedProductionVariant"] for _ in range(4)} == {"b"}
    wrong = [{"VariantName": "x", "DesiredWeight": 1}]
    call = scenes.sagemaker.update_endpoint_weights_and_capacities
    assert "not present" in refused(call, EndpointName="e", DesiredWeightsAndCapacities=wrong)[1]


def test_an_error_of_the_model_is_told_with_what_it_said(scenes: Scenes) -> None:
    name = scenes.served()
    with pytest.raises(client_error()) as caught:
        scenes.invoke(name, b"fail")
    told = caught.value.response
    assert told["Error"]["Code"] == "ModelError"
    assert told["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert (told["OriginalStatusCode"], told["OriginalMessage"]) == (400, "bad input")
    assert f"/aws/sagemaker/Endpoints/{name}" in told["LogStreamArn"]
    assert scenes.points("Invocation4XXErrors", EndpointName=name, VariantName="all") == [1.0]


def test_a_model_that_crashes_is_started_again(scenes: Scenes) -> None:
    name = scenes.served()
    with pytest.raises(client_error(), match="ModelError"):
        scenes.invoke(name, b"crash")

    def answered() -> str | None:
        try:
            return model_of(scenes.invoke(name))
        except client_error():
            return None

    assert scenes.until(answered, lambda told: told is not None) == "one"


def test_a_model_that_is_too_slow_is_an_error(scenes: Scenes) -> None:
    name = scenes.served()
    scenes.cloud.part(Endpoints).invocation_s = 0.2
    assert "timed out" in refused(scenes.runtime.invoke_endpoint, EndpointName=name, Body=b"slow")[1]


def test_an_endpoint_that_is_not_there_is_told_in_the_runtimes_words(scenes: Scenes) -> None:
    code, message = refused(scenes.runtime.invoke_endpoint, EndpointName="none", Body=b"1")
    assert (code, "Endpoint none of account" in message) == ("ValidationError", True)
    assert refused(scenes.runtime.invoke_endpoint, EndpointName="a" * 64, Body=b"1")[0] == "ValidationError"


def test_a_body_over_six_megabytes_is_refused(scenes: Scenes) -> None:
    name = scenes.served()
    code, _ = refused(scenes.runtime.invoke_endpoint, EndpointName=name, Body=b"x" * 6_291_457)
    assert code == "ValidationError"


def test_each_request_is_counted_in_cloudwatch(scenes: Scenes) -> None:
    name = scenes.served()
    for _ in range(3):
        scenes.invoke(name)
    dimensions = {"EndpointName": name, "VariantName": "all"}
    assert scenes.points("Invocations", **dimensions) == [1.0] * 3
    assert scenes.points("InvocationsPerInstance", **dimensions) == [0.5] * 3
    assert all(0 < value < 20e6 for value in scenes.points("ModelLatency", **dimensions))
    listed = scenes.client("cloudwatch").list_metrics(Namespace="AWS/SageMaker")["Metrics"]
    assert {row["MetricName"] for row in listed} >= {"Invocations", "ModelLatency", "OverheadLatency"}


def test_requests_at_once_are_all_answered_and_counted(scenes: Scenes) -> None:
    a = scenes.variant("a", scenes.model("ma", "A"))
    b = scenes.variant("b", scenes.model("mb", "B"))
    scenes.endpoint("e", scenes.config("c", a, b))
    runtime = scenes.runtime

    def ask(number: int) -> bool:
        answer = runtime.invoke_endpoint(EndpointName="e", Body=str(number).encode())
        got: str = json.loads(answer["Body"].read())["got"]
        return got == str(number)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(80)))
    for name in ("a", "b"):
        assert len(scenes.points("Invocations", EndpointName="e", VariantName=name)) == 40


def test_what_a_model_prints_is_in_its_log(scenes: Scenes) -> None:
    name = scenes.served()
    scenes.invoke(name)
    group = f"/aws/sagemaker/Endpoints/{name}"
    scenes.until(lambda: scenes.logs(group, "all/i-"), lambda lines: "served /invocations" in lines)


def test_a_shadow_gets_its_share_and_nobody_hears_its_errors(scenes: Scenes) -> None:
    shadow = scenes.variant("b", scenes.model("mb", "broken"), InitialVariantWeight=0.5)
    a = scenes.variant("a", scenes.model("ma", "A"), InitialVariantWeight=1)
    scenes.endpoint("e", scenes.config("c", a, ShadowProductionVariants=[shadow]))
    assert {model_of(scenes.invoke("e")) for _ in range(4)} == {"A"}
    dimensions = {"EndpointName": "e", "VariantName": "b"}
    scenes.until(lambda: scenes.points("Invocation5XXErrors", **dimensions), lambda seen: seen == [1.0, 1.0])


def test_requests_are_captured_to_s3_as_asked(scenes: Scenes) -> None:
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 50,
        "DestinationS3Uri": f"s3://{BUCKET}/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
    }
    config = scenes.config("c", scenes.variant("all", scenes.model("m")), DataCaptureConfig=capture)
    told = scenes.endpoint("e", config)
    assert told["DataCaptureConfig"]["CaptureStatus"] == "Started"
    assert told["DataCaptureConfig"]["CurrentSamplingPercentage"] == 50
    for number in range(4):
        scenes.invoke("e", b"1,2", ContentType="text/csv", InferenceId=f"i{number}", CustomAttributes="a")
    keys = scenes.keys("captured/e/all/")
    assert len(keys) == 2
    line = json.loads(scenes.get(f"s3://{BUCKET}/{keys[0]}"))
    given, made = line["captureData"]["endpointInput"], line["captureData"]["endpointOutput"]
    assert (given["data"], given["encoding"], given["mode"]) == ("1,2", "CSV", "INPUT")
    assert made["encoding"] == "BASE64"
    assert json.loads(base64.b64decode(made["data"]))["got"] == "1,2"
    assert line["eventMetadata"]["customAttributes"] == ["a"]
    assert line["eventMetadata"]["inferenceId"] == "i1"


def test_an_answer_can_be_streamed(scenes: Scenes) -> None:
    name = scenes.served()
    answer = scenes.runtime.invoke_endpoint_with_response_stream(EndpointName=name, Body=b"stream")
    assert answer["InvokedProductionVariant"] == "all"
    assert b"".join(event["PayloadPart"]["Bytes"] for event in answer["Body"]) == b"one two"


def asynchronous(scenes: Scenes) -> str:
    """Make an asynchronous endpoint."""
    output = {"S3OutputPath": f"s3://{BUCKET}/answers", "S3FailurePath": f"s3://{BUCKET}/failures"}
    variant = scenes.variant("all", scenes.model("m"))
    config = scenes.config("c", variant, AsyncInferenceConfig={"OutputConfig": output})
    scenes.endpoint("e", config)
    return "e"


def test_an_asynchronous_request_is_answered_in_s3(scenes: Scenes) -> None:
    name = asynchronous(scenes)
    uri = scenes.put("in/1.csv", "5")
    told = scenes.runtime.invoke_endpoint_async(EndpointName=name, InputLocation=uri)
    assert told["ResponseMetadata"]["HTTPStatusCode"] == 202
    scenes.until(lambda: scenes.keys("answers/"), lambda keys: len(keys) == 1)
    assert json.loads(scenes.get(told["OutputLocation"]))["got"] == "5"
    assert scenes.points("Invocations", EndpointName=name, VariantName="all") == []
    assert scenes.points("ApproximateBacklogSize", EndpointName=name)


def test_an_asynchronous_failure_is_told_in_s3(scenes: Scenes) -> None:
    name = asynchronous(scenes)
    told = scenes.runtime.invoke_endpoint_async(
        EndpointName=name, InputLocation=scenes.put("in/1.csv", "fail"), InferenceId="mine"
    )
    assert told["InferenceId"] == "mine"
    scenes.until(lambda: scenes.keys("failures/"), lambda keys: len(keys) == 1)
    assert b"bad input" in scenes.get(told["FailureLocation"])


def test_asynchronous_requests_have_the_metrics_of_a_queue(scenes: Scenes) -> None:
    name = asynchronous(scenes)
    told = scenes.runtime.invoke_endpoint_async(EndpointName=name, Body=b"1")
    scenes.until(lambda: scenes.keys(told["OutputLocation"].removeprefix(f"s3://{BUCKET}/")), bool)
    of_variant = {"EndpointName": name, "VariantName": "all"}
    assert scenes.points("Invocation4XXErrors", **of_variant) == [0.0]
    assert len(scenes.points("ModelLatency", **of_variant)) == 1
    assert scenes.points("Invocations", **of_variant) == []
    assert scenes.points("ApproximateBacklogSize", EndpointName=name)[0] == 1.0


def test_asynchronous_and_ordinary_requests_are_not_mixed_up(scenes: Scenes) -> None:
    name = asynchronous(scenes)
    assert "Async" in refused(scenes.runtime.invoke_endpoint, EndpointName=name, Body=b"1")[1]
    call = scenes.runtime.invoke_endpoint_async
    assert "Exactly one" in refused(call, EndpointName=name)[1]
    missing = f"s3://{BUCKET}/missing"
    assert "Could not find" in refused(call, EndpointName=name, InputLocation=missing)[1]


def test_nobody_answers_when_all_weights_are_zero(scenes: Scenes) -> None:
    scenes.endpoint("e", scenes.config("c", scenes.variant("all", scenes.model("m"), InitialVariantWeight=0)))
    told = refused(scenes.runtime.invoke_endpoint, EndpointName="e", Body=b"1")
    assert (told[0], "weight" in told[1]) == ("ValidationError", True)
    assert model_of(scenes.invoke("e", TargetVariant="all", Accept="application/json")) == "one"
    told = refused(scenes.runtime.invoke_endpoint, EndpointName="e", Body=b"1", TargetModel="x")
    assert "TargetModel" in told[1]


def test_a_stream_that_fails_tells_it_at_its_start_or_in_its_midst(scenes: Scenes) -> None:
    name = scenes.served()
    call = scenes.runtime.invoke_endpoint_with_response_stream
    code, message = refused(call, EndpointName=name, Body=b"fail")
    assert (code, "bad input" in message) == ("ModelError", True)
    assert refused(call, EndpointName=name, Body=b"crash")[0] == "ModelError"
    server = scenes.cloud.part(Endpoints).get(name).fleet.variants[0].servers
    assert server is not None
    scenes.until(server.last.is_running, lambda running: not running)  # it breaks off before it is gone
    server.revive()
    scenes.until(server.last.ping, bool)
    answer = call(EndpointName=name, Body=b"break")
    pieces: list[bytes] = []
    with pytest.raises(Exception, match="broke off"):
        pieces.extend(event["PayloadPart"]["Bytes"] for event in answer["Body"])
    assert pieces == [b"one "]


def test_an_asynchronous_request_may_bring_its_body_and_name_its_answer(scenes: Scenes) -> None:
    name = asynchronous(scenes)
    told = scenes.runtime.invoke_endpoint_async(
        EndpointName=name, Body=b"5", S3OutputPathExtension="mine", Filename="a.json"
    )
    assert told["OutputLocation"] == f"s3://{BUCKET}/answers/mine/a.json"
    scenes.until(lambda: scenes.keys("answers/"), lambda keys: keys == ["answers/mine/a.json"])
    scenes.endpoint("ordinary", scenes.config("c3", scenes.variant("all", "m")))
    call = scenes.runtime.invoke_endpoint_async
    assert "not asynchronous" in refused(call, EndpointName="ordinary", Body=b"5")[1]
