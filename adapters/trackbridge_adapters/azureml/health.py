"""What ``bridge doctor`` asks Azure, beside what it asks of every MLflow endpoint: who we are, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from trackbridge.errors import AuthError, BridgeError, ConfigError
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity
from trackbridge_adapters._mlflow_rest.wire import Wire
from trackbridge_adapters.azureml.identity import AzureTokens
from trackbridge_adapters.azureml.workspace import Location


def check_of(
    tokens: object, location: Location, clock_ms: Callable[[], int]
) -> Callable[[Wire, bool], tuple[Finding, ...]]:
    """Return the check of one workspace."""
    return lambda wire, write: tuple(_examined(tokens, location, clock_ms))


def _examined(tokens: object, location: Location, clock_ms: Callable[[], int]) -> Iterator[Finding]:
    if isinstance(tokens, AzureTokens):
        try:
            claims = tokens.claims()
        except BridgeError:
            return  # the common part has told it: no request goes out without a token
        yield from _token(claims, clock_ms() / 1000)
    yield from _place(location)


def _token(claims: dict[str, Any], now_s: float) -> Iterator[Finding]:
    expires = claims.get("exp")
    if isinstance(expires, int) and expires <= now_s:
        yield Finding(
            severity=Severity.ERROR,
            subject=CREDENTIALS,
            message=f"the token expired {now_s - expires:,.0f} s ago by this machine's clock",
            fix="sign in again (az login), and check the clock",
        )
    elif claims.get("tid"):
        message = f"signed in to the tenant {claims['tid']}"
        yield Finding(severity=Severity.OK, subject=CREDENTIALS, message=message)


def _place(location: Location) -> Iterator[Finding]:
    """Compare the host that the URI names with the one that ARM knows; a short URI has its host from ARM."""
    named, workspace = location.workspace.host, location.workspace
    try:
        host = location.ask_arm()
    except BridgeError as error:
        if named is None or isinstance(error, AuthError):
            return  # the common part has told it, or the workspace lets us in and ARM does not
        severity = Severity.ERROR if isinstance(error, ConfigError) else Severity.WARNING
        message, fix = str(error), error.hint or "check that ARM can be reached from here"
        yield Finding(severity=severity, subject="workspace", message=message, fix=fix)
        return
    if named is None or named.lower() == host.lower():
        yield Finding(severity=Severity.OK, subject="workspace", message=f"{workspace.name} is at {host}")
        return
    yield Finding(
        severity=Severity.ERROR,
        subject="workspace",
        message=f"the URI names the host {named}, and the workspace {workspace.name} is at {host}",
        fix=f"write {workspace.address}: the host is then asked for",
    )
