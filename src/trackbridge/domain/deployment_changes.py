"""Which changes lead an endpoint from where it stands to where it is wanted; the same for every target.

A target's ``plan`` checks what it cannot hold, then calls these. What ``Change`` holds:

======================  ============  =============================================================
subject                 action        ``before`` and ``after``
======================  ============  =============================================================
``endpoint wine``       create        None -> ``{"endpoint": "wine"}``
``deployment wine/v2``  create        None -> the deployment: a ``DeploymentSpec`` without its shares
``deployment wine/v2``  update        the deployment -> the deployment; the model stays
``deployment wine/v2``  replace       the deployment -> the deployment; another model, or one that failed
``deployment wine/v2``  delete        the deployment -> None
``traffic wine``        update        ``{"traffic": {"v1": 90, "v2": 10}, "mirror": {}}``, each without zeros
======================  ============  =============================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from trackbridge.domain.deployments import (
    DeploymentSpec,
    DeploymentState,
    EndpointState,
    EndpointStatus,
    shared_traffic,
)
from trackbridge.domain.plans import Action, Change
from trackbridge.errors import InvalidInput, Rejected

NAME_CHARS_MAX = 32

_NAME = re.compile(r"[a-zA-Z](?:-?[a-zA-Z0-9])*")
_SHARES = ("traffic_percent", "mirror_percent")

Facts = dict[str, Any]


def is_endpoint_name(name: str) -> bool:
    """Tell whether an endpoint, or a deployment, can have this name."""
    return len(name) <= NAME_CHARS_MAX and _NAME.fullmatch(name) is not None


def checked_endpoint_name(name: str, kind: str = "endpoint") -> str:
    """Return the name of an endpoint, or of a deployment, unchanged.

    Raises:
        InvalidInput: It is not 1 to 32 letters, digits and single dashes, from a letter to no dash.
    """
    if not is_endpoint_name(name):
        raise InvalidInput(
            f"{name[:80]!r} cannot be the name of a {kind}",
            operation="deployments.plan",
            hint=f"use 1 to {NAME_CHARS_MAX} letters, digits and single dashes; begin with a letter",
        )
    return name


def checked_shares(spec: DeploymentSpec) -> None:
    """Return if the percentages of a spec can be held.

    Raises:
        InvalidInput: One is not within 0 and 100, or a deployment would get both requests and copies.
    """
    for field in (*_SHARES, "capture_percent"):
        if not 0 <= getattr(spec, field) <= 100:
            raise InvalidInput(f"{field} is {getattr(spec, field)}", hint="use 0 to 100")
    if spec.mirror_percent and spec.traffic_percent:
        raise InvalidInput(
            f"{spec.deployment!r} would get live requests and copies of live requests",
            hint="give a deployment that is mirrored to a share of 0 % of the traffic",
        )


def facts_of(spec: DeploymentSpec) -> Facts:
    """Return a deployment as a change holds it: everything but its shares of the traffic."""
    facts: Facts = msgspec.to_builtins(spec)
    return {name: value for name, value in facts.items() if name not in _SHARES}


def spec_of(facts: Mapping[str, Any]) -> DeploymentSpec:
    """Return the deployment that a change holds, with no share of the traffic.

    Raises:
        InvalidInput: The facts were not made by ``facts_of``.
    """
    try:
        return msgspec.convert({**facts, "traffic_percent": 0}, DeploymentSpec)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the change does not hold a deployment: {error}", hint="plan again") from error


def is_same_deployment(one: Facts | None, other: Facts | None) -> bool:
    """Tell whether two deployments are the same; where the content's digest is known, its address is free."""
    if one is None or other is None:
        return one is other
    return _compared(one) == _compared(other)


def _compared(facts: Facts) -> Facts:
    return {**facts, "model_source": ""} if facts.get("model_digest") else facts


def split_subject(subject: str) -> tuple[str, str, str]:
    """Return kind, endpoint and deployment of a change's subject; the last is empty for the other kinds.

    Raises:
        InvalidInput: It is not the subject of a change of an endpoint.
    """
    kind, _, rest = subject.partition(" ")
    endpoint, slash, deployment = rest.partition("/")
    if kind not in ("endpoint", "deployment", "traffic") or bool(slash) != (kind == "deployment"):
        raise InvalidInput(
            f"{subject[:120]!r} is not the subject of a change of an endpoint", hint="plan again"
        )
    return kind, endpoint, deployment


