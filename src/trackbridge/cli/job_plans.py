"""``bridge run --plan``: what a job would be, where it would be billed, and what is wrong with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from trackbridge.cli.output import Output, counted

if TYPE_CHECKING:
    from trackbridge.api.job_submission import PreparedJob
    from trackbridge.domain.jobs import JobPreview, JobSpec
    from trackbridge.ports.findings import Finding

MARKS = {"ok": ("OK", None), "warning": ("WARNING", "yellow"), "error": ("ERROR", "red")}
IGNORED_SHOWN_MAX = 8


def show_job_plan(output: Output, prepared: PreparedJob) -> None:
    """Show a job that is not submitted; the exit code is 1 when it would not be taken."""
    planned = prepared.plan()
    _show_job(output, planned.spec, prepared.place.uri)
    if planned.preview is not None:
        _show_preview(output, planned.preview)
    show_findings(output, planned.findings)
    if not planned.findings:
        output.show("OK        every check that costs nothing passes")
    output.note("nothing was started")
    output.summary(
        {
            "can_run": planned.can_run,
            "place": prepared.place.uri,
            "job": prepared.spec.name,
            "findings": planned.findings,
            "preview": planned.preview,
        }
    )
    output.end(0 if planned.can_run else 1)


def _show_job(output: Output, spec: JobSpec, place: str) -> None:
    from trackbridge.domain.job_checks import shown_spec

    environment = spec.environment
    made_of = (
        f"image {environment.image}" if environment.image else "",
        f"Python {environment.python}" if environment.python else "",
        counted(len(environment.requirements), "requirement") if environment.requirements else "",
        f"conda file {environment.conda_file}" if environment.conda_file else "",
    )
    output.show(f"Job           {spec.name}")
    output.show(f"Place         {place}")
    output.show(f"Command       {shlex.join(shown_spec(spec)['command'])}")
    output.show(f"Environment   {', '.join(filter(None, made_of)) or 'the one that is there'}")
    for label, places in (("Input", spec.inputs), ("Output", spec.outputs)):
        for name, address in places.items():
            output.show(f"{label:<13} {name}: {address}")


def _show_preview(output: Output, preview: JobPreview) -> None:
    from trackbridge.cli.sizes import shown_size

    if preview.files:
        output.show(f"Sent          {counted(preview.files, 'file')}, {shown_size(preview.file_bytes)}")
    if preview.ignored:
        shown = ", ".join(preview.ignored[:IGNORED_SHOWN_MAX])
        more = len(preview.ignored) - IGNORED_SHOWN_MAX
        output.show(f"Stays behind  {shown}{f' and {more} more' if more > 0 else ''}")
    output.show(f"Billed        {billing_of(preview)}")


def billing_of(preview: JobPreview) -> str:
    """Say who pays for what: ``2 x ml.m5.large (spot), at most 1.5 hours each, to account 1234``."""
    if not preview.billed_to and preview.instance_type is None:
        return "to nobody"
    machines = f"{preview.instance_count} x {preview.instance_type or 'what the place chooses'}"
    spot = " (spot)" if preview.is_spot else ""
    hours = preview.hours_max
    limit = "without a limit of time" if hours is None else f"at most {hours:g} hours each"
    return f"{machines}{spot}, {limit}{f', to {preview.billed_to}' if preview.billed_to else ''}"


def show_findings(output: Output, findings: Iterable[Finding]) -> None:
    """Show what was found before anything is done, each with its fix."""
    for finding in findings:
        _show_finding(output, finding)


def _show_finding(output: Output, finding: Finding) -> None:
    mark, colour = MARKS[finding.severity.value]
    output.event("finding", {"severity": finding.severity.value, **_finding_fields(finding)})
    output.show(f"{mark:<9} {finding.subject}: {finding.message}", colour=colour)
    if finding.fix:
        output.show(f"          fix: {finding.fix}")


def _finding_fields(finding: Finding) -> dict[str, str]:
    return {"subject": finding.subject, "message": finding.message, "fix": finding.fix}
