"""What ``bridge doctor`` looks at: Spark and Java on this machine, and whether a master answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from trackbridge.ports.findings import Finding, Severity
from trackbridge_adapters.spark.config import Kind, Settings
from trackbridge_adapters.spark.installation import JAVA_HINT, SPARK_HINT, java, spark_home_of

ANSWER_S = 5.0


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield one finding for each thing looked at."""
    home = spark_home_of(settings)
    if home is None:
        yield Finding(
            severity=Severity.ERROR, subject="spark", message="there is no spark-submit", fix=SPARK_HINT
        )
    else:
        yield Finding(severity=Severity.OK, subject="spark", message=f"spark-submit of {home}")
    found = java()
    if found is None:
        yield Finding(severity=Severity.ERROR, subject="java", message="there is no java", fix=JAVA_HINT)
    else:
        yield Finding(severity=Severity.OK, subject="java", message=found)
    if settings.kind is Kind.STANDALONE:
        yield _master(settings.master)


def _master(master: str) -> Finding:
    """Say whether one of the masters takes connections."""
    for place in master.removeprefix("spark://").split(","):
        host, _, port = place.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
        except (OSError, OverflowError):
            continue
        return Finding(severity=Severity.OK, subject="master", message=f"{place} answers")
    return Finding(
        severity=Severity.ERROR,
        subject="master",
        message=f"nobody answers at {master}",
        fix="start the master, or check host and port",
    )
