"""``bridge sweep``: many jobs with other parameters each, and the best of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli.failures import EXIT_ERROR, EXIT_PARTLY
from trackbridge.cli.job_options import COURSE, RUN, job_options
from trackbridge.cli.options import example, output_option, uri_option
from trackbridge.cli.output import LINE_CHARS_MAX, Output, counted
from trackbridge.cli.pairs import pairs_of
from trackbridge.cli.sections import SectionedCommand, SectionOption
from trackbridge.cli.terminal import Bar, draws

if TYPE_CHECKING:
    from collections.abc import Callable

    from trackbridge.operations.job_sources.requests import JobRequest
    from trackbridge.operations.sweeps.records import Trial
    from trackbridge.operations.sweeps.running import Outcome
    from trackbridge.operations.sweeps.starting import Sweep

SEARCH = "What is searched, and how"
START = "start"
TRIALS_SHOWN = 200

LIMITS = (
    click.option(
        "--trials",
        cls=SectionOption,
        section=SEARCH,
        type=int,
        metavar="N",
        help="How many jobs in all; of a grid by default every point.",
    ),
    click.option(
        "--parallel",
        cls=SectionOption,
        section=SEARCH,
        type=int,
        metavar="N",
        help="How many jobs at once; by default 1.",
    ),
    click.option(
        "--max-failures",
        cls=SectionOption,
        section=SEARCH,
        type=int,
        metavar="N",
        help="Begin no further job after so many failed ones; by default 10.",
    ),
    click.option(
        "--register",
        cls=SectionOption,
        section=SEARCH,
        metavar="NAME",
        help="Register the model that the best trial has logged.",
    ),
)


class SweepGroup(click.Group):
    """A group whose first command may be left out: ``bridge sweep train.py`` starts a sweep."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in that was left out."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [START, *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=SweepGroup,
    epilog=example(
        "bridge sweep start train.py -P lr=0.1,0.01 --metric val_loss",
        "bridge sweep show nightly",
        "bridge sweep resume nightly --trials 100",
    ),
)
def sweep() -> None:
    """Run many jobs with other parameters each, and find the best.

    The word start may be left out: bridge sweep train.py -P lr=0.1,0.01 --metric val_loss
    """


def limit_options(command: Any) -> Any:
    """Add what may be said anew when a sweep is taken up again."""
    for option in reversed(LIMITS):
        command = option(command)
    return command


@sweep.command(
    START,
    cls=SectionedCommand,
    epilog=example(
        "bridge sweep start train.py -P lr=0.1,0.01 -P batch=16,32 --metric val_loss --parallel 4",
        "bridge sweep start . -P 'lr=loguniform(1e-4, 1e-1)' --trials 50 --metric acc --mode max --key night",
        "bridge sweep start sweep.yaml --on azureml: --compute cpu-cluster --plan",
        "bridge sweep start --metric loss -P lr=1,2 -- ./train --rate '{lr}'",
    ),
)
@click.argument("words", nargs=-1, required=True, metavar="SOURCE|COMMAND [ARGUMENT]...")
@click.option(
    "-P",
    "--param",
    "params",
    cls=SectionOption,
    section=SEARCH,
    multiple=True,
    metavar="K=SPACE",
    help="A parameter: values as 16,32,64, choice(…), uniform(0,1), uniform(0,1,step=0.1), loguniform(…), "
    "int(1,8), logint(…), fixed(TEXT), or one value; repeatable.",
)
@click.option(
    "--metric",
    cls=SectionOption,
    section=SEARCH,
    metavar="NAME",
    help="The metric to go by, as a trial logs it.",
)
@click.option(
    "--mode",
    cls=SectionOption,
    section=SEARCH,
    type=click.Choice(["min", "max"]),
    help="Whether the smallest or the greatest is the best; by default min.",
)
@click.option(
    "--value",
    "value_of",
    cls=SectionOption,
    section=SEARCH,
    type=click.Choice(["last", "min", "max"]),
    help="Which point of the metric counts; by default the last.",
)
@click.option(
    "--sampler",
    cls=SectionOption,
    section=SEARCH,
    type=click.Choice(["grid", "random", "tpe", "cmaes", "qmc", "gp", "nsga2"]),
    help="grid, random, or Optuna's of that name; by default grid for lists of values, else tpe.",
)
@click.option(
    "--seed", cls=SectionOption, section=SEARCH, type=int, metavar="N", help="For the same proposals again."
)
@limit_options
@job_options
@click.option("--uri", cls=SectionOption, section=RUN, metavar="URI", help="Where the runs are tracked.")
@click.option(
    "--key",
    cls=SectionOption,
    section=COURSE,
    metavar="TEXT",
    help="The same key is the same sweep: it goes on where it was.",
)
@click.option("--plan", "only_plan", is_flag=True, help="Check it and show the first job; start nothing.")
@output_option
def start(
    output: Output,
    words: tuple[str, ...],
    params: tuple[str, ...],
    request: JobRequest,
    uri: str | None,
    only_plan: bool,
    **said: Any,
) -> None:
    """Start a sweep, or go on with the one of the same key, and follow it to its end.

    SOURCE is what bridge run takes, or a sweep file: a job file with one more key, sweep. In the words of a
    command, {lr} stands for the parameter lr. Ctrl-C leaves the jobs alone that were started; bridge sweep
    resume takes them up, bridge sweep cancel ends them. It ends with 3 when some trials have failed.
    """
    import msgspec

    from trackbridge.api.sweeps import prepare_sweep
    from trackbridge.operations.sweeps.requests import SweepRequest
    from trackbridge.resolve.config import Settings

    wanted = SweepRequest(space=dict(pairs_of(params, "-P")), **said)
    job = msgspec.structs.replace(request, words=words)
    made = prepare_sweep(wanted, job, settings=Settings(), tracking_uri=uri, on=request.place)
    try:
        if only_plan:
            _show_plan(output, made)
        else:
            _follow(output, made)
    finally:
        made.close()


