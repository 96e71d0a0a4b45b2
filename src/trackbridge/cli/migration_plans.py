"""How a migration is shown, told while it runs, and summed up."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli.output import Output, counted
from trackbridge.cli.plans import SIGNS
from trackbridge.cli.sizes import shown_size
from trackbridge.cli.terminal import Bar, draws

if TYPE_CHECKING:
    from trackbridge.domain.migration import Outcome
    from trackbridge.domain.plans import Change, Plan
    from trackbridge.operations.migrate.migration import Migration
    from trackbridge.operations.migrate.partitions import Engine
    from trackbridge.operations.migrate.preflight import Report
    from trackbridge.operations.migrate.report import Account

DETAILS_MAX = 40
"""Changes that are shown one by one; with --json every change is an object."""
REMAINING_MAX = 20
ACTIONS = ("create", "update", "delete", "keep")
KINDS = ("experiment", "run", "logged_model", "trace", "model", "version")


def show_migration(output: Output, plan: Plan) -> None:
    """Show a plan: how many of what, what the target does not hold, then the changes."""
    _show_counts(output, plan)
    show_losses(output, plan)
    changes = [change for change in plan.changes if change.action.value != "keep"]
    for change in changes[:DETAILS_MAX]:
        sign, colour = SIGNS[change.action.value]
        output.show(f"  {sign} {change.subject}{_name_of(change)}", colour=colour)
        if change.action.value != "create":
            output.show(f"      because {change.why}")
    if len(changes) > DETAILS_MAX:
        output.show(f"  … and {len(changes) - DETAILS_MAX:,} more; --json shows all of them")
    for change in changes:
        fields = {"action": change.action.value, "subject": change.subject, "why": change.why}
        output.event("planned", {**fields, "before": change.before, "after": change.after})
    for note in plan.notes:
        output.note(f"note: {note}")


def _show_counts(output: Output, plan: Plan) -> None:
    counts = Counter((change.subject.partition(" ")[0], change.action.value) for change in plan.changes)
    source, target = plan.parameters.get("source"), plan.parameters.get("target")
    output.show(f"Plan: {source} -> {target}")
    rows = [
        (
            f"{kind}s".replace("_", " "),
            *(f"{counts[kind, action]:,}" if counts[kind, action] else "" for action in ACTIONS),
        )
        for kind in KINDS
        if any(counts[kind, action] for action in ACTIONS)
    ]
    if rows:
        output.table(("", *ACTIONS), rows)
    else:
        output.show("the source has nothing of what was named")


def show_losses(output: Output, plan: Plan) -> None:
    """Show what the target does not hold as it is, added up."""
    from trackbridge.operations.migrate.planning import losses_of
    from trackbridge.operations.migrate.report import summary_of_losses

    losses = [loss for change in plan.changes for loss in losses_of(change)]
    if not losses:
        return
    output.show("The target does not hold as it is:")
    rows = [
        (what, treatment, f"{records:,}", f"{items:,}", sample)
        for what, treatment, records, items, sample in summary_of_losses(losses)
    ]
    output.table(("what", "what is done", "records", "items", "for example"), rows)


def _name_of(change: Change) -> str:
    name = (change.after or {}).get("name", "")
    return f" ({name})" if change.subject.startswith("run ") and name else ""


def plan_counts(plan: Plan) -> dict[str, Any]:
    """Return what a summary says of a plan."""
    from trackbridge.operations.migrate.planning import losses_of

    counts = Counter((change.subject.partition(" ")[0], change.action.value) for change in plan.changes)
    planned: dict[str, dict[str, int]] = {}
    for (kind, action), count in sorted(counts.items()):
        planned.setdefault(kind, {})[action] = count
    losses = Counter(loss.treatment.value for change in plan.changes for loss in losses_of(change))
    return {
        "operation": plan.operation,
        "source": plan.parameters.get("source"),
        "target": plan.parameters.get("target"),
        "planned": planned,
        "planned_losses": dict(losses),
    }


# Applying.


class Looks:
    """Tells what pre-flights have found: each that was made at once, those that could not be as a number."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._unchecked: list[Report] = []

    def __call__(self, report: Report) -> None:
        """Tell of one version."""
        fields = {"subject": report.subject, "verdict": report.verdict.value, "detail": report.detail}
        self._output.event("preflight", fields)
        if report.verdict.value == "unchecked":
            self._unchecked.append(report)
        else:
            self._output.note(str(report))

    def end(self) -> None:
        """Tell of the rest."""
        if self._unchecked:
            told = counted(len(self._unchecked), "version")
            self._output.note(f"{told} promoted without a pre-flight, for example {self._unchecked[0]}")


@contextlib.contextmanager
def opened_engine(
    output: Output, migration: Migration, options: dict[str, Any], *, is_needed: bool = True
) -> Iterator[Engine | None]:
    """Give what copies the runs, begun and checked before anything is planned; None are threads."""
    if options["engine"] != "spark":
        if options["spark_master"] is not None:
            raise click.UsageError("--spark-master goes with --engine spark")
        yield None
        return
    if not is_needed:
        yield None
        return
    with migration.spark_engine(options["spark_master"]) as engine:
        output.note(engine.description)
        yield engine


