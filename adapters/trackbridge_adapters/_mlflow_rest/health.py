"""What ``bridge doctor`` asks of every MLflow endpoint: one request for each thing that can be wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import requests

from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.runs import RunSpec, RunStatus
from trackbridge.errors import AuthError, BridgeError
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity
from trackbridge.ports.tracking import TrackingStore
from trackbridge_adapters._mlflow_rest.errors import RouteMissing
from trackbridge_adapters._mlflow_rest.wire import PREFIX, Wire

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking

OLDEST = (2, 16)
CLOCK_SKEW_S_MAX = 60
"""More than this shifts points against those of others; signatures are refused from 5 minutes on."""
DOCTOR_EXPERIMENT = "bridge-doctor"


def examine(
    wire: Wire, tracking: RestTracking, clock_ms: Callable[[], int], *, write: bool
) -> Iterator[Finding]:
    """Yield a finding for each thing looked at; the first that is wrong ends the look: it is the cause."""
    try:
        answer = wire.send("POST", f"{PREFIX}/experiments/search", body=b'{"max_results":1}', headers=_JSON)
        wire.decoded(answer, "experiments/search")
    except AuthError as error:
        # A clock that is wrong makes signatures and tokens invalid: then it is the cause.
        yield from _clock_of_anybody(wire, clock_ms)
        yield _finding(Severity.ERROR, CREDENTIALS, str(error), error.hint or "check the credentials")
        return
    except RouteMissing:
        yield _finding(
            Severity.ERROR,
            "backend",
            f"there is no MLflow server at {wire.service.base_url()}",
            "check the address: /api/2.0/mlflow/experiments/search answers 404",
        )
        return
    except BridgeError as error:
        fix = error.hint or "check the address, the network, and whether the server runs"
        yield _finding(Severity.ERROR, "backend", str(error), fix)
        return
    yield _finding(Severity.OK, "backend", f"{wire.service.address} answers, and lets us read")
    yield from _clock(answer, clock_ms())
    yield from _version(wire)
    if write:
        yield from written(tracking, clock_ms())


_JSON = {"Content-Type": "application/json"}


def _clock(answer: requests.Response, now_ms: int) -> Iterator[Finding]:
    try:
        server_s = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return
    skew_s = now_ms / 1000 - server_s
    if abs(skew_s) <= CLOCK_SKEW_S_MAX:
        return
    way = "ahead of" if skew_s > 0 else "behind"
    yield _finding(
        Severity.ERROR if abs(skew_s) > 300 else Severity.WARNING,
        "clock",
        f"this machine's clock is {abs(skew_s):,.0f} s {way} the server's",
        "set the clock (timedatectl set-ntp true): times of points are wrong, and signatures are refused",
    )


def _clock_of_anybody(wire: Wire, clock_ms: Callable[[], int]) -> Iterator[Finding]:
    """Compare clocks by an answer to somebody who has not signed in."""
    try:
        answer = wire.service.http.request("HEAD", wire.service.base_url(), authenticate=False)
    except BridgeError:
        return  # what is wrong is told anyhow
    yield from _clock(answer, clock_ms())


def _version(wire: Wire) -> Iterator[Finding]:
    try:
        text = wire.send("GET", "/version").text.strip()
    except BridgeError:
        return  # managed services do not say
    match = re.fullmatch(r"(\d+)\.(\d+)[\w.+-]*", text)
    if match is None:
        return
    if (int(match[1]), int(match[2])) < OLDEST:
        yield _finding(
            Severity.WARNING,
            "version",
            f"the server is mlflow {text}; older than 2.16 is not tested",
            "upgrade the server, and its database with: mlflow db upgrade",
        )
    else:
        yield _finding(Severity.OK, "version", f"mlflow {text}")


def written(tracking: TrackingStore, now_ms: int) -> Iterator[Finding]:
    """Open and close a run, and delete it again; yield what came of it."""
    run_id = mint_id()
    spec = RunSpec(
        run_id=run_id,
        experiment_id=experiment_id_of(DOCTOR_EXPERIMENT),
        experiment_name=DOCTOR_EXPERIMENT,
        name="doctor",
        user="bridge doctor",
        start_time=now_ms,
    )
    try:
        tracking.open_run(spec)
        tracking.close_run(run_id, status=RunStatus.FINISHED, end_time=now_ms)
        tracking.delete_run(run_id)
    except AuthError as error:
        yield _finding(
            Severity.ERROR, CREDENTIALS, f"reading works, writing does not: {error}", error.hint or ""
        )
        return
    except BridgeError as error:
        yield _finding(Severity.ERROR, "writing", str(error), error.hint or "")
        return
    yield _finding(Severity.OK, "writing", f"a run was written in {DOCTOR_EXPERIMENT!r}, and deleted again")


def _finding(severity: Severity, subject: str, message: str, fix: str = "") -> Finding:
    return Finding(severity=severity, subject=subject, message=message, fix=fix)