@sweep.command(epilog=example("bridge sweep resume nightly", "bridge sweep resume nightly --trials 100"))
@click.argument("key")
@limit_options
@uri_option
@output_option
def resume(output: Output, key: str, uri: str | None, **said: Any) -> None:
    """Go on with a sweep, and with the jobs that it has started."""
    from trackbridge.operations.sweeps.requests import SweepRequest, limits_of

    with _known(key, uri, SweepRequest(**said), limits_of) as made:
        _follow(output, made)


@sweep.command(epilog=example("bridge sweep show nightly", "bridge sweep show nightly --json"))
@click.argument("key")
@uri_option
@output_option
def show(output: Output, key: str, uri: str | None) -> None:
    """Show the trials of a sweep, the best first."""
    with _known(key, uri) as made:
        outcome = made.standing()
        _show_trials(output, made, outcome)
        _show_best(output, made, outcome)
        output.summary(_summary(made, outcome))


@sweep.command("list", epilog=example("bridge sweep list", "bridge sweep list --json"))
@uri_option
@output_option
def list_(output: Output, uri: str | None) -> None:
    """List the sweeps that were started here, newest first."""
    from trackbridge.operations.sweeps.running import Outcome, best_of
    from trackbridge.operations.sweeps.starting import list_sweeps
    from trackbridge.resolve.config import Settings

    rows = []
    for folder in list_sweeps(uri, Settings()):
        definition, _ = folder.read()
        trials = folder.trials()
        outcome = Outcome(trials, best_of(trials, definition))
        best = "" if outcome.best is None else f"{definition.metric} {outcome.best.value:g}"
        counts, is_running = outcome.counts, folder.is_held()
        rows.append(
            (
                folder.key,
                definition.name,
                definition.sampler.value,
                counts["trials"],
                counts["failed"],
                best,
                "running" if is_running else "",
            )
        )
        output.event(
            "sweep", {"key": folder.key, "run_id": definition.run_id, "is_running": is_running, **counts}
        )
    if rows:
        output.table(("KEY", "NAME", "SAMPLER", "TRIALS", "FAILED", "BEST", ""), rows)
    else:
        output.note("there are no sweeps; start one: bridge sweep SCRIPT -P lr=0.1,0.01 --metric loss")
    output.summary({"sweeps": len(rows)})


@sweep.command(epilog=example("bridge sweep cancel nightly"))
@click.argument("key")
@uri_option
@output_option
def cancel(output: Output, key: str, uri: str | None) -> None:
    """Ask the jobs of a sweep to stop that are under way; resume goes on with the other trials."""
    with _known(key, uri) as made:
        asked = made.cancel()
    output.show(f"{counted(len(asked), 'job')} asked to stop")
    output.summary({"key": key, "jobs": asked})


@contextmanager
def _known(
    key: str, uri: str | None, request: Any = None, limits_of: Callable[..., Any] | None = None
) -> Iterator[Sweep]:
    """Give a sweep that was started, with the limits that were said anew."""
    from trackbridge.operations.sweeps.starting import Sweep, find_sweep
    from trackbridge.resolve.config import Settings

    settings = Settings()
    folder = find_sweep(key, uri, settings)
    definition, limits = folder.read()
    if limits_of is not None:
        limits = limits_of(request, limits)
    made = Sweep(definition, limits, settings=settings, folder=folder)
    try:
        yield made
    finally:
        made.close()


# Following.


def _follow(output: Output, made: Sweep) -> None:
    from trackbridge.api.sweeps import result_of
    from trackbridge.operations.sweeps.definition import trials_of

    definition = made.definition
    total = trials_of(definition, made.limits)
    output.note(f"sweep {definition.key}: {counted(total, 'trial')} by {definition.sampler.value}")
    with _progress(output, made, total) as on_trial:
        outcome = made.run(on_trial=on_trial, on_trouble=output.warn)
    if outcome.is_interrupted:
        under_way = len(outcome.trials) - outcome.counts["complete"] - outcome.counts["failed"]
        output.note(
            f"{counted(under_way, 'job')} left to end; go on with: bridge sweep resume {definition.key}"
        )
        output.note(f"end them with: bridge sweep cancel {definition.key}")
        output.summary(_summary(made, outcome))
        raise KeyboardInterrupt
    _show_best(output, made, outcome)
    result = result_of(made, outcome)
    version = result.version
    if version is not None:
        output.show(f"registered {version.name}/{version.version}", colour="green")
    output.summary({**_summary(made, outcome), "version": version})
    if outcome.best is None:
        output.end(EXIT_ERROR)
    output.end(EXIT_PARTLY if outcome.counts["failed"] else 0)


