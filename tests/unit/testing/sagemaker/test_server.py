"""The emulator's port: which service answers, what is refused before, and what hostile clients get."""

from __future__ import annotations

import io
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.support.sagemaker_emulators import code_of, sagemaker_emulator, succeeds
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.operations import all_operations


def signed(aws: SageMakerEmulator, target: str, body: bytes, **headers: str) -> requests.Response:
    """Send a signed request of the JSON protocol, whatever it holds."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    sent = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1", **headers}
    request = AWSRequest("POST", aws.url + "/", data=body, headers=sent)
    keys = Credentials(aws.key.access_key, aws.key.secret_key)
    SigV4Auth(keys, "sagemaker", aws.region).add_auth(request)
    return requests.post(aws.url + "/", data=body, headers=dict(request.headers.items()), timeout=30)


def test_services_around_sagemaker_are_there(aws: SageMakerEmulator) -> None:
    assert aws.client("sts").get_caller_identity()["Account"] == aws.cloud.account
    assert aws.client("s3").list_buckets()["Buckets"] == []
    aws.client("logs").create_log_group(logGroupName="g")
    groups = aws.client("logs").describe_log_groups()["logGroups"]
    assert [group["logGroupName"] for group in groups] == ["g"]
    aws.client("cloudwatch").put_metric_data(Namespace="N", MetricData=[{"MetricName": "m", "Value": 1.0}])
    assert aws.client("cloudwatch").list_metrics(Namespace="N")["Metrics"]
    assert (
        aws.client("ecr").create_repository(repositoryName="r")["repository"]["registryId"]
        == aws.cloud.account
    )
    role = aws.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    assert role == f"arn:aws:iam::{aws.cloud.account}:role/r"


def test_what_moto_has_of_sagemaker_is_there_with_limits(sagemaker: Any) -> None:
    assert sagemaker.list_pipelines()["PipelineSummaries"] == []
    assert code_of(sagemaker.list_pipelines, MaxResults=101) == "ValidationException"


@pytest.mark.parametrize("call", ["list_actions", "list_mlflow_apps", "list_contexts"])
def test_what_nobody_has_is_an_unknown_operation_and_never_a_500(sagemaker: Any, call: str) -> None:
    assert code_of(getattr(sagemaker, call)) == "UnknownOperationException"


def test_an_operation_that_no_model_knows(aws: SageMakerEmulator) -> None:
    answer = signed(aws, "SageMaker.MakeTea", b"{}")
    assert (answer.status_code, answer.json()["__type"]) == (400, "UnknownOperationException")


def test_what_moto_lacks_of_another_service_is_told_as_aws_would(aws: SageMakerEmulator) -> None:
    arn = f"arn:aws:iam::{aws.cloud.account}:role/r"
    call = aws.client("iam").simulate_principal_policy
    assert code_of(call, PolicySourceArn=arn, ActionNames=["s3:GetObject"]) == "InvalidAction"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "ValidationException"),
        (b"{", "SerializationException"),
        (b"\xff", "SerializationException"),
        (b"[]", "SerializationException"),
        (b"null", "SerializationException"),
        (b"[" * 100_000, "SerializationException"),
        (b'{"ExperimentName": 1}', "SerializationException"),
        (b'{"ExperimentName": ["a"]}', "SerializationException"),
        (b'{"ExperimentName": "\\ud800"}', "SerializationException"),
        (b'{"ExperimentName": "a", "Tags": {}}', "SerializationException"),
        (b'{"ExperimentName": "a", "Tags": [null]}', "SerializationException"),
        (b'{"ExperimentName": "a", "Tags": [{}]}', "ValidationException"),
        (b'{"ExperimentName": null}', "ValidationException"),
        (b'{"ExperimentName": "\\u0000"}', "ValidationException"),
    ],
)
def test_bodies_that_are_not_right(aws: SageMakerEmulator, body: bytes, code: str) -> None:
    answer = signed(aws, "SageMaker.CreateExperiment", body)
    assert (answer.status_code, answer.json()["__type"]) == (400, code)


@pytest.mark.parametrize(
    "more",
    [
        '"NumberValue": NaN',
        '"NumberValue": "NaN"',
        '"NumberValue": "Infinity"',
        '"NumberValue": 1e999',
        '"NumberValue": true',
        '"NumberValue": "1"',
        '"StringValue": 1',
        '"StringValue": "a", "NumberValue": 1',
        "",
    ],
)
def test_parameters_that_are_not_right(aws: SageMakerEmulator, more: str) -> None:
    body = f'{{"TrialComponentName": "c", "Parameters": {{"p": {{{more}}}}}}}'.encode()
    answer = signed(aws, "SageMaker.CreateTrialComponent", body)
    assert answer.status_code == 400
    assert answer.json()["__type"] in ("SerializationException", "ValidationException")


def test_a_request_that_is_nested_without_end(aws: SageMakerEmulator) -> None:
    body = b'{"Resource": "Experiment", "SearchExpression": '
    body += b'{"SubExpressions": [' * 400 + b"]}" * 400 + b"}"
    answer = signed(aws, "SageMaker.Search", body)
    assert (answer.status_code, answer.json()["__type"]) == (400, "SerializationException")


def test_members_that_the_model_lacks_are_left_out(aws: SageMakerEmulator) -> None:
    answer = signed(aws, "SageMaker.CreateExperiment", b'{"ExperimentName": "a", "Colour": "red"}')
    assert answer.status_code == 200
    assert aws.calls[-1].params == {"ExperimentName": "a"}


def raw(aws: SageMakerEmulator, request: bytes) -> bytes:
    host, _, port = aws.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: -1",
        b"Content-Length: ten",
        b"Content-Length: 99999999999999",
        b"Transfer-Encoding: chunked\r\n\r\nzz",
    ],
)
def test_lengths_that_are_none(aws: SageMakerEmulator, head: bytes) -> None:
    assert (
        b" 400 " in raw(aws, b"PUT /bucket/key HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n").splitlines()[0]
    )


def test_a_body_in_chunks_is_read_whole(aws: SageMakerEmulator) -> None:
    aws.client("s3").create_bucket(Bucket="bucket")
    place = {"Bucket": "bucket", "Key": "k"}
    url = aws.client("s3").generate_presigned_url("put_object", Params=place)
    assert requests.put(url, data=iter([b"one ", b"two"]), timeout=30).status_code == 200
    assert aws.client("s3").get_object(Bucket="bucket", Key="k")["Body"].read() == b"one two"


def test_only_this_machine_is_listened_to(aws: SageMakerEmulator) -> None:
    assert aws.url.startswith("http://127.0.0.1:")


def test_calls_are_remembered_until_reset(aws: SageMakerEmulator, sagemaker: Any) -> None:
    sagemaker.create_experiment(ExperimentName="digits")
    code_of(sagemaker.create_experiment, ExperimentName="DIGITS")
    made, refused = aws.calls
    assert (made.operation, made.params, made.code) == ("CreateExperiment", {"ExperimentName": "digits"}, "")
    assert (refused.status, refused.code) == (400, "ValidationException")
    aws.reset()
    assert aws.calls == []


def test_throttling_by_number(aws: SageMakerEmulator, sagemaker: Any) -> None:
    aws.throttle("List*", times=2)
    assert [code_of(sagemaker.list_experiments) for _ in range(2)] == ["ThrottlingException"] * 2
    sagemaker.list_experiments()


def test_throttling_by_rate(aws: SageMakerEmulator, sagemaker: Any) -> None:
    aws.cloud.clock.stop()
    aws.throttle("ListExperiments", per_second=2)
    sagemaker.list_experiments()
    sagemaker.list_experiments()
    assert code_of(sagemaker.list_experiments) == "ThrottlingException"
    sagemaker.list_trials()
    aws.cloud.clock.advance(1.1)
    sagemaker.list_experiments()


def test_throttled_storage_says_slow_down(aws: SageMakerEmulator) -> None:
    storage = aws.client("s3")
    storage.create_bucket(Bucket="bucket")
    aws.throttle("PutObject", times=1)
    assert code_of(storage.put_object, Bucket="bucket", Key="k", Body=b"") == "SlowDown"
    storage.put_object(Bucket="bucket", Key="k", Body=b"")


def test_an_answer_that_is_lost_was_none_the_less_done(aws: SageMakerEmulator, sagemaker: Any) -> None:
    aws.faults.fail("CreateExperiment", after=True)
    assert code_of(sagemaker.create_experiment, ExperimentName="a") == "InternalFailure"
    sagemaker.describe_experiment(ExperimentName="a")
    aws.faults.fail("CreateExperiment", code="ServiceUnavailable", status=503)
    assert code_of(sagemaker.create_experiment, ExperimentName="b") == "ServiceUnavailable"
    assert code_of(sagemaker.describe_experiment, ExperimentName="b") == "ResourceNotFound"


def test_reset_leaves_nothing_but_the_keys(aws: SageMakerEmulator, sagemaker: Any) -> None:
    aws.client("s3").create_bucket(Bucket="bucket")
    sagemaker.create_experiment(ExperimentName="a")
    aws.throttle()
    aws.deny("*")
    aws.cloud.skew_s = 60
    aws.reset()
    assert sagemaker.list_experiments()["ExperimentSummaries"] == []
    assert aws.client("s3").list_buckets()["Buckets"] == []


def test_emulators_of_two_accounts_share_nothing_but_names_of_buckets(aws: SageMakerEmulator) -> None:
    with sagemaker_emulator(account="999999999999", region="eu-west-1") as other:
        place = {"LocationConstraint": "eu-west-1"}
        other.client("s3").create_bucket(Bucket="theirs", CreateBucketConfiguration=place)
        assert aws.client("s3").list_buckets()["Buckets"] == []
        assert code_of(aws.client("s3").create_bucket, Bucket="theirs") == "BucketAlreadyExists"
        assert code_of(aws.client("s3").get_object, Bucket="theirs", Key="k") == "AccessDenied"
        aws.reset()
        assert len(other.client("s3").list_buckets()["Buckets"]) == 1
        assert other.uri == "sagemaker://eu-west-1"


def test_a_fault_of_the_emulator_is_a_500_and_is_not_forgotten(
    aws: SageMakerEmulator, sagemaker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        all_operations()["sagemaker"],  # type: ignore[arg-type]
        "ListExperiments",
        lambda cloud, asked: {"Experiments": []},
    )
    assert code_of(sagemaker.list_experiments) == "InternalFailure"
    with pytest.raises(AssertionError, match="has no member"):
        aws.raise_failures()
    aws.reset()


def test_many_clients_at_once_make_each_thing_once(aws: SageMakerEmulator, sagemaker: Any) -> None:
    def create(number: int) -> bool:
        return succeeds(sagemaker.create_experiment, ExperimentName=f"e{number % 5}")

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(40))) == 5


def test_of_many_writers_with_the_same_condition_one_succeeds(aws: SageMakerEmulator) -> None:
    storage = aws.client("s3")
    storage.create_bucket(Bucket="bucket")
    start = threading.Barrier(8)

    def put(number: int) -> bool:
        start.wait()
        body = str(number).encode()
        return succeeds(storage.put_object, Bucket="bucket", Key="k", Body=body, IfNoneMatch="*")

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(put, range(8))) == 1


def test_large_objects_go_in_parts_and_come_back_in_one(aws: SageMakerEmulator) -> None:
    storage, body = aws.client("s3"), bytes(range(256)) * 65_536
    storage.create_bucket(Bucket="bucket")
    storage.upload_fileobj(io.BytesIO(body), "bucket", "large/ü +%.bin", ExtraArgs={"Metadata": {"a_b": "1"}})
    found = storage.get_object(Bucket="bucket", Key="large/ü +%.bin")
    assert found["Body"].read() == body
    assert found["Metadata"] == {"a_b": "1"}
    part = storage.get_object(Bucket="bucket", Key="large/ü +%.bin", Range="bytes=1-3")
    assert part["Body"].read() == b"\x01\x02\x03"


def test_when_it_is_closed_nobody_is_answered_on_an_open_connection() -> None:
    with sagemaker_emulator(check_signatures=False) as emulator, requests.Session() as session:
        headers = {"X-Amz-Target": "SageMaker.ListExperiments"}
        assert session.post(emulator.url, data=b"{}", headers=headers, timeout=30).status_code == 200
        emulator._listening().close()
        with pytest.raises(requests.ConnectionError):
            session.post(emulator.url, data=b"{}", headers=headers, timeout=30)


def test_without_signatures_anybody_is_let_in() -> None:
    with sagemaker_emulator(check_signatures=False) as emulator:
        headers = {"X-Amz-Target": "SageMaker.ListExperiments"}
        answer = requests.post(emulator.url, data=b"{}", headers=headers, timeout=30)
        assert json.loads(answer.content) == {"ExperimentSummaries": []}


def test_an_emulator_that_was_not_entered_says_so() -> None:
    with pytest.raises(RuntimeError, match="enter the emulator's context"):
        _ = SageMakerEmulator().url
