"""Fitting: every part obeys the limits, and reading back gives what was logged."""

from __future__ import annotations

import math
import re
import struct
from array import array
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackbridge.delivery import fitting
from trackbridge.delivery.fitting import FittedBatch, escaped_key, estimated_bytes, fit, split
from trackbridge.delivery.spills import (
    ESCAPED_PREFIX,
    SPILL_FOLDER,
    Spill,
    SpilledInput,
    SpilledKey,
    SpilledParam,
    SpilledPoints,
    SpilledTag,
    decode_spills,
    encode_spills,
    placeholder_of,
    spilled_metrics,
    unspill_data,
    unspill_history,
    unspill_inputs,
)
from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Setting
from trackbridge.domain.metric_values import NON_FINITE, ValueKind, kind_of
from trackbridge.domain.runs import DatasetInput, Moment, RunData, RunInputs
from trackbridge.errors import JournalCorrupt
from trackbridge.ports.capabilities import Limits

RUN_ID = "0" * 32
NOW_MS = 1_700_000_000_000
PATIENT = settings(suppress_health_check=[HealthCheck.too_slow])
"""For examples that take long to make on a machine that does other things as well."""
MLFLOW_KEY = r"[/\w.\- :]*"

KEYS = st.one_of(
    st.sampled_from(["loss", "acc", "a b", "%", "ключ", "x" * 60, "loss_" + "0" * 16, "", "a\nb"]),
    st.text(st.characters(codec="utf-8"), max_size=70),
).filter(lambda key: not key.startswith(ESCAPED_PREFIX))
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=80),
    st.sampled_from(["v" * 300, "short [bridge:0123456789abcdef]", ""]),
)
VALUES = st.one_of(
    st.floats(),
    st.sampled_from([-0.0, 5e-324, float(2**60), struct.unpack("<d", b"\1" * 6 + b"\xf8\x7f")[0]]),
)
INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(NOW_MS - 2000, NOW_MS)
DATASETS = st.builds(DatasetInput, name=st.sampled_from("ab"), digest=st.sampled_from("12"), source=TEXTS)
LIMITS = st.builds(
    Limits,
    metrics_per_write_max=st.none() | st.integers(1, 5),
    params_per_write_max=st.none() | st.integers(1, 3),
    tags_per_write_max=st.none() | st.integers(1, 3),
    write_bytes_max=st.none() | st.integers(200, 2000),
    key_chars_max=st.none() | st.sampled_from([24, 40, 250]),
    key_pattern=st.none() | st.sampled_from([MLFLOW_KEY, "[A-Za-z0-9_]+", "[a-z][a-z0-9_.]*"]),
    param_value_chars_max=st.none() | st.integers(25, 60),
    tag_value_chars_max=st.none() | st.integers(25, 60),
    metric_age_ms_max=st.none() | st.integers(0, 2000),
    metric_values_unheld=st.frozensets(st.sampled_from(list(ValueKind)[1:])),
)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    batch = Batch(run_id=RUN_ID)
    sequence = draw(st.integers(0, 2**40))
    points = draw(st.lists(st.tuples(KEYS, INT64, TIMES, VALUES), max_size=12))
    for key, step, timestamp, value in points:
        sequence += 1
        columns = batch.metrics.setdefault(key, MetricColumns())
        columns.append(step=step, timestamp=timestamp, value=value, sequence=sequence)
    for key, value in draw(st.dictionaries(KEYS, TEXTS, max_size=4)).items():
        sequence += 1
        batch.params.append(Setting(key, value, sequence))
    for key, value in draw(st.lists(st.tuples(KEYS, st.none() | TEXTS), max_size=8)):
        sequence += 1
        batch.tags.append(Setting(key, value, sequence))
    for dataset in draw(st.lists(DATASETS, max_size=3, unique_by=lambda found: (found.name, found.digest))):
        sequence += 1
        batch.inputs.append(InputAdded(dataset, sequence))
    return batch


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def points_of(columns: MetricColumns) -> list[tuple[int, int, bytes]]:
    return list(zip(columns.steps, columns.timestamps, map(bits, columns.values), strict=True))


def one_point(value: float = 1.0, *, key: str = "loss", timestamp: int = NOW_MS, step: int = 0) -> Batch:
    columns = MetricColumns()
    columns.append(step=step, timestamp=timestamp, value=value, sequence=7)
    return Batch(run_id=RUN_ID, metrics={key: columns})


