"""What ``bridge demo`` says: while it trains, and what came out."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.cli.demo_results import (
    OBJECTIVE,
    Result,
    best_of,
    call_us,
    failures,
    killed_of,
    result_record,
)
from trackbridge.cli.demo_sweep import VICTIM, Configuration, Training
from trackbridge.cli.output import Output
from trackbridge.cli.terminal import uses_colour

if TYPE_CHECKING:
    from trackbridge.api.client import Client

CURVE = "validation_loss"


def report_beginning(
    output: Output, home: Path, configurations: Sequence[Configuration], epochs: int
) -> None:
    """Say what will happen."""
    output.note(
        f"Training {len(configurations)} networks on 1,797 handwritten digits, {epochs} epochs each, "
        f"tracked in {home}. {VICTIM.name} will be killed half-way."
    )
    names = [configuration.name for configuration in configurations]
    output.event("began", {"home": str(home), "configurations": names, "epochs": epochs})


def progress_reporter(output: Output) -> Callable[[str, Training], None]:
    """Return what says that a training ``started``, was ``killed``, or ``finished``."""

    def report(event: str, training: Training) -> None:
        name, account = training.configuration.name, training.account
        if account is None:
            output.note(f"  {name:<14} started, process {training.process.pid}")
            output.event(event, {"name": name, "process_id": training.process.pid})
            return
        count = len(account.returned)
        how = "killed with SIGKILL" if event == "killed" else event
        output.note(f"  {name:<14} {how} after {count:,} logged points")
        output.event(event, {"name": name, "run_id": account.run_id, "points_returned": count})

    return report


def report_results(output: Output, client: Client, results: Sequence[Result], elapsed_s: float) -> None:
    """Say what the trainings came to: the proof, the comparison of the runs, what logging cost."""
    is_proven = not any(failure for result in results for failure in failures(result))
    points = sum(result.comparison.stored for result in results)
    for line in proof_lines(results):
        output.show(line, colour="green" if is_proven else "red")
    output.show()
    output.table(("RUN", "STATUS", "POINTS", "LOSS", "VALIDATION", "TEST", ""), _rows(results))
    output.show()
    if not output.as_json:
        output.show_raw(_curves(client, results))
    output.show()
    output.show(
        f"{points:,} points in {len(results)} runs; {call_us(results):.1f} µs for a call of log_metric "
        f"(median of all, measured in the trainings); {elapsed_s:.0f} s so far."
    )


def report_end(
    output: Output,
    home: Path,
    client: Client,
    results: Sequence[Result],
    served: Mapping[str, Any],
    elapsed_s: float,
) -> None:
    """Say how long it took and what to type next; the summary for programs."""
    output.show()
    output.show(f"{elapsed_s:.0f} s in all. Next:")
    for command in next_commands(home, client, results):
        output.show(f"  {command}")
    output.summary(
        {
            "tracking_uri": client.tracking_uri,
            "proof_holds": not any(failure for result in results for failure in failures(result)),
            "runs": [result_record(result) for result in results],
            "best_run_id": best_of(results).run.info.run_id,
            "killed_run_id": killed_of(results).run.info.run_id,
            "points": sum(result.comparison.stored for result in results),
            "log_metric_us": round(call_us(results), 2),
            "serving": served,
            "elapsed_s": round(elapsed_s, 2),
        }
    )


def proof_lines(results: Sequence[Result]) -> list[str]:
    """Return the proof in words: of the killed run, then of all."""
    killed = killed_of(results)
    comparison, info = killed.comparison, killed.run.info
    end_ms = info.end_time or 0
    end = datetime.fromtimestamp(end_ms / 1000, timezone.utc)
    behind_ms = end_ms - killed.newest_ms
    distance = "the time of its last point" if behind_ms == 0 else f"{behind_ms} ms after its last point"
    under_way = " (one of them from a call that had not returned yet)" if comparison.kept_under_way else ""
    returned = sum(result.comparison.returned for result in results)
    return [
        f"{killed.training.configuration.name} was killed after {comparison.returned:,} calls of log_metric.",
        f"  in the store: {comparison.stored:,} points{under_way}, {_losses([killed])}",
        f"  closed as:    {info.status} at {end:%H:%M:%S}.{end_ms % 1000:03d} UTC, {distance}",
        f"All {len(results)} runs, point by point: {returned:,} calls returned, {_losses(results)}.",
    ]


def _losses(results: Sequence[Result]) -> str:
    missing = sum(len(result.comparison.missing) for result in results)
    doubled = sum(len(result.comparison.doubled) for result in results)
    unknown = sum(len(result.comparison.unknown) for result in results)
    told = f"{missing or 'none'} missing, {doubled or 'none'} twice"
    return f"{told}, {unknown} that nobody logged" if unknown else told


def _rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    best = best_of(results)
    return [
        (
            result.run.info.run_name,
            result.run.info.status.value,
            f"{result.comparison.stored:,}",
            *(_cell(result, key) for key in ("loss", OBJECTIVE, "test_accuracy")),
            "<- best" if result is best else "",
        )
        for result in sorted(results, key=lambda result: -result.objective)
    ]


def _cell(result: Result, key: str) -> str:
    value = result.run.data.metrics.get(key)
    return "-" if value is None else f"{value:.4f}"


def _curves(client: Client, results: Sequence[Result]) -> str:
    """Return the validation loss of the best run and of the killed one, drawn over each other."""
    from trackbridge.cli.curves import Curve, draw

    curves = []
    for result in (best_of(results), killed_of(results)):
        columns = client.get_metric_columns(result.run.info.run_id, CURVE)
        name = f"{result.run.info.run_name}, {result.run.info.status}"
        curves.append(Curve(name, columns.steps, columns.values))
    return draw(CURVE, curves, is_log=True, uses_colour=uses_colour(sys.stdout))


def next_commands(home: Path, client: Client, results: Sequence[Result]) -> list[str]:
    """Return the commands to go on with, to be pasted into a shell."""
    from trackbridge.cli.demo_endpoint import ALIAS, NAME
    from trackbridge.cli.finding_runs import short_ids

    ids = short_ids(result.run.info.run_id for result in results)
    best, killed = ids[best_of(results).run.info.run_id], ids[killed_of(results).run.info.run_id]
    first, folder = _go_there(home, client)
    bridge = bridge_command(folder)
    return [
        first,
        f"{bridge} runs list",
        f"{bridge} runs compare {best} {killed}",
        f"{bridge} runs show {best}",
        f"{bridge} runs log {killed}",
        f"{bridge} models list",
        f"{bridge} models serve models:/{NAME}@{ALIAS}",
        f"{bridge} sync status",
        f"{bridge} doctor",
    ]


def bridge_command(folder: Path) -> str:
    """Return what starts this installation's ``bridge`` in a folder, to be pasted into a shell.

    Its name alone only where the shell would find it: the environment may not be activated, and on Linux
    iproute2 has a program of that name.
    """
    ours = Path(sys.executable).absolute().with_name("bridge")
    if not ours.exists():
        return f"{shlex.quote(sys.executable)} -m trackbridge"
    found = shutil.which("bridge")
    if found and Path(found).resolve() == ours.resolve():
        return "bridge"
    relative = os.path.relpath(ours, folder.resolve())
    if os.sep not in relative:  # a shell looks for a bare name elsewhere
        relative = os.path.join(os.curdir, relative)
    return shlex.quote(min(relative, str(ours), key=len))


def _go_there(home: Path, client: Client) -> tuple[str, Path]:
    """Return what makes the demo's folder the one in use, and the folder that the shell is in then.

    That is going there, unless a setting leads elsewhere.
    """
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.destinations import resolve_destinations
    from trackbridge.resolve.home import Surroundings

    inside = Settings(around=Surroundings(home.resolve(), os.environ))
    found = [destination.uri.text for destination in resolve_destinations(settings=inside)]
    if found == [client.tracking_uri]:
        return f"cd {shlex.quote(str(home))}", home
    return f"export BRIDGE_TRACKING_URI={shlex.quote(client.tracking_uri)}", Path.cwd()
