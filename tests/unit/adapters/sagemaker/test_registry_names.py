"""Names of models as names of package groups, options of the registry, and texts as tags."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackbridge.domain.model_references import checked_model_name
from trackbridge.errors import ConfigError, InvalidInput
from trackbridge_adapters.sagemaker.config import PLACE_OPTIONS
from trackbridge_adapters.sagemaker.limits import fits, limit_of
from trackbridge_adapters.sagemaker.registry_groups import NAME_CHARS_MAX, Groups
from trackbridge_adapters.sagemaker.registry_projection import quoted, unquoted
from trackbridge_adapters.sagemaker.registry_settings import OPTIONS, registry_settings

ARN = "arn:aws:sagemaker:eu-west-1:210987654321:model-package-group/wine"
PREFIXES = ["", "team", "a" * 30, "a" * 31, "Team-A-", "x" * 119]
PLAIN = ["wine", "w", "9", "a-b", "a--b", "w" * 63]
SHORTENED = ["Wine", "wine_2", "wine.2", " ", "-", "漢字", "w" * 64, "wine-", "w-0123456789abcdef", "a b"]


def is_name(text: str) -> bool:
    try:
        checked_model_name(text)
    except InvalidInput:
        return False
    return True


UNTIMED = settings(deadline=None)
names = st.text(min_size=1, max_size=250).filter(is_name)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_name_is_the_groups(name: str) -> None:
    assert Groups("", {}).of(name).reference == name


@pytest.mark.parametrize("name", SHORTENED)
def test_any_other_name_is_readable_with_a_digest(name: str) -> None:
    if not is_name(name):
        with pytest.raises(InvalidInput):
            Groups("", {}).of(name)
        return
    native = Groups("", {}).of(name).reference
    assert native != name
    assert re.fullmatch(r".+-[0-9a-f]{16}", native)


def test_the_name_of_a_group_stays_the_same_for_ever() -> None:
    assert Groups("", {}).of("Bier & Öl").reference == "Bier-l-e1a85d224b8cf628"
    assert Groups("team", {}).of("wine").reference == "team-wine"
    assert Groups("p" * 40, {}).of("wine").reference == "ppppppppppppp-51dd12fa6e0ae1ac-wine"


@pytest.mark.parametrize("prefix", PREFIXES)
@UNTIMED
@given(name=names)
def test_sagemaker_takes_every_name(prefix: str, name: str) -> None:
    groups = Groups(prefix, {})
    group = groups.of(name)
    assert fits("sagemaker", "CreateModelPackageGroup", "ModelPackageGroupName", group.reference)
    assert groups.of_native(group.reference) is not None
    assert fits("sagemaker", "ListModelPackageGroups", "NameContains", groups.begin.strip("-") or "any")


@UNTIMED
@given(one=names, other=names)
def test_two_models_have_two_groups_without_regard_to_case(one: str, other: str) -> None:
    groups = Groups("team", {})
    is_same = groups.of(one).reference.lower() == groups.of(other).reference.lower()
    assert is_same == (one == other)


def test_names_that_differ_in_case_alone_have_two_groups() -> None:
    groups = Groups("", {})
    assert len({groups.of(name).reference.lower() for name in ("wine", "Wine", "WINE")}) == 3


def test_a_name_that_looks_like_a_shortened_one_is_not_mistaken_for_it() -> None:
    groups = Groups("", {})
    shortened = groups.of("Wine").reference
    assert groups.of(shortened).reference != shortened
    assert groups.of(shortened.lower()).reference != shortened.lower()


def test_a_group_of_others_is_looked_for_under_its_own_name_too() -> None:
    groups = Groups("", {})
    assert [group.reference for group in groups.candidates("TheirGroup")][1:] == ["TheirGroup"]
    assert [group.reference for group in groups.candidates("wine")] == ["wine"]
    assert len(groups.candidates("wine & beer")) == 1
    assert groups.candidates("wine/1") == []


def test_a_place_knows_the_groups_behind_its_prefix() -> None:
    groups = Groups("team", {})
    found = groups.of_native("team-wine")
    assert found is not None
    assert (found.model, found.reference, found.folder) == ("wine", "team-wine", "team-wine")
    for native in ("teamwine", "team-", "other-wine"):
        assert groups.of_native(native) is None


def test_the_longest_name_is_what_the_service_says() -> None:
    limit = limit_of("sagemaker", "CreateModelPackageGroup", "ModelPackageGroupName", "max")
    assert limit == NAME_CHARS_MAX


def test_a_group_of_another_account() -> None:
    groups = Groups("team", {"best": ARN})
    group = groups.of("best")
    assert (group.model, group.reference, group.is_shared) == ("best", ARN, True)
    assert group.folder == "arn/eu-west-1/210987654321/wine" == groups.of(ARN).folder
    assert groups.shared() == [group]
    with pytest.raises(InvalidInput):
        groups.of("arn:aws:sagemaker:eu-west-1:210987654321:model-package/wine/1")


@UNTIMED
@given(st.text(st.characters(codec="utf-8")))
def test_a_quoted_text_comes_back_and_fits_a_tag(text: str) -> None:
    assert unquoted(quoted(text)) == text
    shorter = quoted(text)[:128]  # at most 256 units of UTF-16, which is how a tag's length is counted
    assert fits("sagemaker", "AddTags", "Tags.member.Value", shorter)


def test_a_quoted_text_stays_readable() -> None:
    assert quoted("Bier & Öl = 1_a") == "Bier =26 Öl =3D 1_a"
    assert unquoted("plain=") == "plain="


# Options.


def test_without_options_packages_say_no_more_than_where_the_model_lies() -> None:
    found = registry_settings({})
    assert (found.image, found.instance_types, found.archive, found.shared) == ("", (), False, {})


def test_options_are_read() -> None:
    found = registry_settings(
        {
            "image": "210987654321.dkr.ecr.eu-west-1.amazonaws.com/serving:1",
            "instance_types": "ml.m5.large, ml.g5.xlarge,",
            "model_archive": "True",
            "shared_groups": f"best={ARN}, worst={ARN}-2",
        }
    )
    assert found.instance_types == ("ml.m5.large", "ml.g5.xlarge")
    assert (found.archive, set(found.shared)) == (True, {"best", "worst"})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("image", "with space"),
        ("image", "x" * 256),
        ("instance_types", "m5.large"),
        ("instance_types", "ml.m5.large;ml.g5.xlarge"),
        ("model_archive", "maybe"),
        ("shared_groups", ARN),
        ("shared_groups", "best="),
        ("shared_groups", "best=wine"),
        ("shared_groups", f"a/b={ARN}"),
        ("shared_groups", f"={ARN}"),
        ("shared_groups", f"best={ARN.replace('-group', '')}"),
    ],
)
def test_a_wrong_option_is_refused_with_what_to_write(option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=option.split("_", maxsplit=1)[0]) as caught:
        registry_settings({option: value})
    assert caught.value.hint


def test_the_adapter_lets_the_options_through() -> None:
    assert OPTIONS <= PLACE_OPTIONS