class Backend:
    """What a backend with no other merit than obeying the contract would hold after some writes."""

    def __init__(self) -> None:
        self.points: dict[str, dict[tuple[int, int, bytes], None]] = {}
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.inputs: dict[tuple[str, str], DatasetInput] = {}

    def write(self, batch: Batch) -> None:
        for key, columns in batch.metrics.items():
            self.points.setdefault(key, {}).update(dict.fromkeys(points_of(columns)))
        for param in batch.params:
            self.params.setdefault(param.key, param.value or "")
        for tag in batch.tags:
            if tag.value is None:
                self.tags.pop(tag.key, None)
            else:
                self.tags[tag.key] = tag.value
        for added in batch.inputs:
            self.inputs.setdefault((added.dataset.name, added.dataset.digest), added.dataset)

    def history(self, key: str) -> MetricColumns:
        columns = MetricColumns()
        for step, timestamp, raw in sorted(self.points.get(key, {}), key=lambda point: point[:2]):
            columns.append(step=step, timestamp=timestamp, value=struct.unpack("<d", raw)[0], sequence=0)
        columns.sequences = array("Q")  # as the port says
        return columns

    def data(self) -> RunData:
        return RunData(
            metrics={key: last_value(points) for key, points in self.points.items()},
            params=dict(self.params),
            tags=dict(self.tags),
        )


def last_value(points: dict[tuple[int, int, bytes], None]) -> float:
    values = [(step, timestamp, struct.unpack("<d", raw)[0]) for step, timestamp, raw in points]
    return max(values, key=lambda point: (point[0], point[1], not math.isnan(point[2]), point[2]))[2]


def delivered(parts: list[FittedBatch]) -> tuple[Backend, tuple[Spill, ...]]:
    backend, spills = Backend(), []
    for part in parts:
        if part.spills:
            spills.extend(decode_spills(encode_spills(part.spills)[1]))
        backend.write(part.batch)
    return backend, tuple(spills)


def sequences(parts: list[Batch]) -> Counter[tuple[str, int]]:
    counted: Counter[tuple[str, int]] = Counter()
    for part in parts:
        for columns in part.metrics.values():
            counted.update(("metric", sequence) for sequence in columns.sequences)
        for kind, settings_ in (("param", part.params), ("tag", part.tags)):
            counted.update((kind, setting.sequence) for setting in settings_)
        counted.update(("input", added.sequence) for added in part.inputs)
    return counted


def test_a_batch_within_the_limits_is_returned_itself() -> None:
    batch = one_point()
    assert fit(batch, Limits(), now_ms=NOW_MS)[0].batch is batch
    assert split(batch, Limits(metrics_per_write_max=1, write_bytes_max=10_000)) == [batch]


@PATIENT
@given(batches(), LIMITS)
def test_split_obeys_the_limits_and_loses_and_duplicates_nothing(batch: Batch, limits: Limits) -> None:
    parts = split(batch, limits)
    assert sequences(parts) == sequences([batch])
    assert [tag for part in parts for tag in part.tags] == batch.tags
    assert [param for part in parts for param in part.params] == batch.params
    for part in parts:
        assert part.run_id == RUN_ID
        counts = (sum(map(len, part.metrics.values())), len(part.params), len(part.tags))
        most = (limits.metrics_per_write_max, limits.params_per_write_max, limits.tags_per_write_max)
        assert all(limit is None or count <= limit for count, limit in zip(counts, most, strict=True))
        assert (
            limits.write_bytes_max is None
            or len(part) == 1
            or estimated_bytes(part) <= limits.write_bytes_max
        )
    assert len(parts) == 1 or all(len(part) for part in parts)


@PATIENT
@given(batches(), LIMITS)
def test_fitted_writes_hold_only_what_the_backend_takes(batch: Batch, limits: Limits) -> None:
    for part in fit(batch, limits, now_ms=NOW_MS):
        keys = [*part.batch.metrics, *(item.key for item in (*part.batch.params, *part.batch.tags))]
        for key in keys:
            assert limits.key_chars_max is None or len(key) <= limits.key_chars_max
            assert limits.key_pattern is None or re.fullmatch(limits.key_pattern, key)
        for item in part.batch.params:
            assert (
                limits.param_value_chars_max is None or len(item.value or "") <= limits.param_value_chars_max
            )
        for item in part.batch.tags:
            assert limits.tag_value_chars_max is None or len(item.value or "") <= limits.tag_value_chars_max
        for columns in part.batch.metrics.values():
            assert not limits.metric_values_unheld & set(map(kind_of, columns.values))
            age_max = limits.metric_age_ms_max
            assert age_max is None or all(NOW_MS - time <= age_max for time in columns.timestamps)


