"""What ``bridge doctor`` asks about ``sagemaker:``: who we are, the clock, what we may do, and the bucket.

Nothing is changed without ``--write``. The first thing that makes the rest pointless ends the look: it is the
cause of what would follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from trackbridge.domain.ids import mint_id
from trackbridge.errors import AuthError, BridgeError, NotFound
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity
from trackbridge.ports.tracking import TrackingStore
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.health import CLOCK_SKEW_S_MAX, written
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.backend import Backend

SIGNATURE_SKEW_S_MAX = 300
"""Beyond this AWS refuses signatures; STS, which is asked first, takes 15 minutes."""
ANONYMOUS = b"Action=GetCallerIdentity&Version=2011-06-15"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
READS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("sagemaker", "ListExperiments", {"MaxResults": 1}),
    ("sagemaker", "Search", {"Resource": "ExperimentTrialComponent", "MaxResults": 1}),
    ("sagemaker", "ListModelPackageGroups", {"MaxResults": 1}),
)
"""What reading needs at least; each answers quickly whatever there is."""


def examine(backend: Backend, tracking: TrackingStore | None, *, write: bool) -> Iterator[Finding]:
    """Yield a finding for each thing looked at; never raises for what is wrong.

    Args:
        backend: The place.
        tracking: To write a run by.
        write: Whether to write an object and a run, and delete them again.
    """
    for look in (_region, _identity, _clock, _rights):
        findings = list(look(backend))
        yield from findings
        if any(finding.severity is Severity.ERROR for finding in findings):
            return
    yield from _bucket(backend, tracking if write else None)
    yield _recommendation(backend)


def _region(backend: Backend) -> Iterator[Finding]:
    try:
        known = backend.credentials.session().get_available_regions(
            "sagemaker", partition_name=backend.place.partition
        )
    except BridgeError as error:
        yield _refused("backend", error)
        return
    except Exception as error:  # a profile that is not there, a file that cannot be read
        yield _refused("backend", backend.credentials.translated(error))
        return
    if known and backend.place.region not in known:
        yield _finding(
            Severity.ERROR,
            "region",
            f"{backend.place.region!r} is no region of {backend.place.partition} that has SageMaker",
            f"write sagemaker://REGION; known are {', '.join(sorted(known))}",
        )


def _identity(backend: Backend) -> Iterator[Finding]:
    try:
        found = backend.clients.call("sts", "GetCallerIdentity")
    except AuthError as error:
        # A clock that is wrong makes signatures invalid: then it is the cause.
        wrong = [finding for finding in _clock(backend) if finding.severity is Severity.ERROR]
        yield from wrong or [_refused(CREDENTIALS, error)]
    except BridgeError as error:
        yield _refused("backend", error)
    else:
        yield _finding(Severity.OK, CREDENTIALS, f"signed in as {found.get('Arn')}")


def _clock(backend: Backend) -> Iterator[Finding]:
    """Compare clocks by an answer to somebody who has not signed in."""
    access = backend.access
    http = HttpClient(adapter=ADAPTER, verify=access.verify, answer_s=access.answer_s)
    try:
        address = backend.clients.client("sts").meta.endpoint_url
        # Not a HEAD, which STS sends on to AWS's pages: an account without internet reaches STS alone.
        answer = http.request("POST", address, body=ANONYMOUS, headers=FORM, authenticate=False)
        aws_s = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (BridgeError, KeyError, TypeError, ValueError):
        return  # a proxy that takes headers off; what is refused is told anyhow
    finally:
        http.close()
    skew_s = backend.context.clock_ms() / 1000 - aws_s
    if abs(skew_s) <= CLOCK_SKEW_S_MAX:
        return
    yield _finding(
        Severity.ERROR if abs(skew_s) > SIGNATURE_SKEW_S_MAX else Severity.WARNING,
        "clock",
        f"this machine's clock is {abs(skew_s):,.0f} s {'ahead of' if skew_s > 0 else 'behind'} AWS's",
        "set the clock (timedatectl set-ntp true): times of points are wrong, and signatures are refused",
    )


def _rights(backend: Backend) -> Iterator[Finding]:
    denied: list[str] = []
    for service, operation, named in READS:
        try:
            backend.clients.call(service, operation, **named)
        except AuthError as error:
            if "AccessDenied" not in error.message:
                yield _refused(CREDENTIALS, error)
                return
            denied.append(f"{service}:{operation}")
        except BridgeError as error:
            yield _refused("backend", error)
            return
    if denied:
        who = backend.access.role_arn or "your user or role"
        yield _finding(
            Severity.ERROR,
            CREDENTIALS,
            f"SageMaker refuses {', '.join(denied)}",
            f"allow them in the policies of {who}; docs/sagemaker.md has a whole policy",
        )
        return
    yield _finding(Severity.OK, "backend", f"{backend.place.text} answers, and lets us read")


def _bucket(backend: Backend, tracking: TrackingStore | None) -> Iterator[Finding]:
    bucket = backend.bucket
    try:
        bucket.store(write=False)
        next(iter(bucket.list("experiments")), None)
        bucket.get("doctor/absent")
    except NotFound as error:
        if backend.access.bucket:
            yield _refused("bucket", error)
            return
        message = f"there is no bucket {bucket.name} so far; it is made when something is first written"
        yield _finding(Severity.OK, "bucket", message)
    except BridgeError as error:
        yield _refused(CREDENTIALS if isinstance(error, AuthError) else "bucket", error)
        return
    else:
        yield _finding(Severity.OK, "bucket", f"{bucket.root} lets us read")
    if tracking is None:
        return
    findings = [*_written_object(backend)]
    yield from findings or written(tracking, backend.context.clock_ms())


def _written_object(backend: Backend) -> Iterator[Finding]:
    """Write an object and delete it again; a finding only where that fails."""
    key = f"doctor/{mint_id()}"
    try:
        backend.bucket.put(key, b"bridge doctor", absent=True)
        backend.bucket.delete(key)
    except BridgeError as error:
        is_denied = isinstance(error, AuthError)
        problem = f"reading the bucket works, writing does not: {error}"
        fix = error.hint or "allow s3:PutObject and s3:DeleteObject on the bucket"
        yield _finding(Severity.ERROR, CREDENTIALS if is_denied else "bucket", problem, fix)


def _recommendation(backend: Backend) -> Finding:
    place = backend.place
    arn = f"arn:{place.partition}:sagemaker:{place.region}:ACCOUNT:mlflow-app/ID"
    return _finding(
        Severity.OK,
        "recommendation",
        "AWS recommends managed MLflow for new work: SageMaker Experiments shows only in Studio Classic",
        f"to move what is there: bridge migrate {place.text} {arn}; what comes meanwhile, by writing to "
        f"both for a while: BRIDGE_TRACKING_URI={place.text},{arn}",
    )


def _refused(subject: str, error: BridgeError) -> Finding:
    fix = error.hint or "check the region, the network and the credentials: aws sts get-caller-identity"
    return _finding(Severity.ERROR, subject, str(error), fix)


def _finding(severity: Severity, subject: str, message: str, fix: str = "") -> Finding:
    return Finding(severity=severity, subject=subject, message=message, fix=fix)
