"""``bridge apply``: a saved plan is applied exactly as it was shown, or refused."""

from __future__ import annotations

from pathlib import Path

import click

from trackbridge.cli.options import example, output_option, yes_option
from trackbridge.cli.output import Output


@click.command(epilog=example("bridge apply wine.plan", "bridge apply wine.plan --yes --why 'weekly model'"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--why", default="", metavar="TEXT", help="Why, for the endpoint's history.")
@yes_option
@output_option
def apply(output: Output, file: Path, why: str, is_agreed: bool) -> None:
    """Apply a plan that was saved with --out.

    A plan is refused when what it was made from has changed since. One whose application was interrupted is
    gone on with.
    """
    from trackbridge.cli.deploy import show_address, state_fields
    from trackbridge.cli.plans import apply_and_tell, plan_fields, show_plan
    from trackbridge.errors import ConfigError
    from trackbridge.operations.deploy import OPERATIONS
    from trackbridge.operations.opening import open_place
    from trackbridge.operations.plans import load_plan

    plan = load_plan(file)
    if plan.operation not in OPERATIONS:
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
    applied = apply_and_tell(output, plan, place, why=why)
    if applied.resumed:
        output.note(f"{applied.resumed} of them held already")
    if applied.state is not None:
        show_address(output, place, applied.state)
    state = state_fields(applied.state) if applied.state is not None else None
    output.summary({**plan_fields(plan), "applied": True, "endpoint": state})
