"""Changes of what is registered: each is a plan first, and done once somebody has confirmed it.

The fields of every change: ``name``, ``version`` (a number), ``why`` for the history, and its own.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from starlette.routing import Route

from trackbridge.api.client import Client
from trackbridge.api.model_results import ModelVersion
from trackbridge.api.registry_client import checked_approval, checked_stage
from trackbridge.domain.model_references import checked_alias, checked_model_name
from trackbridge.domain.models import ChangeReason
from trackbridge.domain.plans import Action, Change, Plan
from trackbridge.errors import InvalidInput, NotFound
from trackbridge.gateway.pages import forms
from trackbridge.gateway.pages.desk import Desk, refuse_stale
from trackbridge.gateway.pages.forms import Done, change_routes
from trackbridge.gateway.pages.layout import View
from trackbridge.gateway.pages.models import SECTION, model_address
from trackbridge.operations.deploy import now_ms
from trackbridge.operations.model_payloads import all_versions
from trackbridge.operations.plans import basis_of, changes_only
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.registry import ModelRegistry

# Plans.


def plan_alias(client: Client, name: str, version: str, alias: str) -> Plan:
    """Plan to point an alias at a version; without a version to take it away.

    Raises:
        NotFound: There is no such model, version or alias.
        InvalidInput: It cannot be an alias.
    """
    checked_alias(alias)
    before = client.get_registered_model(name).aliases.get(alias)
    if version:
        client.get_model_version(name, version)
    elif before is None:
        raise NotFound(f"{name} has no alias {alias!r}", operation="models", hint="open its page again")
    change = Change(
        action=_action(before, version or None),
        subject=f"alias {alias} of {name}",
        before=None if before is None else {"version": before},
        after={"version": version} if version else None,
    )
    return _plan(client, "alias", before, [change])


def plan_stage(client: Client, name: str, version: str, stage: str, *, archives: bool) -> Plan:
    """Plan to set the stage of a version, and to archive the others of that stage where asked.

    Raises:
        NotFound: There is no such version.
        InvalidInput: There is no such stage, or its versions are not to be archived.
    """
    stage = checked_stage(stage)
    if archives and stage not in ("Staging", "Production"):
        raise InvalidInput(
            f"the versions of the stage {stage} cannot be archived",
            operation="models",
            hint="that goes with Staging and Production",
        )
    found = client.get_model_version(name, version)
    changes = [_field(found, "stage", found.stage, stage)]
    others = list(all_versions(client.models.port, name)) if archives else []
    changes += [
        _field(ModelVersion.of(other), "stage", stage, "Archived")
        for other in others
        if other.stage == stage and other.version != version
    ]
    return _plan(client, "stage", [(item.version, item.stage) for item in (found, *others)], changes)


def plan_approval(client: Client, name: str, version: str, approval: str) -> Plan:
    """Plan to approve or reject a version, or to set it back to pending.

    Raises:
        NotFound: There is no such version.
        InvalidInput: It is none of these.
    """
    wanted = checked_approval(approval).value
    found = client.get_model_version(name, version)
    before = found.approval.value
    return _plan(client, "approval", before, [_field(found, "approval", before, wanted)])


def plan_deletion(client: Client, name: str, version: str) -> Plan:
    """Plan to delete a version; without one the model with all its versions.

    Raises:
        NotFound: There is no such model or version.
    """
    if version:
        going = [client.get_model_version(name, version)]
    else:
        client.get_registered_model(name)
        going = [ModelVersion.of(item) for item in all_versions(client.models.drained(), name)]
    state = [_state(item) for item in going]
    changes = [
        Change(action=Action.DELETE, subject=f"version {name}/{item.version}", before=_state(item))
        for item in going
    ]
    if not version:
        changes.append(Change(action=Action.DELETE, subject=f"model {name}", before={"versions": len(going)}))
    notes = ("the files stay with their runs",)
    return _plan(client, "delete", state, changes, notes)


def _plan(
    client: Client, operation: str, state: Any, changes: list[Change], notes: tuple[str, ...] = ()
) -> Plan:
    if not client.models.capabilities.supports(Feature.REGISTRY_HISTORY):
        notes = (*notes, f"{client.models.capabilities.adapter} keeps no history: the reason is kept nowhere")
    return Plan(
        operation=f"models {operation}",
        basis=basis_of([state, changes]),
        changes=tuple(changes),
        created_time=now_ms(),
        notes=notes,
    )


def _field(version: ModelVersion, what: str, before: str, after: str) -> Change:
    return Change(
        action=Action.KEEP if before == after else Action.UPDATE,
        subject=f"version {version.name}/{version.version}",
        before={what: before},
        after={what: after},
    )


def _action(before: str | None, after: str | None) -> Action:
    if before == after:
        return Action.KEEP
    if before is None:
        return Action.CREATE
    return Action.DELETE if after is None else Action.UPDATE


def _state(version: ModelVersion) -> dict[str, Any]:
    return {
        "aliases": ", ".join(version.aliases),
        "stage": version.stage,
        "approval": version.approval.value,
        "digest": version.digest or "",
    }


# Routes.


def routes(desk: Desk) -> list[Route]:
    """Return the routes of these changes."""
    made = (
        _change(desk, "alias", "Set an alias", "Set the alias", _of_alias, _set_alias),
        _change(desk, "stage", "Set a stage", "Set the stage", _of_stage, _set_stage),
        _change(desk, "approval", "Approve or reject", "Set the approval", _of_approval, _set_approval),
        _change(desk, "delete", "Delete", "Delete", _of_deletion, _delete, is_dangerous=True),
    )
    return [route for change in made for route in change_routes(desk.pages, change)]


def _change(
    desk: Desk,
    word: str,
    title: str,
    verb: str,
    plan: Callable[[View], Plan],
    do: Callable[[ModelRegistry, View, Plan, ChangeReason], None],
    *,
    is_dangerous: bool = False,
) -> forms.Change:
    def planned(view: View) -> Plan:
        checked_model_name(view.value("name"))
        return plan(view)

    def apply(view: View, plan: Plan) -> Done:
        name = view.value("name")
        with desk.works.holding(f"the model {name}"):
            refuse_stale(plan, planned(view))  # somebody else may have held it until now
            do(view.client.models.drained(), view, plan, desk.reason(view))
        told = tuple(f"{change.action.value} {change.subject}" for change in plan.changes)
        is_gone = word == "delete" and not view.value("version")
        where = "/models" if is_gone else f"{model_address(name)}#history"
        return Done("It is done.", where, "To the models" if is_gone else f"Back to {name}", told)

    return forms.Change(
        path=f"/models/{word}",
        title=title,
        verb=verb,
        plan=planned,
        apply=apply,
        section=SECTION,
        is_dangerous=is_dangerous,
        twin=lambda view: _twin(word, view),
    )


def _of_alias(view: View) -> Plan:
    return plan_alias(view.client, view.value("name"), view.value("version"), view.value("alias"))


def _set_alias(port: ModelRegistry, view: View, plan: Plan, reason: ChangeReason) -> None:
    version = view.value("version") or None
    port.set_alias(view.value("name"), view.value("alias"), version=version, reason=reason)


def _of_stage(view: View) -> Plan:
    name, version, stage = view.value("name"), view.value("version"), view.value("stage")
    return plan_stage(view.client, name, version, stage, archives=bool(view.value("archive")))


def _set_stage(port: ModelRegistry, view: View, plan: Plan, reason: ChangeReason) -> None:
    for change in changes_only(plan.changes):
        stage = str((change.after or {})["stage"])
        port.set_stage(view.value("name"), _version_of(change), stage=stage, reason=reason)


def _of_approval(view: View) -> Plan:
    return plan_approval(view.client, view.value("name"), view.value("version"), view.value("approval"))


def _set_approval(port: ModelRegistry, view: View, plan: Plan, reason: ChangeReason) -> None:
    approval = checked_approval(view.value("approval"))
    port.set_approval(view.value("name"), view.value("version"), approval=approval, reason=reason)


def _of_deletion(view: View) -> Plan:
    return plan_deletion(view.client, view.value("name"), view.value("version"))


def _delete(port: ModelRegistry, view: View, plan: Plan, reason: ChangeReason) -> None:
    name, version = view.value("name"), view.value("version")
    if version:
        port.delete_version(name, version, reason=reason)
    else:
        port.delete_model(name, reason=reason)


def _version_of(change: Change) -> str:
    return change.subject.rpartition("/")[2]


def _twin(word: str, view: View) -> str:
    name, version = view.value("name"), view.value("version")
    model = shlex.quote(f"{name}/{version}" if version else name)
    verb = {"approved": "approve", "rejected": "reject", "pending": ""}.get(view.value("approval"), word)
    if not verb:  # no command sets a version back
        return ""
    rest = {
        "alias": f"{view.value('alias')}{'' if version else ' --remove'}",
        "stage": view.value("stage") + (" --archive-existing" if view.value("archive") else ""),
    }.get(word, "")
    return f"bridge models {verb} {model} {rest}".strip() + " --json"
