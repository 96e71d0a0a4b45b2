"""Policies of model package groups: which are well-formed, and what they allow to other accounts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Refused

_PRINCIPAL = re.compile(r"\*|\d{12}|arn:aws[a-z-]*:(iam|sts)::\d{12}:\S+", re.ASCII)


def check_policy(text: str, arn: str) -> None:
    """Refuse a policy that AWS would not take for the group ``arn``.

    Raises:
        Refused: It is no JSON, or a statement lacks an effect, a principal, actions of SageMaker, or
            resources that are this group or its versions.
    """
    try:
        policy = json.loads(text)
    except ValueError as error:
        raise _malformed("it is not JSON") from error
    statements = policy.get("Statement") if isinstance(policy, dict) else None
    if not statements or policy.get("Version", "2008-10-17") not in ("2012-10-17", "2008-10-17"):
        raise _malformed("it needs a Version and a Statement")
    for statement in _listed(statements):
        _check_statement(statement, arn)


def allows(policy: str | None, caller: str, operation: str, arn: str) -> bool:
    """Tell whether a group's policy allows another account's caller an operation on it or on a version.

    A statement with a condition is taken to hold when it denies, and not to hold when it allows.
    """
    if policy is None:
        return False
    effects = {
        statement["Effect"]
        for statement in _listed(json.loads(policy)["Statement"])
        if _applies(statement, caller, f"sagemaker:{operation}".lower(), arn.lower())
    }
    return effects == {"Allow"}


def _applies(statement: Mapping[str, Any], caller: str, action: str, arn: str) -> bool:
    if "Condition" in statement and statement["Effect"] == "Allow":
        return False
    is_action = any(fnmatchcase(action, pattern.lower()) for pattern in _listed(statement["Action"]))
    is_resource = any(fnmatchcase(arn, pattern.lower()) for pattern in _listed(statement["Resource"]))
    return is_action and is_resource and any(_is_caller(who, caller) for who in _principals(statement))


def _is_caller(principal: str, caller: str) -> bool:
    account = caller.split(":")[4]
    return principal in ("*", account, caller) or (
        principal.endswith(":root") and principal.split(":")[4] == account
    )


def _check_statement(statement: Any, arn: str) -> None:
    if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
        raise _malformed("a statement needs the Effect Allow or Deny")
    principals = _principals(statement)
    if not principals or not all(_PRINCIPAL.fullmatch(principal) for principal in principals):
        raise _malformed("a statement needs principals of AWS")
    actions = _listed(statement.get("Action"))
    if not actions or not all(action == "*" or action.lower().startswith("sagemaker:") for action in actions):
        raise _malformed("a statement needs actions of sagemaker")
    versions = arn.replace(":model-package-group/", ":model-package/")
    resources = [resource.lower() for resource in _listed(statement.get("Resource"))]
    if not resources or not all(r == arn or r.startswith(versions + "/") for r in resources):
        raise _malformed(f"a statement's resources must be {arn} or {versions}/*")


def _principals(statement: Mapping[str, Any]) -> list[str]:
    principal = statement.get("Principal")
    return _listed(principal.get("AWS") if isinstance(principal, dict) else principal)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, (str, dict)) else [value]


def _malformed(reason: str) -> Refused:
    return Refused("ValidationException", f"Invalid resource policy: {reason}.")
