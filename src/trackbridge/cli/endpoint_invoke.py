"""``bridge endpoints invoke``: rows to an endpoint, one request after the other, and the answers."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli import completions
from trackbridge.cli.deploy import target_option
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output, counted
from trackbridge.errors import BridgeError

MODEL_FAILED = re.compile(r"\b(?:answered|status) 5\d\d\b")
NAMES_ERROR = re.compile(r"(?:Error|Exception)\b")
LOG_S_MAX = 5.0
"""How long is waited for a log after a failure, in seconds."""

if TYPE_CHECKING:
    from trackbridge.operations.endpoint_batches import Batch, PredictionFile
    from trackbridge.operations.opening import Opened


@click.command(
    epilog=example(
        "bridge endpoints invoke wine --data '{\"inputs\": [[7.4, 0.7]]}'",
        "bridge endpoints invoke wine -i rows.csv --out predictions.csv",
        "bridge endpoints invoke endpoints:/prod/wine -i rows.json --deployment v2",
    )
)
@click.argument("endpoint", shell_complete=completions.endpoints)
@click.option("--input", "-i", "source", metavar="FILE", help="Rows: .csv, .jsonl, .json; or -.")
@click.option("--data", metavar="JSON|@FILE|-", help="The payload itself, or where it is, as for --input.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=".csv, .jsonl or .json."
)
@click.option(
    "--batch",
    "rows_max",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    metavar="ROWS",
    help="Rows of one request; 0 sends all at once.",
)
@click.option("--deployment", metavar="NAME", help="Ask this one, whatever its share of the traffic.")
@click.option("--content-type", metavar="TYPE", help="Of a payload that is sent as it is.")
@target_option
@output_option
def invoke(
    output: Output,
    endpoint: str,
    source: str | None,
    data: str | None,
    out: Path | None,
    rows_max: int,
    deployment: str | None,
    content_type: str | None,
    target: str,
) -> None:
    """Send rows to an endpoint, and print or write what it answers.

    ENDPOINT is a name, endpoints:/NAME or endpoints:/REMOTE/NAME. The payload is what mlflow's scoring
    servers take: CSV, dataframe_split, dataframe_records, inputs, instances. A request is sent again only
    where it was certainly not scored.
    """
    from trackbridge.operations.endpoint_requests import ask, endpoint_address
    from trackbridge.operations.opening import open_place

    batches, total = _batches(source, data, 0 if content_type else rows_max)
    address = endpoint_address(endpoint, None if target == "local" else target)
    place = open_place(address.target or target)

    def send(batch: Batch) -> bytes:
        kind = content_type or batch.content_type
        try:
            return ask(place, address.name, batch.payload, content_type=kind, deployment=deployment)
        except BridgeError as error:
            _explain(output, error, place, address.name, deployment)
            raise

    first = next(batches, None)
    second = next(batches, None)
    if first is None:
        raise click.UsageError("there are no rows to send", click.get_current_context())
    fields = {"endpoint": address.name, "deployment": deployment}
    if second is None and out is None:
        _show_answer(output, send(first), fields)
        return
    told = _Progress(output, total)
    rest = (batch for batch in (first, second) if batch is not None)
    if out is None:
        answers = told.run(_chained(rest, batches), send)
        _show_answer(output, json.dumps({"predictions": answers}, ensure_ascii=False).encode(), fields)
        return
    rows = _write_answers(output, out, told, _chained(rest, batches), send)
    output.show(f"{counted(rows, 'prediction')} in {out}", colour="green")
    output.summary({**fields, "rows": rows, "out": str(out)})


def _explain(
    output: Output, error: BridgeError, place: Opened, endpoint: str, deployment: str | None
) -> None:
    """Make the hint at the logs a whole command, and bring along what a failed model has logged last."""
    from trackbridge.cli.plans import named_target
    from trackbridge.domain.secrets import redact
    from trackbridge.operations.asking import Asking

    if "logs" not in (error.hint or ""):
        return
    named = f"{endpoint} {deployment}" if deployment else endpoint
    error.advise(
        f"look at the payload, and at the logs: bridge endpoints logs {named}{named_target(place.uri)}"
    )
    if not MODEL_FAILED.search(error.message):
        return
    found = Asking(LOG_S_MAX).ask_one("log", "", lambda: _last_logged(place, endpoint, deployment))
    if found.value:
        output.note(f"the last that it logged: {redact(found.value)}")


def _last_logged(place: Opened, endpoint: str, deployment: str | None) -> str:
    """Return the last line that names an error, else the last one; nothing where it cannot be read."""
    from trackbridge.operations.applying import last_words
    from trackbridge.operations.deploy import observed_endpoint
    from trackbridge.operations.endpoint_models import chosen_deployment

    name = chosen_deployment(observed_endpoint(place, endpoint), deployment).deployment
    lines = [line.strip() for line in last_words(place, endpoint, name).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if NAMES_ERROR.search(line)), lines[-1] if lines else "")


def _chained(first: Iterator[Batch], rest: Iterator[Batch]) -> Iterator[Batch]:
    yield from first
    yield from rest


def _show_answer(output: Output, answer: bytes, fields: dict[str, Any]) -> None:
    """Print one answer as it came."""
    text = answer.decode("utf-8", "replace")
    if not output.as_json:
        click.echo(_shown(text))
        return
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    output.summary({**fields, "answer": value})


def _shown(text: str) -> str:
    """Return an answer for a terminal, or whole for a pipe."""
    from trackbridge.api.display import printable

    text = text.rstrip("\n")
    return printable(text, 10_000) if sys.stdout.isatty() else text


class _Progress:
    """Sends batches one after the other, with a bar."""

    def __init__(self, output: Output, total: int) -> None:
        self._output = output
        self._total = total
        self.rows = 0

    def run(
        self,
        batches: Iterator[Batch],
        send: Callable[[Batch], bytes],
        take: Callable[[list[Any]], None] | None = None,
    ) -> list[Any]:
        """Return the predictions of all, or hand them over as they come."""
        from trackbridge.operations.endpoint_batches import predictions_in

        found: list[Any] = []
        with self._output.progress("rows", self._total) as advance:
            for batch in batches:
                answered = predictions_in(send(batch), batch.rows)
                (take or found.extend)(answered)
                self.rows += len(answered)
                advance(self.rows)
        return found


def _write_answers(
    output: Output, out: Path, told: _Progress, batches: Iterator[Batch], send: Callable[[Batch], bytes]
) -> int:
    from trackbridge.operations.endpoint_batches import PredictionFile

    with _reported(out):
        file = PredictionFile(out)
    is_whole = False
    try:
        told.run(batches, send, file.write)
        is_whole = True
    finally:
        file.close(is_whole=is_whole)
        if not is_whole:
            _tell_part(output, file)
    return file.rows


def _tell_part(output: Output, file: PredictionFile) -> None:
    if file.rows:
        output.note(f"the predictions of the first {counted(file.rows, 'row')} are in {file.part}")
    else:
        file.part.unlink(missing_ok=True)


def _batches(source: str | None, data: str | None, rows_max: int) -> tuple[Iterator[Batch], int]:
    """Return the requests, and how many rows they have where that is known, else 0.

    Raises:
        UsageError: Nothing, or twice, says what to send, or the file cannot be read.
    """
    from trackbridge.operations import endpoint_batches as files

    if (source is None) == (data is None):
        raise click.UsageError("say what to send: --input FILE, or --data", click.get_current_context())
    if data is not None and data != "-" and not data.startswith("@"):
        content = data.encode("utf-8", "surrogateescape")
        return files.batches_of_document(content, rows_max=rows_max), 0
    name = source if source is not None else str(data).removeprefix("@")
    if name == "-":
        return files.batches_of_document(files.bounded(sys.stdin.buffer, "stdin"), rows_max=rows_max), 0
    path = Path(name)
    with _reported(path):
        total = files.rows_of_file(path) if files.is_streamed(path) and sys.stderr.isatty() else 0
        with open(path, "rb"):
            return files.batches_of_file(path, rows_max=rows_max), total


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        from trackbridge.cli.near_names import near_file

        raise click.ClickException(f"there is no file {path}{near_file(path)}") from error
    except OSError as error:
        raise click.UsageError(
            f"{path} cannot be read or written: {error.strerror}", click.get_current_context()
        ) from error
