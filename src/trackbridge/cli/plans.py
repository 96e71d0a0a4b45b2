"""How a plan is shown, agreed to and applied; the same for every operation."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackbridge.cli.failures import EXIT_PARTLY, error_fields
from trackbridge.cli.job_plans import show_findings
from trackbridge.cli.output import Output, counted
from trackbridge.domain.plan_texts import field_lines, summary_line

if TYPE_CHECKING:
    from trackbridge.domain.plans import Change, Plan
    from trackbridge.operations.applying import Applied
    from trackbridge.operations.opening import Opened
    from trackbridge.ports.findings import Finding

EXIT_DIFFERENCES = 4
UNTOUCHED = "stopped before anything was changed"
SIGNS = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "replace": ("-/+", "yellow"),
    "delete": ("-", "red"),
    "keep": ("=", None),
}

Command = TypeVar("Command", bound=Callable[..., Any])


class PlanOptions:
    """What a user says about a plan: only show it, where to, and whether to ask."""

    def __init__(
        self, *, only_plan: bool, out: Path | None, detailed_exitcode: bool, is_agreed: bool, why: str
    ) -> None:
        self.only_plan = only_plan or out is not None
        self.out = out
        self.detailed_exitcode = detailed_exitcode
        self.is_agreed = is_agreed
        self.why = why


def plan_options(command: Command) -> Command:
    """Add ``--plan --out --detailed-exitcode --yes --why``, handed over as ``options``."""

    @functools.wraps(command)
    def with_options(
        *args: Any,
        only_plan: bool,
        out: Path | None,
        detailed_exitcode: bool,
        is_agreed: bool,
        why: str,
        **others: Any,
    ) -> Any:
        options = PlanOptions(
            only_plan=only_plan,
            out=out,
            detailed_exitcode=detailed_exitcode,
            is_agreed=is_agreed,
            why=why,
        )
        return command(*args, options=options, **others)

    decorators = (
        click.option("--plan", "only_plan", is_flag=True, help="Show the plan, and change nothing."),
        click.option(
            "--out",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Save the plan for bridge apply, and change nothing.",
        ),
        click.option(
            "--detailed-exitcode", is_flag=True, help="With --plan: end with 4 when there is something to do."
        ),
        click.option("--yes", "-y", "is_agreed", is_flag=True, help="Do not ask."),
        click.option("--why", default="", metavar="TEXT", help="Why, for the endpoint's history."),
    )
    wrapped: Any = with_options
    for decorator in reversed(decorators):
        wrapped = decorator(wrapped)
    return wrapped  # type: ignore[no-any-return]


# Showing.


def show_plan(output: Output, plan: Plan) -> None:
    """Show a plan: one line that counts, then each change with its sign, its fields and why."""
    output.show(f"Plan: {summary_line(plan)}")
    for change in plan.changes:
        _show_change(output, change)
        output.event("planned", _change_fields(change))
    for note in plan.notes:
        output.note(f"note: {note}")


def _show_change(output: Output, change: Change) -> None:
    sign, colour = SIGNS[change.action.value]
    output.show(f"  {sign} {change.subject}", colour=colour)
    for line in field_lines(change):
        output.show(f"      {line}")
    if change.why:
        output.show(f"      because {change.why}")


def _change_fields(change: Change) -> dict[str, Any]:
    return {
        "action": change.action.value,
        "subject": change.subject,
        "before": change.before,
        "after": change.after,
        "why": change.why,
    }


# Applying.


def carry_out(
    output: Output,
    plan: Plan,
    place: Opened,
    options: PlanOptions,
    *,
    question: str = "Apply this plan?",
    findings: tuple[Finding, ...] = (),
) -> Applied | None:
    """Show the plan of an endpoint, ask, apply and check it; None when there was nothing to apply.

    Ends the command when it is only to be shown, is not agreed to, or was applied in part only.

    Raises:
        BridgeError: Nothing could be applied, or the findings say that nothing can be.
    """
    if not is_agreed(output, plan, options, question=question, findings=findings):
        return None
    return apply_and_tell(output, plan, place, why=options.why)


def is_agreed(
    output: Output,
    plan: Plan,
    options: PlanOptions,
    *,
    question: str = "Apply this plan?",
    findings: tuple[Finding, ...] = (),
) -> bool:
    """Show the plan of an endpoint and ask; False when there is nothing to apply.

    Ends the command when it is only to be shown, or is not agreed to.

    Raises:
        BridgeError: The findings say that nothing can be applied.
    """
    from trackbridge.domain.events import DEPLOY_PLANNED
    from trackbridge.events import publish
    from trackbridge.operations.deployment_checks import refuse_errors

    show_plan(output, plan)
    # Of people, who see it in what is raised below, an error is not told twice.
    shown = [found for found in findings if output.as_json or found.severity.value != "error"]
    show_findings(output, shown)
    refuse_errors(findings, endpoint_of(plan))
    changes = [f"{change.action.value} {change.subject}" for change in plan.changes]
    publish(
        DEPLOY_PLANNED,
        subject=endpoint_of(plan),
        source=str(plan.parameters.get("target", "")),
        data={"operation": plan.operation, "changes": changes},
    )
    if options.only_plan:
        _end_shown(output, plan, options)
    if not plan.changes_something:
        output.show("everything is as wanted")
        return False
    with told_untouched(output):
        output.confirm(question, is_agreed=options.is_agreed)
    return True


@contextlib.contextmanager
def told_untouched(output: Output) -> Iterator[None]:
    """Say of a block that changes nothing, when Ctrl-C ends it, that nothing was changed."""
    try:
        yield
    except (click.Abort, KeyboardInterrupt):
        click.echo(err=True)  # the terminal has written ^C, or a question stands there
        output.note(UNTOUCHED)
        raise


def _end_shown(output: Output, plan: Plan, options: PlanOptions) -> None:
    from trackbridge.operations.plans import save_plan

    if options.out is not None:
        save_plan(plan, options.out)
        output.note(f"saved; apply it with: bridge apply {options.out}")
    output.summary({**plan_fields(plan), "applied": False, "file": str(options.out) if options.out else None})
    output.end(EXIT_DIFFERENCES if options.detailed_exitcode and plan.changes_something else 0)


def plan_fields(plan: Plan) -> dict[str, Any]:
    """Return what a summary says of a plan."""
    return {
        "operation": plan.operation,
        "changes": sum(change.action.value != "keep" for change in plan.changes),
        "notes": list(plan.notes),
    }


def apply_and_tell(output: Output, plan: Plan, place: Opened, *, why: str) -> Applied:
    """Apply a plan and tell each change; a part that was not applied ends the command with 3.

    Raises:
        BridgeError: Nothing of it could be applied.
    """
    teller = Teller(output)
    try:
        applied = _applied(output, plan, place, teller, why=why)
    except KeyboardInterrupt:
        teller.interrupted(plan)
        raise
    if applied.is_complete:
        return applied
    _tell_incomplete(output, plan, applied)
    raise AssertionError("unreachable: the command has ended")


def _applied(output: Output, plan: Plan, place: Opened, teller: Teller, *, why: str) -> Applied:
    from trackbridge.operations.applying import apply_plan
    from trackbridge.operations.model_source import open_models
    from trackbridge.operations.opening import user_name
    from trackbridge.operations.preflight.trials import Trials
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.home import bridge_home

    settings = Settings()
    models = open_models(
        plan.parameters.get("models", place.uri),
        registry_uri=plan.parameters.get("registry"),
        settings=settings,
    )
    with Trials(bridge_home(settings.around)) as trials:
        return apply_plan(
            plan,
            place,
            models=models,
            user=user_name(settings),
            why=why,
            on_progress=teller.tell,
            trials=trials,
            on_note=output.note,
        )


class Teller:
    """Tells what becomes of each change: a line each, which on a terminal counts the seconds."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._done = self._total = 0
        self._begun = ""
        self._started_s = 0.0

    def tell(self, number: int, total: int, change: Change, event: str) -> None:
        """Tell one step of the application."""
        self._total = total
        name = f"[{number}/{total}] {change.action.value} {change.subject}"
        if event == "started":
            self._started_s = time.monotonic()
            self._begun = f", in the middle of: {change.action.value} {change.subject}"
        if self._is_terminal:
            self._draw(name, event)
        elif event == "started":
            self._output.note(f"{name} ...")
        if event == "waiting":
            return
        if event == "done":
            self._done, self._begun = number, ""
        about = {"subject": change.subject, "action": change.action.value, "state": event}
        self._output.event("change", {"number": number, "of": total, **about})

    def _draw(self, name: str, event: str) -> None:
        from trackbridge.api.display import printable

        elapsed = f"{time.monotonic() - self._started_s:.0f} s"
        word = {"started": "...", "waiting": f"... {elapsed}"}.get(event, f"{event} in {elapsed}")
        click.echo(f"\r\x1b[2K{printable(name)} {word}", err=True, nl=event in ("done", "failed"))

    def interrupted(self, plan: Plan) -> None:
        """Tell how far it has got."""
        endpoint = endpoint_of(plan) + named_target(str(plan.parameters["target"]))
        if self._is_terminal:
            click.echo(err=True)
        if not (self._done or self._begun):
            self._output.note(UNTOUCHED)
            return
        for line in (
            f"interrupted with {self._done} of {counted(self._total, 'change')} done{self._begun}",
            f"what began goes on, and may cost money; see: bridge endpoints show {endpoint}",
            f"the same command goes on with the rest, bridge endpoints rollback {endpoint} goes back",
        ):
            self._output.note(line)


