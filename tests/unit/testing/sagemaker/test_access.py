"""Who is let in: keys, their signatures, roles, rights; and whose buckets are whose."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.support.sagemaker_emulators import code_of, message_of
from trackbridge.testing.emulators.aws_keys import Key
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

NEEDED = {
    "sagemaker": ("list_experiments", "ExpiredTokenException", "UnrecognizedClientException"),
    "s3": ("list_buckets", "ExpiredToken", "InvalidAccessKeyId"),
    "sts": ("get_caller_identity", "ExpiredToken", "InvalidClientTokenId"),
    "logs": ("describe_log_groups", "ExpiredTokenException", "UnrecognizedClientException"),
    "iam": ("list_roles", "ExpiredToken", "InvalidClientTokenId"),
}


@pytest.mark.parametrize("service", sorted(NEEDED))
def test_a_key_that_expired_or_was_never_given_out(aws: SageMakerEmulator, service: str) -> None:
    call, expired, unknown = NEEDED[service]
    short = aws.keys.issue(seconds=60)
    getattr(aws.client(service, short), call)()
    aws.keys.revoke(short)
    assert code_of(getattr(aws.client(service, short), call)) == unknown
    assert code_of(getattr(aws.client(service, aws.keys.issue(seconds=0)), call)) == expired


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("sagemaker", "list_experiments", "InvalidSignatureException"),
        ("s3", "list_buckets", "SignatureDoesNotMatch"),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch"),
    ],
)
def test_a_wrong_secret(aws: SageMakerEmulator, service: str, call: str, code: str) -> None:
    wrong = Key(
        access_key=aws.key.access_key, secret_key="wrong", token=None, expires_s=None, principal="nobody"
    )
    assert code_of(getattr(aws.client(service, wrong), call)) == code


def test_clocks_too_far_apart(aws: SageMakerEmulator, sagemaker: Any) -> None:
    aws.cloud.skew_s = 250
    sagemaker.list_experiments()
    aws.cloud.skew_s = 400
    assert message_of(sagemaker.list_experiments).startswith("Signature expired")
    aws.cloud.skew_s = -400
    assert message_of(sagemaker.list_experiments).startswith("Signature not yet current")


def test_unsigned_requests(aws: SageMakerEmulator) -> None:
    aws.client("s3").create_bucket(Bucket="bucket")
    assert requests.get(f"{aws.url}/bucket/k", timeout=30).status_code == 403
    headers = {"X-Amz-Target": "SageMaker.ListExperiments"}
    answer = requests.post(aws.url, data=b"{}", headers=headers, timeout=30)
    assert answer.json()["__type"] == "MissingAuthenticationTokenException"
    assert requests.post(f"{aws.url}/moto-api/reset", timeout=30).status_code == 403
    assert requests.get(f"{aws.url}/moto-api/data.json", timeout=30).status_code == 403


def test_another_region_s_signature(aws: SageMakerEmulator) -> None:
    import boto3

    elsewhere = boto3.client(
        "sagemaker",
        endpoint_url=aws.url,
        region_name="eu-west-1",
        aws_access_key_id=aws.key.access_key,
        aws_secret_access_key=aws.key.secret_key,
    )
    assert "valid region, not 'eu-west-1'" in message_of(elsewhere.list_experiments)


@pytest.mark.parametrize("key", ["k", "a b/ü+%&=?#.txt", "a//b", "x" * 900])
def test_signed_addresses_open_one_object_for_one_method(aws: SageMakerEmulator, key: str) -> None:
    storage = aws.client("s3")
    storage.create_bucket(Bucket="bucket")
    storage.put_object(Bucket="bucket", Key=key, Body=b"secret")
    address = storage.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": key})
    assert requests.get(address, timeout=30).content == b"secret"
    assert requests.put(address, data=b"", timeout=30).status_code == 403
    assert requests.get(address.replace("bucket/", "bucket/x"), timeout=30).status_code == 403
    aws.cloud.skew_s = 4000
    assert requests.get(address, timeout=30).status_code == 403


def test_addresses_that_are_not_right(aws: SageMakerEmulator) -> None:
    storage = aws.client("s3")
    storage.create_bucket(Bucket="bucket")
    address = storage.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"})
    for old, new in (("X-Amz-Date=2", "X-Amz-Date=x"), ("X-Amz-Expires=3600", "X-Amz-Expires=ten")):
        assert requests.get(address.replace(old, new), timeout=30).status_code in (400, 403)
    assert requests.get(f"{aws.url}/bucket/k?X-Amz-Signature=x", timeout=30).status_code == 403


def test_roles_must_be_allowed_and_their_keys_are_their_own(aws: SageMakerEmulator) -> None:
    tokens, arn = aws.client("sts"), f"arn:aws:iam::{aws.cloud.account}:role/trainer"
    assert code_of(tokens.assume_role, RoleArn=arn, RoleSessionName="me") == "AccessDenied"
    aws.access.roles.allow(arn, external_id="x")
    assert code_of(tokens.assume_role, RoleArn=arn, RoleSessionName="me") == "AccessDenied"
    given = tokens.assume_role(RoleArn=arn, RoleSessionName="me", ExternalId="x")["Credentials"]
    key = aws.keys.find(given["AccessKeyId"])
    assert key is not None
    aws.client("sagemaker", key).create_experiment(ExperimentName="a")
    made = aws.client("sagemaker").describe_experiment(ExperimentName="a")
    assert made["CreatedBy"]["IamIdentity"]["Arn"].endswith(":assumed-role/trainer/me")


def test_roles_by_a_web_identity_need_no_key(aws: SageMakerEmulator) -> None:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    # With keys of its own, though none is sent: else this machine's are looked for, also in the network.
    session = boto3.session.Session("none", "none", region_name=aws.region)
    tokens = session.client("sts", endpoint_url=aws.url, config=Config(signature_version=UNSIGNED))
    asked = {
        "RoleArn": f"arn:aws:iam::{aws.cloud.account}:role/pod",
        "RoleSessionName": "me",
        "WebIdentityToken": "token",
    }
    assert code_of(tokens.assume_role_with_web_identity, **asked) == "AccessDenied"
    aws.access.roles.allow(asked["RoleArn"])
    given = tokens.assume_role_with_web_identity(**asked)["Credentials"]
    key = aws.keys.find(given["AccessKeyId"])
    assert key is not None
    assert aws.client("sts", key).get_caller_identity()["Arn"].endswith(":assumed-role/pod/me")
    assert code_of(tokens.get_caller_identity) == "MissingAuthenticationToken"


def test_session_tokens_are_of_who_asked(aws: SageMakerEmulator) -> None:
    given = aws.client("sts").get_session_token(DurationSeconds=900)["Credentials"]
    key = aws.keys.find(given["AccessKeyId"])
    assert key is not None
    assert aws.client("sts", key).get_caller_identity()["Arn"] == aws.key.principal
    aws.client("sagemaker", key).list_experiments()


def test_rights_can_be_taken_from_some(aws: SageMakerEmulator, sagemaker: Any) -> None:
    reader = aws.keys.issue(principal="role/reader")
    aws.deny("sagemaker:Create*", principal="*:role/reader")
    aws.deny("s3:PutObject", principal="*:role/reader")
    sagemaker.create_experiment(ExperimentName="a")
    theirs = aws.client("sagemaker", reader)
    theirs.list_experiments()
    assert code_of(theirs.create_experiment, ExperimentName="b") == "AccessDeniedException"
    said = message_of(theirs.create_experiment, ExperimentName="b")
    assert f"User: {reader.principal} is not authorized to perform: sagemaker:CreateExperiment" in said
    aws.client("s3").create_bucket(Bucket="bucket")
    storage = aws.client("s3", reader)
    assert code_of(storage.put_object, Bucket="bucket", Key="k", Body=b"") == "AccessDenied"
    assert code_of(storage.create_multipart_upload, Bucket="bucket", Key="k") == "AccessDenied"
    storage.list_objects_v2(Bucket="bucket")
    aws.access.allow_all()
    storage.put_object(Bucket="bucket", Key="k", Body=b"")


@pytest.mark.parametrize(
    ("right", "call", "asked"),
    [
        ("ListBucket", "list_objects_v2", {}),
        ("ListBucket", "head_bucket", {}),
        ("GetObject", "get_object", {"Key": "k"}),
        ("GetObject", "head_object", {"Key": "k"}),
        ("DeleteObject", "delete_object", {"Key": "k"}),
        ("DeleteObject", "delete_objects", {"Delete": {"Objects": [{"Key": "k"}]}}),
        ("GetBucketLocation", "get_bucket_location", {}),
        ("ListBucketMultipartUploads", "list_multipart_uploads", {}),
        ("DeleteBucket", "delete_bucket", {}),
    ],
)
def test_rights_of_storage_have_iam_s_names(
    aws: SageMakerEmulator, right: str, call: str, asked: dict[str, Any]
) -> None:
    storage = aws.client("s3")
    storage.create_bucket(Bucket="bucket")
    storage.put_object(Bucket="bucket", Key="k", Body=b"")
    aws.deny(f"s3:{right}")
    assert code_of(getattr(storage, call), Bucket="bucket", **asked) in ("AccessDenied", "403")


def test_a_bucket_in_another_region(aws: SageMakerEmulator) -> None:
    storage = aws.client("s3")
    place = {"LocationConstraint": "eu-central-1"}
    storage.create_bucket(Bucket="bucket", CreateBucketConfiguration=place)
    answer = requests.get(
        storage.generate_presigned_url("list_objects_v2", Params={"Bucket": "bucket"}), timeout=30
    )
    assert answer.status_code == 400
    assert "expecting 'eu-central-1'" in answer.text
    assert answer.headers["x-amz-bucket-region"] == "eu-central-1"
    assert storage.get_bucket_location(Bucket="bucket")["LocationConstraint"] == "eu-central-1"


def test_buckets_of_others(aws: SageMakerEmulator) -> None:
    storage = aws.client("s3")
    storage.create_bucket(Bucket="bucket")
    storage.create_bucket(Bucket="bucket")
    storage.put_object(Bucket="bucket", Key="k", Body=b"", ExpectedBucketOwner=aws.cloud.account)
    wrong = {"Bucket": "bucket", "ExpectedBucketOwner": "111122223333"}
    assert code_of(storage.list_objects_v2, **wrong) == "AccessDenied"
    assert code_of(storage.put_object, **wrong, Key="k", Body=b"") == "AccessDenied"
    assert code_of(storage.head_bucket, **wrong) == "403"


def test_another_account_has_buckets_of_its_own(aws: SageMakerEmulator) -> None:
    stranger = aws.keys.issue(principal="arn:aws:iam::999999999999:user/stranger")
    ours, theirs = aws.client("s3"), aws.client("s3", stranger)
    assert aws.client("sts", stranger).get_caller_identity()["Account"] == "999999999999"
    ours.create_bucket(Bucket="ours")
    ours.put_object(Bucket="ours", Key="k", Body=b"1")
    theirs.create_bucket(Bucket="theirs")
    assert [bucket["Name"] for bucket in theirs.list_buckets()["Buckets"]] == ["theirs"]
    assert code_of(theirs.create_bucket, Bucket="ours") == "BucketAlreadyExists"
    assert code_of(ours.list_objects_v2, Bucket="theirs") == "AccessDenied"
    assert code_of(theirs.get_object, Bucket="ours", Key="k") == "AccessDenied"
    allowed = {"Effect": "Allow", "Principal": {"AWS": "999999999999"}, "Action": "*", "Resource": "*"}
    ours.put_bucket_policy(Bucket="ours", Policy=json.dumps({"Statement": [allowed]}))
    assert theirs.get_object(Bucket="ours", Key="k")["Body"].read() == b"1"
    aws.reset()
    assert theirs.list_buckets()["Buckets"] == []
