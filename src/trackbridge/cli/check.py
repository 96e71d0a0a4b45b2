"""``bridge check``: two backends compared, nothing changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from trackbridge.cli import completions
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output, counted
from trackbridge.cli.selections import selection_options, tpslimit_option, transfers_option

if TYPE_CHECKING:
    from trackbridge.domain.migration import Compared, Selection

EXIT_DIFFERENCES = 4
DIFFERENCES_MAX = 5
COLOURS = {"*": "yellow", "+": "green", "-": "red", "!": "red"}


@click.command(
    epilog=example(
        "bridge check http://mlflow:5000 azureml:",
        "bridge check ./.bridge sagemaker: --experiment wine --download",
    )
)
@click.argument("source", metavar="SRC", shell_complete=completions.uris)
@click.argument("target", metavar="DST", shell_complete=completions.uris)
@selection_options
@click.option("--download", is_flag=True, help="Read the bytes of all files on both sides and compare them.")
@click.option("--all", "shows_all", is_flag=True, help="Show what is the same, too.")
@transfers_option
@tpslimit_option
@output_option
def check(
    output: Output,
    source: str,
    target: str,
    selection: Selection,
    download: bool,
    shows_all: bool,
    transfers: int,
    tpslimit: float | None,
) -> None:
    """Compare SRC with DST, item by item, down to the last point; nothing is changed.

    Each item has a symbol: = the same, * different, + missing at DST, - missing at SRC, ! not compared.
    Ends with 4 when anything differs.
    """
    from trackbridge.operations.migrate.bounds import Bounds
    from trackbridge.operations.migrate.migration import Migration

    bounds = Bounds(transfers=transfers, calls_per_s=tpslimit)
    with Migration(source, target, bounds=bounds) as migration:
        show_compared(output, migration.check(selection, download=download), shows_all=shows_all)


def show_compared(output: Output, items: Iterable[Compared], *, shows_all: bool) -> None:
    """Show how items compare, sum up, and end the command with 4 when anything differs."""
    counts: Counter[str] = Counter()
    for item in items:
        counts[item.symbol.value] += 1
        _show(output, item, shows_all=shows_all)
    same = counts["="]
    different = sum(counts.values()) - same
    output.show(f"{counted(same, 'item')} the same, {counted(different, 'item')} not")
    output.summary({"same": different == 0, "counts": dict(counts)})
    output.end(_exit_code(counts))


def _show(output: Output, item: Compared, *, shows_all: bool) -> None:
    symbol = item.symbol.value
    output.event("item", {"symbol": symbol, "subject": item.subject, "differences": list(item.differences)})
    if symbol == "=" and not shows_all:
        return
    output.show(f"{symbol} {item.subject}", colour=COLOURS.get(symbol))
    for line in item.differences[:DIFFERENCES_MAX]:
        output.show(f"    {line}")
    if len(item.differences) > DIFFERENCES_MAX:
        output.show(f"    … and {len(item.differences) - DIFFERENCES_MAX:,} more")


def _exit_code(counts: Counter[str]) -> int:
    """Return 3 where something could not be compared, 4 where something differs, else 0."""
    from trackbridge.cli.failures import EXIT_PARTLY

    if counts["!"]:
        return EXIT_PARTLY
    return EXIT_DIFFERENCES if sum(counts.values()) > counts["="] else 0
