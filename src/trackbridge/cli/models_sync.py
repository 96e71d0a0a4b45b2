"""``bridge models sync``, ``diff`` and ``where``: registries compared, and kept in step."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from trackbridge.cli import completions
from trackbridge.cli.durations import DURATION
from trackbridge.cli.near_names import meant_anywhere
from trackbridge.cli.options import example, open_client, output_option, yes_option
from trackbridge.cli.output import Output, counted
from trackbridge.cli.selections import preflight_option

if TYPE_CHECKING:
    from trackbridge.domain.plans import Change, Plan
    from trackbridge.operations.migrate.migration import Migration
    from trackbridge.operations.migrate.mirror import MirrorPlan, MirrorResult
    from trackbridge.operations.migrate.mirror_plans import MirrorAsked
    from trackbridge.operations.model_matrix import Cell

EXIT_DIFFERENCES = 4
EXIT_PARTLY = 3
POLICIES = ("fail", "newer", "source", "target", "keep-both")
DIGEST_DIGITS = 12
KINDS = ("model", "version", "run")
COLUMNS = ("PLACE", "VERSION", "DIGEST", "LABELS", "APPROVAL", "DEPLOYED", "FIRST REGISTERED AS")


@click.command(
    epilog=example(
        "bridge models sync azureml: sagemaker: --plan",
        "bridge models sync azureml: sagemaker: wine --two-way --yes",
        "bridge models sync dev prod --two-way --conflict newer --watch 5m --yes",
    )
)
@click.argument("source", metavar="A", shell_complete=completions.uris)
@click.argument("target", metavar="B", shell_complete=completions.uris)
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@click.option("--two-way", is_flag=True, help="Carry over what was changed at B to A, too.")
@click.option(
    "--conflict",
    type=click.Choice(POLICIES),
    default="fail",
    show_default=True,
    help="What wins where both have changed the same since they agreed last.",
)
@click.option("--plan", "only_plan", is_flag=True, help="Show the plan, and change nothing.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Save the plan for bridge apply, and change nothing.",
)
@click.option("--detailed-exitcode", is_flag=True, help="With --plan: end with 4 where they differ.")
@click.option("--watch", type=DURATION, metavar="TIME", help="Again and again, so long apart; needs --yes.")
@yes_option
@preflight_option
@output_option
def sync(
    output: Output, source: str, target: str, names: tuple[str, ...], watch: float | None, **options: Any
) -> None:
    """Keep the registered models of B in step with those of A, or both with each other.

    Versions come along with their files and the runs that made them. Where both sides have changed the same
    field, it is shown with both values and the last that was agreed on, and nothing is changed, unless
    --conflict says which wins.
    """
    from trackbridge.operations.migrate.migration import Migration

    asked = _asked(names, options)
    if watch is not None and not options["is_agreed"]:
        raise click.UsageError("--watch cannot ask each time; add --yes")
    if watch is not None and (options["only_plan"] or options["out"] is not None):
        raise click.UsageError("--watch applies what it plans; leave --plan and --out out")
    if watch is not None:
        _watch(output, (source, target), asked, watch)
    _tell_start(output)
    with Migration(source, target) as migration:
        output.end(_once(output, migration, asked, options))


def _tell_start(output: Output) -> None:
    """Say on a terminal what takes seconds before there is a plan to show."""
    if sys.stderr.isatty():
        output.note("comparing the two registries ...")


def _asked(names: tuple[str, ...], options: dict[str, Any]) -> MirrorAsked:
    from trackbridge.operations.migrate.mirror_plans import MirrorAsked

    return MirrorAsked(
        models=names,
        two_way=options["two_way"],
        policy=options["conflict"],
        preflight=options["preflight"],
    )


def _watch(output: Output, places: tuple[str, str], asked: MirrorAsked, interval_s: float) -> NoReturn:
    """Do it again and again until it is interrupted; what goes wrong once is told, and tried again.

    Both sides are opened anew each time: nothing is remembered of them, their credentials may be others.
    """
    from trackbridge.cli.failures import error_fields
    from trackbridge.errors import BridgeError, ConfigError
    from trackbridge.operations.migrate.migration import Migration

    pause = threading.Event()
    while True:
        try:
            with Migration(*places) as migration:
                _once(output, migration, asked, {"is_agreed": True})
        except ConfigError:  # that does not pass by itself
            raise
        except BridgeError as error:
            output.warn(f"{error}; {error.hint}" if error.hint else str(error))
            output.event("trouble", error_fields(error))
        pause.wait(interval_s)


def _once(output: Output, migration: Migration, asked: MirrorAsked, options: dict[str, Any]) -> int:
    """Plan, show, ask and apply; return the exit code."""
    plan = migration.plan_mirror(asked.models, two_way=asked.two_way, policy=asked.policy)
    _show_plan(output, plan)
    agree = not plan.changes_something and not plan.clashes
    out: Path | None = options.get("out")
    if out is not None:
        migration.save_mirror(plan, asked, out)
        output.note(f"saved; apply it with: bridge apply {out}")
    if options.get("only_plan") or out is not None or agree:
        if agree:
            output.show("both agree")
        file = {"file": str(out)} if out is not None else {}
        output.summary({**_counts(plan), "applied": False, "agree": agree, **file})
        return EXIT_DIFFERENCES if options.get("detailed_exitcode") and not agree else 0
    if not plan.clashes:
        output.confirm("Apply this plan?", is_agreed=options["is_agreed"])
    return _apply(output, migration, plan, preflight=asked.preflight)


def apply_saved(output: Output, saved: Plan, *, is_agreed: bool) -> None:
    """Apply a saved plan, or refuse it, and end the command."""
    from trackbridge.operations.migrate.migration import Migration
    from trackbridge.operations.migrate.mirror_plans import asked_of_saved, refuse_stale

    source, target, asked = asked_of_saved(saved)
    _tell_start(output)
    with Migration(source, target) as migration:
        plan = migration.plan_mirror(asked.models, two_way=asked.two_way, policy=asked.policy)
        refuse_stale(saved, plan)
        _show_plan(output, plan)
        if not plan.changes_something:
            output.show("both agree")
            output.summary({**_counts(plan), "applied": False, "agree": True})
            return
        output.confirm("Apply this plan?", is_agreed=is_agreed)
        output.end(_apply(output, migration, plan, preflight=asked.preflight))


def _counts(plan: MirrorPlan) -> dict[str, int]:
    runs = {"runs_to_copy": plan.runs_to_copy, "runs_there": plan.runs_there}
    return {"edits": len(plan.edits), "conflicts": len(plan.clashes), **runs}


def _apply(output: Output, migration: Migration, plan: MirrorPlan, *, preflight: bool) -> int:
    """Apply a plan, tell what became of it, and return the exit code."""
    from trackbridge.cli.migration_plans import Looks

    looks = Looks(output)
    result = migration.apply_mirror(plan, preflight=preflight, on_preflight=looks)
    looks.end()
    _show_result(output, result, runs_there=plan.runs_there)
    output.summary(
        {
            **_counts(plan),
            "applied": True,
            "complete": result.is_complete,
            "done": result.done,
            "copied": result.copied,
            "runs_copied": result.runs_copied,
            "skipped": [f"{edit.subject} {edit.what}" for edit in result.skipped],
            "failed": [list(item) for item in result.failed],
            "remaining": list(result.remaining),
        }
    )
    return 0 if result.is_complete else EXIT_PARTLY


def _show_plan(output: Output, plan: MirrorPlan) -> None:
    from trackbridge.cli.migration_plans import show_losses
    from trackbridge.cli.plans import SIGNS
    from trackbridge.domain.plan_texts import field_lines
    from trackbridge.operations.migrate.mirror import shown_value

    _show_sums(output, plan)
    for copies in (plan.forward, plan.backward):
        if copies is not None:
            show_losses(output, copies)
    for side, change in plan.changes():
        if change.action.value == "keep":
            continue
        sign, colour = SIGNS[change.action.value]
        output.show(f"  {sign} {change.subject} at the {side}", colour=colour)
        fields = {"side": side, "action": change.action.value, "subject": change.subject}
        output.event("planned", {**fields, "before": change.before, "after": change.after})
        if change.action.value == "update":
            for line in field_lines(change):
                output.show(f"      {line}")
    for clash in plan.clashes:
        output.show(f"  ! {clash.subject}: {clash.what} was changed on both sides", colour="red")
        held = (("agreed on", clash.base), ("source", clash.source), ("target", clash.target))
        values = {label: shown_value(clash.what, value) for label, value in held}
        for label, value in values.items():
            output.show(f"      {label}: {'(none)' if value is None else value}")
        output.event("conflict", {"subject": clash.subject, "what": clash.what, **values})
    for note in plan.notes:
        output.note(f"note: {note}")


def _show_sums(output: Output, plan: MirrorPlan) -> None:
    """Show how much there is to do on each side."""
    rows = []
    for side in ("target", "source"):
        copies = plan.forward if side == "target" else plan.backward
        planned = copies.changes if copies is not None else ()
        counts = [
            _shown_count([change for change in planned if change.subject.startswith(f"{kind} ")])
            for kind in KINDS
        ]
        fields = sum(edit.side == side for edit in plan.edits)
        if any(counts) or fields:
            rows.append((f"at the {side}", *counts, f"{fields:,}" if fields else ""))
    if rows:
        output.table(("", *(f"{kind}s to copy" for kind in KINDS), "fields to set"), rows)


def _shown_count(changes: Sequence[Change]) -> str:
    """Return how many items are to be copied, and how many are there already; "" where there is none."""
    there = sum(change.action.value == "keep" for change in changes)
    count = f"{len(changes) - there:,}" if changes else ""
    return f"{count} ({there:,} {'is' if there == 1 else 'are'} there)" if there else count


def _show_result(output: Output, result: MirrorResult, *, runs_there: int) -> None:
    there = f" ({runs_there:,} {'was' if runs_there == 1 else 'were'} there)" if runs_there else ""
    output.show(
        f"{counted(result.copied, 'version')} copied, {counted(result.runs_copied, 'run')} copied{there}, "
        f"{counted(result.done, 'field')} set"
    )
    for edit in result.skipped:
        output.show(
            f"  left   {edit.subject}: {edit.what} was changed meanwhile at the {edit.side}", colour="red"
        )
    for what, error in result.failed:
        output.show(f"  failed {what}: {error}", colour="red")
    for line in result.remaining:
        output.show(f"  remains {line}", colour="red")


@click.command(
    epilog=example("bridge models diff azureml: sagemaker:", "bridge models diff dev prod wine --json")
)
@click.argument("source", metavar="A", shell_complete=completions.uris)
@click.argument("target", metavar="B", shell_complete=completions.uris)
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@output_option
def diff(output: Output, source: str, target: str, names: tuple[str, ...]) -> None:
    """Compare the registered models of A and B, versions by where they were first registered.

    The symbols are those of bridge check. Ends with 4 when anything differs.
    """
    from trackbridge.cli.check import show_compared
    from trackbridge.domain.migration import Selection
    from trackbridge.operations.migrate.migration import Migration

    with Migration(source, target) as migration:
        items = migration.check(Selection(models=names or ("*",)))
        show_compared(output, items, shows_all=False)


@click.command(epilog=example("bridge models where wine", "bridge models where --json"))
@click.argument("name", required=False, metavar="[MODEL]")
@output_option
def where(output: Output, name: str | None) -> None:
    """Show which version of a model is where: here and at every remote, and what is deployed of it.

    Versions with the same digest hold the same files, whatever their numbers. Without MODEL, all models
    by place, each compared with the same here.
    """
    if name is None:
        show_matrix(output)
        return
    from trackbridge.operations.migrate.whereabouts import Unreached, whereabouts

    rows: list[tuple[str, ...]] = []
    unreached: list[str] = []
    unknown: list[str] = []
    for found in whereabouts(name):
        output.event("unreached" if isinstance(found, Unreached) else "version", {"found": found})
        if isinstance(found, Unreached):
            unreached.append(found.place)
            output.warn(f"{found.place} was not asked: {found.error}")
            continue
        if found.trouble and found.place not in unknown:
            unknown.append(found.place)
            output.warn(f"what is deployed at {found.place} is not known: {found.trouble}")
        version = found.version
        labels = ", ".join((*version.aliases, *((version.stage,) if version.stage != "None" else ())))
        digest = (version.digest or "").removeprefix("sha256:")[:DIGEST_DIGITS]
        deployed = ", ".join(found.deployed)
        rows.append(
            (found.place, version.version, digest, labels, version.approval.value, deployed, found.origin)
        )
    if rows:
        output.table(COLUMNS, rows)
    else:
        meant = meant_anywhere(name)
        output.show(f"there is no model {name!r} at any place that is known here{meant}")
    output.summary({"versions": len(rows), "unreached": unreached, "deployments_unknown": unknown})
    output.end(EXIT_PARTLY if unreached or unknown else 0)


def show_matrix(output: Output) -> None:
    """Show all models by place, each compared with the same at the first place."""
    from trackbridge.operations.asking import Asking
    from trackbridge.operations.migrate.whereabouts import CALL_S_MAX
    from trackbridge.operations.model_matrix import ask_places, places_with_models
    from trackbridge.resolve.config import Settings

    settings = Settings()
    own = open_client(None).models.uri
    found = ask_places(places_with_models(own, settings), settings, Asking(limit_s=CALL_S_MAX))
    for row in found.rows:
        output.event("model", {"name": row.name, "places": row.cells})
    for place, trouble, hint in found.troubles:
        output.event("unreached", {"place": place, "trouble": trouble, "hint": hint})
        output.warn(f"{place} was not asked: {trouble}")
    for place in found.cut:
        output.note(f"{place} has more models than are shown")
    if found.rows:
        output.table(("MODEL", *found.places), [(row.name, *map(_cell, row.cells)) for row in found.rows])
    else:
        output.show("there are no models at any place that answered")
    unreached = [place for place, _, _ in found.troubles]
    output.summary({"models": len(found.rows), "places": found.places, "unreached": unreached})
    output.end(EXIT_PARTLY if unreached else 0)


def _cell(cell: Cell) -> str:
    held = f", newest {cell.newest} of {cell.versions} {cell.digest}" if cell.versions else ""
    missing = f", {cell.missing} missing" if cell.missing and cell.versions else ""
    extra = f", {cell.extra} only there" if cell.extra else ""
    labels = f" {', '.join(cell.labels)}" if cell.labels else ""
    return f"{cell.state.value}{held}{labels}{missing}{extra}"
