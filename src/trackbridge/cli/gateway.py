"""``bridge gateway`` and ``bridge ui``: mlflow's REST API in front of any backend, and the web pages."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackbridge.cli.durations import DURATION
from trackbridge.cli.options import example, output_option, uri_argument, yes_option
from trackbridge.cli.output import Output
from trackbridge.cli.sections import SectionedCommand, SectionOption
from trackbridge.cli.sizes import SIZE

if TYPE_CHECKING:
    from trackbridge.gateway.server import ServerOptions
    from trackbridge.gateway.tokens import TokenFile

Command = TypeVar("Command", bound=Callable[..., Any])
TOKENS_NAME = "gateway-tokens.json"
SCOPES = click.Choice(["read", "write"])
WHERE, WHO, HOW_MUCH, LOGS = "Where it listens", "Who is let in", "What it bears", "Its log"


def _option(section: str, *names: str, **attributes: Any) -> Callable[[Command], Command]:
    return click.option(*names, cls=SectionOption, section=section, **attributes)


tokens_option = click.option(
    "--tokens",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"File of the tokens' hashes; else {TOKENS_NAME} in the project's folder.",
)
SERVER_OPTIONS = (
    _option(WHERE, "--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    _option(
        WHERE,
        "--port",
        type=click.IntRange(0, 65535),
        default=5000,
        show_default=True,
        help="Port to listen on; 0 for a free one.",
    ),
    _option(
        WHO,
        "--tokens",
        "token_file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=f"Demand a token of this file; else of {TOKENS_NAME} in the project's folder, if any.",
    ),
    _option(
        WHO, "--trusted-header", default="", metavar="NAME", help="Header in which a proxy names the user."
    ),
    _option(
        WHO,
        "--trusted-proxy",
        "trusted_proxies",
        multiple=True,
        metavar="ADDRESS",
        help="Address or network of a proxy whose header counts; may be given again.",
    ),
    _option(
        WHO,
        "--trusted-scope",
        type=SCOPES,
        default="write",
        show_default=True,
        help="What the proxy's users may do.",
    ),
    _option(
        WHO,
        "--allowed-host",
        "allowed_hosts",
        multiple=True,
        metavar="NAME",
        help="Name by which clients may call it; else localhost, its address, this machine's name.",
    ),
    _option(
        WHO,
        "--allowed-origin",
        "allowed_origins",
        multiple=True,
        metavar="URL",
        help="Its address as browsers see it, where a proxy changes the Host header.",
    ),
    _option(WHO, "--insecure", is_flag=True, help="Let everybody in who reaches the address."),
    _option(
        HOW_MUCH, "--body-max", type=SIZE, default="64M", show_default=True, help="Bound of a request's body."
    ),
    _option(
        HOW_MUCH, "--upload-max", type=SIZE, default="100G", show_default=True, help="Bound of one file."
    ),
    _option(
        HOW_MUCH,
        "--rate",
        type=click.FloatRange(0.0),
        help="Requests per second of one client; 0 for no bound.  "
        "[default: 5000; no bound where programs of this machine are let in without a name]",
    ),
    _option(
        HOW_MUCH,
        "--connections",
        type=click.IntRange(1),
        default=2000,
        show_default=True,
        help="Connections at once.",
    ),
    _option(
        HOW_MUCH,
        "--connections-per-address",
        type=click.IntRange(0),
        help="Connections of one address, other than this machine's own or a trusted proxy's; 0 for no "
        "bound.  [default: a quarter of --connections]",
    ),
    _option(
        HOW_MUCH,
        "--threads",
        type=click.IntRange(1, 1000),
        default=16,
        show_default=True,
        help="Requests that wait for the backend at once.",
    ),
    _option(
        HOW_MUCH,
        "--header-timeout",
        type=DURATION,
        default="10s",
        show_default=True,
        help="How long the head of a request may take.",
    ),
    _option(
        HOW_MUCH,
        "--body-timeout",
        type=DURATION,
        default="30s",
        show_default=True,
        help="How long a client may send nothing of a body.",
    ),
    _option(
        HOW_MUCH,
        "--drain",
        type=DURATION,
        default="10s",
        show_default=True,
        help="How long requests may take at the end, and then the delivery of what was logged.",
    ),
    _option(
        LOGS,
        "--access-log",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="File for one JSON line a request; else stderr.",
    ),
    _option(LOGS, "--no-access-log", is_flag=True, help="Write no line for requests."),
)


OPTION_NAMES = (
    "host", "port", "token_file", "trusted_header", "trusted_proxies", "trusted_scope", "allowed_hosts",
    "allowed_origins", "insecure", "body_max", "upload_max", "rate", "connections",
    "connections_per_address", "threads", "header_timeout", "body_timeout", "drain",
    "access_log", "no_access_log",
)  # fmt: skip


def server_options(command: Command) -> Command:
    """Add the options of a server, and hand them to the command as the mapping ``given``."""

    @functools.wraps(command)
    def with_options(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in OPTION_NAMES}
        return command(*args, given=given, **options)

    return functools.reduce(lambda made, option: option(made), reversed(SERVER_OPTIONS), with_options)  # type: ignore[return-value]


class GatewayGroup(SectionedCommand, click.Group):
    """A command that serves, with commands for its tokens; its options stand under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(
    cls=GatewayGroup,
    invoke_without_command=True,
    epilog=example(
        "bridge gateway --backend azureml:",
        "bridge gateway --backend sagemaker: --port 5001",
        "bridge gateway tokens add trainer --scope write",
        "bridge gateway --host 0.0.0.0 --allowed-host tracking.example.org",
    ),
)
@click.option(
    "--backend",
    metavar="URI",
    help="What it stands in front of, or several, separated by commas; else the configured tracking URI.",
)
@click.option("--registry", metavar="URI", help="Where registered models are; else at the backend.")
@server_options
@output_option
@click.pass_context
def gateway(
    context: click.Context, output: Output, backend: str | None, registry: str | None, given: dict[str, Any]
) -> None:
    """Serve mlflow's REST API in front of any backend, until interrupted.

    Every language with an mlflow client can log to it, and mlflow's own client needs no plugin: set
    MLFLOW_TRACKING_URI to its address. What was answered is in the journal, and survives the death of this
    process. Only this machine reaches it without a token.
    """
    if context.invoked_subcommand is None:
        _serve(output, backend, registry, given, has_pages=False)


