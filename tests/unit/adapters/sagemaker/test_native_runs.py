"""What a component is shown of a run: what fits as it is, else a pointer, and what others put there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackbridge.domain.runs import DatasetInput
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS
from trackbridge_adapters.sagemaker.limits import check
from trackbridge_adapters.sagemaker.native_runs import (
    MORE,
    inputs_of,
    number_of,
    parameters_of,
    seconds,
    tags_of,
    text_of,
)
from trackbridge_adapters.sagemaker.run_records import RunRecord, is_text

ADDRESS = "s3://bucket/trackbridge/runs/r/run.json"
TEXTS = st.text(max_size=40) | st.sampled_from([text for text in HOSTILE_TEXTS.values() if is_text(text)])


def run(**fields: object) -> RunRecord:
    return RunRecord(run_id="0" * 32, experiment_id="e", component="e-" + "0" * 32, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["0.1", "3", "3.0", "-3", "0", "0.0", "-0.0", "1e-05", "1e+300", "5e-324"])
def test_a_text_that_is_a_number_is_one(text: str) -> None:
    number = number_of(text)
    assert number is not None
    assert float(text_of({"NumberValue": number})) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "01",
        "1_000",
        "1E5",
        "+1",
        "nan",
        "inf",
        "1e400",
        "٣",
        "9007199254740993",
        "True",
        "0x1",
    ],
)
def test_a_text_that_no_number_is_written_as_stays_a_text(text: str) -> None:
    assert number_of(text) is None
    assert parameters_of(run(params={"p": text}), {}, ADDRESS) == {"p": {"StringValue": text}}


def test_numbers_of_others_are_told_as_they_were_written() -> None:
    numbers = {3.0: "3", 0.1: "0.1", -0.0: "-0.0", 1e300: "1e+300", 2.0**60: "1.152921504606847e+18"}
    assert {number: text_of({"NumberValue": number}) for number in numbers} == numbers
    assert text_of({"StringValue": "x"}) == "x"
    assert text_of({}) == ""


def test_what_does_not_fit_points_to_the_record() -> None:
    params = {"kept": "x" * 2500, "long": "x" * 2501, "lines": "a\nb", "": "1", "k" * 257: "1", "a\nb": "1"}
    assert parameters_of(run(params=params), {}, ADDRESS) == {
        "kept": {"StringValue": "x" * 2500},
        "long": {"StringValue": ADDRESS},
        "lines": {"StringValue": ADDRESS},
        MORE: {"StringValue": f"3 more: {ADDRESS}"},
    }


@pytest.mark.parametrize(("count", "shown"), [(299, 299), (300, 300), (301, 299), (900, 299)])
def test_there_is_room_for_300(count: int, shown: int) -> None:
    record = run(params={f"p{number}": "1" for number in range(count)})
    found = parameters_of(record, {}, ADDRESS)
    assert len(found) == min(count, 300)
    assert sum(key.startswith("p") for key in found) == shown
    assert (MORE in found) == (count > 300)


def test_what_others_have_put_there_stays_and_takes_its_room() -> None:
    theirs = {f"their {number}": {"NumberValue": 1.0} for number in range(200)}
    record = run(params={f"p{number}": "1" for number in range(200)})
    found = parameters_of(record, {**theirs, "p1": {"StringValue": "theirs"}}, ADDRESS)
    assert len(found) == 300
    assert theirs.items() <= found.items()
    assert found["p1"] == {"NumberValue": 1.0}
    assert found[MORE] == {"StringValue": f"101 more: {ADDRESS}"}
    full = {f"their {number}": {"NumberValue": 1.0} for number in range(300)}
    assert parameters_of(record, full, ADDRESS) == full


def test_a_pointer_goes_when_there_is_room_again() -> None:
    before = {MORE: {"StringValue": "9 more: s3://bucket/elsewhere"}}
    assert parameters_of(run(params={"p": "x"}), before, ADDRESS) == {"p": {"StringValue": "x"}}


def test_tags_that_aws_does_not_take_are_left_out() -> None:
    tags = {"plain": "a b/c:1", "json": "{}", "empty": "", "aws:x": "1", "SageMaker:x": "1", "lines": "a\nb"}
    tags |= {"bridge:run-id": "forged", "k" * 129: "1", "long": "x" * 257, "größe": "漢字"}
    assert tags_of(run(tags=tags)) == {
        "bridge:run-id": "0" * 32,
        "sagemaker:trial-component-source": "run",
        "plain": "a b/c:1",
        "empty": "",
        "größe": "漢字",
    }


def test_there_is_room_for_50_tags_one_of_them_for_the_mark_of_deletion() -> None:
    tags = {f"t{number}": "1" for number in range(90)}
    shown = tags_of(run(tags=tags))
    deleted = tags_of(run(tags=tags, deleted=True))
    assert len(shown) == len(deleted) == 49
    assert deleted["bridge:deleted"] == "true"


def test_a_component_of_others_is_not_called_a_run_of_the_sdk() -> None:
    assert "sagemaker:trial-component-source" not in tags_of(run(adopted=True))


def test_a_data_set_is_an_input() -> None:
    plain = DatasetInput(name="iris", digest="1", source="s3://bucket/iris.csv")
    nowhere = DatasetInput(name="iris", digest="2")
    long = DatasetInput(name="wine", digest="1", source="x" * 2049)
    untaken = DatasetInput(name="n" * 129, digest="1")
    theirs = {"theirs": {"Value": "s3://bucket/x", "MediaType": "text/csv"}}
    record = run(inputs=[plain, nowhere, long, untaken])
    assert inputs_of(record, theirs, ADDRESS) == {
        **theirs,
        "iris@1": {"Value": "s3://bucket/iris.csv"},
        "iris@2": {"Value": "iris"},
        "wine@1": {"Value": ADDRESS},
    }


def test_there_is_room_for_60_inputs() -> None:
    theirs = {f"their {number}": {"Value": "x"} for number in range(50)}
    record = run(inputs=[DatasetInput(name="iris", digest=str(number)) for number in range(20)])
    assert len(inputs_of(record, theirs, ADDRESS)) == 60


@pytest.mark.parametrize("time_ms", [None, -1, 253_402_300_799_001, 2**63 - 1])
def test_a_time_that_sagemaker_cannot_hold_is_not_sent(time_ms: int | None) -> None:
    assert seconds(time_ms) is None


@given(
    st.dictionaries(TEXTS, TEXTS, max_size=12),
    st.dictionaries(TEXTS, TEXTS, max_size=12),
    st.lists(st.builds(DatasetInput, name=TEXTS, digest=TEXTS, source=TEXTS), max_size=4),
)
@settings(deadline=None)  # the first reads botocore's model
def test_whatever_a_run_holds_aws_takes_what_is_sent(
    params: dict[str, str], tags: dict[str, str], inputs: list[DatasetInput]
) -> None:
    record = run(params=params, tags=tags, inputs=inputs)
    request = {
        "TrialComponentName": record.component,
        "Parameters": parameters_of(record, {}, ADDRESS),
        "InputArtifacts": inputs_of(record, {}, ADDRESS),
        "Tags": [{"Key": key, "Value": value} for key, value in tags_of(record).items()],
    }
    check("sagemaker", "CreateTrialComponent", request)
