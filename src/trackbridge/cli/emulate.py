"""``bridge emulate``: a cloud on this machine, to try things on without an account."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output

if TYPE_CHECKING:
    from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

UNSET = ("AWS_PROFILE", "AWS_SESSION_TOKEN")
"""Variables that would send a program somewhere else."""
TABLE_CELL_CHARS_MAX = 120


@click.group(epilog=example("bridge emulate sagemaker"))
def emulate() -> None:
    """Run a cloud on this machine, to try things on without an account."""


@emulate.command(epilog=example("bridge emulate sagemaker", "bridge emulate sagemaker --port 5050 --json"))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; else a free one.")
@click.option("--region", default="us-east-1", show_default=True, help="The region that it is.")
@click.option(
    "--pace",
    type=click.FloatRange(0.0, 3600.0),
    default=1.0,
    show_default=True,
    help="How fast jobs and endpoints come up: less is quicker.",
)
@output_option
def sagemaker(output: Output, port: int, region: str, pace: float) -> None:
    """Emulate SageMaker, and what of AWS it needs, until interrupted.

    Only this machine reaches it. It refuses what AWS refuses, keeps everything in memory, and runs the
    commands of jobs and endpoints as processes of yours. Prints the variables by which programs find it;
    with --json one line of type ready has them in env, and the tracking URI in uri.
    """
    with _stopping() as stop, _started(port, region, pace) as emulator:
        _tell(output, emulator)
        stop.wait()
        refused = sum(call.status >= 400 for call in emulator.calls)
        output.summary({"requests": len(emulator.calls), "refused": refused})


@contextmanager
def _started(port: int, region: str, pace: float) -> Iterator[SageMakerEmulator]:
    """Run the emulator.

    Raises:
        ConfigError: What it is made of is not installed, or the port is taken.
    """
    from trackbridge.errors import ConfigError

    hint = 'pip install "trackbridge[emulators]"'
    try:
        from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

        emulator = SageMakerEmulator(region=region, port=port, pace=pace).__enter__()
    except ImportError as error:
        raise ConfigError(f"the emulator needs {error.name}, which is not installed", hint=hint) from error
    except OSError as error:
        message = f"cannot listen on port {port}: {error.strerror}"
        raise ConfigError(message, hint="name another --port") from error
    try:
        yield emulator
    finally:
        emulator.__exit__(None, None, None)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Return what is set by Ctrl-C and by SIGTERM: both are the ordinary end."""
    stop = threading.Event()

    def end(number: int, frame: Any) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(output: Output, emulator: SageMakerEmulator) -> None:
    from trackbridge.testing.emulators.sagemaker import table

    environment = emulator.environment()
    output.event("ready", {"uri": emulator.uri, "url": emulator.url, "env": environment})
    output.table(("AWS", "how", "calls", "note"), table.rows(), cell_chars_max=TABLE_CELL_CHARS_MAX)
    output.show()
    output.show(f"SageMaker answers at {emulator.url} until Ctrl-C. In another terminal:")
    output.show()
    output.show(f"unset {' '.join(UNSET)}")
    for name, value in environment.items():
        output.show(f"export {name}={shlex.quote(value)}")
    output.show(f"export BRIDGE_TRACKING_URI={shlex.quote(emulator.uri)}")
