"""``bridge doctor``: everything that keeps tracking from working, each with its fix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trackbridge.cli.failures import EXIT_AUTH, EXIT_ERROR
from trackbridge.cli.options import example, output_option, uri_argument
from trackbridge.cli.output import Output, counted

if TYPE_CHECKING:
    from trackbridge.ports.findings import Finding


BUNDLE_ENDING = ".zip"
_UNNAMED = "*"
"""No name of a file that anybody would give."""


@click.command(
    epilog=example(
        "bridge doctor",
        "bridge doctor prod --json",
        "bridge doctor ./store --write",
        "bridge doctor prod --bundle report.zip",
    )
)
@uri_argument
@click.option("--write", is_flag=True, help="Try whether the backend can be written to, too.")
@click.option(
    "--bundle",
    is_flag=False,
    flag_value=_UNNAMED,
    metavar="[FILE.zip]",
    help="Write a report for the makers of trackbridge, without secrets.",
)
@output_option
def doctor(output: Output, uri: str | None, write: bool, bundle: str | None) -> None:
    """Look for what keeps tracking from working, and how to put it right.

    Looks at the settings, the backend of URI, the journals and the disk under them. Nothing is changed,
    unless --write is given. Ends with 1 when something is wrong, with 6 when the backend refuses who you are.

    With --bundle, all of it goes into a zip file as well, with versions, settings and their origins, how
    delivery stands, why records were rejected, and the ends of logs: nothing that was tracked, and no
    secrets. It is sent to nobody; what is in it is shown.
    """
    path = _bundle_path(bundle)
    from trackbridge.operations.doctor import examine
    from trackbridge.ports.findings import CREDENTIALS, Severity

    findings = []
    for finding in examine(uri, write=write):
        findings.append(finding)
        _show(output, finding)
    counts = {kind.value: sum(item.severity is kind for item in findings) for kind in Severity}
    output.show(_verdict(counts["error"], counts["warning"]))
    if path is not None:
        _write_bundle(output, path, uri, findings)
    output.summary({**counts, **({"bundle": str(path)} if path else {})})
    errors = [item for item in findings if item.severity is Severity.ERROR]
    if any(item.subject == CREDENTIALS for item in errors):
        output.end(EXIT_AUTH)
    if errors:
        output.end(EXIT_ERROR)


def _verdict(errors: int, warnings: int) -> str:
    """Return the last line."""
    if not (errors or warnings):
        return "all is well"
    wrong = counted(errors, "error") if errors else "nothing is wrong"
    return f"{wrong}, {counted(warnings, 'warning')}" if warnings else wrong


def _show(output: Output, finding: Finding) -> None:
    """Show a finding; one that is no fault and has a fix is of what may be done as well."""
    is_optional = finding.severity.value == "ok" and bool(finding.fix)
    marks = {
        "ok": ("optional" if is_optional else "ok", None),
        "warning": ("warning", "yellow"),
        "error": ("ERROR", "red"),
    }
    mark, colour = marks[finding.severity.value]
    fields = ("severity", "subject", "message", "fix")
    output.event("finding", {name: getattr(finding, name) for name in fields})
    output.show(f"{mark:<8} {finding.subject}: {finding.message}", colour=colour)
    if finding.fix:
        output.show(f"         {'if wanted' if is_optional else 'fix'}: {finding.fix}")


def _bundle_path(named: str | None) -> Path | None:
    """Return where the report goes, None where there is to be none.

    Raises:
        UsageError: The name does not end as a zip file's does: it is the URI, probably.
    """
    if named is None:
        return None
    if named == _UNNAMED:
        import time

        named = time.strftime("bridge-doctor-%Y%m%d-%H%M%S.zip", time.gmtime())
    if not named.endswith(BUNDLE_ENDING):
        raise click.UsageError(
            f"the file of --bundle is to end with {BUNDLE_ENDING}, and {named!r} does not; the tracking URI "
            "goes before --bundle"
        )
    return Path(named)


def _write_bundle(output: Output, path: Path, uri: str | None, findings: Sequence[Finding]) -> None:
    from trackbridge.operations.bundle import bundle_members, write_bundle

    members = bundle_members(uri, findings)
    size_bytes = write_bundle(path, members)
    output.show()
    output.show(f"{path} ({size_bytes:,} bytes) holds, without secrets:")
    for member in members:
        fields = {"name": member.name, "about": member.about, "bytes": len(member.text.encode())}
        output.event("file", fields)
        output.show(f"  {member.name:<32}{fields['bytes']:>9,} bytes  {member.about}")
    output.show("Look through it before you send it.")
