"""Options that say what is meant of a backend; the same for ``migrate`` and ``check``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from trackbridge.cli.moments import MOMENT

Command = TypeVar("Command", bound=Callable[..., Any])

transfers_option = click.option(
    "--transfers",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    metavar="N",
    help="Runs that are on their way at the same time.",
)
tpslimit_option = click.option(
    "--tpslimit",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Calls a second to each side at the most.",
)
preflight_option = click.option(
    "--preflight/--no-preflight",
    default=True,
    show_default=True,
    help="Load each model, and score its input example, before an alias, a stage or an approval goes to it.",
)

engine_option = click.option(
    "--engine",
    type=click.Choice(("threads", "spark")),
    default="threads",
    show_default=True,
    help="What copies the runs: threads of this process, or the workers of a Spark cluster.",
)
spark_master_option = click.option(
    "--spark-master",
    metavar="URL",
    help="Of the cluster, for --engine spark; by default what the surroundings say.",
)


def selection_options(command: Command) -> Command:
    """Add the options that select, handed over as ``selection``."""

    @functools.wraps(command)
    def with_selection(
        *args: Any,
        experiments: tuple[str, ...],
        runs: tuple[str, ...],
        filter_text: str,
        models: tuple[str, ...],
        stages: tuple[str, ...],
        since: int | None,
        **others: Any,
    ) -> Any:
        from trackbridge.domain.migration import Selection

        selection = Selection(
            experiments=experiments,
            runs=runs,
            filter=filter_text,
            models=models,
            stages=stages,
            since=since,
        )
        return command(*args, selection=selection, **others)

    decorators = (
        click.option(
            "--experiment",
            "experiments",
            multiple=True,
            metavar="NAME",
            help="Only this experiment, or those of a pattern such as 'wine-*'; may be repeated.",
        ),
        click.option(
            "--run", "runs", multiple=True, metavar="RUN_ID", help="Only this one; may be repeated."
        ),
        click.option(
            "--filter",
            "filter_text",
            default="",
            metavar="TEXT",
            help='Only runs that fulfil this, for example "metrics.acc > 0.9".',
        ),
        click.option(
            "--model",
            "models",
            multiple=True,
            metavar="NAME",
            help="Only this registered model, or those of a pattern; its runs come along; may be repeated.",
        ),
        click.option(
            "--stage",
            "stages",
            multiple=True,
            metavar="STAGE",
            help="Only versions in this stage; may be repeated.",
        ),
        click.option(
            "--since",
            type=MOMENT,
            metavar="TIME",
            help="Only runs that started or ended since then: 2026-11-01, or 7d ago.",
        ),
    )
    wrapped: Any = with_selection
    for decorator in reversed(decorators):
        wrapped = decorator(wrapped)
    return wrapped  # type: ignore[no-any-return]
