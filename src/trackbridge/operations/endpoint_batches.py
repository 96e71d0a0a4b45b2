"""Files of rows as requests of a bounded number of rows, and their answers as one.

====================  =========================================================================
file                  what is sent
====================  =========================================================================
``.csv``              CSV, each request with the first line; read as it is sent, however large
``.jsonl``            ``dataframe_records``; a line is a row; read as it is sent, however large
any other             JSON: ``dataframe_split``, ``dataframe_records``, ``inputs``, ``instances``
====================  =========================================================================

JSON that has no more rows than one request may have is sent as it was written.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from trackbridge.errors import InvalidInput, Rejected

CSV_TYPE, JSON_TYPE = "text/csv", "application/json"
ROWS_PER_REQUEST = 1000
DOCUMENT_BYTES_MAX = 256 * 1024 * 1024
LINE_CHARS_MAX = 64 * 1024 * 1024
LISTS = ("dataframe_records", "inputs", "instances")


class Batch(NamedTuple):
    """One request; ``rows`` is None for a document that is sent as it is."""

    payload: bytes
    content_type: str
    rows: int | None = None


def is_streamed(path: Path) -> bool:
    """Tell whether a file is read row by row."""
    return path.suffix.lower() in (".csv", ".jsonl", ".ndjson")


def batches_of_file(path: Path, *, rows_max: int = ROWS_PER_REQUEST) -> Iterator[Batch]:
    """Yield the requests that a file of rows makes, in order.

    Args:
        path: A file that ``is_streamed`` or holds a JSON document.
        rows_max: How many rows a request has at most; 0 sends the file as one request.

    Raises:
        InvalidInput: The file is not what its name says; says where.
        OSError: It cannot be read.
    """
    if not is_streamed(path):
        with open(path, "rb") as file:
            yield from batches_of_document(bounded(file, str(path)), rows_max=rows_max)
        return
    if not rows_max:
        with open(path, "rb") as file:
            content = bounded(file, str(path))
        is_csv = path.suffix.lower() == ".csv"
        yield Batch(content, CSV_TYPE) if is_csv else _records(list(_lines(io.StringIO(_text(content)))))
        return
    with open(path, encoding="utf-8-sig", newline="") as text:
        try:
            yield from (
                _csv_batches(text, rows_max)
                if path.suffix.lower() == ".csv"
                else (_records(rows) for rows in _chunks(_lines(text), rows_max))
            )
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path} cannot be read as rows: {error}", operation="invoke") from error


def batches_of_document(content: bytes, *, rows_max: int = ROWS_PER_REQUEST) -> Iterator[Batch]:
    """Yield the requests that a JSON document makes; anything that has no rows to part is one."""
    parts = _parted(content, rows_max) if rows_max else None
    if parts is None:
        yield Batch(content, JSON_TYPE)
        return
    yield from parts


def rows_of_file(path: Path) -> int:
    """Return how many rows a streamed file has, by reading it.

    Raises:
        InvalidInput: It is no text.
        OSError: It cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as text:
            if path.suffix.lower() == ".csv":
                return max(0, sum(1 for row in csv.reader(text) if row) - 1)
            return sum(1 for line in text if line.strip())
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as rows: {error}", operation="invoke") from error


def bounded(file: BinaryIO, name: str) -> bytes:
    """Return what a file holds.

    Raises:
        InvalidInput: More than fits into one request.
    """
    content = file.read(DOCUMENT_BYTES_MAX + 1)
    if len(content) > DOCUMENT_BYTES_MAX:
        raise InvalidInput(
            f"{name} has more than {DOCUMENT_BYTES_MAX:,} bytes",
            operation="invoke",
            hint="write it as .csv or .jsonl, which is sent in pieces",
        )
    return content


# Requests.


def _csv_batches(text: TextIO, rows_max: int) -> Iterator[Batch]:
    rows = (row for row in csv.reader(text) if row)
    names = next(rows, None)
    if names is None:
        raise InvalidInput(
            "the file has no rows", operation="invoke", hint="its first line names the columns"
        )
    for chunk in _chunks(rows, rows_max):
        written = io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(chunk)
        yield Batch(written.getvalue().encode(), CSV_TYPE, len(chunk))


