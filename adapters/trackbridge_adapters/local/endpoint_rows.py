"""Endpoints as ``store.db`` holds them: reading, and the small writes that processes make."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from trackbridge.domain.deployment_changes import facts_of, spec_of
from trackbridge.domain.deployments import DeploymentSpec, EndpointStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRow:
    """One deployment: what is wanted since a generation, and what serves since one."""

    name: str
    spec: DeploymentSpec
    generation: int
    serving_spec: DeploymentSpec | None
    serving_generation: int | None
    is_removing: bool
    status: EndpointStatus
    reason: str
    restarts: int

    @property
    def is_waiting(self) -> bool:
        """True while what is wanted does not serve yet."""
        return self.generation != self.serving_generation and self.status is not EndpointStatus.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRow:
    """One endpoint with its deployments, in order of name."""

    name: str
    generation: int
    routed_generation: int
    traffic: dict[str, int]
    mirror: dict[str, int]
    is_deleting: bool
    reason: str
    sockets: Path
    port: int | None
    deployments: tuple[DeploymentRow, ...] = ()

    def find(self, deployment: str) -> DeploymentRow | None:
        """Return a deployment that is wanted, or None."""
        found = (row for row in self.deployments if row.name == deployment and not row.is_removing)
        return next(found, None)

    def socket(self, deployment: str, generation: int | None) -> str:
        """Return the path of a server's socket."""
        return str(self.sockets / f"{deployment}.{generation}")


_ENDPOINT = (
    "SELECT name, generation, routed_generation, traffic, mirror, is_deleting, reason, sockets, port "
    "FROM endpoint"
)
_DEPLOYMENTS = (
    "SELECT name, spec, generation, serving_spec, serving_generation, is_removing, status, reason, restarts "
    "FROM endpoint_deployment WHERE endpoint = ? ORDER BY name"
)


def read_endpoint(connection: sqlite3.Connection, endpoint: str) -> EndpointRow | None:
    """Return an endpoint, None when there is none."""
    found = connection.execute(f"{_ENDPOINT} WHERE name = ?", (endpoint,)).fetchone()
    return _with_deployments(connection, found) if found else None


def read_endpoints(connection: sqlite3.Connection, after: str, count: int) -> list[EndpointRow]:
    """Return the next endpoints after a name, in order."""
    found = connection.execute(f"{_ENDPOINT} WHERE name > ? ORDER BY name LIMIT ?", (after, count)).fetchall()
    return [_with_deployments(connection, row) for row in found]


def _with_deployments(
    connection: sqlite3.Connection, found: tuple[str, int, int, str, str, int, str, str, int | None]
) -> EndpointRow:
    name, generation, routed, traffic, mirror, is_deleting, reason, sockets, port = found
    row = EndpointRow(
        name=name,
        generation=generation,
        routed_generation=routed,
        traffic=json.loads(traffic),
        mirror=json.loads(mirror),
        is_deleting=bool(is_deleting),
        reason=reason,
        sockets=Path(sockets),
        port=port,
    )
    deployments = connection.execute(_DEPLOYMENTS, (name,)).fetchall()
    return replace(row, deployments=tuple(_deployment(found) for found in deployments))


def _deployment(
    row: tuple[str, str, int, str | None, int | None, int, str, str, int],
) -> DeploymentRow:
    name, spec, generation, serving_spec, serving_generation, is_removing, status, reason, restarts = row
    return DeploymentRow(
        name=name,
        spec=decode_spec(spec),
        generation=generation,
        serving_spec=decode_spec(serving_spec) if serving_spec else None,
        serving_generation=serving_generation,
        is_removing=bool(is_removing),
        status=EndpointStatus(status),
        reason=reason,
        restarts=restarts,
    )


def encode_spec(spec: DeploymentSpec) -> str:
    """Return a deployment as text, without its shares of the traffic."""
    return msgspec.json.encode(facts_of(spec)).decode()


def decode_spec(text: str) -> DeploymentSpec:
    """Return the deployment of a text."""
    return spec_of(json.loads(text))


def bump(connection: sqlite3.Connection, endpoint: str) -> int:
    """Begin a new generation of an endpoint, and return it."""
    connection.execute("UPDATE endpoint SET generation = generation + 1 WHERE name = ?", (endpoint,))
    found = connection.execute("SELECT generation FROM endpoint WHERE name = ?", (endpoint,)).fetchone()
    return int(found[0])


# What the router writes.


def note_router(connection: sqlite3.Connection, endpoint: str, port: int) -> None:
    """Remember who routes, and the port, which is the endpoint's for good."""
    connection.execute(
        "UPDATE endpoint SET port = ?, router_pid = ?, router_start_time = ?, reason = '' WHERE name = ?",
        (port, os.getpid(), _now_ms(), endpoint),
    )


def note_routed(connection: sqlite3.Connection, endpoint: str, generation: int) -> None:
    """Remember how far the router has come, and complete the operations that waited for that."""
    connection.execute(
        "UPDATE endpoint SET routed_generation = max(routed_generation, ?) WHERE name = ?",
        (generation, endpoint),
    )
    connection.execute(
        "UPDATE endpoint_operation SET done = 1 WHERE endpoint = ? AND done = 0 AND route_generation <= ?",
        (endpoint, generation),
    )


