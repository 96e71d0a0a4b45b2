"""ARNs of managed MLflow: both kinds, every partition, hostile texts."""

from __future__ import annotations

import pytest

from tests.unit.adapters.sagemaker.rig import ARN
from trackbridge.errors import ConfigError
from trackbridge_adapters.sagemaker.arn import KINDS, SUFFIXES, parse_arn


@pytest.mark.parametrize(
    ("arn", "url", "header", "signing_name"),
    [
        (
            "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/prod",
            "https://eu-west-1.experiments.sagemaker.aws",
            "x-mlflow-sm-tracking-server-arn",
            "sagemaker-mlflow",
        ),
        (
            "arn:aws:sagemaker:us-west-2:123456789012:mlflow-app/app-ABC123",
            "https://mlflow.sagemaker.us-west-2.app.aws",
            "x-sm-mlflow-app-arn",
            "sagemaker",
        ),
        (
            "arn:aws-us-gov:sagemaker:us-gov-west-1:123456789012:mlflow-tracking-server/prod",
            "https://us-gov-west-1.experiments.sagemaker.aws",
            "x-mlflow-sm-tracking-server-arn",
            "sagemaker-mlflow",
        ),
        (
            "arn:aws-cn:sagemaker:cn-north-1:123456789012:mlflow-tracking-server/prod",
            "https://cn-north-1.experiments.sagemaker.amazonaws.cn",
            "x-mlflow-sm-tracking-server-arn",
            "sagemaker-mlflow",
        ),
    ],
)
def test_where_requests_go_and_what_signs_them(arn: str, url: str, header: str, signing_name: str) -> None:
    parsed = parse_arn(arn)
    assert (parsed.url, parsed.kind.header, parsed.kind.signing_name) == (url, header, signing_name)
    assert parsed.text == arn


def test_every_partition_that_botocore_knows() -> None:
    from botocore.session import Session

    session = Session()
    assert set(session.get_available_partitions()) == set(SUFFIXES)
    for partition in SUFFIXES:
        region = session.get_available_regions("s3", partition)[0]
        s3 = session.create_client("s3", region, aws_access_key_id="x", aws_secret_access_key="x")
        for kind in KINDS:
            parsed = parse_arn(f"arn:{partition}:sagemaker:{region}:123456789012:{kind}/x")
            assert parsed.s3_url == s3.meta.endpoint_url
            assert parsed.url.startswith("https://")
            assert region in parsed.url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "arn",
        "arn:aws:sagemaker",
        ARN + "\n",
        ARN + "/more",
        ARN + "#arn:aws:iam::123456789012:role/x",
        ARN + "?x=y",
        ARN.replace("aws:", "aws:evil:"),
        ARN.replace("123456789012", "12345678901"),
        ARN.replace("123456789012", "١٢٣٤٥٦٧٨٩٠١٢"),
        ARN.replace("eu-west-1", "evil.com/"),
        ARN.replace("eu-west-1", "EU-WEST-1"),
        ARN.replace("eu-west-1", ""),
        ARN.replace("mlflow-tracking-server", "training-job"),
        ARN.replace("sagemaker", "s3"),
        ARN.replace("/tracking", "/"),
        ARN.replace("/tracking", "/../x"),
        ARN.replace("/tracking", "/" + "x" * 300),
        ARN.upper(),
        "\x00" + ARN,
    ],
)
def test_hostile_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not the ARN"):
        parse_arn(text)


def test_a_partition_that_nobody_knows() -> None:
    with pytest.raises(ConfigError, match="'aws-mars' is not known"):
        parse_arn(ARN.replace("arn:aws:", "arn:aws-mars:"))


@pytest.mark.parametrize("text", ["sagemaker:", "sagemaker://eu-west-1", "sagemaker://eu-west-1/prefix"])
def test_a_place_is_no_arn(text: str) -> None:
    with pytest.raises(ConfigError, match="is not the ARN of a managed MLflow") as refused:
        parse_arn(text)
    assert "arn:aws:sagemaker:REGION" in (refused.value.hint or "")
