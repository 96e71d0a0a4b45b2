"""Digests are stable and see changes; schema and profile are mlflow's; no credential is kept."""

import json
from pathlib import Path
from typing import Any

import numpy  # noqa: TID253
import pandas  # noqa: TID253
import polars  # noqa: TID253
import pytest

from trackbridge.api import datasets
from trackbridge.api.datasets import dataset_input
from trackbridge.domain.runs import DatasetInput
from trackbridge.errors import InvalidInput, NotFound

COLUMNS: dict[str, list[Any]] = {"x": [1, 2, 3], "y": [0.5, None, 1.5], "name": ["a", "b", "ü"]}
MAKERS = [dict, pandas.DataFrame, polars.DataFrame]


@pytest.mark.parametrize("make", MAKERS)
def test_a_table_is_described(make: Any) -> None:
    described = dataset_input(make(COLUMNS), name="train", context="training", targets="y")
    assert (described.name, described.tags) == ("train", {"mlflow.data.context": "training"})
    assert json.loads(described.schema) == {
        "mlflow_colspec": [
            {"type": "long", "name": "x", "required": True},
            {"type": "double", "name": "y", "required": False},
            {"type": "string", "name": "name", "required": True},
        ]
    }
    assert json.loads(described.profile) == {
        "num_rows": 3,
        "num_columns": 3,
        "num_elements": 9,
        "targets": ["y"],
    }
    assert (described.source_type, described.source) == ("code", "")


@pytest.mark.parametrize("make", MAKERS)
def test_the_digest_is_of_the_content(make: Any) -> None:
    digest = dataset_input(make(COLUMNS)).digest
    assert len(digest) == 32
    assert dataset_input(make(COLUMNS), name="other", source="s", context="c").digest == digest
    changes: list[dict[str, list[Any]]] = [
        {**COLUMNS, "x": [1, 2, 4]},
        {**COLUMNS, "name": ["a", "bü", ""]},
        {**COLUMNS, "y": [0.5, 0.0, 1.5]},
        {("z" if key == "x" else key): column for key, column in COLUMNS.items()},
        {key: column[:2] for key, column in COLUMNS.items()},
        {"y": COLUMNS["y"], "x": COLUMNS["x"], "name": COLUMNS["name"]},
    ]
    digests = {dataset_input(make(changed)).digest for changed in changes}
    assert len(digests | {digest}) == 7


def test_the_digest_is_the_same_in_every_version_of_us() -> None:
    assert dataset_input({"x": [1, 2], "y": ["a", None]}).digest == "51c450a285340bb0ef438fc1ceeb7701"
    assert (
        dataset_input(numpy.arange(6, dtype=">i4").reshape(2, 3)).digest == "0406c76e34b305b69689a82f6b21eb4d"
    )


def test_large_tables_are_sampled_with_first_and_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "VALUES_HASHED_MAX", 10)
    for make in (dict, pandas.DataFrame, polars.DataFrame, lambda columns: numpy.array(columns["x"])):
        base = list(range(1000))
        digest = dataset_input(make({"x": base})).digest
        assert dataset_input(make({"x": [*base[:-1], -1]})).digest != digest
        assert dataset_input(make({"x": [-1, *base[1:]]})).digest != digest
        assert dataset_input(make({"x": [*base, 1000]})).digest != digest
        assert dataset_input(make({"x": [base[0], -1, *base[2:]]})).digest == digest


def test_odd_values_have_a_stable_digest() -> None:
    class Opaque:
        """Its text holds its address."""

    def odd() -> dict[str, list[Any]]:
        return {"a": [Opaque(), [Opaque()], 2**70, "\ud800", None, {1}, float("nan"), b"x", 1j]}

    assert dataset_input(odd()).digest == dataset_input(odd()).digest
    assert dataset_input({"a": [2**70]}).digest != dataset_input({"a": [2**71]}).digest
    assert dataset_input({"a": ["\ud800"]}).digest != dataset_input({"a": ["\ud801"]}).digest
    times = [pandas.DataFrame({"t": pandas.to_datetime([f"2026-01-0{day}", None])}) for day in (1, 1, 2)]
    first, again, other = (dataset_input(frame).digest for frame in times)
    assert first == again != other


def test_column_types_are_mlflows() -> None:
    frame = pandas.DataFrame(
        {
            "flag": [True],
            "small": numpy.array([1], dtype="int8"),
            "unsigned": numpy.array([1], dtype="uint32"),
            "half": numpy.array([1], dtype="float16"),
            "time": pandas.to_datetime(["2026-01-01"]),
            "kind": pandas.Categorical(["a"]),
            "span": pandas.to_timedelta([1]),
            "range": pandas.interval_range(0, 1),
        }
    )
    types = {
        column["name"]: column["type"] for column in json.loads(dataset_input(frame).schema)["mlflow_colspec"]
    }
    assert types == {
        "flag": "boolean",
        "small": "integer",
        "unsigned": "long",
        "half": "float",
        "time": "datetime",
        "kind": "string",
        "span": "any",
        "range": "any",
    }