@settings(PATIENT, max_examples=200)
@given(batches(), LIMITS, st.booleans())
def test_reading_back_gives_what_was_logged(batch: Batch, limits: Limits, datasets: bool) -> None:
    expected = Backend()
    expected.write(batch)

    parts = fit(batch, limits, now_ms=NOW_MS, datasets=datasets)
    assert not any(part.rejected for part in parts)
    backend, spills = delivered(parts)

    native = {key: backend.history(escaped_key(key, limits) or key) for key in batch.metrics}
    data = unspill_data(backend.data(), spills, histories=native)
    assert data.params == expected.data().params
    assert data.tags == expected.data().tags
    assert {key: bits(value) for key, value in data.metrics.items() if not math.isnan(value)} == {
        key: bits(value) for key, value in expected.data().metrics.items() if not math.isnan(value)
    }
    assert data.metrics.keys() == expected.data().metrics.keys()
    for key in batch.metrics:
        merged = unspill_history(native[key], spills, key=key)
        assert sorted(points_of(merged)) == sorted(points_of(expected.history(key)))
        assert list(zip(merged.steps, merged.timestamps, strict=True)) == sorted(
            zip(merged.steps, merged.timestamps, strict=True)
        )
        assert len(merged.sequences) == 0
    inputs = unspill_inputs(RunInputs(dataset_inputs=tuple(backend.inputs.values())), spills)
    assert {(found.name, found.digest): found for found in inputs.dataset_inputs} == expected.inputs
    assert len(backend.inputs) == 0 or datasets


@PATIENT
@given(batches(), LIMITS)
def test_fitting_is_deterministic_and_leaves_the_batch_alone(batch: Batch, limits: Limits) -> None:
    copy = replace(batch, params=list(batch.params), tags=list(batch.tags))
    before = sequences([batch])
    first, second = fit(batch, limits, now_ms=NOW_MS), fit(batch, limits, now_ms=NOW_MS)
    assert repr(first) == repr(second)
    assert sequences([batch]) == before
    assert (batch.params, batch.tags) == (copy.params, copy.tags)


@PATIENT
@given(batches(), LIMITS, st.integers(1, 6))
def test_a_second_delivery_with_other_cuts_changes_nothing(batch: Batch, limits: Limits, size: int) -> None:
    whole = fit(batch, limits, now_ms=NOW_MS)
    cut = split(batch, Limits(metrics_per_write_max=size, params_per_write_max=size, tags_per_write_max=size))
    again = [part for piece in cut for part in fit(piece, limits, now_ms=NOW_MS)]
    once, spills_once = delivered(whole)
    twice, spills_twice = delivered([*whole, *again])
    histories = {key: once.history(escaped_key(key, limits) or key) for key in batch.metrics}
    histories_twice = {key: twice.history(escaped_key(key, limits) or key) for key in batch.metrics}
    read_once = unspill_data(once.data(), spills_once, histories=histories)
    read_twice = unspill_data(twice.data(), spills_twice, histories=histories_twice)
    assert (read_once.params, read_once.tags) == (read_twice.params, read_twice.tags)
    for key in batch.metrics:
        assert sorted(points_of(unspill_history(histories[key], spills_once, key=key))) == sorted(
            points_of(unspill_history(histories_twice[key], spills_twice, key=key))
        )


def test_a_later_short_value_of_a_tag_hides_the_spilled_one() -> None:
    limits = Limits(tag_value_chars_max=40)
    batch = Batch(run_id=RUN_ID, tags=[Setting("note", "long " * 100, 1), Setting("note", "short", 2)])
    backend, spills = delivered(fit(batch, limits, now_ms=NOW_MS))
    assert unspill_data(backend.data(), spills, histories={}).tags == {"note": "short"}


def test_a_value_that_looks_like_a_placeholder_is_not_taken_for_one() -> None:
    limits, long = Limits(tag_value_chars_max=40), "long " * 100
    lookalike = placeholder_of(long, 40)
    assert lookalike is not None
    batch = Batch(run_id=RUN_ID, tags=[Setting("note", long, 1), Setting("note", lookalike, 2)])
    backend, spills = delivered(fit(batch, limits, now_ms=NOW_MS))
    assert unspill_data(backend.data(), spills, histories={}).tags == {"note": lookalike}


