"""What the checks of every backend say in the same words."""

from __future__ import annotations

from collections.abc import Iterator

from trackbridge.domain.job_checks import job_problems
from trackbridge.domain.jobs import JobSpec
from trackbridge.domain.secrets import is_secret_name, redact
from trackbridge.ports.findings import Finding, Severity


def error(subject: str, message: str, fix: str) -> Finding:
    """Return a finding that keeps the job from running."""
    return Finding(severity=Severity.ERROR, subject=subject, message=message, fix=fix)


def warning(subject: str, message: str, fix: str) -> Finding:
    """Return a finding that the user should know of."""
    return Finding(severity=Severity.WARNING, subject=subject, message=message, fix=fix)


def problems_of(spec: JobSpec) -> Iterator[Finding]:
    """Yield what keeps a job from running anywhere."""
    for problem in job_problems(spec):
        yield error(problem.subject, problem.message, problem.fix)


def secret_variables(spec: JobSpec) -> Iterator[Finding]:
    """Yield a warning for each variable that looks like a secret."""
    for name in spec.variables:
        if is_secret_name(name):
            yield warning(
                "variables", f"{name} looks like a secret, and variables are stored", "make it one of secrets"
            )


def unfit_line(requirement: str, *, secret_fix: str, option_fix: str | None = None) -> Finding | None:
    """Return why a line is not one requirement, or not to be stored; None where it is both.

    Args:
        requirement: The line.
        secret_fix: What to do with a secret in it.
        option_fix: What to do instead of an option; None where options are taken.
    """
    shown = redact(requirement)
    if "\n" in requirement or "\r" in requirement:
        return error("environment", f"{shown!r} is more than one requirement", "give them one by one")
    if option_fix is not None and requirement.lstrip().startswith("-"):
        return error("environment", f"{shown!r} is an option, not a requirement", option_fix)
    if shown != requirement:
        return error("environment", f"{shown!r} holds a secret", secret_fix)
    return None
