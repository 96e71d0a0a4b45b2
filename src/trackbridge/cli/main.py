"""``bridge``: the group of all commands. A command's module is imported when the command is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from trackbridge._version import __version__
from trackbridge.cli import failures


class Slot(NamedTuple):
    """Where a command is, and its short help, so that ``bridge --help`` need not import it."""

    place: str
    short_help: str


COMMANDS = {
    "apply": Slot("apply:apply", "Apply a plan that was saved with --out."),
    "check": Slot(
        "check:check", "Compare SRC with DST, item by item, down to the last point; nothing is changed."
    ),
    "completion": Slot("completion:completion", "Print the script for completion in a shell."),
    "config": Slot("config:config", "Show settings and where they come from."),
    "demo": Slot(
        "demo:demo",
        "Train on real data, kill a training, see that nothing is lost; then serve the best models.",
    ),
    "deploy": Slot(
        "deploy:deploy", "Deploy a registered model to an endpoint: plan, show, ask, apply, check."
    ),
    "doctor": Slot("doctor:doctor", "Look for what keeps tracking from working, and how to put it right."),
    "emulate": Slot("emulate:emulate", "Run a cloud on this machine, to try things on without an account."),
    "endpoints": Slot("endpoints:endpoints", "See endpoints, ask them, share their traffic, roll them back."),
    "events": Slot("events:events", "See who is told what happens, and try it."),
    "experiments": Slot("experiments:experiments", "List, show, delete and restore experiments."),
    "gateway": Slot("gateway:gateway", "Serve mlflow's REST API in front of any backend, until interrupted."),
    "init": Slot("init:init", "Make the project's folder .bridge here, with a commented config.toml."),
    "jobs": Slot("jobs:jobs", "List, show, follow, cancel and wait for jobs."),
    "migrate": Slot(
        "migrate:migrate",
        "Copy runs, files and registered models from SRC to DST: plan, show, ask, apply, check.",
    ),
    "models": Slot("models:models", "Register models; promote, describe, fetch and serve their versions."),
    "remotes": Slot("remotes:remotes", "Give tracking URIs short names."),
    "rollouts": Slot("rollouts:rollouts", "See rollouts; go on with one, or end it."),
    "run": Slot(
        "run:run", "Run a script or a command as a job, follow its log, and end with its exit status."
    ),
    "runs": Slot("runs:runs", "List, show, compare, follow, delete and restore runs."),
    "sweep": Slot("sweep:sweep", "Run many jobs with other parameters each, and find the best."),
    "sync": Slot("sync:sync", "See and deliver what was logged but not delivered."),
    "ui": Slot(
        "gateway:ui",
        "Serve the web pages of a backend, and mlflow's REST API beside them, until interrupted.",
    ),
}

OPTIONS_OF_COMMANDS = ("--json", "--uri", "--target", "--yes", "-y")

EPILOG = """\b
Example:
  bridge init
  bridge runs list --filter "metrics.acc > 0.9" --order-by "metrics.acc DESC"
"""


class Bridge(click.Group):
    """A group that imports its commands lazily and ends with the exit codes of ``errors``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        slot = COMMANDS.get(cmd_name)
        if slot is None:
            return None
        module, _, name = slot.place.partition(":")
        command: click.Command = getattr(import_module(f"trackbridge.cli.{module}"), name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Say where the options of commands stand, when one is named before the command."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            if name not in OPTIONS_OF_COMMANDS:
                raise
            raise click.UsageError(
                f"{name} stands behind the command, as in: bridge runs list {name}", ctx
            ) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Say which command may have been meant; click looks among those that are imported."""
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        from trackbridge.resolve.config import close_match

        raise click.UsageError(f"there is no command {name!r}{close_match(name, COMMANDS)}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].short_help) for name in self.list_commands(ctx)])

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run one command line, and exit with its code unless ``standalone_mode`` is off."""
        arguments = list(sys.argv[1:] if args is None else args)
        code = failures.run(
            lambda: super(Bridge, self).main(
                arguments, prog_name=prog_name or "bridge", standalone_mode=False, **extra
            ),
            as_json="--json" in arguments[: arguments.index("--") if "--" in arguments else None],
        )
        if standalone_mode:
            sys.exit(code)
        return code


@click.group(cls=Bridge, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="bridge %(version)s")
def bridge() -> None:
    """Track runs to any backend, and see, compare and deliver them.

    Where runs are is decided by --uri, else BRIDGE_TRACKING_URI, else the project's settings.
    """


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line of this process and return its exit code."""
    failures.prepare_process()
    code: int = bridge.main(args, standalone_mode=False)
    return code
