"""``bridge doctor``: everything that keeps tracking from working, each with its fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trackbridge.cli.failures import EXIT_AUTH, EXIT_ERROR
from trackbridge.cli.options import example, output_option, uri_argument
from trackbridge.cli.output import Output, counted

if TYPE_CHECKING:
    from trackbridge.ports.findings import Finding


@click.command(epilog=example("bridge doctor", "bridge doctor prod --json", "bridge doctor ./store --write"))
@uri_argument
@click.option("--write", is_flag=True, help="Try whether the backend can be written to, too.")
@output_option
def doctor(output: Output, uri: str | None, write: bool) -> None:
    """Look for what keeps tracking from working, and how to put it right.

    Looks at the settings, the backend of URI, the journals and the disk under them. Nothing is changed,
    unless --write is given. Ends with 1 when something is wrong, with 6 when the backend refuses who you are.
    """
    from trackbridge.operations.doctor import examine
    from trackbridge.ports.findings import CREDENTIALS, Severity

    findings = []
    for finding in examine(uri, write=write):
        findings.append(finding)
        _show(output, finding)
    counts = {kind.value: sum(item.severity is kind for item in findings) for kind in Severity}
    if not counts["error"]:
        output.show(
            f"nothing is wrong, {counted(counts['warning'], 'warning')}"
            if counts["warning"]
            else "all is well"
        )
    output.summary(counts)
    errors = [item for item in findings if item.severity is Severity.ERROR]
    if any(item.subject == CREDENTIALS for item in errors):
        output.end(EXIT_AUTH)
    if errors:
        output.end(EXIT_ERROR)


def _show(output: Output, finding: Finding) -> None:
    marks = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "error": ("ERROR", "red")}
    mark, colour = marks[finding.severity.value]
    fields = ("severity", "subject", "message", "fix")
    output.event("finding", {name: getattr(finding, name) for name in fields})
    output.show(f"{mark:<8} {finding.subject}: {finding.message}", colour=colour if mark != "ok" else None)
    if finding.fix:
        output.show(f"         fix: {finding.fix}")
