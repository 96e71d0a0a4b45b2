"""``bridge deploy --canary``: the options of a guarded rollout, and how one is carried out and told."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackbridge.cli.durations import DURATION
from trackbridge.cli.output import Output
from trackbridge.cli.plans import Teller, named_target

if TYPE_CHECKING:
    from trackbridge.domain.deployments import EndpointMetrics
    from trackbridge.domain.plans import Plan
    from trackbridge.domain.rollouts import Rollout
    from trackbridge.operations.deployment_requests import DeploymentRequest
    from trackbridge.operations.opening import Opened
    from trackbridge.operations.rollout import Told

Command = TypeVar("Command", bound=Callable[..., Any])


def rollout_options(command: Command) -> Command:
    """Add ``--canary --bake --bake-max --guard``, which become part of the ``request``."""

    @functools.wraps(command)
    def with_rollout(
        *args: Any,
        request: DeploymentRequest,
        canary: str | None,
        bake: float | None,
        bake_max: float | None,
        guards: tuple[str, ...],
        **others: Any,
    ) -> Any:
        from trackbridge.domain.rollouts import parse_steps
        from trackbridge.operations.deployment_requests import DeploymentRequest

        steps = parse_steps(canary) if canary else ()
        said = DeploymentRequest(canary=steps, bake_s=bake, bake_s_max=bake_max, guards=guards)
        return command(*args, request=request.merged(said), **others)

    decorators = (
        click.option(
            "--canary",
            metavar="N,N,100",
            help="Roll out in these steps, each a share of the live requests in percent.",
        ),
        click.option(
            "--bake", type=DURATION, metavar="TIME", help="How long each step is watched; by default 10m."
        ),
        click.option(
            "--bake-max",
            type=DURATION,
            metavar="TIME",
            help="How long with too few requests; by default three times as long.",
        ),
        click.option(
            "--guard",
            "guards",
            multiple=True,
            metavar="GUARD",
            help="What has to hold meanwhile, else it goes back: 'error_rate<1%', 'p95_ms<200', "
            "'p95_ms<1.5x' (of the version before), 'drift<0.2', 'requests>=50'; repeatable.",
        ),
    )
    wrapped: Any = with_rollout
    for decorator in reversed(decorators):
        wrapped = decorator(wrapped)
    return wrapped  # type: ignore[no-any-return]


def roll_out(output: Output, plan: Plan, place: Opened, *, why: str) -> Rollout:
    """Carry out the plan of a rollout, tell it, and return it once its deployment has all requests.

    Raises:
        BridgeError: It went back, waits for a person, or cannot go on now.
    """
    from trackbridge.operations.model_source import open_models
    from trackbridge.operations.opening import user_name
    from trackbridge.operations.preflight.trials import Trials
    from trackbridge.operations.rollout import open_ledger, run_plan
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.home import bridge_home

    settings = Settings()
    models = open_models(
        plan.parameters.get("models", place.uri),
        registry_uri=plan.parameters.get("registry"),
        settings=settings,
    )
    teller = RolloutTeller(output)
    with teller.interruptible(), Trials(bridge_home(settings.around)) as trials:
        rollout = run_plan(
            plan,
            place,
            ledger=open_ledger(settings),
            models=models,
            user=user_name(settings),
            why=why,
            on_progress=teller.tell,
            on_change=Teller(output).tell,
            trials=trials,
        )
    return ended(output, rollout)


def ended(output: Output, rollout: Rollout) -> Rollout:
    """Tell how a rollout ended, and return it if its deployment has all requests.

    Raises:
        Rejected: It went back, or was ended.
        LimitReached: It waits for a person.
    """
    from trackbridge.operations.rollout import fields_of, raise_unless_promoted

    for problem in rollout.problems:
        output.warn(problem)
    output.event("rollout_ended", {**fields_of(rollout), "problems": list(rollout.problems)})
    raise_unless_promoted(rollout)
    name, endpoint = rollout.spec.deployment, rollout.endpoint
    output.show(f"{rollout.name} is promoted: {name} has all requests of {endpoint}", colour="green")
    named = named_target(rollout.target)
    for other in rollout.traffic_before:
        output.show(
            f"  {other} is still there without traffic: bridge endpoints remove {endpoint} {other}{named}"
        )
    return rollout


class RolloutTeller:
    """Tells what a rollout does: a line for each transition; figures as JSON, or on the terminal's last."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._name = ""
        self._is_terminal = _is_terminal()
        self._has_line = False

    def tell(self, rollout: Rollout, told: Told) -> None:
        """Tell one thing."""
        from trackbridge.operations.rollout import fields_of

        self._name = rollout.name
        fields = {**fields_of(rollout), "text": told.text, "figures": rollout.figures}
        self._output.event(told.kind, fields)
        if told.kind == "transition":
            self._clear()
            self._output.note(f"{time.strftime('%H:%M:%S')}  {rollout.name}  {told.text}")
        elif self._is_terminal:
            line = f"  {rollout.percent} %  {figures_text(rollout.figures)}  {told.text}"
            click.echo(f"\r\x1b[2K{_printable(line)[:100]}", err=True, nl=False)
            self._has_line = True

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Say at a Ctrl-C how it is gone on with."""
        try:
            yield
        except KeyboardInterrupt:
            self._clear()
            if self._name:
                self._output.note(
                    f"interrupted; what began goes on. Go on: bridge rollouts resume {self._name}; "
                    f"go back: bridge rollouts abort {self._name}"
                )
            raise
        finally:
            self._clear()

    def _clear(self) -> None:
        if self._has_line:
            click.echo("\r\x1b[2K", err=True, nl=False)
            self._has_line = False


def figures_text(figures: EndpointMetrics | None) -> str:
    """Return the figures of a deployment in a few words."""
    if figures is None or not figures.requests:
        return "no requests yet"
    text = f"{figures.requests:,} requests, {figures.errors / figures.requests:.2%} errors"
    p95 = figures.latency_p95_ms
    return text if p95 is None else f"{text}, p95 {p95:,.1f} ms"


def _is_terminal() -> bool:
    import os
    import sys

    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _printable(text: str) -> str:
    from trackbridge.api.display import printable

    return printable(text)