def apply_and_tell(
    output: Output, plan: Plan, migration: Migration, *, strict: bool, engine: Engine | None = None
) -> None:
    """Apply a plan, tell every item, sum up, and end the command with the code of what remains."""
    from trackbridge.cli.failures import EXIT_INTERRUPTED
    from trackbridge.operations.migrate.applying import Applying

    total = sum(change.action.value != "keep" for change in plan.changes)
    looks = Looks(output)
    how, is_interrupted = Applying(strict=strict, on_preflight=looks), False
    with _telling(output, total) as (on_outcome, on_bytes):
        how.on_outcome, how.on_bytes = on_outcome, on_bytes
        how.engine = engine
        try:
            account = migration.apply(plan, how)
        except KeyboardInterrupt:
            is_interrupted = True
            how.account.stop("interrupted", EXIT_INTERRUPTED)
            account = how.account
    looks.end()
    show_account(output, plan, account)
    if is_interrupted:
        raise KeyboardInterrupt
    output.end(account.exit_code)


def show_account(output: Output, plan: Plan, account: Account) -> None:
    """Show what was done, what was not held as it is, and what remains."""
    target = account.target
    done = account.states
    output.show(
        f"{counted(target.runs, 'run')}, {target.points:,} points, {counted(target.files, 'file')} "
        f"({shown_size(target.bytes)}), {counted(target.versions, 'model version')}"
    )
    if target.logged_models or target.traces:
        output.show(f"{counted(target.logged_models, 'logged model')}, {counted(target.traces, 'trace')}")
    if account.losses:
        lossless = sum(loss.treatment.is_lossless for loss in account.losses)
        lost = len(account.losses) - lossless
        output.show(
            f"not held as they are: {lossless:,} items without loss, {lost:,} with; --json lists them"
        )
    _show_remaining(output, account)
    unexplained = account.unexplained()
    output.summary(
        {
            **plan_counts(plan),
            "applied": True,
            "complete": account.is_complete,
            "done": {state.value: count for state, count in done.items() if count},
            "account": {**account.fields(), "unexplained": unexplained},
        }
    )


def _show_remaining(output: Output, account: Account) -> None:
    """Show what was not done: first what went wrong, then what was not begun, and why."""
    failed = [outcome for outcome in account.remaining if outcome.state.value != "left"]
    for outcome in failed[:REMAINING_MAX]:
        output.show(f"  {outcome.state.value:6} {outcome.subject}: {outcome.error}", colour="red")
    if len(failed) > REMAINING_MAX:
        output.show(f"  … and {len(failed) - REMAINING_MAX:,} more; --json lists them")
    left = len(account.remaining) - len(failed)
    if left:
        output.show(f"  {counted(left, 'item')} left: {account.stopped}", colour="red")
    if not account.is_complete:
        output.note("what remains is gone on with by the same command")
    if account.unexplained():
        output.warn(f"the two sides' counts differ beyond what is listed: {account.unexplained()}")


@contextlib.contextmanager
def _telling(output: Output, total: int) -> Iterator[tuple[Callable[[Outcome], None], Callable[[int], None]]]:
    """Give what tells an item and what tells bytes: objects with ``--json``, a bar on a terminal."""
    lock = threading.Lock()
    with _bar(total) as advance:

        def on_outcome(outcome: Outcome) -> None:
            with lock:
                advance(1, 0, outcome.subject.startswith("run "))
                fields: dict[str, Any] = {"subject": outcome.subject, "action": outcome.action}
                if outcome.error:
                    fields["error"] = outcome.error
                output.event("item", {**fields, "state": outcome.state.value})

        def on_bytes(count: int) -> None:
            with lock:
                advance(0, count, False)

        yield on_outcome, on_bytes


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int, int, bool], None]]:
    """Show a bar on stderr with items, runs, bytes, their rate and the time left; none off a terminal."""
    if not draws(sys.stderr) or total == 0:
        yield lambda items, count, is_run: None
        return
    started_s = time.monotonic()
    sums = [0, 0]
    bar = Bar(sys.stderr, total)
    bar.show(0, label="looking")  # both sides are compared with the plan first

    def advance(items: int, count: int, is_run: bool) -> None:
        sums[0] += is_run
        sums[1] += count
        elapsed_s = max(time.monotonic() - started_s, 0.001)
        rate = shown_size(sums[1] / elapsed_s)
        about = f"{sums[0]:,} runs  {shown_size(sums[1])}  {rate}/s  {sums[0] / elapsed_s:.1f} runs/s"
        done = bar.done + items
        bar.show(done, label="checking" if done == total else "copying", about=about)

    try:
        yield advance
    finally:
        bar.close()
