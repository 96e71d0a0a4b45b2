"""What ``bridge doctor`` asks Azure, beside what it asks of every MLflow endpoint: who we are, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from trackbridge.errors import AuthError, BridgeError, ConfigError, NotFound
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity
from trackbridge_adapters._mlflow_rest.wire import Wire
from trackbridge_adapters.azureml.arm import Arm
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.datastores import Datastores
from trackbridge_adapters.azureml.identity import AzureTokens
from trackbridge_adapters.azureml.sign_in import Way, way_of
from trackbridge_adapters.azureml.workspace import Location

SUBSCRIPTIONS_LOOKED_AT = 200
NAMES_SHOWN = 5


def check_of(
    tokens: object, location: Location, clock_ms: Callable[[], int], arm: Arm, datastores: Datastores
) -> Callable[[Wire, bool], tuple[Finding, ...]]:
    """Return the check of one workspace."""

    def check(wire: Wire, write: bool) -> tuple[Finding, ...]:
        return tuple(_examined(tokens, location, clock_ms, arm, datastores))

    return check


def _examined(
    tokens: object, location: Location, clock_ms: Callable[[], int], arm: Arm, datastores: Datastores
) -> Iterator[Finding]:
    if isinstance(tokens, AzureTokens):
        try:
            claims = tokens.claims()
        except BridgeError:
            return  # the common part has told it: no request goes out without a token
        yield from _token(claims, clock_ms() / 1000, way_of(tokens))
    try:
        host = location.ask_arm()
    except BridgeError as error:
        yield from _hidden(location, error)
        if isinstance(error, (AuthError, ConfigError)):
            yield from _subscription(location.workspace, arm, way_of(tokens))
        return
    yield _place(location, host)
    yield from _storage(datastores)


def _subscription(workspace: Workspace, arm: Arm, way: Way) -> Iterator[Finding]:
    """Say which subscriptions there are for the one who signs in, where the workspace's is not among them."""
    try:
        seen = {
            str(item.get("subscriptionId") or "").lower(): str(item.get("displayName") or "")
            for item in islice(arm.pages("/subscriptions", "subscriptions"), SUBSCRIPTIONS_LOOKED_AT)
        }
    except BridgeError:
        return  # who may not list them has no use for the list
    if not seen or workspace.subscription.lower() in seen or len(seen) == SUBSCRIPTIONS_LOOKED_AT:
        return
    names = ", ".join(f"{name or 'unnamed'} ({key})" for key, name in islice(seen.items(), NAMES_SHOWN))
    yield Finding(
        severity=Severity.ERROR,
        subject="subscription",
        message=f"who signs in does not see the subscription {workspace.subscription}; there is {names}",
        fix="correct the subscription in the URI or in config.json, or sign in to its tenant: "
        f"{way.tenant()}",
    )


def _storage(datastores: Datastores) -> Iterator[Finding]:
    """Look into the datastore that models and data go to."""
    try:
        name = datastores.default()
        next(iter(datastores.files(name).below(1)), None)
    except NotFound:
        return  # what has only MLflow's routes of a workspace has no datastores
    except AuthError as error:
        yield Finding(
            severity=Severity.WARNING,
            subject="storage",
            message=f"the workspace's storage does not let us in: {error}",
            fix=_own_advice(error)
            or "ask for the role 'AzureML Data Scientist' on the workspace, and, where its "
            "datastores keep no secret, 'Storage Blob Data Contributor' on the account; check the account's "
            "firewall",
        )
    except BridgeError as error:
        fix = error.hint or "check that the storage account can be reached from here"
        message = f"the workspace's storage cannot be used: {error}"
        yield Finding(severity=Severity.WARNING, subject="storage", message=message, fix=fix)
    else:
        message = f"the datastore {name} lets us read"
        yield Finding(severity=Severity.OK, subject="storage", message=message)


def _own_advice(error: AuthError) -> str:
    """Return what an error advises that is about how we sign in, and not about rights; "" for others."""
    return error.hint if error.hint and "sign_in" in error.hint else ""


def _token(claims: dict[str, Any], now_s: float, way: Way) -> Iterator[Finding]:
    expires = claims.get("exp")
    if isinstance(expires, int) and expires <= now_s:
        yield Finding(
            severity=Severity.ERROR,
            subject=CREDENTIALS,
            message=f"the token expired {now_s - expires:,.0f} s ago by this machine's clock",
            fix=f"sign in again: {way.renewal}; and check the clock",
        )
    elif claims.get("tid"):
        message = f"signed in to the tenant {claims['tid']}"
        yield Finding(severity=Severity.OK, subject=CREDENTIALS, message=message)


def _hidden(location: Location, error: BridgeError) -> Iterator[Finding]:
    """Say why ARM does not show the workspace, where nothing else has."""
    if location.workspace.host is None or isinstance(error, AuthError):
        return  # the common part has told it, or the workspace lets us in and ARM does not
    severity = Severity.ERROR if isinstance(error, ConfigError) else Severity.WARNING
    fix = error.hint or "check that ARM can be reached from here"
    yield Finding(severity=severity, subject="workspace", message=str(error), fix=fix)


def _place(location: Location, host: str) -> Finding:
    """Compare the host that the URI names with the one that ARM knows; a short URI has its host from ARM."""
    named, workspace = location.workspace.host, location.workspace
    if named is None or named.lower() == host.lower():
        return Finding(severity=Severity.OK, subject="workspace", message=f"{workspace.name} is at {host}")
    return Finding(
        severity=Severity.ERROR,
        subject="workspace",
        message=f"the URI names the host {named}, and the workspace {workspace.name} is at {host}",
        fix=f"write {workspace.address}: the host is then asked for",
    )
