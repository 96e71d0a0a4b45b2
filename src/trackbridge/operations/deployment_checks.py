"""What can be seen of a deployment before it is made: what the target says, and what the model's files say.

At the plan, nothing but reading; when the plan is applied, the model is tried out in an environment of its
own, see ``operations.preflight``.
"""

from __future__ import annotations

import re
from pathlib import Path

from trackbridge.domain.deployments import DeploymentSpec, EndpointState
from trackbridge.domain.model_digest import MLMODEL
from trackbridge.errors import BridgeError, Rejected
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.opening import Opened
from trackbridge.operations.preflight.needs import is_loadable
from trackbridge.operations.preflight.trials import Trials, Verdict
from trackbridge.ports.findings import Finding, Severity

_SIGNATURE = re.compile(r"(?m)^signature:[ ]*(?:\r?\n[ \t]+\S|\{)")
_EXAMPLE = re.compile(r"(?m)^saved_input_example_info:")


def findings_of(
    place: Opened, spec: DeploymentSpec, observed: EndpointState | None, models: ModelSource
) -> tuple[Finding, ...]:
    """Return what the target and the model's own description say of a deployment; changes nothing."""
    return (*place.target.check(spec, observed), *model_findings(spec, models))


def model_findings(spec: DeploymentSpec, models: ModelSource) -> tuple[Finding, ...]:
    """Return what the ``MLmodel`` of a deployment's model lacks; a model that cannot be read is an error."""
    try:
        mlmodel = models.mlmodel_of(spec)
    except BridgeError as error:
        return (
            _finding(Severity.ERROR, spec, str(error), error.hint or "see that it can be read from here"),
        )
    if mlmodel is None:
        told = f"it has no {MLMODEL}: only an image, or a scoring script, that knows its files can serve it"
        return (_finding(Severity.WARNING, spec, told, "log it with one of mlflow's flavors"),)
    if not is_loadable(mlmodel):
        told = "it has no flavor python_function: only an image that has its own library can serve it"
        return (_finding(Severity.WARNING, spec, told, "log it with one of mlflow's flavors"),)
    found = []
    if not _SIGNATURE.search(mlmodel):
        told = "it has no signature: what it is asked is not checked before it is scored"
        found.append(
            _finding(Severity.WARNING, spec, told, "log it with input_example=..., or signature=...")
        )
    if not _EXAMPLE.search(mlmodel):
        told = "it has no input example: it is loaded before it is deployed, and not asked"
        found.append(_finding(Severity.WARNING, spec, told, "log it with input_example=..."))
    return tuple(found)


def refuse_errors(findings: tuple[Finding, ...], endpoint: str) -> None:
    """Refuse a deployment that the platform would not take.

    Raises:
        Rejected: One of the findings is an error.
    """
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        raise Rejected(
            "; ".join(f"{finding.subject}: {finding.message}" for finding in errors),
            operation="deploy",
            resource=f"endpoint {endpoint}",
            hint="; ".join(dict.fromkeys(finding.fix for finding in errors if finding.fix)) or None,
        )


def tried_out(spec: DeploymentSpec, models: ModelSource, trials: Trials) -> str:
    """Load a deployment's model, and score its input example, in an environment of its own.

    Returns:
        What is to be told of it.

    Raises:
        Rejected: It does not load, or does not answer; the message says why.
    """

    def bring(cache: Path) -> Path:
        return models.folder_of(spec)

    verdict, detail = trials.try_out(models.mlmodel_of(spec), spec.model_digest or None, bring)
    if verdict is Verdict.FAILED:
        raise Rejected(
            f"the pre-flight of {spec.model} failed: {detail}",
            operation="deploy",
            resource=f"{spec.endpoint}/{spec.deployment}",
            hint="nothing was changed; mend the model and register it anew, or deploy it with --no-preflight",
        )
    return f"pre-flight of {spec.model} {verdict.value}: {detail}"


def _finding(severity: Severity, spec: DeploymentSpec, message: str, fix: str) -> Finding:
    return Finding(severity=severity, subject=spec.model, message=message, fix=fix)