def _tell_incomplete(output: Output, plan: Plan, applied: Applied) -> None:
    done = len(applied.done)
    _tell_failure(output, applied)
    if applied.error is not None and applied.is_untouched:
        raise applied.error
    for change in applied.done:
        output.show(f"  done     {change.action.value} {change.subject}")
    if applied.failed is not None:
        output.show(f"  FAILED   {applied.failed.action.value} {applied.failed.subject}", colour="red")
    for change in applied.left:
        output.show(f"  not done {change.action.value} {change.subject}")
    for change in applied.differences:
        output.show(f"  differs  {change.subject}: {'; '.join(field_lines(change))}", colour="red")
    for problem in applied.problems:
        output.show(f"  problem  {problem}", colour="red")
    for found in applied.state.deployments if applied.state is not None else ():
        share = f"{found.status.value}, {found.traffic_percent} %"
        output.show(f"  stands   {found.deployment} ({found.model}): {share}")
    endpoint = endpoint_of(plan) + named_target(str(plan.parameters["target"]))
    if applied.error is not None:
        output.warn(str(applied.error))
    output.note(f"partly done; see how it stands: bridge endpoints show {endpoint}")
    output.note(f"go back with: bridge endpoints rollback {endpoint}")
    error = error_fields(applied.error) if applied.error is not None else None
    output.summary(
        {
            **plan_fields(plan),
            "applied": False,
            "done": done,
            "left": len(applied.left) + (applied.failed is not None),
            "differences": [_change_fields(change) for change in applied.differences],
            "problems": list(applied.problems),
            "removed": applied.removed,
            "error": error,
        }
    )
    output.end(EXIT_PARTLY)


def _tell_failure(output: Output, applied: Applied) -> None:
    """Tell what a failed deployment said last, and what of it was taken away again."""
    if applied.log_tail:
        output.note(f"the last that it logged:\n{applied.log_tail.rstrip()}")
    for subject in applied.removed:
        output.note(f"taken away again: {subject}")


def named_target(uri: str) -> str:
    """Return the option that names a target in a command to be typed, by its remote; none for ``local``."""
    import shlex

    from trackbridge.operations.opening import LOCAL, find_place, remote_uris
    from trackbridge.resolve.config import Settings

    settings = Settings()
    if uri == find_place(LOCAL, settings=settings).uri.text:
        return ""
    names = {place: name for name, place in reversed(remote_uris(settings).items())}
    return f" --target {shlex.quote(names.get(uri, uri))}"


def endpoint_of(plan: Plan) -> str:
    """Return the endpoint that a plan is of."""
    goal = plan.parameters.get("goal", {})
    return str(goal.get("endpoint") or goal.get("spec", {}).get("endpoint", ""))