@contextmanager
def _progress(output: Output, made: Sweep, total: int) -> Iterator[Callable[[Trial], None]]:
    """Show how the sweep goes on: a line in place on a terminal, else a line for each trial."""
    from trackbridge.domain.sweeps import is_better

    best: list[Trial] = []

    def told(trial: Trial) -> str:
        if trial.value is not None and is_better(
            trial.value, best[0].value if best else None, made.definition.mode
        ):
            best[:] = [trial]
        return _line(trial, made.definition.metric)

    def tell(trial: Trial) -> None:
        output.event("trial", trial_fields(trial))
        if trial.state.is_final:
            output.show(told(trial))

    if output.as_json or not draws(sys.stderr) or not sys.stdout.isatty():
        yield tell
        return
    from trackbridge.api.display import printable

    known = sum(trial.state.is_final for trial in made.folder.trials().values())
    bar = Bar(sys.stderr, total, done=known, shows_elapsed=True)

    def draw(trial: Trial) -> None:
        if trial.state.is_final:
            bar.print(printable(told(trial), LINE_CHARS_MAX))
            bar.show(bar.done + 1, about=f"best {best[0].value:g} (trial {best[0].number})" if best else "")

    try:
        yield draw
    finally:
        bar.close()


def _line(trial: Trial, metric: str) -> str:
    result = f"{metric} {trial.value:g}" if trial.value is not None else f"failed: {trial.reason}"
    return f"trial {trial.number:>4}  {result}  {_params(trial)}"


def _params(trial: Trial) -> str:
    return " ".join(f"{name}={value}" for name, value in trial.params.items())


# Showing.


def _show_plan(output: Output, made: Sweep) -> None:
    from trackbridge.api.job_submission import PreparedJob
    from trackbridge.cli.job_plans import show_job_plan
    from trackbridge.operations.sweeps.definition import trials_of

    definition, limits = made.definition, made.limits
    total = trials_of(definition, limits)
    spec = made.first_spec()
    output.show(f"Sweep         {definition.key}: {counted(total, 'trial')}, {limits.parallel} at a time")
    output.show(f"Sampler       {definition.sampler.value}, {definition.mode.value} of {definition.metric}")
    for name, dimension in definition.space.items():
        output.show(f"Parameter     {name}: {dimension}")
    output.show("The first job of it:")
    output.event("sweep", {"key": definition.key, "trials": total, "parallel": limits.parallel})
    show_job_plan(output, PreparedJob(spec, made.first_run(), made.tracking, made.place))


def _show_trials(output: Output, made: Sweep, outcome: Outcome) -> None:
    from trackbridge.domain.sweeps import Mode

    definition = made.definition
    sign = 1 if definition.mode is Mode.MIN else -1

    def rank(trial: Trial) -> tuple[bool, float, int]:
        return trial.value is None, sign * (trial.value or 0.0), trial.number

    trials = sorted(outcome.trials.values(), key=rank)
    rows = [
        (
            trial.number,
            trial.state.value,
            "" if trial.value is None else f"{trial.value:g}",
            *(trial.params.get(name, "") for name in definition.space),
            trial.run_id,
            trial.reason,
        )
        for trial in trials[:TRIALS_SHOWN]
    ]
    for trial in trials:
        output.event("trial", trial_fields(trial))
    columns = ("TRIAL", "STATE", definition.metric, *definition.space, "RUN", "BECAUSE")
    if rows:
        output.table(columns, rows)
    if len(trials) > TRIALS_SHOWN:
        output.note(f"{len(trials) - TRIALS_SHOWN} more trials; see all with --json")


def _show_best(output: Output, made: Sweep, outcome: Outcome) -> None:
    counts = outcome.counts
    output.show(
        f"{counts['complete']} complete, {counts['failed']} failed, of {counts['trials']} trials begun"
    )
    best = outcome.best
    if best is None:
        output.show("no trial has a value")
        return
    output.show(f"best: {made.definition.metric} {best.value:g}, trial {best.number}: {_params(best)}")
    output.show(f"  its run: bridge runs show {best.run_id}")


def trial_fields(trial: Trial) -> dict[str, object]:
    """Return a trial as fields of a JSON object."""
    import msgspec

    fields: dict[str, object] = {**msgspec.structs.asdict(trial), "state": trial.state.value}
    return fields


def _summary(made: Sweep, outcome: Outcome) -> dict[str, object]:
    return {
        "key": made.definition.key,
        "run_id": made.definition.run_id,
        **outcome.counts,
        "is_interrupted": outcome.is_interrupted,
        "best": trial_fields(outcome.best) if outcome.best else None,
    }
