"""Records of runs: what a write changes, what no record holds, and bytes that are none."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.domain.batches import Batch
from trackbridge.domain.runs import TAG_NAME, DatasetInput, RunStatus
from trackbridge.errors import Rejected
from trackbridge.testing.contracts.samples import INT64_MAX, INT64_MIN, NON_FINITE_VALUES, batch_of
from trackbridge_adapters.sagemaker import run_records
from trackbridge_adapters.sagemaker.metric_chunks import Point, bits_of
from trackbridge_adapters.sagemaker.run_records import (
    ExperimentRecord,
    RunRecord,
    decode,
    encode,
    held,
    listing_key,
    with_batch,
    with_tags,
)

RECORD = RunRecord(run_id="r", experiment_id="e", component="e-r", name="first", tags={TAG_NAME: "first"})
HALF = "\ud800"
NAN = NON_FINITE_VALUES["nan"]


def written(record: RunRecord, batch: Batch, points: dict[str, list[Point]] | None = None) -> RunRecord:
    changed, rejected = with_batch(record, batch, points or {})
    assert rejected == []
    return changed


def test_a_record_comes_back_whole() -> None:
    record = msgspec.structs.replace(
        RECORD,
        status=RunStatus.KILLED,
        start_time=INT64_MIN,
        end_time=INT64_MAX,
        params={"a": "\0\n\x1b", "": "é"},
        inputs=[DatasetInput(name="iris", digest="1", tags={"k": "v"})],
        latest={"m": (INT64_MIN, INT64_MAX, bits_of(NAN))},
        untold={"METRIC_LIMIT_EXCEEDED": 3},
        revision=7,
    )
    assert decode(encode(record), RunRecord, resource="s3://b/k") == record


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"run_id": 1}', b"\xff", encode(RECORD)[:-1], b'{"format": 1}']
)
def test_bytes_that_are_no_record_are_said_to_be_none(data: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        decode(data, RunRecord, resource="s3://b/k")
    assert "s3://b/k" in str(caught.value)


def test_a_record_of_a_newer_version_is_not_touched() -> None:
    newer = encode(msgspec.structs.replace(RECORD, format=2))
    with pytest.raises(Rejected, match="format is 2") as caught:
        decode(newer, RunRecord, resource="s3://b/k")
    assert "update trackbridge" in (caught.value.hint or "")


def test_fields_of_a_later_version_of_the_same_format_are_passed_over() -> None:
    data = encode(RECORD)[:-1] + b', "later": {"a": [1]}}'
    assert decode(data, RunRecord, resource="") == RECORD


def test_a_record_says_no_more_than_it_has_to() -> None:
    plain = ExperimentRecord(experiment_id="e", name="one", native="one")
    assert msgspec.json.decode(encode(plain)) == {"experiment_id": "e", "name": "one", "native": "one"}


def test_a_change_is_owed_to_sagemaker_and_a_repetition_is_not() -> None:
    batch = batch_of("r", params=[("p", "1")], tags=[("t", "1")], inputs=[DatasetInput(name="a", digest="1")])
    changed = written(RECORD, batch)
    assert changed.is_owed
    assert written(changed, batch) == changed
    points = {"m": [(0, 0, 0)]}
    assert not written(RECORD, Batch(run_id="r"), points).is_owed, "metrics go another way"


def test_a_tag_of_the_name_is_the_name() -> None:
    assert with_tags(RECORD, [(TAG_NAME, "second")]).name == "second"
    assert with_tags(RECORD, [(TAG_NAME, None)]).name == ""
    assert with_tags(RECORD, [("t", None)]) is RECORD


def test_a_param_that_is_there_with_another_value_is_refused_and_the_rest_written() -> None:
    batch = batch_of("r", params=[("p", "1"), ("q", "1"), ("p", "2")], tags=[("t", "1")], first_sequence=5)
    changed, rejected = with_batch(RECORD, batch, {})
    assert changed.params == {"p": "1", "q": "1"}
    assert changed.tags["t"] == "1"
    assert [(refusal.sequence, refusal.reason) for refusal in rejected] == [
        (7, "param 'p' is '1' and cannot become '2'")
    ]


@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 2), st.integers(-3, 3)), min_size=1, max_size=12)
)
def test_the_last_point_does_not_depend_on_how_it_was_written(points: list[tuple[int, int, int]]) -> None:
    rows = [(step, at, bits_of(float(value))) for step, at, value in points]
    at_once = written(RECORD, Batch(run_id="r"), {"m": rows})
    one_by_one = RECORD
    for row in reversed(rows):
        one_by_one = written(one_by_one, Batch(run_id="r"), {"m": [row]})
    expected = max(points)
    assert at_once == one_by_one
    assert at_once.latest == {"m": (expected[0], expected[1], bits_of(float(expected[2])))}


def test_not_a_number_is_the_smallest() -> None:
    rows = [(1, 1, bits_of(NAN)), (1, 1, bits_of(float("-inf")))]
    assert written(RECORD, Batch(run_id="r"), {"m": rows}).latest["m"] == rows[1]


def test_what_is_no_unicode_is_refused_and_the_rest_kept() -> None:
    batch = batch_of(
        "r",
        metrics=[("m", 1.0, 0, 0), (HALF, 1.0, 0, 0), (HALF, 2.0, 1, 0)],
        params=[("p", HALF), (HALF, "1"), ("q", "1")],
        tags=[("t", HALF), (HALF, "1"), (HALF, None), ("u", None), ("v", "\0")],
        inputs=[DatasetInput(name="a", digest="1", tags={"k": HALF}), DatasetInput(name="b", digest="1")],
    )
    kept, rejected = held(batch)
    assert list(kept.metrics) == ["m"]
    assert [param.key for param in kept.params] == ["q"]
    assert [tag.key for tag in kept.tags] == ["u", "v"]
    assert [added.dataset.name for added in kept.inputs] == ["b"]
    assert sorted(refusal.sequence for refusal in rejected) == [2, 3, 4, 5, 7, 8, 12]
    assert all(refusal.reason for refusal in rejected)
    assert not any(HALF in refusal.reason for refusal in rejected)
    encode(written(RECORD, kept))


@given(
    st.lists(
        st.tuples(st.integers(INT64_MIN, INT64_MAX), st.from_regex("[0-9a-f]{32}", fullmatch=True)),
        min_size=2,
        max_size=20,
        unique_by=lambda run: run[1],
    )
)
def test_keys_of_a_listing_are_newest_first_then_by_id(runs: list[tuple[int, str]]) -> None:
    keys = {listing_key("e", start, run_id): (-start, run_id) for start, run_id in runs}
    assert [keys[key] for key in sorted(keys)] == sorted(keys.values())
    assert [run_records.run_part(key) for key in sorted(keys)] == [
        run_id for _, run_id in sorted(keys.values())
    ]
