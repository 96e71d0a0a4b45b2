"""``bridge endpoints traffic|rollback|remove|delete``: each shows its plan and asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trackbridge.cli import completions
from trackbridge.cli.deploy import state_fields, target_option
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output
from trackbridge.cli.pairs import pairs_of
from trackbridge.cli.plans import (
    PlanOptions,
    apply_and_tell,
    carry_out,
    is_agreed,
    named_target,
    plan_fields,
    plan_options,
    told_untouched,
)

if TYPE_CHECKING:
    from trackbridge.domain.plans import Plan
    from trackbridge.operations.applying import Applied
    from trackbridge.operations.opening import Opened
    from trackbridge.operations.rollout import RolloutLedger


@click.command(
    epilog=example(
        "bridge endpoints traffic wine v1=90 v2=10", "bridge endpoints traffic wine v1=100 --mirror v2=50"
    )
)
@click.argument("endpoint", shell_complete=completions.endpoints)
@click.argument("shares", nargs=-1, required=True, metavar="DEPLOYMENT=PERCENT...")
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="DEPLOYMENT=PERCENT",
    help="Copies that it gets; repeatable.",
)
@target_option
@plan_options
@output_option
def traffic(
    output: Output,
    endpoint: str,
    shares: tuple[str, ...],
    mirrors: tuple[str, ...],
    target: str,
    options: PlanOptions,
) -> None:
    """Share the live requests of an endpoint among its deployments; who is not named gets none."""
    from trackbridge.operations.deploy import plan_traffic
    from trackbridge.operations.opening import open_place

    with told_untouched(output):
        place = open_place(target)
        plan = plan_traffic(
            place,
            endpoint,
            _percents(shares, "SHARES"),
            _percents(mirrors, "--mirror") if mirrors else None,
        )
    _carry_out(output, plan, place, options)


@click.command(
    epilog=example("bridge endpoints rollback wine", "bridge endpoints rollback wine --to 3 --plan")
)
@click.argument("endpoint", shell_complete=completions.endpoints)
@click.option("--to", "revision", type=click.IntRange(1), metavar="NUMBER", help="A revision; see history.")
@target_option
@plan_options
@output_option
def rollback(output: Output, endpoint: str, revision: int | None, target: str, options: PlanOptions) -> None:
    """Bring an endpoint back to how it stood before the last operation, or in a revision.

    Rolling back twice goes forward again. A deploy or a rollback that was interrupted, or failed, is rolled
    back, too, and so is a deletion. A rollout that is under way is ended by it, wherever it is.
    """
    from trackbridge.operations.deploy import plan_rollback
    from trackbridge.operations.opening import open_place
    from trackbridge.operations.rollout import open_ledger
    from trackbridge.resolve.config import Settings

    with told_untouched(output):
        place = open_place(target)
        ledger = open_ledger(Settings())
        is_rolling_out = ledger.unfinished(place.uri, endpoint) is not None
        plan = None if is_rolling_out else plan_rollback(place, endpoint, to=revision)
    if plan is not None:
        _carry_out(output, plan, place, options)
        return
    _end_rollout(output, ledger, place, endpoint, revision, options)


def _end_rollout(
    output: Output,
    ledger: RolloutLedger,
    place: Opened,
    endpoint: str,
    revision: int | None,
    options: PlanOptions,
) -> None:
    """Roll back while a rollout is under way: it is ended first, then all that it has done goes."""
    from trackbridge.errors import NotFound
    from trackbridge.operations.deploy import goal_of, plan_rollback
    from trackbridge.operations.endpoint_goals import Restore
    from trackbridge.operations.model_source import open_models
    from trackbridge.operations.opening import user_name
    from trackbridge.operations.rollout import ended_rollout
    from trackbridge.resolve.config import Settings

    rollout = ledger.unfinished(place.uri, endpoint)
    assert rollout is not None
    settings = Settings()
    try:
        plan = plan_rollback(place, endpoint, to=revision)
    except NotFound as error:  # it was stopped before it did anything
        error.advise(f"end the rollout with: bridge rollouts abort {rollout.name}")
        raise
    goal = goal_of(plan)
    assert isinstance(goal, Restore)
    output.note(f"this ends the rollout {rollout.name}, which is {rollout.status} at {rollout.percent} %")
    if not is_agreed(output, plan, options):
        output.confirm(f"End the rollout {rollout.name}?", is_agreed=options.is_agreed)
    models = open_models(
        rollout.models_uri or place.uri, registry_uri=rollout.registry_uri or None, settings=settings
    )
    why = f": {options.why}" if options.why else ""
    reason = f"bridge endpoints rollback by {user_name(settings) or 'somebody'}{why}"
    with ended_rollout(ledger, place, endpoint, models=models, reason=reason):
        again = plan_rollback(place, endpoint, to=goal.revision)
        applied = apply_and_tell(output, again, place, why=options.why)
    _show_state(output, plan, place, applied)


@click.command(epilog=example("bridge endpoints remove wine v1"))
@click.argument("endpoint", shell_complete=completions.endpoints)
@click.argument("deployment")
@target_option
@plan_options
@output_option
def remove(output: Output, endpoint: str, deployment: str, target: str, options: PlanOptions) -> None:
    """Take a deployment without traffic away."""
    from trackbridge.operations.deploy import plan_removal
    from trackbridge.operations.opening import open_place

    with told_untouched(output):
        place = open_place(target)
        plan = plan_removal(place, endpoint, deployment)
    _carry_out(output, plan, place, options)


@click.command(epilog=example("bridge endpoints delete wine", "bridge endpoints delete wine --yes"))
@click.argument("endpoint", shell_complete=completions.endpoints)
@target_option
@plan_options
@output_option
def delete(output: Output, endpoint: str, target: str, options: PlanOptions) -> None:
    """Delete an endpoint with all its deployments; rollback brings it back."""
    from trackbridge.operations.deploy import plan_deletion
    from trackbridge.operations.opening import open_place

    with told_untouched(output):
        place = open_place(target)
        plan = plan_deletion(place, endpoint)
    question = f"Delete the endpoint {endpoint!r} with all its deployments?"
    _carry_out(output, plan, place, options, question=question)


def _carry_out(
    output: Output, plan: Plan, place: Opened, options: PlanOptions, *, question: str = "Apply this plan?"
) -> None:
    """Carry out a plan, and say how the endpoint stands then."""
    _show_state(output, plan, place, carry_out(output, plan, place, options, question=question))


def _show_state(output: Output, plan: Plan, place: Opened, applied: Applied | None) -> None:
    """Say how the endpoint stands after its plan was applied."""
    state = applied.state if applied is not None else None
    if applied is not None and state is None:
        back = f"bridge endpoints rollback {applied.endpoint}{named_target(place.uri)}"
        output.show(f"{applied.endpoint} is gone; it comes back with: {back}")
    if state is not None:
        shares = ", ".join(f"{name} {share} %" for name, share in state.traffic.items())
        output.show(f"{state.endpoint} is {state.status.value}: {shares or 'no deployments'}", colour="green")
    output.summary(
        {
            **plan_fields(plan),
            "applied": applied is not None,
            "endpoint": state_fields(state) if state is not None else None,
        }
    )


def _percents(texts: tuple[str, ...], option: str) -> dict[str, int]:
    found = {}
    for name, value in pairs_of(texts, option).items():
        number = value.strip().removesuffix("%").strip()
        if not (number.isascii() and number.isdecimal()):
            raise click.UsageError(f"{name}={value} is no whole percentage", click.get_current_context())
        found[name] = int(number)
    return found
