"""``bridge rollouts``: how far they are, and what to do with one that waits or was interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli.options import example, output_option, yes_option
from trackbridge.cli.output import Output
from trackbridge.cli.plans import Teller
from trackbridge.cli.rollout_options import RolloutTeller, ended, figures_text

if TYPE_CHECKING:
    from trackbridge.domain.rollouts import Rollout
    from trackbridge.operations.model_source import ModelSource
    from trackbridge.operations.opening import Opened
    from trackbridge.operations.rollout import RolloutLedger

_TARGET = click.option("--target", metavar="TARGET", help="Where it goes on, if an endpoint has several.")


@click.group(
    epilog=example("bridge rollouts list", "bridge rollouts show wine", "bridge rollouts resume wine.3")
)
def rollouts() -> None:
    """See rollouts; go on with one, or end it.

    NAME is a rollout, such as wine.3, or an endpoint: its last one. bridge deploy --canary begins one.
    """


@rollouts.command("list", epilog=example("bridge rollouts list", "bridge rollouts list --target prod --json"))
@_TARGET
@output_option
def list_(output: Output, target: str | None) -> None:
    """List the rollouts of this project, the newest first."""
    from trackbridge.api.display import format_time

    found = _ledger().rollouts(target=_uri_of(target))
    for rollout in found:
        output.event("rollout", _fields(rollout))
    rows = [
        (
            rollout.name,
            rollout.spec.model,
            rollout.status,
            f"{rollout.percent} %",
            rollout.target,
            format_time(rollout.creation_time),
            rollout.user,
            rollout.reason or rollout.waits_for,
        )
        for rollout in found
    ]
    if rows:
        columns = ("NAME", "MODEL", "STATE", "STEP", "TARGET", "BEGUN (UTC)", "BY", "WHY")
        output.table(columns, rows, cell_chars_max=120)
    else:
        output.note("there are no rollouts; begin one: bridge deploy MODEL --endpoint NAME --canary 5,25,100")
    output.summary({"rollouts": len(found)})


@rollouts.command(epilog=example("bridge rollouts show wine", "bridge rollouts show wine.3 --json"))
@click.argument("name")
@_TARGET
@output_option
def show(output: Output, name: str, target: str | None) -> None:
    """Show a rollout: its steps and guards, its last figures, what it has done."""
    from trackbridge.api.display import format_time

    ledger = _ledger()
    rollout = ledger.find(name, _uri_of(target))
    output.show(f"{rollout.name} is {rollout.status} at {rollout.percent} %", colour="cyan")
    lines = (
        ("endpoint", f"{rollout.endpoint} at {rollout.target}"),
        ("model", f"{rollout.spec.model} as {rollout.spec.deployment}"),
        ("steps", rollout.rollout.text),
        ("now", figures_text(rollout.figures)),
        (rollout.stable, figures_text(rollout.stable_figures) if rollout.stable else ""),
        ("drift", "" if rollout.drift is None else f"{rollout.drift:.3f}"),
        ("because", rollout.reason),
        ("waits", rollout.waits_for),
    )
    for label, text in lines:
        if text:
            output.show(f"  {label:<9} {text}")
    for problem in rollout.problems:
        output.show(f"  problem   {problem}", colour="yellow")
    history = ledger.history(rollout.name)
    rows = [(format_time(item.time), item.told) for item in history]
    output.table(("TIME (UTC)", "WHAT"), rows, cell_chars_max=200)
    output.summary(
        {
            **_fields(rollout),
            "history": [{"time": item.time, "told": item.told} for item in history],
        }
    )


@rollouts.command(epilog=example("bridge rollouts resume wine.3", "bridge rollouts resume wine --accept-few"))
@click.argument("name")
@click.option(
    "--accept-few", is_flag=True, help="Take the step as passed although too few requests came to judge it."
)
@_TARGET
@output_option
def resume(output: Output, name: str, accept_few: bool, target: str | None) -> None:
    """Go on with a rollout that was interrupted, or waits."""
    from trackbridge.operations.preflight.trials import Trials
    from trackbridge.operations.rollout import resume_rollout
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.home import bridge_home

    ledger = _ledger()
    rollout = ledger.find(name, _uri_of(target))
    teller = RolloutTeller(output)
    with teller.interruptible(), Trials(bridge_home(Settings().around)) as trials:
        rollout = resume_rollout(
            rollout,
            _place(rollout),
            ledger=ledger,
            models=_models(rollout),
            accepts_few=accept_few,
            on_progress=teller.tell,
            on_change=Teller(output).tell,
            trials=trials,
        )
    output.summary(_fields(ended(output, rollout)))


@rollouts.command(
    epilog=example("bridge rollouts abort wine.3", "bridge rollouts abort wine --why 'not now'")
)
@click.argument("name")
@click.option("--why", default="", metavar="TEXT", help="Why; it is noted on the model's version.")
@_TARGET
@yes_option
@output_option
def abort(output: Output, name: str, why: str, target: str | None, is_agreed: bool) -> None:
    """Give the traffic back and end a rollout, also one that another process goes on with."""
    from trackbridge.operations.opening import user_name
    from trackbridge.operations.rollout import abort_rollout
    from trackbridge.resolve.config import Settings

    ledger = _ledger()
    rollout = ledger.find(name, _uri_of(target))
    shares = ", ".join(f"{other} {share} %" for other, share in rollout.traffic_before.items())
    back = f"the traffic goes back to {shares}" if shares else f"{rollout.spec.deployment} is taken away"
    output.confirm(f"End the rollout {rollout.name}? ({back})", is_agreed=is_agreed)
    teller = RolloutTeller(output)
    with teller.interruptible():
        rollout = abort_rollout(
            rollout,
            _place(rollout),
            ledger=ledger,
            models=_models(rollout),
            user=user_name(Settings()),
            why=why,
            on_progress=teller.tell,
            on_change=Teller(output).tell,
        )
    for problem in rollout.problems:
        output.warn(problem)
    output.show(f"{rollout.name} is {rollout.status}: {rollout.reason or rollout.waits_for}")
    output.summary(_fields(rollout))


def _ledger() -> RolloutLedger:
    from trackbridge.operations.rollout import open_ledger
    from trackbridge.resolve.config import Settings

    return open_ledger(Settings())


def _uri_of(target: str | None) -> str | None:
    """Return the URI that a target has in the ledger."""
    from trackbridge.operations.opening import find_place
    from trackbridge.resolve.config import Settings

    return None if target is None else find_place(target, settings=Settings()).uri.text


def _place(rollout: Rollout) -> Opened:
    from trackbridge.operations.opening import open_place

    return open_place(rollout.target)


def _models(rollout: Rollout) -> ModelSource:
    from trackbridge.operations.model_source import open_models
    from trackbridge.resolve.config import Settings

    return open_models(
        rollout.models_uri or rollout.target, registry_uri=rollout.registry_uri or None, settings=Settings()
    )


def _fields(rollout: Rollout) -> dict[str, Any]:
    from trackbridge.operations.rollout import fields_of

    return {
        **fields_of(rollout),
        "target": rollout.target,
        "steps": list(rollout.rollout.steps),
        "bake_s": rollout.rollout.bake_s,
        "guards": [guard.text for guard in rollout.rollout.guards],
        "user": rollout.user,
        "creation_time": rollout.creation_time,
        "update_time": rollout.update_time,
        "figures": rollout.figures,
        "stable_figures": rollout.stable_figures,
        "drift": rollout.drift,
        "problems": list(rollout.problems),
    }
