"""Frames of runs and histories: mlflow's columns, right absences, exact bits, times in UTC."""

import datetime
import struct
import sys
from typing import Any

import pytest

from trackbridge.api.frames import history_frame, runs_frame
from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.runs import Run, RunData, RunInfo, RunStatus
from trackbridge.errors import InvalidInput, MissingExtra

LIBRARIES = ["pandas", "polars"]
MOMENT = datetime.datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=datetime.timezone.utc)
MOMENT_MS = 1_700_000_000_123
INFO_COLUMNS = ["run_id", "experiment_id", "status", "artifact_uri", "start_time", "end_time"]


def make_run(run_id: str, end_time: int | None, data: RunData) -> Run:
    info = RunInfo(
        run_id=run_id,
        experiment_id="e",
        run_name=run_id,
        user_id="",
        status=RunStatus.RUNNING,
        start_time=MOMENT_MS,
        end_time=end_time,
        artifact_uri=f"bridge-artifacts:/{run_id}",
    )
    return Run(info=info, data=data)


RUNS = [
    make_run("a", None, RunData(metrics={"loss": 0.5, "nan": float("nan")}, tags={"t": "1"})),
    make_run("b", MOMENT_MS, RunData(metrics={"acc": 0.25}, params={"lr": "0.1"})),
]


def is_absent(value: Any) -> bool:
    return value is None or value != value


@pytest.mark.parametrize("library", LIBRARIES)
def test_runs_have_mlflows_columns(library: str) -> None:
    frame = runs_frame(RUNS, library)
    expected = ["metrics.loss", "metrics.nan", "metrics.acc", "params.lr", "tags.t"]
    assert list(frame.columns) == [*INFO_COLUMNS, *expected]
    assert list(frame["run_id"]) == ["a", "b"]
    assert list(frame["status"]) == ["RUNNING", "RUNNING"]
    assert list(frame["start_time"]) == [MOMENT, MOMENT]
    assert frame["metrics.loss"][0] == 0.5
    assert is_absent(frame["metrics.loss"][1])
    assert frame["end_time"][1] == MOMENT
    assert frame["end_time"].to_list()[0] is None or str(frame["end_time"][0]) == "NaT"
    assert [frame["params.lr"][0], frame["params.lr"][1]] == [None, "0.1"]
    assert [frame["tags.t"][0], frame["tags.t"][1]] == ["1", None]


def test_dtypes_in_pandas() -> None:
    dtypes = runs_frame(RUNS).dtypes.astype(str)
    assert dtypes["metrics.loss"] == "float64"
    assert dtypes["end_time"] == "datetime64[ms, UTC]"


def test_an_absent_metric_differs_from_nan_in_polars() -> None:
    frame = runs_frame(RUNS, "polars")
    assert frame["metrics.nan"].is_nan().to_list() == [True, None]
    assert frame["metrics.nan"].is_null().to_list() == [False, True]


@pytest.mark.parametrize("library", LIBRARIES)
def test_no_runs_are_an_empty_frame_with_typed_times(library: str) -> None:
    frame = runs_frame([], library)
    assert list(frame.columns) == INFO_COLUMNS
    assert len(frame) == 0
    assert "UTC" in str(frame["start_time"].dtype)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_time_far_away_is_kept(library: str) -> None:
    info = RunInfo(
        run_id="r",
        experiment_id="e",
        run_name="",
        user_id="",
        status=RunStatus.RUNNING,
        start_time=MOMENT_MS * 5,
    )
    assert runs_frame([Run(info=info)], library)["start_time"][0].year == 2239
    far = Run(info=RunInfo(**{**{f: getattr(info, f) for f in info.__struct_fields__}, "start_time": 2**50}))
    assert len(runs_frame([far], library)) == 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_history_keeps_every_bit(library: str) -> None:
    values = [float("nan"), float("inf"), -0.0, 5e-324, 2.0**60]
    values.append(struct.unpack("<d", bytes.fromhex("010000000000f87f"))[0])
    columns = MetricColumns()
    for index, value in enumerate(values):
        columns.append(step=index - 2**63, timestamp=MOMENT_MS, value=value, sequence=index)
    frame = history_frame(columns, "loss", library)
    assert list(frame.columns) == ["key", "value", "step", "timestamp"]
    assert frame["value"].to_numpy().tobytes() == columns.values.tobytes()
    assert frame["step"].to_list() == [index - 2**63 for index in range(6)]
    assert list(frame["timestamp"]) == [MOMENT] * 6
    assert frame["key"].to_list() == ["loss"] * 6
    columns.append(step=9, timestamp=0, value=0.0, sequence=9)
    assert len(frame) == 6


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_metric_without_points_is_an_empty_frame(library: str) -> None:
    frame = history_frame(MetricColumns(), "loss", library)
    assert len(frame) == 0
    assert "UTC" in str(frame["timestamp"].dtype)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_missing_library_names_the_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra) as raised:
        runs_frame(RUNS, library)
    assert raised.value.hint == "pip install 'trackbridge[frames]'"


def test_another_library_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'arrow'"):
        runs_frame(RUNS, "arrow")
    with pytest.raises(InvalidInput, match="'os'"):
        history_frame(MetricColumns(), "loss", "os")