# What the supervisor writes.


def note_supervisor(connection: sqlite3.Connection, endpoint: str) -> None:
    """Remember who supervises."""
    connection.execute(
        "UPDATE endpoint SET supervisor_pid = ?, supervisor_start_time = ? WHERE name = ?",
        (os.getpid(), _now_ms(), endpoint),
    )


def note_server(
    connection: sqlite3.Connection, endpoint: str, deployment: str, pid: int, *, restarted: bool
) -> None:
    """Remember who serves a deployment."""
    connection.execute(
        "UPDATE endpoint_deployment SET pid = ?, start_time = ?, restarts = restarts + ? "
        "WHERE endpoint = ? AND name = ?",
        (pid, _now_ms(), int(restarted), endpoint, deployment),
    )


def note_status(
    connection: sqlite3.Connection, endpoint: str, deployment: str, status: EndpointStatus, reason: str
) -> None:
    """Remember how a deployment stands; the router is told."""
    bump(connection, endpoint)
    connection.execute(
        "UPDATE endpoint_deployment SET status = ?, reason = ? WHERE endpoint = ? AND name = ?",
        (status.value, reason, endpoint, deployment),
    )


def note_reason(connection: sqlite3.Connection, endpoint: str, reason: str) -> None:
    """Remember why an endpoint cannot be reached."""
    connection.execute("UPDATE endpoint SET reason = ? WHERE name = ?", (reason, endpoint))


def switch(connection: sqlite3.Connection, endpoint: str, row: DeploymentRow) -> None:
    """Let what is wanted serve, unless something else is wanted by now; the router ends the operation."""
    generation = bump(connection, endpoint)
    changed = connection.execute(
        "UPDATE endpoint_deployment SET serving_spec = spec, serving_generation = generation, status = ?, "
        "reason = '', restarts = 0 WHERE endpoint = ? AND name = ? AND generation = ?",
        (EndpointStatus.READY.value, endpoint, row.name, row.generation),
    )
    if changed.rowcount:
        connection.execute(
            "UPDATE endpoint_operation SET route_generation = ? "
            "WHERE endpoint = ? AND subject = ? AND done = 0",
            (generation, endpoint, subject_of(endpoint, row.name)),
        )


def give_up(connection: sqlite3.Connection, endpoint: str, row: DeploymentRow, reason: str) -> None:
    """End a deployment that could not be started: what served before goes on, and is what is wanted again."""
    bump(connection, endpoint)
    if row.serving_generation is None:
        changed = connection.execute(
            "UPDATE endpoint_deployment SET status = ?, reason = ? "
            "WHERE endpoint = ? AND name = ? AND generation = ?",
            (EndpointStatus.FAILED.value, reason, endpoint, row.name, row.generation),
        )
    else:
        kept = f"{row.spec.model} could not take its place: {reason}"
        changed = connection.execute(
            "UPDATE endpoint_deployment SET spec = serving_spec, generation = serving_generation, "
            "status = ?, reason = ? WHERE endpoint = ? AND name = ? AND generation = ?",
            (EndpointStatus.READY.value, kept, endpoint, row.name, row.generation),
        )
    if changed.rowcount:
        end_operations(connection, endpoint, subject_of(endpoint, row.name), error=reason)


def remove_deployments(connection: sqlite3.Connection, endpoint: str, deployments: Iterable[str]) -> None:
    """Forget deployments whose servers have ended."""
    for deployment in deployments:
        connection.execute(
            "DELETE FROM endpoint_deployment WHERE endpoint = ? AND name = ? AND is_removing = 1",
            (endpoint, deployment),
        )
        connection.execute(
            "DELETE FROM endpoint_metric WHERE endpoint = ? AND deployment = ?", (endpoint, deployment)
        )
        end_operations(connection, endpoint, subject_of(endpoint, deployment))


def remove_endpoint(connection: sqlite3.Connection, endpoint: str) -> None:
    """Forget an endpoint whose processes have ended; its revisions stay."""
    for table, column in (
        ("endpoint", "name"),
        ("endpoint_deployment", "endpoint"),
        ("endpoint_metric", "endpoint"),
    ):
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (endpoint,))
    end_operations(connection, endpoint, f"delete {endpoint}")
    connection.execute(
        "UPDATE endpoint_operation SET done = 1, error = 'the endpoint was deleted' "
        "WHERE endpoint = ? AND done = 0",
        (endpoint,),
    )


def end_operations(
    connection: sqlite3.Connection, endpoint: str, subject: str, *, error: str | None = None
) -> None:
    """Complete what is under way for a subject."""
    connection.execute(
        "UPDATE endpoint_operation SET done = 1, error = ? WHERE endpoint = ? AND subject = ? AND done = 0",
        (error, endpoint, subject),
    )


def subject_of(endpoint: str, deployment: str) -> str:
    """Return the subject of the changes of a deployment."""
    return f"deployment {endpoint}/{deployment}"


def used_payloads(connection: sqlite3.Connection) -> set[str]:
    """Return the digests that deployments of any endpoint need."""
    specs = connection.execute("SELECT spec, serving_spec FROM endpoint_deployment").fetchall()
    return {decode_spec(text).model_digest for pair in specs for text in pair if text}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