def test_two_long_params_that_differ_stay_in_conflict_in_the_store() -> None:
    limits = Limits(param_value_chars_max=40)
    first = fit(Batch(run_id=RUN_ID, params=[Setting("p", "x" * 99, 1)]), limits, now_ms=NOW_MS)
    other = fit(Batch(run_id=RUN_ID, params=[Setting("p", "x" * 98 + "y", 2)]), limits, now_ms=NOW_MS)
    again = fit(Batch(run_id=RUN_ID, params=[Setting("p", "x" * 99, 3)]), limits, now_ms=NOW_MS)
    values = [parts[0].batch.params[0].value for parts in (first, other, again)]
    assert values[0] == values[2] != values[1]


def test_the_placeholder_shows_the_beginning_of_the_value() -> None:
    parts = fit(
        Batch(run_id=RUN_ID, tags=[Setting("note", "why I dropped it. " * 50, 1)]),
        Limits(tag_value_chars_max=60),
        now_ms=NOW_MS,
    )
    value = parts[0].batch.tags[0].value
    assert value is not None
    assert value.startswith("why I dropped it. why")
    assert isinstance(parts[0].spills[0], SpilledTag)


def test_a_value_without_room_for_a_placeholder_is_rejected_with_its_sequence() -> None:
    batch = Batch(run_id=RUN_ID, params=[Setting("p", "x" * 30, 5), Setting("q", "ok", 6)])
    (part,) = fit(batch, Limits(param_value_chars_max=8), now_ms=NOW_MS)
    assert [rejection.sequence for rejection in part.rejected] == [5]
    assert "30 characters" in part.rejected[0].reason
    assert part.batch.params == [Setting("q", "ok", 6)]


def test_keys_that_escape_to_the_same_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "digest_of", lambda text: "0" * 16)
    batch = Batch(run_id=RUN_ID, params=[Setting("a%b", "1", 1), Setting("a&b", "2", 2)])
    (part,) = fit(batch, Limits(key_pattern=MLFLOW_KEY), now_ms=NOW_MS)
    assert [rejection.sequence for rejection in part.rejected] == [2]
    assert "a%b" in part.rejected[0].reason
    assert [param.value for param in part.batch.params] == ["1"]


def test_a_key_that_looks_like_an_escaped_one_is_not_taken_for_it() -> None:
    limits = Limits(key_pattern=MLFLOW_KEY)
    lookalike = escaped_key("a%b", limits)
    assert lookalike is not None
    for batch in (
        Batch(run_id=RUN_ID, params=[Setting("a%b", "1", 1), Setting(lookalike, "2", 2)]),
        Batch(run_id=RUN_ID, params=[Setting(lookalike, "2", 1), Setting("a%b", "1", 2)]),
    ):
        backend, spills = delivered(fit(batch, limits, now_ms=NOW_MS))
        assert unspill_data(backend.data(), spills, histories={}).params == {"a%b": "1", lookalike: "2"}


def test_a_key_that_no_name_can_stand_for_is_refused() -> None:
    batch = Batch(run_id=RUN_ID, metrics=one_point(key="loss").metrics, tags=[Setting("7", "kept", 9)])
    (part,) = fit(batch, Limits(key_pattern="[0-9]"), now_ms=NOW_MS)
    assert [rejection.sequence for rejection in part.rejected] == [7]
    assert part.batch.metrics == {}
    assert part.batch.tags == [Setting("7", "kept", 9)]


def test_an_escaped_key_stays_readable_and_is_recorded() -> None:
    (part,) = fit(one_point(key="perte d'entraînement (%)"), Limits(key_pattern=r"[\w.]+"), now_ms=NOW_MS)
    (name,) = part.batch.metrics
    assert name.startswith("perte_d_entra_nement")
    assert part.batch.tags == [Setting(ESCAPED_PREFIX + name, "perte d'entraînement (%)", 7)]


def test_the_original_of_a_very_long_key_is_kept_beside_the_run() -> None:
    limits = Limits(key_chars_max=250, tag_value_chars_max=256)
    (part,) = fit(one_point(key="k" * 10_000), limits, now_ms=NOW_MS)
    (spill,) = part.spills
    assert isinstance(spill, SpilledKey)
    assert spill.key == "k" * 10_000
    held = RunData(metrics={spill.escaped: 1.0}, moments={spill.escaped: Moment(3, NOW_MS)})
    read = unspill_data(held, part.spills, histories={})
    assert read.metrics == {"k" * 10_000: 1.0}
    assert read.moments == {"k" * 10_000: Moment(3, NOW_MS)}


