"""``bridge migrate``: everything from one backend to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli import completions
from trackbridge.cli.durations import DURATION
from trackbridge.cli.options import example, output_option, yes_option
from trackbridge.cli.output import Output
from trackbridge.cli.selections import (
    engine_option,
    preflight_option,
    selection_options,
    spark_master_option,
    tpslimit_option,
    transfers_option,
)
from trackbridge.cli.sizes import SIZE

if TYPE_CHECKING:
    from trackbridge.domain.migration import Selection
    from trackbridge.domain.plans import Plan
    from trackbridge.operations.migrate.migration import Migration

EXIT_DIFFERENCES = 4


@click.command(
    epilog=example(
        "bridge migrate http://mlflow:5000 azureml: --plan",
        "bridge migrate ./.bridge http://mlflow:5000 --experiment 'wine-*' --yes",
        "bridge migrate http://mlflow:5000 azureml: --engine spark --spark-master spark://cluster:7077",
        "bridge migrate sagemaker: azureml: --model wine --stage Production --plan --out wine.plan",
    )
)
@click.argument("source", metavar="SRC", shell_complete=completions.uris)
@click.argument("target", metavar="DST", shell_complete=completions.uris)
@selection_options
@click.option("--plan", "only_plan", is_flag=True, help="Show the plan, and change nothing.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Save the plan for bridge apply, and change nothing.",
)
@click.option(
    "--detailed-exitcode", is_flag=True, help="With --plan: end with 4 when there is something to do."
)
@yes_option
@click.option("--strict", is_flag=True, help="Refuse everything when anything would be lost.")
@click.option(
    "--deep",
    is_flag=True,
    help="Compare histories and files, too, of runs that look unchanged.",
)
@click.option(
    "--delete", is_flag=True, help="Take away at DST what was copied from SRC and is gone from there."
)
@click.option(
    "--max-delete", type=click.IntRange(0), metavar="N", help="Change nothing when more would be deleted."
)
@preflight_option
@transfers_option
@tpslimit_option
@click.option("--bwlimit", type=SIZE, metavar="SIZE", help="Bytes of files a second, such as 10M.")
@click.option(
    "--max-transfer", type=SIZE, metavar="SIZE", help="Begin no more runs after so many bytes of files."
)
@click.option("--max-duration", type=DURATION, metavar="TIME", help="Begin no more runs after so long.")
@engine_option
@spark_master_option
@output_option
def migrate(output: Output, source: str, target: str, selection: Selection, **options: Any) -> None:
    """Copy runs, files and registered models from SRC to DST: plan, show, ask, apply, check.

    Nothing changes before the plan was agreed to. Interrupted, the same command goes on; repeated, it copies
    what is new. What DST does not hold as it is, and what is done about it, is told beforehand.
    """
    from trackbridge.cli.migration_plans import apply_and_tell, opened_engine, plan_counts, show_migration
    from trackbridge.operations.migrate.applying import refuse_losses
    from trackbridge.operations.migrate.migration import Migration
    from trackbridge.operations.migrate.pair import Asked

    if options["delete"] and selection.narrows_runs:
        raise click.UsageError("--delete cannot tell what is gone when --run, --filter or --since is given")
    asked = Asked(
        selection=selection,
        delete=options["delete"],
        delete_max=options["max_delete"],
        deep=options["deep"],
        preflight=options["preflight"],
    )
    changes_nothing = options["only_plan"] or options["out"] is not None
    with (
        Migration(source, target, bounds=_bounds(options)) as migration,
        opened_engine(output, migration, options, is_needed=not changes_nothing) as engine,
    ):
        plan = _planned(output, migration, asked)
        show_migration(output, plan)
        if options["strict"]:
            refuse_losses(plan)
        if changes_nothing:
            _end_shown(output, plan, options)
        if not plan.changes_something:
            if plan.changes:
                output.show("everything is there already")
            output.summary({**plan_counts(plan), "applied": False})
            return
        output.confirm("Apply this plan?", is_agreed=options["is_agreed"])
        apply_and_tell(output, plan, migration, strict=options["strict"], engine=engine)


def _bounds(options: dict[str, Any]) -> Any:
    from trackbridge.operations.migrate.bounds import Bounds

    return Bounds(
        transfers=options["transfers"],
        calls_per_s=options["tpslimit"],
        bytes_per_s=options["bwlimit"],
        bytes_max=options["max_transfer"],
        duration_s_max=options["max_duration"],
    )


def _planned(output: Output, migration: Migration, asked: Any) -> Plan:
    """Plan, and tell on a terminal how many runs were looked at."""
    import sys

    if not sys.stderr.isatty():
        return migration.plan(asked)
    tell = _Looking()
    try:
        return migration.plan(asked, on_found=tell.looked)
    finally:
        tell.clear()


class _Looking:
    """One line that counts on a terminal."""

    def looked(self, count: int) -> None:
        click.echo(f"\r\x1b[2Klooked at {count:,} runs", err=True, nl=False)

    def clear(self) -> None:
        click.echo("\r\x1b[2K", err=True, nl=False)


def _end_shown(output: Output, plan: Plan, options: dict[str, Any]) -> None:
    from trackbridge.cli.migration_plans import plan_counts
    from trackbridge.operations.plans import save_plan

    out: Path | None = options["out"]
    if out is not None:
        save_plan(plan, out)
        output.note(f"saved; apply it with: bridge apply {out}")
    output.summary({**plan_counts(plan), "applied": False, "file": str(out) if out else None})
    changes = options["detailed_exitcode"] and plan.changes_something
    output.end(EXIT_DIFFERENCES if changes else 0)