def test_an_array_and_its_targets_are_described() -> None:
    features, labels = numpy.zeros((10, 4, 2), dtype="float32"), numpy.zeros(10, dtype="int64")
    described = dataset_input(features, targets=labels)
    assert json.loads(described.schema) == {
        "mlflow_tensorspec": {
            "features": [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4, 2]}}],
            "targets": [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}],
        }
    }
    assert json.loads(described.profile) == {"num_rows": 10, "num_columns": 8, "num_elements": 80}
    variants = [
        dataset_input(features),
        dataset_input(features, targets=labels + 1),
        dataset_input(features.reshape(10, 8), targets=labels),
        dataset_input(features.astype("float64"), targets=labels),
    ]
    assert len({described.digest, *(variant.digest for variant in variants)}) == 5


def test_an_arrays_digest_does_not_depend_on_its_memory_layout() -> None:
    array = numpy.arange(6.0).reshape(2, 3)
    digests = {
        dataset_input(same).digest for same in (array, numpy.asfortranarray(array), array.astype(">f8"))
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    "array", [numpy.array(3), numpy.zeros((0, 3)), numpy.zeros((3, 0)), numpy.array([None, "a"])]
)
def test_odd_arrays_are_described(array: Any) -> None:
    assert json.loads(dataset_input(array).profile)["num_elements"] == array.size


def test_a_file_is_described(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"a,b\n1,2\n")
    described = dataset_input(path)
    assert (described.name, described.source, described.source_type) == ("data.csv", str(path), "local")
    assert json.loads(described.profile) == {"num_bytes": 8}
    assert dataset_input(str(path)).digest == described.digest
    path.write_bytes(b"a,b\n1,3\n")
    assert dataset_input(path).digest != described.digest


def test_a_large_file_is_sampled_at_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "FILE_BYTES_HASHED_MAX", 40)
    monkeypatch.setattr(datasets, "_PIECE_BYTES", 10)
    path = tmp_path / "big"

    def digest_with(offset: int) -> str:
        content = bytearray(1000)
        content[offset] = 1
        path.write_bytes(content)
        return dataset_input(path).digest

    digests = {digest_with(offset) for offset in (0, 999, 15)}
    path.write_bytes(bytes(1000))
    unchanged = dataset_input(path).digest
    assert len(digests) == 3
    assert unchanged in digests  # byte 15 lies between the samples


def test_a_described_data_set_is_taken_as_it_is() -> None:
    described = DatasetInput(name="n", digest="d", schema="s", tags={"a": "1"})
    assert dataset_input(described) == described
    changed = dataset_input(described, name="m", source="s3://bucket/x", context="test")
    assert changed == DatasetInput(
        name="m",
        digest="d",
        schema="s",
        source="s3://bucket/x",
        source_type="s3",
        tags={"a": "1", "mlflow.data.context": "test"},
    )


def test_a_data_set_of_mlflow_is_taken_by_its_shape() -> None:
    class Dataset:
        """What mlflow.data makes."""

        name, digest = "iris", "abc123"

        def to_dict(self) -> dict[str, Any]:
            source = '{"url": "https://example.org/iris.csv?sig=SECRETSECRET"}'
            return {"source": source, "source_type": "http", "schema": {"a": 1}, "profile": None}

    described = dataset_input(Dataset(), context="training")
    assert (described.name, described.digest, described.source_type) == ("iris", "abc123", "http")
    assert (described.schema, described.profile) == ('{"a": 1}', "")
    assert "SECRETSECRET" not in described.source


def test_a_frame_with_columns_named_like_a_data_set_is_a_frame() -> None:
    frame = pandas.DataFrame({"name": ["a"], "digest": ["b"]})
    assert json.loads(dataset_input(frame).profile)["num_columns"] == 2


@pytest.mark.parametrize(
    ("source", "kept", "kind"),
    [
        ("https://user:hunter2@example.org/x.csv?sig=hunter2", "https://example.org/x.csv", "http"),
        ("s3://bucket/key", "s3://bucket/key", "s3"),
        ("data/x.csv", "data/x.csv", "local"),
        ("file:///data/x.csv", "file:///data/x.csv", "local"),
    ],
)
def test_a_source_has_no_credentials(source: str, kept: str, kind: str) -> None:
    described = dataset_input({"a": [1]}, source=source)
    assert (described.source, described.source_type) == (kept, kind)


@pytest.mark.parametrize("path", ["missing.csv", "s3://bucket/key", "a\0b", "x" * 100_000])
def test_a_missing_file_is_not_found(path: str) -> None:
    with pytest.raises(NotFound) as raised:
        dataset_input(path)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("data", [None, 3, [1, 2], {"a": [1], "b": [1, 2]}, object(), Path("/")])
def test_what_is_no_data_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput):
        dataset_input(data)


@pytest.mark.parametrize("targets", ["z", ["x", "z"], 3, [1]])
def test_unknown_targets_are_refused(targets: Any) -> None:
    with pytest.raises(InvalidInput):
        dataset_input(COLUMNS, targets=targets)
    with pytest.raises(InvalidInput):
        dataset_input(numpy.zeros(3), targets=targets)
