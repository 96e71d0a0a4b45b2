"""``bridge emulate``: a cloud on this machine, to try things on without an account."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output
from trackbridge.operations.waiting import Stop

if TYPE_CHECKING:
    from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
    from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

UNSET = ("AWS_PROFILE", "AWS_SESSION_TOKEN")
"""Variables that would send a program somewhere else."""
UNSET_AZURE = (
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
)
URI_VARIABLE = "BRIDGE_TRACKING_URI"
EMULATED_VARIABLE = "BRIDGE_EMULATED"
"""What is emulated for a command, such as ``azureml,sagemaker``, where one emulator runs within another."""
TITLES = {"azureml": "Azure ML", "sagemaker": "SageMaker"}
SHELLS = frozenset({"bash", "dash", "fish", "ksh", "sh", "tcsh", "zsh"})
TABLE_CELL_CHARS_MAX = 120
SIGNALLED = 128
"""What a shell adds to the number of the signal that ended a command."""
Emulated = TypeVar("Emulated", "AzureMlEmulator", "SageMakerEmulator")
Command = TypeVar("Command", bound=Callable[..., Any])


def _emulator_options(*, region: str) -> Callable[[Command], Command]:
    """Add what each emulator takes: the port, the region, the pace, and a command to run."""
    options = (
        click.option(
            "--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; else a free one."
        ),
        click.option("--region", default=region, show_default=True, help="The region that it says it is in."),
        click.option(
            "--pace",
            type=click.FloatRange(0.0, 3600.0),
            default=1.0,
            show_default=True,
            help="What a second of the cloud's waiting takes, in seconds: less is quicker.",
        ),
        click.option("--calls", is_flag=True, help="Only show what of the cloud it emulates."),
        click.argument("command", nargs=-1, metavar="[-- COMMAND...]", type=click.UNPROCESSED),
        output_option,
    )
    return lambda function: reduce(lambda made, option: option(made), reversed(options), function)


@click.group(
    epilog=example("bridge emulate sagemaker", "bridge emulate azureml --setup", "bridge emulate azureml")
)
def emulate() -> None:
    """Run a cloud on this machine, to try things on without an account.

    It runs until you interrupt it, and prints what to type in another terminal; or, given a command behind
    two dashes, it runs that one, and ends with it. Only this machine reaches it, and nothing is kept.
    """


@emulate.command(
    short_help="SageMaker, and what of AWS it needs.",
    epilog=example("bridge emulate sagemaker", "bridge emulate sagemaker -- python train.py"),
)
@_emulator_options(region="us-east-1")
def sagemaker(
    output: Output, port: int, region: str, pace: float, calls: bool, command: tuple[str, ...]
) -> None:
    """Emulate SageMaker, and what of AWS it needs, until interrupted.

    Only this machine reaches it. It refuses what AWS refuses, keeps everything in memory, and runs the
    commands of jobs and endpoints as processes of yours. Prints the variables by which programs find it;
    with --json one line of type ready has them in env, and the tracking URI in uri. Given a command, it runs
    that with the variables, and ends when it does, with its exit code.
    """
    if calls:
        from trackbridge.testing.emulators.sagemaker import table

        _show_calls(output, ("AWS", "how", "calls", "note"), table.rows())
        return
    begin = partial(_begun_sagemaker, port=port, region=region, pace=pace)
    _serve(output, command, begin, _tell, name="sagemaker", port=port, unset=UNSET, prepare=_for_jobs)


@emulate.command(
    short_help="Azure ML, and what of Azure it needs.",
    epilog=example("bridge emulate azureml --setup", "bridge emulate azureml -- python a.py"),
)
@click.option(
    "--setup", is_flag=True, help="Fetch Azurite, which keeps the files, by npm into your cache; once."
)
@_emulator_options(region="westeurope")
def azureml(
    output: Output, setup: bool, port: int, region: str, pace: float, calls: bool, command: tuple[str, ...]
) -> None:
    """Emulate Azure ML, and what of Azure it needs, until interrupted.

    Only this machine reaches it. It refuses what Azure refuses, keeps everything in memory and in a temporary
    folder, and runs jobs and endpoints as processes of yours. Prints the variables by which programs find it:
    a proxy that leads Azure's own host names here, and a certificate made at this start, for these programs
    alone. With --json one line of type ready has them in env, and the tracking URI in uri. Given a command,
    it runs that with the variables, and ends when it does, with its exit code. It needs node, and --setup
    once.
    """
    if setup:
        _set_up(output)
        return
    if calls:
        from trackbridge.testing.emulators.azureml import table

        _show_calls(output, ("Azure", "how", "routes", "note"), table.rows())
        return
    begin = partial(_begun_azure, port=port, region=region, pace=pace)
    _serve(output, command, begin, _tell_azure, name="azureml", port=port, unset=UNSET_AZURE)


def _show_calls(
    output: Output, columns: tuple[str, str, str, str], rows: Sequence[tuple[str, str, str, str]]
) -> None:
    """Show what is emulated and what not."""
    for area, how, count, note in rows:
        output.event("area", {"area": area, "how": how, columns[2]: int(count or 0), "note": note})
    output.table(columns, rows, cell_chars_max=TABLE_CELL_CHARS_MAX)
    output.summary({"areas": len(rows)})


def _serve(
    output: Output,
    command: tuple[str, ...],
    begin: Callable[[ExitStack], Emulated],
    tell: Callable[[Output, Emulated, Mapping[str, str]], None],
    *,
    name: str,
    port: int,
    unset: tuple[str, ...],
    prepare: Callable[[Emulated], dict[str, str]] = lambda emulator: {},
) -> None:
    """Run an emulator until a command or an interrupt ends it; ``prepare`` returns further variables."""
    _check(command, output)
    is_watched = bool(command) and sys.stderr.isatty()
    if is_watched:
        output.note(f"starting {TITLES[name]}; this takes some seconds")
    with _stopping() as stop, _started(begin, port) as emulator:
        variables = {**emulator.environment(), **prepare(emulator)}
        own = len(emulator.calls)
        emulated = _emulated(name)
        if is_watched:
            _tell_command(output, command, f"{TITLES[name]} answers at {emulator.url}", emulated)
        if command:
            further = {URI_VARIABLE: emulator.uri, EMULATED_VARIABLE: ",".join(emulated)}
            output.end(_ran(command, {**variables, **further}, stop, unset=unset))
        tell(output, emulator, variables)
        stop.wait()
        calls = emulator.calls[own:]
        output.summary({"requests": len(calls), "refused": sum(call.status >= 400 for call in calls)})


def _emulated(name: str) -> list[str]:
    """Return what is emulated for a command: what was before, where this runs within another, and this."""
    around = os.environ.get(EMULATED_VARIABLE, "").split(",")
    return [*(other for other in around if other in TITLES and other != name), name]


def _tell_command(output: Output, command: tuple[str, ...], answers: str, emulated: Sequence[str]) -> None:
    """Tell who waits at a terminal what runs until when; a new shell looks like the one before."""
    is_shell = Path(command[0]).name in SHELLS and all(word.startswith("-") for word in command[1:])
    if not (is_shell and sys.stdin.isatty()):
        output.note(f"{answers} until {command[0]!r} ends")
        return
    found = " and ".join(TITLES[name] for name in emulated)
    output.note(answers)
    output.note(f"programs in this shell find {found}; exit ends it and {'them' if emulated[1:] else found}")


def _check(command: tuple[str, ...], output: Output) -> None:
    """Refuse a command that cannot be run, before anything is started.

    Raises:
        UsageError: There is no such program, or JSON is asked for where the command prints.
    """
    if command and output.as_json:
        raise click.UsageError("--json is for the emulator alone: the command prints what it likes")
    if command and shutil.which(command[0]) is None:
        raise click.UsageError(f"there is no command {command[0]!r}")


def _ran(
    command: tuple[str, ...], variables: Mapping[str, str], stop: Stop, *, unset: tuple[str, ...]
) -> int:
    """Run a command that finds the emulator by its variables; return its exit code as a shell does."""
    if stop.is_set():
        return SIGNALLED + signal.SIGTERM
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    child = subprocess.Popen(command, env={**kept, **variables})
    # Ctrl-C reaches the command by itself, as one of the terminal's; whoever ends us means both.
    signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
    if stop.is_set():  # it came while the command was being started
        child.terminate()
    code = child.wait()
    return code if code >= 0 else SIGNALLED - code


@contextmanager
def _started(begin: Callable[[ExitStack], Emulated], port: int) -> Iterator[Emulated]:
    """Run the emulator that ``begin`` starts, ready for everything.

    Raises:
        ConfigError: What it is made of is not installed, or the port is taken.
    """
    from trackbridge.errors import ConfigError

    with ExitStack() as stack:
        try:
            emulator = begin(stack)
        except ImportError as error:
            hint = 'pip install "trackbridge[emulators]"'
            message = f"the emulator needs {error.name}, which is not installed"
            raise ConfigError(message, hint=hint) from error
        except OSError as error:
            message = f"cannot listen on port {port}: {error.strerror}"
            raise ConfigError(message, hint="name another --port") from error
        yield emulator


def _begun_sagemaker(stack: ExitStack, port: int, region: str, pace: float) -> SageMakerEmulator:
    from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

    return stack.enter_context(SageMakerEmulator(region=region, port=port, pace=pace))


def _for_jobs(emulator: SageMakerEmulator) -> dict[str, str]:
    return emulator.prepare_jobs()


@contextmanager
def _stopping() -> Iterator[Stop]:
    """Return what is set by Ctrl-C and by SIGTERM: both are the ordinary end."""
    stop = Stop()

    def end(number: int, frame: Any) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(output: Output, emulator: SageMakerEmulator, variables: Mapping[str, str]) -> None:
    output.event("ready", {"uri": emulator.uri, "url": emulator.url, "env": variables})
    _tell_variables(output, emulator, "sagemaker", UNSET, variables)


def _tell_variables(
    output: Output,
    emulator: AzureMlEmulator | SageMakerEmulator,
    name: str,
    unset: tuple[str, ...],
    variables: Mapping[str, str],
) -> None:
    about = f"what of it is there: bridge emulate {name} --calls"
    output.show(f"{TITLES[name]} answers at {emulator.url} until Ctrl-C; {about}")
    output.show("In another terminal:")
    output.show()
    output.show(f"unset {' '.join(unset)}")
    for variable, value in {**variables, URI_VARIABLE: emulator.uri}.items():
        output.show(f"export {variable}={shlex.quote(value)}")


def _set_up(output: Output) -> None:
    """Fetch Azurite.

    Raises:
        ConfigError: npm is not there, or failed.
    """
    from trackbridge.errors import ConfigError
    from trackbridge.testing.emulators.azureml import blob_server

    names = () if blob_server.is_set_up() else blob_server.packages()
    if names:
        output.note(
            f"Fetching Azurite {blob_server.VERSION} into {blob_server.folder()}: {len(names)} packages by "
            f"npm, {blob_server.SETUP_MB} MB on the disk; a minute or two ..."
        )
    try:
        with output.progress("Fetching", len(names)) as show_progress:
            place = blob_server.set_up(show_progress)
    except blob_server.NotSetUp as error:
        message, _, hint = str(error).partition("; ")
        raise ConfigError(message, hint=hint or "see what npm says, and try again") from error
    output.event("setup", {"folder": str(place), "azurite": blob_server.VERSION})
    output.show(f"Azurite {blob_server.VERSION} is in {place}.")


def _begun_azure(stack: ExitStack, port: int, region: str, pace: float) -> AzureMlEmulator:
    """Start the emulator.

    Raises:
        ConfigError: Azurite or mlflow is not there, or did not start.
    """
    from trackbridge.errors import ConfigError
    from trackbridge.testing.emulators.azureml.blob_server import NotSetUp
    from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
    from trackbridge.testing.emulators.azureml.mlflow_server import NotStarted

    try:
        emulator = stack.enter_context(AzureMlEmulator(port=port, region=region, pace=pace, leads_on=True))
        emulator.wait_for_mlflow()
    except (NotSetUp, NotStarted) as error:
        message, _, hint = str(error).partition(": ")
        raise ConfigError(message, hint=hint or "see docs/emulators.md") from error
    return emulator


def _tell_azure(output: Output, emulator: AzureMlEmulator, variables: Mapping[str, str]) -> None:
    places = {"url": emulator.url, "tls_url": emulator.tls_url, "blob_url": emulator.blob_url}
    trusted = str(emulator.certificates.trusted)
    told = {"uri": emulator.uri, **places, "certificate": trusted, "env": variables}
    output.event("ready", told)
    _tell_variables(output, emulator, "azureml", UNSET_AZURE, variables)