def _lines(text: TextIO) -> Iterator[dict[str, Any]]:
    number = 0
    while line := text.readline(LINE_CHARS_MAX):
        number += 1
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"line {number} is no JSON: {error}", operation="invoke") from error
        if not isinstance(row, dict):
            raise InvalidInput(
                f"line {number} is no JSON object",
                operation="invoke",
                hint='each line is a row: {"column": value, …}',
            )
        yield row


def _records(rows: list[dict[str, Any]]) -> Batch:
    return Batch(_json({"dataframe_records": rows}), JSON_TYPE, len(rows))


def _parted(content: bytes, rows_max: int) -> Iterator[Batch] | None:
    """Return the parts of a document that has too many rows for one request, None for any other."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None  # whoever is asked says what is wrong with it
    if not isinstance(document, dict):
        return None
    split = document.get("dataframe_split")
    if isinstance(split, dict) and isinstance(split.get("data"), list) and len(split["data"]) > rows_max:
        rest = {name: value for name, value in split.items() if name not in ("data", "index")}
        return (
            Batch(_json({**document, "dataframe_split": {**rest, "data": rows}}), JSON_TYPE, len(rows))
            for rows in _chunks(iter(split["data"]), rows_max)
        )
    for form in LISTS:
        if isinstance(document.get(form), list) and len(document[form]) > rows_max:
            return (
                Batch(_json({**document, form: rows}), JSON_TYPE, len(rows))
                for rows in _chunks(iter(document[form]), rows_max)
            )
    return None


def _chunks(rows: Iterator[Any], rows_max: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == rows_max:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the file is no UTF-8: {error}", operation="invoke") from error


# Answers.


def predictions_in(answer: bytes, rows: int | None) -> list[Any]:
    """Return the predictions of one answer: one a row.

    Raises:
        Rejected: The answer is no list of predictions, or has not one for each row.
    """
    try:
        content = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise Rejected(
            f"the endpoint answered with {len(answer):,} bytes that are no JSON",
            operation="invoke",
            hint="see its logs: bridge endpoints logs",
        ) from error
    found = content.get("predictions") if isinstance(content, dict) else content
    if not isinstance(found, list) or (rows is not None and len(found) != rows):
        told = f"{len(found):,} predictions" if isinstance(found, list) else "no list of predictions"
        raise Rejected(
            f"the endpoint answered with {told} to {rows or 'some'} rows: answers cannot be put together",
            operation="invoke",
            hint="send the rows as one request: --batch 0",
        )
    return found


class PredictionFile:
    """Writes predictions as they come, in the form that the file's name asks for.

    ``.csv`` has a column ``prediction``, or those that the predictions name; ``.jsonl`` has one a line; any
    other is ``{"predictions": […]}``. ``close(is_whole=True)`` gives the file its name; until then, and
    after a failure, what is there lies beside it, with ``.part`` at its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.rows = 0
        self._kind = path.suffix.lower()
        self._file = open(self.part, "w", encoding="utf-8", newline="")  # noqa: SIM115
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._names: list[str] | None = None
        if self._is_document:
            self._file.write('{"predictions": [')

    @property
    def _is_document(self) -> bool:
        return self._kind not in (".csv", ".jsonl", ".ndjson")

    def write(self, predictions: list[Any]) -> None:
        """Append predictions.

        Raises:
            Rejected: Some have other columns than those before.
        """
        for prediction in predictions:
            if self._kind == ".csv":
                self._write_row(prediction)
            else:
                separator = "\n" if not self._is_document else ""
                start = ", " if self._is_document and self.rows else ""
                self._file.write(f"{start}{json.dumps(prediction, ensure_ascii=False)}{separator}")
            self.rows += 1

    def _write_row(self, prediction: Any) -> None:
        record = prediction if isinstance(prediction, dict) else {"prediction": prediction}
        if self._names is None:
            self._names = list(record)
            self._writer.writerow(self._names)
        if record.keys() != set(self._names):
            raise Rejected(
                f"prediction {self.rows + 1:,} has other columns than the first",
                operation="invoke",
                hint="write them as .jsonl",
            )
        self._writer.writerow(_cell(record[name]) for name in self._names)

    def close(self, *, is_whole: bool) -> None:
        """End the file."""
        if is_whole and self._is_document:
            self._file.write("]}\n")
        self._file.close()
        if is_whole:
            self.part.replace(self.path)


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