@click.command(cls=SectionedCommand, epilog=example("bridge ui", "bridge ui azureml: --port 5001"))
@uri_argument
@click.option("--registry", metavar="URI", help="Where registered models are; else at the backend.")
@server_options
@output_option
def ui(output: Output, uri: str | None, registry: str | None, given: dict[str, Any]) -> None:
    """Serve the web pages of a backend, and mlflow's REST API beside them, until interrupted.

    Experiments and runs, models, endpoints, what is being delivered, and what is wrong. Nothing is fetched
    from anywhere else, so that it works offline.
    """
    _serve(output, uri, registry, given, has_pages=True)


@gateway.group(
    epilog=example("bridge gateway tokens add trainer --scope write", "bridge gateway tokens list")
)
def tokens() -> None:
    """Make, list and remove the tokens that clients show.

    A file holds their salted hashes; it is read by running gateways when it changes.
    """


@tokens.command(epilog=example("bridge gateway tokens add trainer --scope write"))
@click.argument("name")
@click.option("--scope", type=SCOPES, default="read", show_default=True, help="What it allows.")
@tokens_option
@output_option
def add(output: Output, name: str, scope: str, tokens: Path | None) -> None:
    """Make a token and print it: this once, since only its hash is kept."""
    from trackbridge.gateway.routes import Scope

    file = _token_file(tokens)
    token = file.add(name, Scope(scope), now_ms=time.time_ns() // 1_000_000)
    output.note(f"{file.path} holds its hash; the token itself is shown this once:")
    output.show_raw(token)
    output.summary({"name": name, "scope": scope, "token": token, "file": str(file.path)})


@tokens.command("list", epilog=example("bridge gateway tokens list"))
@tokens_option
@output_option
def list_(output: Output, tokens: Path | None) -> None:
    """List the tokens by name; a token itself is kept nowhere."""
    from trackbridge.api.display import format_time

    file = _token_file(tokens)
    entries = file.entries()
    for entry in entries:
        told = {"name": entry.name, "scope": entry.scope.value, "created_at": entry.created_at}
        output.event("token", told)
    rows = [(entry.name, entry.scope.value, format_time(entry.created_at)) for entry in entries]
    output.table(("name", "scope", "made"), rows)
    output.summary({"tokens": len(entries), "file": str(file.path)})


@tokens.command(epilog=example("bridge gateway tokens remove trainer --yes"))
@click.argument("name")
@yes_option
@tokens_option
@output_option
def remove(output: Output, name: str, is_agreed: bool, tokens: Path | None) -> None:
    """Remove a token: whoever shows it is not let in any more, by running gateways either."""
    file = _token_file(tokens)
    output.confirm(f"Remove the token {name!r} from {file.path}?", is_agreed=is_agreed)
    file.remove(name)
    output.show(f"{name} is not let in any more.")
    output.summary({"name": name, "file": str(file.path)})


def _serve(
    output: Output, backend: str | None, registry: str | None, given: dict[str, Any], *, has_pages: bool
) -> None:
    from trackbridge.gateway.server import leave, serve

    options = _options(backend, registry, given, has_pages=has_pages)

    def tell(url: str, backends: str) -> None:
        output.event("ready", {"url": url, "backend": backends, "pid": os.getpid()})
        output.show(f"{'Pages and mlflow API' if has_pages else 'mlflow API'} of {backends} at {url}")
        if not has_pages:
            output.show(f"export MLFLOW_TRACKING_URI={url}")

    served = serve(options, on_ready=tell)
    for uri, count in served.pending.items():
        output.warn(
            f"{count:,} records are not delivered to {uri} yet; they are safe, and are delivered in the "
            f"background: bridge sync status --uri {uri}"
        )
    output.summary({"requests": served.requests, "pending": served.pending})
    leave(0)


def _options(
    backend: str | None, registry: str | None, given: dict[str, Any], *, has_pages: bool
) -> ServerOptions:
    from trackbridge.gateway.authentication import AccessOptions, is_loopback
    from trackbridge.gateway.gateway import GatewayOptions
    from trackbridge.gateway.limits import RATE_MAX, Limits
    from trackbridge.gateway.routes import Scope
    from trackbridge.gateway.server import ServerOptions

    token_file = given["token_file"]
    if token_file is None and (default := _default_tokens()).exists():
        token_file = default
    # Nameless programs of one machine share an address: a bound would refuse some of many for what all do.
    is_nameless = not token_file and not given["trusted_header"] and is_loopback(given["host"])
    return ServerOptions(
        gateway=GatewayOptions(backend=backend, registry=registry),
        access=AccessOptions(
            host=given["host"],
            token_file=token_file,
            trusted_header=given["trusted_header"],
            trusted_proxies=given["trusted_proxies"],
            trusted_scope=Scope(given["trusted_scope"]),
            allowed_hosts=given["allowed_hosts"],
            allowed_origins=given["allowed_origins"],
            is_insecure=given["insecure"],
        ),
        limits=Limits(
            body_bytes_max=given["body_max"],
            upload_bytes_max=given["upload_max"],
            rate_max=(0.0 if is_nameless else RATE_MAX) if given["rate"] is None else given["rate"],
            connections_max=given["connections"],
            connections_per_address_max=given["connections_per_address"],
            threads=given["threads"],
            header_timeout_s=given["header_timeout"],
            body_timeout_s=given["body_timeout"],
            drain_s=given["drain"],
        ),
        port=given["port"],
        has_pages=has_pages,
        access_log=given["access_log"],
        has_access_log=not given["no_access_log"],
    )


def _default_tokens() -> Path:
    from trackbridge.resolve.home import Surroundings, project_folder

    return project_folder(Surroundings.current()) / TOKENS_NAME


def _token_file(path: Path | None) -> TokenFile:
    from trackbridge.gateway.tokens import TokenFile

    return TokenFile(path or _default_tokens())
