"""How a command ends: its errors as a message, a hint and an exit code.

Exit codes are those of ``trackbridge.errors``; besides, 2 for a wrong command line and 130 for Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable

import click

from trackbridge.errors import BridgeError, InvalidQuery

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_PARTLY = 3
EXIT_RETRYABLE = 5
EXIT_AUTH = 6
EXIT_INTERRUPTED = 130
DEBUG_VARIABLE = "BRIDGE_DEBUG"
MESSAGE_CHARS_MAX = 2000


def prepare_process() -> None:
    """Make this process's streams and warnings fit for a terminal: no text is too strange to be shown."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_, **__: _say("warning", str(message))


def run(command: Callable[[], object], *, as_json: bool) -> int:
    """Run a command and return its exit code; whatever goes wrong is said on stderr.

    Args:
        command: It returns an exit code, or anything else for 0.
        as_json: Whether stdout carries JSON: the error is then its last line, too.
    """
    try:
        code = command()
        sys.stdout.flush()
        return code if type(code) is int else 0
    except SystemExit as ending:  # click ends so when stdout is closed early
        return ending.code if type(ending.code) is int else 0 if ending.code is None else EXIT_ERROR
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted", "")
        _finish_interrupted(as_json)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        return _report_usage(error, as_json)
    except BridgeError as error:
        return _report(error, as_json)
    except OSError as error:
        if error.errno != errno.EPIPE:
            return _report_unexpected(error, as_json)
        _drop_stdout()
        return EXIT_ERROR
    except Exception as error:
        return _report_unexpected(error, as_json)


def error_fields(error: BridgeError) -> dict[str, object]:
    """Return an error as fields of a JSON object."""
    return {
        "error": type(error).__name__,
        "message": str(error),
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def _report(error: BridgeError, as_json: bool) -> int:
    _trace_if_asked()
    _say("error", str(error))
    if isinstance(error, InvalidQuery) and len(error.text) < 200:
        click.echo(f"  {_shown(error.text)}\n  {' ' * error.position}^", err=True)
    if error.hint:
        _say("hint", error.hint)
    _finish_json(error_fields(error), as_json)
    return error.exit_code


def _report_usage(error: click.ClickException, as_json: bool) -> int:
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
        error.show()  # the help of a group that was named without a command
        return EXIT_USAGE
    _say("error", error.format_message())
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(context.get_usage(), err=True)
        _say("hint", f"{context.command_path} --help")
    fields = {"error": "UsageError", "message": error.format_message(), "hint": None}
    _finish_json({**fields, "exit_code": EXIT_USAGE}, as_json)
    return EXIT_USAGE


def _report_unexpected(error: Exception, as_json: bool) -> int:
    from trackbridge.domain.secrets import redact

    _trace_if_asked()
    message = redact(f"{type(error).__name__}: {error}")
    _say("error", f"unexpected {message}")
    if not os.environ.get(DEBUG_VARIABLE):
        _say("hint", f"set {DEBUG_VARIABLE}=1 to see the traceback, and report it")
    fields = {"error": type(error).__name__, "message": message, "hint": None}
    _finish_json({**fields, "exit_code": EXIT_ERROR}, as_json)
    return EXIT_ERROR


def _trace_if_asked() -> None:
    if os.environ.get(DEBUG_VARIABLE):
        click.echo(traceback.format_exc(), err=True)


def _say(kind: str, text: str) -> None:
    from trackbridge.cli.output import Output

    colours = {"error": "red", "warning": "yellow", "hint": "cyan"}
    label = Output.styled(kind, colours.get(kind), stream=sys.stderr)
    click.echo(f"{label}: {_shown(text)}" if text else label, err=True)


def _shown(text: str) -> str:
    from trackbridge.api.display import printable

    return printable(text, MESSAGE_CHARS_MAX)


def _finish_json(fields: dict[str, object], as_json: bool) -> None:
    if as_json:
        from trackbridge.cli.output import Output

        Output(as_json=True).record("error", fields)


def _finish_interrupted(as_json: bool) -> None:
    """Write the last line of JSON, unless the command has summed up itself."""
    if not as_json:
        return
    from trackbridge.cli.output import Output

    if Output.last_kind != "summary":
        fields = {"error": "KeyboardInterrupt", "message": "interrupted", "hint": None}
        _finish_json({**fields, "exit_code": EXIT_INTERRUPTED}, as_json)


def _drop_stdout() -> None:
    """Keep the interpreter from writing to a closed pipe once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
