"""What ``bridge doctor`` asks Databricks beside what it asks of any MLflow endpoint; the fixes of errors."""

from __future__ import annotations

from trackbridge.errors import AuthError, BridgeError, NotFound, Rejected
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity
from trackbridge_adapters._mlflow_rest.wire import Wire
from trackbridge_adapters.databricks.identity import user_of

NEW_TOKEN = "make a new token (databricks configure, or User settings, Developer), or use a service principal"
HOST = "check the host: is it the address of the workspace that the token is of?"


def fix_of(error: BridgeError) -> str | None:
    """Return what to do about an error of the workspace, None where the error says it."""
    text = str(error).lower()
    if isinstance(error, AuthError):
        return _fix_of_refusal(text)
    if isinstance(error, NotFound) and "parent directory" in text:
        return "make the folder in the workspace, or choose another with the option experiment_folder"
    if isinstance(error, Rejected) and "already exists" in text and "node named" in text:
        return "a folder, notebook or file has this name: choose another"
    if isinstance(error, NotFound) and ("catalog '" in text or "schema '" in text):
        return "make the catalog or schema, or check the first two parts of the model's name"
    if "metastore_does_not_exist" in text:
        return "the workspace has no Unity Catalog: name the model without dots, or assign a metastore"
    return None


def _fix_of_refusal(text: str) -> str:
    if "expired" in text:
        return f"the token has expired: {NEW_TOKEN}"
    if "invalid access token" in text or "invalid token" in text:
        return f"the token is wrong, expired or of another workspace: {NEW_TOKEN}; {HOST}"
    if "ip" in text.split() and "blocked" in text:
        return "this machine's address is not in the workspace's IP access list"
    if "use catalog" in text or "use schema" in text or "create model" in text:
        return "ask the owner of the schema to grant USE CATALOG, USE SCHEMA and CREATE MODEL"
    if "status 403" in text:
        return "ask for CAN EDIT on the experiment (CAN READ to read), or for access to the workspace"
    return f"sign in again: {NEW_TOKEN}"


def check(wire: Wire, write: bool) -> tuple[Finding, ...]:
    """Say who is signed in, where the look at every endpoint has found nothing wrong."""
    try:
        wire.post("experiments/search", {"max_results": 1})
    except BridgeError:
        return ()  # told already
    try:
        name = user_of(wire)
    except BridgeError as error:
        subject = CREDENTIALS if isinstance(error, AuthError) else "backend"
        fix = error.hint or HOST
        return (Finding(severity=Severity.ERROR, subject=subject, message=str(error), fix=fix),)
    message = f"signed in to {wire.service.address} as {name}"
    return (Finding(severity=Severity.OK, subject=CREDENTIALS, message=message),)
