"""Tables in mlflow's JSON, CSV and parquet, and rows added to them."""

import datetime
import io
import json
from typing import Any

import numpy  # noqa: TID253
import pandas  # noqa: TID253
import polars  # noqa: TID253
import pytest

from trackbridge.api.tables import encode_table, merge_tables, to_columns
from trackbridge.errors import InvalidInput

COLUMNS = {"name": ["a", "b"], "score": [0.5, None]}


@pytest.mark.parametrize("make", [dict, pandas.DataFrame, polars.DataFrame])
def test_json_is_in_split_orientation(make: Any) -> None:
    assert json.loads(encode_table(make(COLUMNS), "t.json")) == {
        "columns": ["name", "score"],
        "data": [["a", 0.5], ["b", None]],
    }


def test_json_reads_back_in_pandas() -> None:
    frame = pandas.read_json(io.BytesIO(encode_table(COLUMNS, "t.json")), orient="split")
    assert frame["name"].tolist() == ["a", "b"]
    assert numpy.isnan(frame["score"][1])


def test_cells_of_all_kinds() -> None:
    time = datetime.datetime.fromisoformat("2026-01-02T03:04:05")
    frame = pandas.DataFrame(
        {
            "time": [pandas.Timestamp(time), pandas.NaT],
            "whole": pandas.array([1, None], dtype="Int64"),
            "nested": [{"k": [1, float("nan")]}, None],
        }
    )
    assert json.loads(encode_table(frame, "t.json"))["data"] == [
        [time.isoformat(), 1, {"k": [1, None]}],
        [None, None, None],
    ]
    nanoseconds = numpy.array(["2026-01-02T03:04:05", "NaT"], dtype="datetime64[ns]")
    columns = {
        "time": nanoseconds,
        "n": numpy.array([1, 2], dtype="uint8"),
        "f": [float("inf"), numpy.int64(3)],
    }
    assert json.loads(encode_table(columns, "t.json"))["data"] == [[time.isoformat(), 1, None], [None, 2, 3]]


def test_scalars_are_one_row() -> None:
    assert json.loads(encode_table({"a": 1, "b": "x"}, "t.json"))["data"] == [[1, "x"]]


@pytest.mark.parametrize("data", [{}, {"a": []}, pandas.DataFrame({"a": []}), polars.DataFrame({"a": []})])
@pytest.mark.parametrize("path", ["t.json", "t.csv"])
def test_empty_tables_stay_empty(data: Any, path: str) -> None:
    content = encode_table(data, path)
    assert merge_tables(content, content, path) == content


@pytest.mark.parametrize(
    "data",
    [
        {"a": [1], "b": [1, 2]},
        {"a": [1], "b": 2},
        {1: [1], "1": [2]},
        {"a": [object()]},
        {"a": [b"x"]},
        {"a": ["\ud800"]},
        pandas.DataFrame([[1, 2]], columns=["a", "a"]),
        [[1, 2]],
        "text",
        None,
    ],
)
def test_what_is_no_table_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput):
        encode_table(data, "t.json")


def test_another_extension_is_refused() -> None:
    with pytest.raises(InvalidInput, match="xlsx") as raised:
        encode_table(COLUMNS, "t.xlsx")
    assert raised.value.hint == "use one of .json, .csv, .parquet"


def test_rows_are_added_and_columns_united() -> None:
    old, new = encode_table(COLUMNS, "t.json"), encode_table({"score": [1], "extra": [True]}, "t.json")
    assert json.loads(merge_tables(old, new, "t.json")) == {
        "columns": ["name", "score", "extra"],
        "data": [["a", 0.5, None], ["b", None, None], [None, 1, True]],
    }


def test_csv_survives_quotes_line_breaks_and_empty_cells() -> None:
    columns = {"a": ['x,"y"\n', "", None], "b": [1, 2, 3]}
    content = encode_table(columns, "t.csv")
    assert pandas.read_csv(io.BytesIO(content))["a"][0] == 'x,"y"\n'
    merged = pandas.read_csv(io.BytesIO(merge_tables(content, content, "t.csv")))
    assert merged["b"].tolist() == [1, 2, 3, 1, 2, 3]
    single = encode_table({"a": ["", "x"]}, "t.csv")
    assert merge_tables(single, single, "t.csv") == encode_table({"a": ["", "x", "", "x"]}, "t.csv")


@pytest.mark.parametrize("make", [dict, polars.DataFrame])
def test_parquet_is_written_and_added_to(make: Any) -> None:
    content = encode_table(make(COLUMNS), "t.parquet")
    assert polars.read_parquet(io.BytesIO(content)).to_dict(as_series=False) == COLUMNS
    other = encode_table({"score": [2]}, "t.parquet")
    merged = polars.read_parquet(io.BytesIO(merge_tables(content, other, "t.parquet")))
    assert merged.to_dict(as_series=False) == {"name": ["a", "b", None], "score": [0.5, None, 2.0]}


def test_a_column_of_mixed_types_is_no_parquet() -> None:
    with pytest.raises(InvalidInput):
        encode_table({"a": [1, "x"]}, "t.parquet")


@pytest.mark.parametrize(
    ("old", "path"),
    [
        (b"", "t.json"),
        (b"\xff", "t.json"),
        (b"[]", "t.json"),
        (b'{"columns": ["a"], "data": [[1, 2]]}', "t.json"),
        (b'{"columns": ["a", "a"], "data": []}', "t.json"),
        (b'{"columns": [1], "data": []}', "t.json"),
        (b'{"columns": ["a"], "data": 3}', "t.json"),
        (b"[" * 100_000, "t.json"),
        (b"a,b\n1\n", "t.csv"),
        (b"a,a\n", "t.csv"),
        (b'a\n"x', "t.csv"),
        (b"\xff", "t.csv"),
        (b"nonsense", "t.parquet"),
    ],
)
def test_a_damaged_table_is_not_added_to(old: bytes, path: str) -> None:
    with pytest.raises(InvalidInput, match="to append to cannot be read"):
        merge_tables(old, encode_table({"a": [1]}, path), path)


def test_absent_values_of_frames_are_none() -> None:
    assert to_columns(pandas.DataFrame({"a": [1.0, float("nan")]})) == {"a": [1.0, None]}