def deployment_changes(spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
    """Return what leads from the observed state to the spec: endpoint, then deployment, then traffic.

    Raises:
        InvalidInput: The shares are not possible.
        Rejected: The endpoint is being deleted.
    """
    checked_shares(spec)
    if observed is None:
        observed = EndpointState(endpoint=spec.endpoint, status=EndpointStatus.CREATING)
        changes = [
            Change(
                action=Action.CREATE,
                subject=f"endpoint {spec.endpoint}",
                after={"endpoint": spec.endpoint},
                why="there is no endpoint of this name",
            )
        ]
    else:
        _refuse_deleting(observed)
        changes = []
    changes += _deployment_change(spec, observed.find(spec.deployment))
    current = {
        name: percent
        for name, percent in observed.traffic.items()
        if name != spec.deployment and not _has_failed(observed, name)
    }
    shares = shared_traffic(current, spec.deployment, spec.traffic_percent)
    mirrors = {**_mirrors(observed), spec.deployment: spec.mirror_percent}
    changes += _traffic_change(observed, shares, mirrors)
    return tuple(changes)


def _deployment_change(spec: DeploymentSpec, current: DeploymentState | None) -> list[Change]:
    after = facts_of(spec)
    subject = f"deployment {spec.endpoint}/{spec.deployment}"
    if current is None:
        why = "there is no deployment of this name"
        return [Change(action=Action.CREATE, subject=subject, after=after, why=why)]
    before = facts_of(current.spec) if current.spec else {"model": current.model}
    action, why = _difference(before, after, current)
    if not why:
        return []
    return [Change(action=action, subject=subject, before=before, after=after, why=why)]


def _difference(before: Facts, after: Facts, current: DeploymentState) -> tuple[Action, str]:
    """Return what the change is and why; no reason when there is none."""
    if current.status is EndpointStatus.FAILED:
        return Action.REPLACE, f"it failed: {current.reason}" if current.reason else "it failed"
    if is_same_deployment(before, after):
        return Action.KEEP, ""
    if before.get("model") != after["model"]:
        return Action.REPLACE, f"{before.get('model')} becomes {after['model']}"
    if current.spec is None:
        return Action.REPLACE, "what it was made from is not known"
    content = "model_digest" if before["model_digest"] and after["model_digest"] else "model_source"
    if before[content] != after[content]:
        return Action.REPLACE, "the content of the model changed"
    changed = [name for name in after if before.get(name) != after[name]]
    return Action.UPDATE, f"other settings: {', '.join(changed)}"


def removal_changes(endpoint: str, deployment: str, observed: EndpointState) -> tuple[Change, ...]:
    """Return what takes a deployment away; a mirror goes first.

    Raises:
        Rejected: It has traffic.
    """
    current = observed.find(deployment)
    if current is None:
        return ()
    _refuse_deleting(observed)
    if current.traffic_percent:
        raise Rejected(
            f"{endpoint}/{deployment} has {current.traffic_percent} % of the traffic",
            operation="deployments.plan_removal",
            hint="give its traffic to another deployment first",
        )
    changes = _traffic_change(observed, observed.traffic, {**_mirrors(observed), deployment: 0})
    changes.append(
        Change(
            action=Action.DELETE,
            subject=f"deployment {endpoint}/{deployment}",
            before=facts_of(current.spec) if current.spec else {"model": current.model},
            why="it is no longer wanted",
        )
    )
    return tuple(changes)


def traffic_changes(
    observed: EndpointState,
    percent_by_deployment: Mapping[str, int],
    mirror_percent_by_deployment: Mapping[str, int] | None = None,
) -> tuple[Change, ...]:
    """Return what shares live requests so.

    Raises:
        Rejected: The percentages do not add up to 100, or one is for a deployment that does not serve.
    """
    _refuse_deleting(observed)
    named = {**percent_by_deployment, **(mirror_percent_by_deployment or {})}
    unknown = sorted(name for name in named if observed.find(name) is None)
    if unknown:
        raise Rejected(
            f"endpoint {observed.endpoint!r} has no deployment {', '.join(unknown)}",
            operation="deployments.plan_traffic",
            hint="deploy it first; 'bridge endpoints show' names those that are there",
        )
    shares = dict(percent_by_deployment)
    wrong = any(not 0 <= percent <= 100 for percent in (*shares.values(), *named.values()))
    if wrong or sum(shares.values()) != 100:
        raise Rejected(
            f"the shares {shares} are not percentages that add up to 100",
            operation="deployments.plan_traffic",
            hint="write whole percents that add up to 100",
        )
    mirrors = {**_mirrors(observed), **(mirror_percent_by_deployment or {})}
    changes = _traffic_change(observed, shares, mirrors)
    broken = sorted(name for name, percent in shares.items() if percent and _has_failed(observed, name))
    if changes and broken:
        raise Rejected(
            f"{', '.join(broken)} has failed and cannot answer requests",
            operation="deployments.plan_traffic",
            hint="deploy it again, or give its share to another deployment",
        )
    return tuple(changes)


def _has_failed(observed: EndpointState, deployment: str) -> bool:
    """Tell whether a deployment has failed and has no traffic; what it had before it failed it may keep."""
    found = observed.find(deployment)
    return found is not None and found.status is EndpointStatus.FAILED and not found.traffic_percent


def _traffic_change(
    observed: EndpointState, shares: Mapping[str, int], mirrors: Mapping[str, int]
) -> list[Change]:
    before = shares_of(observed.traffic, _mirrors(observed))
    after = shares_of(shares, {name: percent for name, percent in mirrors.items() if not shares.get(name)})
    if before == after:
        return []
    change = Change(
        action=Action.UPDATE,
        subject=f"traffic {observed.endpoint}",
        before=before,
        after=after,
        why="live requests are to be shared otherwise",
    )
    return [change]


def shares_of(traffic: Mapping[str, int], mirrors: Mapping[str, int]) -> Facts:
    """Return shares as a change holds them."""
    return {"traffic": _without_zeros(traffic), "mirror": _without_zeros(mirrors)}


def _without_zeros(shares: Mapping[str, int]) -> dict[str, int]:
    return {name: percent for name, percent in sorted(shares.items()) if percent}


def _mirrors(observed: EndpointState) -> dict[str, int]:
    return {found.deployment: found.mirror_percent for found in observed.deployments}


def _refuse_deleting(observed: EndpointState) -> None:
    if observed.status is EndpointStatus.DELETING:
        raise Rejected(
            f"endpoint {observed.endpoint!r} is being deleted",
            operation="deployments.plan",
            hint="wait until it is gone, then deploy again",
        )
