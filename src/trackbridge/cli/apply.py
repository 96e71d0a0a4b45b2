"""``bridge apply``: a saved plan is applied exactly as it was shown, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli.options import example, output_option, yes_option
from trackbridge.cli.output import Output
from trackbridge.cli.selections import engine_option, spark_master_option

if TYPE_CHECKING:
    from trackbridge.domain.plans import Plan


@click.command(epilog=example("bridge apply wine.plan", "bridge apply wine.plan --yes --why 'weekly model'"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@engine_option
@spark_master_option
@click.option("--why", default="", metavar="TEXT", help="Why, for the endpoint's history.")
@yes_option
@output_option
def apply(output: Output, file: Path, why: str, is_agreed: bool, **options: Any) -> None:
    """Apply a plan that was saved with --out.

    A plan is refused when what it was made from has changed since. One whose application was interrupted is
    gone on with.
    """
    from trackbridge.cli.deploy import show_address, state_fields
    from trackbridge.cli.models_sync import apply_saved
    from trackbridge.cli.plans import apply_and_tell, plan_fields, show_plan
    from trackbridge.cli.rollout_options import roll_out
    from trackbridge.domain.migration import MIRROR_OPERATION, OPERATION
    from trackbridge.domain.rollouts import OPERATION as ROLLOUT
    from trackbridge.errors import ConfigError
    from trackbridge.operations.deploy import OPERATIONS
    from trackbridge.operations.opening import open_place
    from trackbridge.operations.plans import load_plan

    plan = load_plan(file)
    if plan.operation == OPERATION:
        _apply_migration(output, plan, options, is_agreed=is_agreed)
        return
    if options["engine"] != "threads" or options["spark_master"] is not None:
        raise click.UsageError(
            f"--engine and --spark-master are for plans of migrations, not of {plan.operation}"
        )
    if plan.operation == MIRROR_OPERATION:
        apply_saved(output, plan, is_agreed=is_agreed)
        return
    if plan.operation not in (*OPERATIONS, ROLLOUT):
        raise ConfigError(
            f"this trackbridge cannot apply plans of {plan.operation[:80]!r}", hint="use the one that made it"
        )
    place = open_place(str(plan.parameters.get("target", "")))
    show_plan(output, plan)
    if not plan.changes_something:
        output.show("everything is as wanted")
        output.summary({**plan_fields(plan), "applied": False})
        return
    output.confirm("Apply this plan?", is_agreed=is_agreed)
    if plan.operation == ROLLOUT:
        roll_out(output, plan, place, why=why)
        output.summary({**plan_fields(plan), "applied": True})
        return
    applied = apply_and_tell(output, plan, place, why=why)
    if applied.resumed:
        output.note(f"{applied.resumed} of them held already")
    if applied.state is not None:
        show_address(output, place, applied.state)
    state = state_fields(applied.state) if applied.state is not None else None
    output.summary({**plan_fields(plan), "applied": True, "endpoint": state})


def _apply_migration(output: Output, plan: Plan, options: dict[str, Any], *, is_agreed: bool) -> None:
    from trackbridge.cli.migration_plans import apply_and_tell, opened_engine, plan_counts, show_migration
    from trackbridge.operations.migrate.migration import Migration

    show_migration(output, plan)
    if not plan.changes_something:
        output.show("everything is there already")
        output.summary({**plan_counts(plan), "applied": False})
        return
    output.confirm("Apply this plan?", is_agreed=is_agreed)
    with Migration.of_plan(plan) as migration, opened_engine(output, migration, options) as engine:
        apply_and_tell(output, plan, migration, strict=False, engine=engine)