def test_old_and_non_finite_points_are_spilled_bit_for_bit() -> None:
    payload = struct.unpack("<d", b"\x23\x01\0\0\0\0\xf8\xff")[0]
    batch = one_point(payload)
    batch.metrics["old"] = one_point(timestamp=NOW_MS - 1001).metrics["loss"]
    batch.metrics["new"] = one_point(timestamp=NOW_MS - 1000).metrics["loss"]
    limits = Limits(metric_values_unheld=NON_FINITE, metric_age_ms_max=1000)
    (part,) = fit(batch, limits, now_ms=NOW_MS)
    assert list(part.batch.metrics) == ["new"]
    spills = decode_spills(encode_spills(part.spills)[1])
    assert spilled_metrics(spills) == ("loss", "old")
    assert points_of(unspill_history(MetricColumns(), spills, key="loss")) == [(0, NOW_MS, bits(payload))]


def test_a_spilled_point_is_the_last_value_only_when_it_comes_last() -> None:
    limits = Limits(metric_values_unheld=NON_FINITE)
    native = one_point(2.0, step=5).metrics["loss"]
    for step, expected in ((4, 2.0), (6, math.inf)):
        (part,) = fit(one_point(math.inf, step=step), limits, now_ms=NOW_MS)
        held = RunData(metrics={"loss": 2.0}, moments={"loss": Moment(5, NOW_MS)})
        read = unspill_data(held, part.spills, histories={"loss": native})
        assert read.metrics == {"loss": expected}
        assert read.moments == {"loss": Moment(max(step, 5), NOW_MS)}


def test_a_spilled_nan_is_less_than_a_number_of_the_same_step_and_time() -> None:
    (part,) = fit(one_point(math.nan), Limits(metric_values_unheld=NON_FINITE), now_ms=NOW_MS)
    for value in (-1e300, 1.0):
        native = one_point(value).metrics["loss"]
        assert unspill_data(RunData(), part.spills, histories={"loss": native}).metrics == {"loss": value}


@pytest.mark.parametrize("values", [(math.nan, -math.inf), (-math.inf, math.nan)])
def test_among_spilled_points_a_nan_is_least(values: tuple[float, float]) -> None:
    batch = one_point(values[0])
    batch.metrics["loss"].append(step=0, timestamp=NOW_MS, value=values[1], sequence=8)
    (part,) = fit(batch, Limits(metric_values_unheld=NON_FINITE), now_ms=NOW_MS)
    assert unspill_data(RunData(), part.spills, histories={}).metrics == {"loss": -math.inf}


def test_points_of_several_metrics_share_the_bytes_of_a_write() -> None:
    batch = Batch(run_id=RUN_ID)
    for key in ("a", "b", "c"):
        batch.metrics[key] = MetricColumns()
        for step in range(7):
            batch.metrics[key].append(step=step, timestamp=NOW_MS, value=0.0, sequence=step)
    parts = split(batch, Limits(write_bytes_max=1300))
    assert [sum(map(len, part.metrics.values())) for part in parts] == [10, 10, 1]
    assert all(estimated_bytes(part) <= 1300 for part in parts)


def test_a_chunk_is_named_by_its_first_sequence_and_content() -> None:
    points = SpilledPoints(key="k", steps=(1, 1), timestamps=(2, 3), bits=(3, 3), sequences=(40, 9))
    tag = SpilledInput(dataset=DatasetInput(name="d", digest="1"), sequence=7)
    path, body = encode_spills([points, tag])
    assert path.startswith(f"{SPILL_FOLDER}/{7:020d}-")
    assert encode_spills([points, tag]) == (path, body)
    assert encode_spills([tag])[0] != path
    assert encode_spills([points])[0].startswith(f"{SPILL_FOLDER}/{9:020d}-")
    assert decode_spills(body) == (points, tag)


@pytest.mark.parametrize("body", [b"{", b"[]\n", b'{"type":"points"}\n', b"\xff\n"])
def test_a_damaged_chunk_says_so(body: bytes) -> None:
    with pytest.raises(JournalCorrupt, match="spill chunk"):
        decode_spills(body)


def test_a_record_larger_than_a_write_stands_alone() -> None:
    batch = Batch(
        run_id=RUN_ID, params=[Setting("a", "1", 1), Setting("b", "x" * 5000, 2), Setting("c", "3", 3)]
    )
    parts = split(batch, Limits(write_bytes_max=400))
    assert [[param.key for param in part.params] for part in parts] == [["a"], ["b"], ["c"]]


def test_a_param_without_a_placeholder_is_one_that_the_store_does_not_have() -> None:
    spills = (
        SpilledParam(key="extra", placeholder="", value="v", sequence=1),
        SpilledParam(key="held", placeholder="", value="old", sequence=2),
    )
    data = unspill_data(RunData(params={"held": "native"}), spills, histories={})
    assert data.params == {"extra": "v", "held": "native"}
