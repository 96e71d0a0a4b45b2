"""Verbs, their calls, the permissions that a call needs, and the file that a Terraform module reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

VERBS = ("tracking", "registry", "jobs", "deployment", "migration")
"""What roles are made for."""


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """A permission, and what of the cloud it is needed on.

    Args:
        action: As the cloud's reference of authorization writes it.
        scope: One of the cloud's ``SCOPES``.
        kind: Azure's ``action`` or ``data_action``; empty for AWS, which has one kind.
    """

    action: str
    scope: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """What the verbs need in one cloud.

    Args:
        scopes: What a permission may be on, with what that is.
        needs: By call, what it needs; a call that needs nothing has nothing here.
        calls: By verb, the calls that it makes.
        outside: Calls that no verb makes, with why.
    """

    scopes: Mapping[str, str]
    needs: Mapping[str, frozenset[Need]]
    calls: Mapping[str, frozenset[str]]
    outside: Mapping[str, str] = field(default_factory=dict)

    def permissions(self, verb: str) -> dict[Need, list[str]]:
        """Return what a verb needs, and for each the calls that need it, both in order."""
        found: dict[Need, list[str]] = {}
        for call in sorted(self.calls[verb]):
            for need in self.needs[call]:
                found.setdefault(need, []).append(shown(call))
        return {need: list(dict.fromkeys(found[need])) for need in sorted(found)}

    def text(self) -> str:
        """Return the content of ``permissions.json``."""
        verbs = {
            verb: [_entry(need, calls) for need, calls in self.permissions(verb).items()] for verb in VERBS
        }
        return json.dumps(verbs, indent=2) + "\n"


def shown(call: str) -> str:
    """Return a call without what tells on which resource it is: ``sagemaker:AddTags``."""
    return call.partition("@")[0]


def needs_of(lines: Mapping[str, str | Iterable[str]], *, kind: str = "") -> frozenset[Need]:
    """Return needs from scopes and the actions that are needed on each."""
    return frozenset(
        Need(action, scope, kind)
        for scope, actions in lines.items()
        for action in (actions.split() if isinstance(actions, str) else actions)
    )


def _entry(need: Need, calls: list[str]) -> dict[str, object]:
    kind = {"kind": need.kind} if need.kind else {}
    return {"action": need.action, **kind, "scope": need.scope, "calls": calls}
