"""Asking an endpoint: names, when a request is sent again, files of rows as requests and answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trackbridge.errors import BridgeError, InvalidInput, RateLimited, Rejected, TimedOut, Unavailable
from trackbridge.operations.endpoint_batches import (
    PredictionFile,
    batches_of_document,
    batches_of_file,
    predictions_in,
    rows_of_file,
)
from trackbridge.operations.endpoint_requests import EndpointAddress, ask, endpoint_address
from trackbridge.operations.opening import Opened
from trackbridge.operations.waiting import Pace

# Names.


@pytest.mark.parametrize(
    ("text", "target", "found"),
    [
        ("wine", None, EndpointAddress("wine")),
        ("wine", "prod", EndpointAddress("wine", "prod")),
        ("endpoints:/wine", None, EndpointAddress("wine")),
        ("endpoints:/wine", "prod", EndpointAddress("wine", "prod")),
        ("endpoints:/prod/wine", None, EndpointAddress("wine", "prod")),
        ("endpoints:/prod/wine", "prod", EndpointAddress("wine", "prod")),
    ],
)
def test_names(text: str, target: str | None, found: EndpointAddress) -> None:
    assert endpoint_address(text, target) == found


@pytest.mark.parametrize("text", ["endpoints:/", "endpoints://wine", "endpoints:/a/b/c", "endpoints:/prod/"])
def test_what_names_no_endpoint(text: str) -> None:
    with pytest.raises(InvalidInput, match="names no endpoint"):
        endpoint_address(text)


def test_two_places_are_one_too_many() -> None:
    with pytest.raises(InvalidInput, match="two places"):
        endpoint_address("endpoints:/prod/wine", "test")


# Sending again.


class Target:
    """Fails as told, one call after the other, then answers."""

    def __init__(self, *failures: BridgeError) -> None:
        self.failures = list(failures)
        self.calls = 0

    def invoke(self, endpoint: str, payload: bytes, **options: Any) -> bytes:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return b"{}"


def refused() -> Unavailable:
    error = Unavailable("nobody serves")
    error.__cause__ = OSError("cannot connect")
    error.__cause__.__context__ = ConnectionRefusedError(111, "refused")
    return error


def asked(target: Target, **options: Any) -> list[float]:
    """Ask, and return the waits in between."""
    waits: list[float] = []

    class Place(Opened):
        @property
        def target(self) -> Any:
            return target

    pace = Pace(clock=lambda: sum(waits), pause=waits.append)
    place = Place("memory:", None)  # type: ignore[arg-type]
    assert ask(place, "wine", b"[]", content_type="x", pace=pace, **options) == b"{}"
    return waits


def test_what_was_refused_at_the_door_is_sent_again() -> None:
    target = Target(RateLimited("busy", retry_after_s=7.0), refused(), RateLimited("busy", retry_after_s=1.0))
    assert asked(target) == [7.0, 0.5, 1.0]
    assert target.calls == 4


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("busy, and it does not say until when"),
        RateLimited("busy for too long", retry_after_s=61.0),
        Unavailable("status 503: it was answered"),
        TimedOut("no answer", ambiguous=True),
        TimedOut("no answer", ambiguous=False),
        Rejected("no"),
        BridgeError("status 500"),
    ],
)
def test_everything_else_is_sent_once(error: BridgeError) -> None:
    target = Target(error)
    with pytest.raises(type(error)) as caught:
        asked(target)
    assert caught.value is error
    assert target.calls == 1


def test_patience_ends() -> None:
    target = Target(*(RateLimited("busy", retry_after_s=4.0) for _ in range(100)))
    with pytest.raises(RateLimited):
        asked(target, patience_s=10.0)
    assert target.calls == 3


# Rows as requests.


def payloads(path: Path, rows_max: int) -> list[Any]:
    batches = list(batches_of_file(path, rows_max=rows_max))
    assert all(not rows_max or (batch.rows or 0) <= rows_max for batch in batches)
    return [
        batch.payload.decode() if batch.content_type == "text/csv" else json.loads(batch.payload)
        for batch in batches
    ]


def test_csv_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "rows.CSV"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n1,"x,\n""y"\r\n\r\n2,\xc3\xbc\r\n3,z')
    assert payloads(path, 2) == ['a,b\n1,"x,\n""y"\n2,ü\n', "a,b\n3,z\n"]
    assert rows_of_file(path) == 3
    assert len(payloads(path, 0)) == 1


def test_lines_of_json_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": NaN}\n{"a": 3}', "utf-8")
    first, second = payloads(path, 2)
    assert [row["a"] for row in second["dataframe_records"]] == [3]
    assert len(first["dataframe_records"]) == 2
    assert rows_of_file(path) == 3
    assert len(payloads(path, 0)[0]["dataframe_records"]) == 3


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["a"], "index": [0, 1, 2], "data": [[0], [1], [2]]}},
        {"dataframe_records": [{"a": 0}, {"a": 1}, {"a": 2}], "params": {"k": 1}},
        {"inputs": [[0], [1], [2]]},
        {"instances": [0, 1, 2], "params": {"k": 1}},
    ],
)
def test_documents_in_pieces(document: dict[str, Any]) -> None:
    content = json.dumps(document).encode()
    (whole,) = batches_of_document(content, rows_max=3)
    assert whole.payload == content, "what fits is sent as it was written"
    first, second = (json.loads(batch.payload) for batch in batches_of_document(content, rows_max=2))
    assert first.get("params") == second.get("params") == document.get("params")
    form = next(iter(document))
    parts = [part[form]["data"] if "split" in form else part[form] for part in (first, second)]
    assert parts[0] + parts[1] == (document[form]["data"] if "split" in form else document[form])


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2, 3]", b'{"inputs": {"a": [1, 2, 3]}}', b"\xff"])
def test_what_has_no_rows_is_sent_as_it_is(content: bytes) -> None:
    (only,) = batches_of_document(content, rows_max=1)
    assert only.payload == content


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("rows.csv", b"", "no rows"),
        ("rows.csv", b"a,b\n\xff\xfe\n", "cannot be read as rows"),
        ("rows.csv", b"a\n" + b"x" * 200_000, "cannot be read as rows"),
        ("rows.jsonl", b'{"a": 1}\nnonsense\n', "line 2 is no JSON"),
        ("rows.jsonl", b"[1]\n", "line 1 is no JSON object"),
    ],
)
def test_files_that_are_not_what_they_say(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=told):
        list(batches_of_file(path, rows_max=10))


# Answers.


def test_answers_are_put_together_by_rows() -> None:
    assert predictions_in(b'{"predictions": [1, 2]}', 2) == predictions_in(b"[1, 2]", None) == [1, 2]
    for answer in (b'{"predictions": [1]}', b'{"predictions": {"a": [1, 2]}}', b"7", b"nonsense"):
        with pytest.raises(Rejected):
            predictions_in(answer, 2)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("out.csv", 'label,p\na,0.5\n"b,""c""","[1, 2]"\n'),
        ("out.jsonl", '{"label": "a", "p": 0.5}\n{"p": [1, 2], "label": "b,\\"c\\""}\n'),
        (
            "out.json",
            '{"predictions": [{"label": "a", "p": 0.5}, {"p": [1, 2], "label": "b,\\"c\\""}]}\n',
        ),
    ],
)
def test_files_of_predictions(tmp_path: Path, name: str, wanted: str) -> None:
    file = PredictionFile(tmp_path / name)
    file.write([{"label": "a", "p": 0.5}])
    assert not file.path.exists()
    file.write([{"p": [1, 2], "label": 'b,"c"'}])
    file.close(is_whole=True)
    assert (file.path.read_text("utf-8"), file.rows) == (wanted, 2)
    assert not file.part.exists()


def test_predictions_of_other_columns_are_no_csv(tmp_path: Path) -> None:
    file = PredictionFile(tmp_path / "out.csv")
    file.write([1.0])
    with pytest.raises(Rejected, match="other columns"):
        file.write([{"a": 1}])
    file.close(is_whole=False)
    assert file.part.read_text() == "prediction\n1.0\n"
    assert not file.path.exists()
