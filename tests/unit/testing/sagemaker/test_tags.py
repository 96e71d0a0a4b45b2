"""Tags, by the rules of AWS."""

from __future__ import annotations

import pytest

from trackbridge.testing.emulators.sagemaker.core import Refused
from trackbridge.testing.emulators.sagemaker.tags import TAGS_MAX, Tags

ARN = "arn:aws:sagemaker:us-east-1:210987654321:experiment/digits"


def pairs(**tags: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


@pytest.fixture
def tags() -> Tags:
    made = Tags()
    made.start(ARN, pairs(a="1"))
    return made


def test_adding_overwrites(tags: Tags) -> None:
    assert tags.add(ARN, pairs(a="2", b="3")) == pairs(a="2", b="3")
    assert tags.find(ARN) == {"a": "2", "b": "3"}


def test_deleting_what_is_not_there_is_done(tags: Tags) -> None:
    tags.delete(ARN, ["a", "nothing"])
    assert tags.list(ARN) == []


def test_an_arn_is_known_in_any_case(tags: Tags) -> None:
    assert tags.has(ARN.replace("digits", "Digits"))


def test_unknown_resources_are_refused(tags: Tags) -> None:
    with pytest.raises(Refused, match="Could not find resource"):
        tags.list(ARN + "2")
    tags.end(ARN)
    with pytest.raises(Refused, match="Could not find resource"):
        tags.add(ARN, pairs(a="1"))
    assert tags.find(ARN) == {}


def test_fifty_are_taken_and_one_more_is_not(tags: Tags) -> None:
    tags.add(ARN, pairs(**{f"k{number}": "" for number in range(TAGS_MAX - 1)}))
    tags.add(ARN, pairs(a="again"))
    with pytest.raises(Refused) as refused:
        tags.add(ARN, pairs(more="x"))
    assert refused.value.code == "ResourceLimitExceeded"
    assert len(tags.list(ARN)) == TAGS_MAX
    with pytest.raises(Refused):
        tags.start(ARN + "2", pairs(**{f"k{number}": "" for number in range(TAGS_MAX + 1)}))
    assert not tags.has(ARN + "2")


@pytest.mark.parametrize("key", ["aws:name", "AWS:name", "Aws:"])
def test_aws_s_own_prefix_is_reserved(tags: Tags, key: str) -> None:
    for call in (
        lambda: tags.add(ARN, [{"Key": key, "Value": "x"}]),
        lambda: tags.start(ARN + "2", [{"Key": key, "Value": "x"}]),
        lambda: tags.delete(ARN, [key]),
    ):
        with pytest.raises(Refused, match="reserved"):
            call()
    assert tags.list(ARN) == pairs(a="1")
    tags.add(ARN, pairs(awsome="ok"))


def test_a_key_given_twice_is_refused(tags: Tags) -> None:
    with pytest.raises(Refused, match="Duplicate tag keys"):
        tags.start(ARN + "2", [*pairs(a="1"), *pairs(a="2")])
