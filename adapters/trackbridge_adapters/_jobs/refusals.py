"""Refusing a job by what its check has found."""

from __future__ import annotations

from collections.abc import Iterable

from trackbridge.errors import Rejected
from trackbridge.ports.findings import Finding, Severity


def refuse_errors(findings: Iterable[Finding], *, adapter: str, operation: str) -> None:
    """Return, unless one of the findings keeps the job from running.

    Raises:
        Rejected: One does; of several, the first is told.
    """
    for finding in findings:
        if finding.severity is Severity.ERROR:
            raise Rejected(
                f"the job cannot run: {finding.subject}: {finding.message}",
                adapter=adapter,
                operation=operation,
                hint=finding.fix,
            )
