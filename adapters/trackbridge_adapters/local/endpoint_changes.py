"""The changes of an endpoint, each one transaction that looks, compares and writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.domain.deployment_changes import (
    checked_endpoint_name,
    facts_of,
    is_same_deployment,
    shares_of,
    spec_of,
    split_subject,
)
from trackbridge.domain.deployments import DeploymentSpec, EndpointStatus
from trackbridge.domain.plans import Change
from trackbridge.errors import PlanStale, Rejected
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.endpoint_checks import check_spec
from trackbridge_adapters.local.endpoint_folders import EndpointFolder
from trackbridge_adapters.local.endpoint_payloads import digest_of_folder, keeping, payload_folder, take_in
from trackbridge_adapters.local.endpoint_rows import (
    DeploymentRow,
    EndpointRow,
    bump,
    encode_spec,
    end_operations,
    read_endpoint,
)

OPERATION = "deployments.apply"
OPERATIONS_KEPT = 10_000


def begin(connection: sqlite3.Connection, endpoint: str, subject: str, now: int) -> int:
    """Begin an operation, and return its number; one under way for the same subject is superseded."""
    end_operations(connection, endpoint, subject, error="a later change took its place")
    found = connection.execute(
        "INSERT INTO endpoint_operation (endpoint, subject, time) VALUES (?, ?, ?)", (endpoint, subject, now)
    )
    number = int(found.lastrowid or 0)
    connection.execute("DELETE FROM endpoint_operation WHERE operation <= ?", (number - OPERATIONS_KEPT,))
    return number


def _under_way(connection: sqlite3.Connection, endpoint: str, subject: str) -> int:
    """Return the operation under way for a subject, 0 when there is none."""
    found = connection.execute(
        "SELECT max(operation) FROM endpoint_operation WHERE endpoint = ? AND done = 0 AND subject = ?",
        (endpoint, subject),
    ).fetchone()
    return int(found[0] or 0)


def apply_endpoint(database: Database, folder: EndpointFolder, change: Change, now: int) -> int:
    """Create an endpoint; return the operation, 0 when it is there already.

    Raises:
        PlanStale: It is being deleted.
    """
    name = checked_endpoint_name(folder.endpoint)
    folder.make()
    with database.writing(OPERATION, change.subject) as connection:
        row = read_endpoint(connection, name)
        if row is not None and row.is_deleting:
            raise _stale(change, "it is being deleted")
        if row is not None:
            return _under_way(connection, name, change.subject)
        connection.execute(
            "INSERT INTO endpoint (name, generation, sockets, creation_time) VALUES (?, 1, ?, ?)",
            (name, str(folder.choose_sockets()), now),
        )
        number = begin(connection, name, change.subject, now)
        connection.execute(
            "UPDATE endpoint_operation SET route_generation = 1 WHERE operation = ?", (number,)
        )
        return number


def apply_traffic(database: Database, change: Change, now: int) -> int:
    """Share the live requests otherwise; return the operation, 0 when they are shared so.

    Raises:
        PlanStale: They are shared in a third way, or a deployment is not there.
        Rejected: A deployment that is to answer does not serve.
    """
    _, endpoint, _ = split_subject(change.subject)
    after = _checked_shares(change.after)
    with database.writing(OPERATION, change.subject) as connection:
        row = _row(connection, endpoint, change)
        held = shares_of(row.traffic, row.mirror)
        if held == after:
            return _under_way(connection, endpoint, change.subject)
        if held != change.before:
            raise _stale(change, f"the traffic is {held['traffic']}, copies {held['mirror']}")
        for name in (*after["traffic"], *after["mirror"]):
            _check_serves(row, name, change)
        generation = bump(connection, endpoint)
        connection.execute(
            "UPDATE endpoint SET traffic = ?, mirror = ? WHERE name = ?",
            (json.dumps(after["traffic"]), json.dumps(after["mirror"]), endpoint),
        )
        number = begin(connection, endpoint, change.subject, now)
        connection.execute(
            "UPDATE endpoint_operation SET route_generation = ? WHERE operation = ?", (generation, number)
        )
        return number


def _checked_shares(after: Mapping[str, Any] | None) -> dict[str, dict[str, int]]:
    try:
        shares = msgspec.convert(after, dict[str, dict[str, int]])
        found = {"traffic": shares["traffic"], "mirror": shares["mirror"]}
    except (msgspec.ValidationError, KeyError) as error:
        raise Rejected(f"the change does not hold shares: {error}", hint="plan again") from error
    wrong = any(not 0 < percent <= 100 for part in found.values() for percent in part.values())
    if wrong or sum(found["traffic"].values()) != 100:
        raise Rejected(f"{found['traffic']} is not 100 % in all", adapter=ADAPTER, hint="plan again")
    return found


def _check_serves(row: EndpointRow, name: str, change: Change) -> None:
    wanted = row.find(name)
    if wanted is None:
        raise _stale(change, f"there is no deployment {name!r}")
    has_traffic = bool(row.traffic.get(name) or row.mirror.get(name))
    has_failed = wanted.status is EndpointStatus.FAILED and not has_traffic
    if wanted.serving_generation is None or has_failed:
        raise Rejected(
            f"{row.name}/{name} does not serve: {wanted.reason or wanted.status.value}",
            adapter=ADAPTER,
            operation=OPERATION,
            resource=change.subject,
            hint="wait until it is ready, or deploy it again",
        )


def apply_deployment(database: Database, store: Path, change: Change, payload: Path | None, now: int) -> int:
    """Bring, change or take away a deployment; return the operation, 0 when it stands so.

    Raises:
        PlanStale: It stands neither as before nor as after.
        Rejected: The payload did not come along.
    """
    if change.after is None:
        return _remove(database, change, now)
    wanted = spec_of(change.after)
    check_spec(wanted)
    with keeping(store) if payload is not None or wanted.model_digest else nullcontext():
        wanted = _with_payload(store, wanted, payload, change)
        with database.writing(OPERATION, change.subject) as connection:
            return _bring(connection, wanted, change, now)


def _with_payload(
    store: Path, wanted: DeploymentSpec, payload: Path | None, change: Change
) -> DeploymentSpec:
    """Take the payload in, and return the spec with the digest that it lies under."""
    if payload is not None and not wanted.model_digest:
        wanted = msgspec.structs.replace(wanted, model_digest=digest_of_folder(payload))
    folder = payload_folder(store, wanted.model_digest)
    if payload is not None:
        take_in(payload, folder)
    elif not wanted.model_digest or not folder.is_dir():
        raise Rejected(
            "the change brings a model, and its payload did not come along",
            adapter=ADAPTER,
            operation=OPERATION,
            resource=change.subject,
            hint="hand over the folder that holds the model",
        )
    return wanted


def _bring(connection: sqlite3.Connection, wanted: DeploymentSpec, change: Change, now: int) -> int:
    endpoint, name = wanted.endpoint, wanted.deployment
    row = _row(connection, endpoint, change)
    if change.subject != f"deployment {endpoint}/{name}":
        raise Rejected(
            "the change is not of the deployment that it names", adapter=ADAPTER, hint="plan again"
        )
    current = row.find(name)
    held = _held(current)
    has_failed = current is not None and current.status is EndpointStatus.FAILED
    is_as_after = is_same_deployment(held, facts_of(wanted)) or is_same_deployment(held, change.after)
    if is_as_after and not has_failed:
        return _under_way(connection, endpoint, change.subject)
    if not is_as_after and not is_same_deployment(held, change.before):
        raise _stale(change, "it is another one now")
    generation = bump(connection, endpoint)
    if current is None:
        connection.execute(
            "DELETE FROM endpoint_deployment WHERE endpoint = ? AND name = ?", (endpoint, name)
        )
        connection.execute(
            "INSERT INTO endpoint_deployment (endpoint, name, spec, generation, status) "
            "VALUES (?, ?, ?, ?, ?)",
            (endpoint, name, encode_spec(wanted), generation, EndpointStatus.CREATING.value),
        )
    else:
        status = EndpointStatus.CREATING if current.serving_generation is None else EndpointStatus.UPDATING
        connection.execute(
            "UPDATE endpoint_deployment SET spec = ?, generation = ?, status = ?, reason = '' "
            "WHERE endpoint = ? AND name = ?",
            (encode_spec(wanted), generation, status.value, endpoint, name),
        )
    return begin(connection, endpoint, change.subject, now)


def _remove(database: Database, change: Change, now: int) -> int:
    _, endpoint, name = split_subject(change.subject)
    with database.writing(OPERATION, change.subject) as connection:
        row = read_endpoint(connection, endpoint)
        current = row.find(name) if row is not None else None
        if row is None or current is None:
            return _under_way(connection, endpoint, change.subject)
        if not is_same_deployment(_held(current), change.before):
            raise _stale(change, "it is another one now")
        if row.traffic.get(name) or row.mirror.get(name):
            raise _stale(change, "it has traffic now")
        bump(connection, endpoint)
        connection.execute(
            "UPDATE endpoint_deployment SET is_removing = 1 WHERE endpoint = ? AND name = ?", (endpoint, name)
        )
        return begin(connection, endpoint, change.subject, now)


def _held(current: DeploymentRow | None) -> dict[str, Any] | None:
    return facts_of(current.spec) if current is not None else None


def _row(connection: sqlite3.Connection, endpoint: str, change: Change) -> EndpointRow:
    row = read_endpoint(connection, endpoint)
    if row is None or row.is_deleting:
        raise _stale(change, "there is no such endpoint any more")
    return row


def _stale(change: Change, why: str) -> PlanStale:
    return PlanStale(
        f"{change.subject} is not as it was planned from: {why}",
        adapter=ADAPTER,
        operation=OPERATION,
        hint="plan again, look at it, and apply that",
    )
