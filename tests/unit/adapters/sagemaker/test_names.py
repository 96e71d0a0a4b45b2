"""Names: what SageMaker takes stays, anything else is shortened in one way, and can be told again."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackbridge.domain.ids import mint_id
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS
from trackbridge_adapters.sagemaker.limits import fits
from trackbridge_adapters.sagemaker.names import (
    HALF_CHARS_MAX,
    component_name,
    description_of,
    display_name,
    experiment_name,
    is_native,
    key_part,
    name_of_description,
    slug,
    trial_name,
)

SHORTENED = re.compile(r"[a-z0-9][a-z0-9-]*-[0-9a-f]{16}")
CREATE = ("sagemaker", "CreateExperiment")


@pytest.mark.parametrize("text", ["a", "0", "digits", "a-b--c", "x" * 59, "0123456789abcdef", "run-1"])
def test_a_name_that_aws_takes_stays(text: str) -> None:
    assert slug(text) == text


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("Digits", "digits"),
        ("my_experiment", "my-experiment"),
        ("a/b c", "a-b-c"),
        ("-a-", "a"),
        ("a-", "a"),
        ("", "name"),
        ("漢字", "name"),
        ("x" * 60, "x" * 42),
        ("a-0123456789abcdef", "a-0123456789abcdef"),
    ],
)
def test_any_other_is_shortened(text: str, readable: str) -> None:
    assert SHORTENED.fullmatch(slug(text))
    assert slug(text)[:-17] == readable


@given(st.text(max_size=200) | st.from_regex(r"[a-zA-Z0-9_-]{1,70}", fullmatch=True))
def test_every_half_is_one_that_metrics_take(text: str) -> None:
    assert len(slug(text)) <= HALF_CHARS_MAX
    assert re.fullmatch(r"[a-z0-9](-*[a-z0-9])*", slug(text))


@given(st.lists(st.text(alphabet="aA-_b0", max_size=8), unique=True, min_size=2, max_size=40))
def test_no_two_names_share_a_half(texts: list[str]) -> None:
    assert len(set(map(slug, texts))) == len(texts)


def test_a_shortened_name_cannot_be_mistaken_for_another() -> None:
    assert slug(slug("My experiment")) != slug("My experiment")


def test_a_component_is_named_as_awss_sdk_names_it() -> None:
    run_id = mint_id()
    assert component_name("digits", run_id) == f"digits-{run_id}"
    assert component_name("x" * 59, "y" * 59) == "x" * 59 + "-" + "y" * 59
    # An experiment of somebody else's may be longer, or have upper case.
    assert component_name("Digits", run_id) == f"digits-{run_id}"
    assert is_native(component_name("X" * 120, run_id))


def test_trials_are_named_as_awss_sdk_names_the_first() -> None:
    assert trial_name("digits", 1) == "Default-Run-Group-digits"
    assert trial_name("digits", 2).startswith("Default-Run-Group-digits-2-")
    assert trial_name("digits", 2) != trial_name("digits-2", 1)
    assert is_native(trial_name("d" * 59, 300))
    assert is_native(trial_name("X" * 120, 300))


def test_a_prefix_stands_before_the_name() -> None:
    assert experiment_name("", "digits") == "digits"
    assert experiment_name("team", "digits") == "team-digits"
    assert experiment_name("Team", "digits").startswith("team-digits-")


@pytest.mark.parametrize("name", [name for name in HOSTILE_TEXTS if name != "long"])
def test_a_description_tells_the_name(name: str) -> None:
    text = HOSTILE_TEXTS[name]
    assert name_of_description(description_of(text)) == text
    assert fits(*CREATE, "Description", description_of(text))


@pytest.mark.parametrize("text", ["", '"', '"a"', '"\\', "\\", "x" * 1536, "é" * 500])
def test_a_description_tells_odd_names(text: str) -> None:
    assert name_of_description(description_of(text)) == text


@given(st.text(max_size=4000))
@settings(deadline=None)  # the first reads botocore's model
def test_a_description_is_one_that_aws_takes_or_empty(text: str) -> None:
    description = description_of(text)
    assert description == "" or name_of_description(description) == text
    assert fits(*CREATE, "Description", description)


def test_a_name_too_long_for_a_description_has_none() -> None:
    assert description_of("\n" * 3000) == ""


def test_a_broken_description_tells_nothing() -> None:
    assert name_of_description('"broken') == ""
    assert name_of_description('"a" "b"') == ""


@given(st.text(max_size=200))
@settings(deadline=None)
def test_a_display_name_is_one_that_aws_takes(text: str) -> None:
    shown = display_name(text)
    assert shown is None or fits(*CREATE, "DisplayName", shown)


def test_a_display_name_is_near_the_text() -> None:
    assert display_name("My run (2)!") == "My-run-2"
    assert display_name("漢字") is None


@given(st.text(max_size=200))
def test_a_part_of_a_key_is_plain(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key_part(text))


def test_a_part_of_a_key_is_the_id_where_that_is_plain() -> None:
    run_id = mint_id()
    assert key_part(run_id) == run_id
    assert key_part("Digits-run_1") == "Digits-run_1"
    assert key_part("../x") != key_part("..-x")
    # Nobody can name a run so that it stands where another's digest does.
    assert key_part(key_part("../x")) != key_part("../x")
