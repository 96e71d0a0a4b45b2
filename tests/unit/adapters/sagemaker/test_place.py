"""Where sagemaker: is: regions from the URI, the environment and files of profiles; partitions; options."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackbridge.errors import ConfigError
from trackbridge.resolve.entry_points import canonical
from trackbridge.resolve.home import Surroundings
from trackbridge.resolve.uri import parse
from trackbridge_adapters.sagemaker.config import place_access
from trackbridge_adapters.sagemaker.place import canonical_uri, parse_place, place_in


def test_a_uri_names_region_and_prefix() -> None:
    found = parse_place("sagemaker://eu-west-1/Team-7", {}, {"AWS_REGION": "us-east-1"})
    assert (found.region, found.partition, found.prefix) == ("eu-west-1", "aws", "Team-7")
    assert (found.text, found.folder) == ("sagemaker://eu-west-1/Team-7", "trackbridge/at/Team-7")
    alone = parse_place("sagemaker://eu-west-1", {}, {})
    assert (alone.text, alone.folder) == ("sagemaker://eu-west-1", "trackbridge")


@pytest.mark.parametrize(
    ("options", "environment", "region"),
    [
        ({"region": "eu-north-1"}, {"AWS_REGION": "us-east-1"}, "eu-north-1"),
        ({}, {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-west-2"}, "us-east-1"),
        ({}, {"AWS_DEFAULT_REGION": "us-west-2", "AWS_REGION": ""}, "us-west-2"),
        ({}, {}, "ap-south-1"),
        ({}, {"AWS_PROFILE": "team"}, "sa-east-1"),
        ({"profile": "team"}, {"AWS_PROFILE": "nobody"}, "sa-east-1"),
    ],
)
def test_what_names_the_region_of_a_bare_uri(
    options: dict[str, str], environment: dict[str, str], region: str, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    file.write_text("[default]\nregion = ap-south-1\n[profile team]\nregion=sa-east-1\n")
    named = {**environment, "AWS_CONFIG_FILE": str(file)}
    assert parse_place("sagemaker:", options, named).region == region
    around = Surroundings(tmp_path, named)
    found = canonical(parse("sagemaker:", around=around), options=options, around=around)
    assert found.address == f"sagemaker://{region}"
    assert dict(found.options) == options


@pytest.mark.parametrize(
    "content", [None, b"", b"[default]\n", b"region = eu-west-1\n", b"\xff\xfe[", b"[default"]
)
def test_nothing_names_a_region(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config").write_bytes(content)
    with pytest.raises(ConfigError, match="which region") as refused:
        parse_place("sagemaker:", {}, {"AWS_CONFIG_FILE": str(tmp_path / "config")})
    assert "AWS_REGION" in (refused.value.hint or "")
    assert "bridge emulate sagemaker" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("region", "partition", "s3"),
    [
        ("eu-west-1", "aws", "https://s3.eu-west-1.amazonaws.com"),
        ("cn-north-1", "aws-cn", "https://s3.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "https://s3.us-gov-west-1.amazonaws.com"),
        ("us-iso-east-1", "aws-iso", "https://s3.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", "aws-iso-b", "https://s3.us-isob-east-1.sc2s.sgov.gov"),
        ("eusc-de-east-1", "aws-eusc", "https://s3.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_partitions_follow_from_regions(region: str, partition: str, s3: str) -> None:
    found = place_in(region)
    assert (found.partition, found.s3_url) == (partition, s3)


def test_partitions_are_botocores() -> None:
    from botocore.session import Session

    session = Session()
    for partition in session.get_available_partitions():
        for region in session.get_available_regions("s3", partition_name=partition):
            assert place_in(region).partition == partition


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "sagemaker:/",
        "sagemaker://",
        "sagemaker://mars",
        "sagemaker://eu-west-1/",
        "sagemaker://eu-west-1/a/b",
        "sagemaker://eu-west-1/a_b",
        "sagemaker://eu-west-1/../x",
        "sagemaker://eu-west-1\n",
        "sagemaker://user:verysecret@eu-west-1",
        "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/x",
    ],
)
def test_hostile_uris_are_refused(uri: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_place(uri, {}, {"AWS_REGION": "eu-west-1"})
    assert refused.value.hint


def test_canonical_is_what_names_a_region_already() -> None:
    assert canonical_uri("sagemaker://eu-west-1/x", options={}, environment={}, folder=Path()) == (
        "sagemaker://eu-west-1/x"
    )


def test_options_of_a_place() -> None:
    place = place_in("eu-west-1")
    found = place_access(place, {"bucket": "mine", "profile": "team"}, {"AWS_ENDPOINT_URL": "http://all"})
    assert (found.bucket, found.profile) == ("mine", "team")
    assert (found.services, found.s3_endpoint) == (None, "http://all")  # botocore reads the variable itself
    everywhere = place_access(place, {"endpoint": "http://127.0.0.1:1"}, {"AWS_ENDPOINT_URL_S3": "http://s3"})
    assert (everywhere.services, everywhere.s3_endpoint) == ("http://127.0.0.1:1", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    "options",
    [
        {"buckets": "mine"},
        {"ui_url": "https://x"},
        {"bucket": "Mine"},
        {"bucket": "s3://mine"},
        {"bucket": "mine/folder"},
        {"bucket": "ab"},
        {"region": "us-east-1"},
        {"role_arn": "me"},
        {"role_arn": "arn:aws-cn:iam::123456789012:role/x"},
        {"endpoint": "https://user:verysecret@host"},
        {"timeout_s": "0"},
    ],
)
def test_wrong_options_of_a_place_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refused:
        place_access(place_in("eu-west-1"), options, {})
    assert refused.value.hint
    assert "verysecret" not in f"{refused.value} {refused.value.hint}"
