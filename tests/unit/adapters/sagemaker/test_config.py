"""Options of a remote and variables of AWS: what wins, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.adapters.sagemaker.rig import ARN
from trackbridge.errors import ConfigError
from trackbridge_adapters.sagemaker.arn import parse_arn
from trackbridge_adapters.sagemaker.config import Access, access_of

ROLE = "arn:aws:iam::999999999999:role/team/tracking"


def access(arn: str = ARN, options: dict[str, str] | None = None, **environment: str) -> Access:
    return access_of(parse_arn(arn), options or {}, environment)


def test_nothing_given_means_aws_itself() -> None:
    found = access()
    assert (found.endpoint, found.s3_endpoint, found.s3_region) == (None, None, "eu-west-1")
    assert (found.role_arn, found.profile, found.role_seconds) == (None, None, 3300)
    assert found.has_control_plane
    assert found.verify is True


@pytest.mark.parametrize(
    ("options", "environment", "endpoint", "s3_endpoint"),
    [
        ({}, {"SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": "http://a:1/"}, "http://a:1", None),
        ({"endpoint": "http://b"}, {"SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": "http://a"}, "http://b", None),
        ({}, {"AWS_ENDPOINT_URL": "http://all:4566"}, "http://all:4566", "http://all:4566"),
        (
            {},
            {"AWS_ENDPOINT_URL": "http://all", "SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": "http://a"},
            "http://a",
            "http://all",
        ),
        (
            {},
            {"AWS_ENDPOINT_URL_S3": "http://s3", "AWS_ENDPOINT_URL": "http://all"},
            "http://all",
            "http://s3",
        ),
        ({}, {"MLFLOW_S3_ENDPOINT_URL": "http://minio:9000"}, None, "http://minio:9000"),
        ({}, {"AWS_ENDPOINT_URL_SAGEMAKER": "http://control"}, None, None),
        (
            {},
            {"AWS_ENDPOINT_URL": "http://all", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            None,
            "https://s3.eu-west-1.amazonaws.com",
        ),
        (
            {"endpoint": "https://mine"},
            {"AWS_ENDPOINT_URL_S3": "http://s3", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "TRUE"},
            "https://mine",
            "https://s3.eu-west-1.amazonaws.com",
        ),
    ],
)
def test_addresses(
    options: dict[str, str], environment: dict[str, str], endpoint: str | None, s3_endpoint: str | None
) -> None:
    found = access(options=options, **environment)
    assert (found.endpoint, found.s3_endpoint) == (endpoint, s3_endpoint)


def test_the_control_plane_of_aws_is_not_asked_about_a_server_elsewhere() -> None:
    assert not access(SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT="http://a").has_control_plane
    assert access(
        SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT="http://a", AWS_ENDPOINT_URL_SAGEMAKER="http://b"
    ).has_control_plane


def test_buckets_of_other_partitions_have_other_hosts() -> None:
    china = ARN.replace("arn:aws:", "arn:aws-cn:").replace("eu-west-1", "cn-north-1")
    assert access(china).s3_endpoint == "https://s3.cn-north-1.amazonaws.com.cn"
    assert access(china, MLFLOW_S3_ENDPOINT_URL="http://minio").s3_endpoint == "http://minio"


def test_roles() -> None:
    assert access(SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN=ROLE).role_arn == ROLE
    named = access(
        options={"role_arn": ROLE, "external_id": "team:7", "role_seconds": "900"},
        SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN=ROLE + "2",
    )
    assert (named.role_arn, named.external_id, named.role_seconds) == (ROLE, "team:7", 900)
    assert access(SAGEMAKER_MLFLOW_ASSUME_ROLE_TTL_SECONDS="60").role_seconds == 900
    assert access(SAGEMAKER_MLFLOW_ASSUME_ROLE_TTL_SECONDS="1800").role_seconds == 1800
    assert access(SAGEMAKER_MLFLOW_ASSUME_ROLE_TTL_SECONDS="soon").role_seconds == 3300


@pytest.mark.parametrize(
    "options",
    [
        {"rolearn": ROLE},
        {"role_arn": "tracking"},
        {"role_arn": ROLE + "\n"},
        {"role_arn": ROLE.replace("arn:aws:", "arn:aws-cn:")},
        {"role_arn": "arn:aws:iam::999999999999:user/x"},
        {"external_id": "two words"},
        {"role_seconds": "899"},
        {"role_seconds": "43201"},
        {"role_seconds": "1e3"},
        {"endpoint": "mlflow.example.com"},
        {"endpoint": "ftp://mlflow.example.com"},
        {"endpoint": "https://user:verysecret@mlflow.example.com"},
        {"endpoint": "https://mlflow.example.com:port"},
        {"endpoint": "https://mlflow.example.com/?token=verysecret"},
        {"ui_url": "javascript:alert(1)"},
        {"s3_region": "eu west"},
        {"ca_file": "/nowhere/ca.pem"},
        {"timeout_s": "0"},
        {"timeout_s": "nan"},
    ],
)
def test_wrong_options_are_refused_without_their_secrets(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        access(options=options)
    assert refused.value.hint
    assert "verysecret" not in f"{refused.value} {refused.value.hint}"
