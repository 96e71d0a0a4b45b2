"""What a job would be, before it is submitted: every check that costs nothing, and what would be sent."""

from __future__ import annotations

from dataclasses import dataclass

from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobPreview, JobSpec
from trackbridge.errors import InvalidInput
from trackbridge.operations.submit import RunWanted, refuse_unfit, with_run
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.jobs import JobBackend


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job that was not submitted; there is no preview where a finding is an error."""

    spec: JobSpec
    findings: tuple[Finding, ...]
    preview: JobPreview | None

    @property
    def can_run(self) -> bool:
        """Whether it would be taken."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)


def plan_job(spec: JobSpec, jobs: JobBackend, run: RunWanted) -> PlannedJob:
    """Check a job and return what would be sent; no run is opened, and nothing is submitted."""
    complete = with_run(spec, run, mint_id())
    findings = (*_unfit(spec), *jobs.check(complete))
    planned = PlannedJob(complete, findings, None)
    return PlannedJob(complete, findings, jobs.preview(complete)) if planned.can_run else planned


def _unfit(spec: JobSpec) -> tuple[Finding, ...]:
    try:
        refuse_unfit(spec)
    except InvalidInput as error:
        finding = Finding(
            severity=Severity.ERROR, subject="secrets", message=error.message, fix=error.hint or ""
        )
        return (finding,)
    return ()
