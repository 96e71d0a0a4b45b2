"""What may be said of a job on the command line, as one decorator: ``bridge run`` and ``bridge sweep``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackbridge.cli.durations import DURATION
from trackbridge.cli.pairs import pairs_of
from trackbridge.cli.sections import SectionOption

if TYPE_CHECKING:
    from trackbridge.operations.job_sources.requests import JobRequest

Command = TypeVar("Command", bound=Callable[..., Any])

SOURCE = "What to run"
PLACE = "Where to run it"
ENVIRONMENT = "What it runs in"
DATA = "What it reads and writes"
COURSE = "How it runs"
RUN = "Its run"


def _option(section: str, *names: str, **attributes: Any) -> Callable[[Command], Command]:
    return click.option(*names, cls=SectionOption, section=section, **attributes)


def _pairs(section: str, name: str, variable: str, metavar: str, text: str) -> Callable[[Command], Command]:
    return _option(section, name, variable, multiple=True, metavar=metavar, help=f"{text}; repeatable.")


_FILE = click.Path(path_type=Path, dir_okay=False)

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    _option(SOURCE, "-e", "--entry-point", metavar="NAME", help="Entry point of an MLproject, or a script."),
    _option(SOURCE, "-v", "--version", metavar="VERSION", help="Branch, tag or commit of a git address."),
    _option(
        SOURCE, "--code", "code_dir", metavar="FOLDER", help="Folder that a script runs in; else this one."
    ),
    _option(
        SOURCE, "--ignore-file", metavar="FILE", help="Patterns of what is not sent; else .bridgeignore."
    ),
    _option(PLACE, "--on", "place", metavar="PLACE", help="local, a remote's name or a URI; else local."),
    _option(
        PLACE,
        "--compute",
        metavar="WORD",
        help="A cluster, an instance type, or serverless: cpu-cluster, ml.m5.large, 2xStandard_DS3_v2.",
    ),
    _option(PLACE, "--instances", "instance_count", type=click.IntRange(1), metavar="N", help="How many."),
    _option(
        PLACE, "--spot", is_flag=True, help="Cheaper capacity that may be taken away; see --checkpoints."
    ),
    _option(
        ENVIRONMENT, "-r", "--requirements", type=_FILE, metavar="FILE", help="Packages, as pip takes them."
    ),
    _option(ENVIRONMENT, "--conda", "conda_file", metavar="FILE", help="A conda file."),
    _option(ENVIRONMENT, "--python", metavar="VERSION", help="A version of Python, for the requirements."),
    _option(ENVIRONMENT, "--image", metavar="NAME", help="A container image."),
    _option(
        ENVIRONMENT,
        "--env-manager",
        "environment_manager",
        type=click.Choice(["local", "venv"]),
        help="venv makes an environment of what is declared, local takes the one that is there.",
    ),
    _pairs(ENVIRONMENT, "--env", "variables", "K=V", "A variable"),
    _pairs(ENVIRONMENT, "--secret", "secrets", "NAME=env:X", "A variable whose value is read where it runs"),
    _pairs(DATA, "--input", "inputs", "NAME=URI", "There before it starts, as {inputs.NAME}"),
    _pairs(DATA, "--output", "outputs", "NAME=URI", "What it writes to {outputs.NAME} ends up there"),
    _option(DATA, "--checkpoints", metavar="URI", help="Folder that outlives an interruption."),
    _option(
        COURSE,
        "--launcher",
        type=click.Choice(["torchrun", "mpi", "spark"]),
        help="What starts its processes on each machine.",
    ),
    _option(
        COURSE,
        "--processes",
        "processes_per_node",
        type=click.IntRange(1),
        metavar="N",
        help="On each machine.",
    ),
    _option(
        COURSE, "--all-ranks", "all_ranks_track", is_flag=True, help="Let every process log, not just one."
    ),
    _option(COURSE, "--time-limit", type=DURATION, metavar="TIME", help="End it after so long, such as 10m."),
    _option(COURSE, "--retries", type=click.IntRange(0), metavar="N", help="Start it again when it fails."),
    _option(RUN, "--name", metavar="TEXT", help="Name of the job and of its run; by default the source's."),
    _option(RUN, "--experiment", metavar="NAME", help="The run's experiment; else the configured one."),
    _pairs(RUN, "--tag", "tags", "K=V", "A tag"),
)


def job_options(command: Command) -> Command:
    """Add all that may be said of a job but its words, parameters and key; handed over as ``request``."""

    @functools.wraps(command)
    def with_request(*args: Any, **options: Any) -> Any:
        from trackbridge.operations.job_sources.requests import JobRequest

        fields = {*JobRequest.__struct_fields__, "time_limit", "retries"} - {"words", "parameters"}
        said = {name: options.pop(name) for name in fields & options.keys()}
        return command(*args, request=_request(**said), **options)

    decorated: Any = with_request
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def _request(
    *,
    requirements: Path | None,
    launcher: str | None,
    time_limit: float | None,
    retries: int | None,
    **said: Any,
) -> JobRequest:
    from trackbridge.domain.jobs import Launcher
    from trackbridge.operations.job_sources.environments import read_requirements
    from trackbridge.operations.job_sources.requests import JobRequest

    for name, option in _PAIRS.items():
        said[name] = pairs_of(said[name], option)
    return JobRequest(
        requirements=read_requirements(requirements) if requirements else (),
        launcher=Launcher(launcher) if launcher else None,
        time_limit_s=None if time_limit is None else max(1, round(time_limit)),
        attempts_max=None if retries is None else 1 + retries,
        **{name: value for name, value in said.items() if value is not None},
    )


_PAIRS = {
    "variables": "--env",
    "secrets": "--secret",
    "inputs": "--input",
    "outputs": "--output",
    "tags": "--tag",
}
