"""What an operation on an endpoint is to lead to, and the changes that lead there from how it stands.

A goal is kept in the plan's parameters, so that a plan can be made again from the state that is found when
it is applied: what is left to do must be the end of what was shown. A target's ``plan`` looks one deployment
ahead; where several steps are needed (rolling back), each is planned from the state that the ones before it
will have led to.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from trackbridge.domain.deployments import (
    DeploymentSpec,
    DeploymentState,
    EndpointState,
    EndpointStatus,
)
from trackbridge.domain.plans import Action, Change
from trackbridge.errors import NotFound
from trackbridge.operations.plans import changes_only
from trackbridge.ports.capabilities import Capabilities, Feature
from trackbridge.ports.deployments import DeploymentTarget


class OnFailure(str, Enum):
    """What becomes of a deployment, and of its endpoint, that could not be made: what did not stand before
    stays to be looked at, or goes, so that nobody pays for it."""

    KEEP = "keep"
    DELETE = "delete"


class Deploy(msgspec.Struct, frozen=True, kw_only=True, tag="deploy", tag_field="kind"):
    """A deployment stands as its spec says."""

    spec: DeploymentSpec
    on_failure: OnFailure = OnFailure.KEEP

    @property
    def endpoint(self) -> str:
        """The endpoint concerned."""
        return self.spec.endpoint


class Remove(msgspec.Struct, frozen=True, kw_only=True, tag="remove", tag_field="kind"):
    """A deployment is not there."""

    endpoint: str
    deployment: str


class Share(msgspec.Struct, frozen=True, kw_only=True, tag="traffic", tag_field="kind"):
    """Live requests are shared so; mirrors stay where None."""

    endpoint: str
    percent_by_deployment: dict[str, int]
    mirror_percent_by_deployment: dict[str, int] | None = None


class Restore(msgspec.Struct, frozen=True, kw_only=True, tag="rollback", tag_field="kind"):
    """The endpoint stands as in a revision; without deployments it is not there."""

    endpoint: str
    revision: int
    deployments: tuple[DeploymentSpec, ...]


class Delete(msgspec.Struct, frozen=True, kw_only=True, tag="delete", tag_field="kind"):
    """The endpoint is not there."""

    endpoint: str


Goal = Deploy | Remove | Share | Restore | Delete


def changes_to(
    goal: Goal,
    observed: EndpointState | None,
    *,
    target: DeploymentTarget,
    capabilities: Capabilities,
) -> tuple[Change, ...]:
    """Return the changes that lead from a state to a goal, none when it holds. Contacts nobody.

    Raises:
        NotFound: The goal needs an endpoint that is not there.
        Rejected: The target cannot hold the goal.
        Unsupported: The target does not declare what the goal needs.
    """
    if isinstance(goal, Deploy):
        return changes_only(target.plan(goal.spec, observed))
    if isinstance(goal, Delete):
        return () if observed is None else (deletion(observed),)
    if isinstance(goal, Restore):
        return _Restoring(goal, observed, target, capabilities).changes()
    if observed is None:
        raise NotFound(f"there is no endpoint {goal.endpoint!r}", hint="bridge endpoints list")
    if isinstance(goal, Remove):
        return changes_only(target.plan_removal(goal.endpoint, goal.deployment, observed))
    return changes_only(
        target.plan_traffic(
            goal.endpoint,
            observed,
            percent_by_deployment=goal.percent_by_deployment,
            mirror_percent_by_deployment=goal.mirror_percent_by_deployment,
        )
    )


def deletion(observed: EndpointState) -> Change:
    """Return the change that takes an endpoint away with all its deployments."""
    return Change(
        action=Action.DELETE,
        subject=f"endpoint {observed.endpoint}",
        before={
            "deployments": {found.deployment: found.model for found in observed.deployments},
            "traffic": observed.traffic,
        },
        why="the endpoint is taken away with all its deployments",
    )


def is_deletion(change: Change) -> bool:
    """Tell whether a change is one of ``deletion``: targets are asked to delete, not to apply it."""
    return change.action is Action.DELETE and change.subject.startswith("endpoint ")


def spec_of(found: DeploymentState, endpoint: str) -> DeploymentSpec:
    """Return the spec that brings a deployment back as it stands, as far as the target knows it."""
    known = found.spec or DeploymentSpec(endpoint=endpoint, deployment=found.deployment, model=found.model)
    return msgspec.structs.replace(
        known,
        endpoint=endpoint,
        deployment=found.deployment,
        traffic_percent=found.traffic_percent,
        mirror_percent=found.mirror_percent,
    )


def specs_of(observed: EndpointState | None) -> tuple[DeploymentSpec, ...]:
    """Return how an endpoint stands as specs in order of name; none when it is not there."""
    if observed is None:
        return ()
    found = sorted(observed.deployments, key=lambda state: state.deployment)
    return tuple(spec_of(state, observed.endpoint) for state in found)


def state_for_basis(observed: EndpointState | None) -> Any:
    """Return the part of a state that plans depend on: not the health of servers, nor their addresses."""
    return None if observed is None else {"deployments": specs_of(observed)}


class _Restoring:
    """Plans the way back, step by step, on a draft of the endpoint's state.

    The order keeps the endpoint serving: what is to get traffic comes back, the traffic goes there, what is
    to stand beside it comes back, and what was not there goes away.
    """

    def __init__(
        self,
        goal: Restore,
        observed: EndpointState | None,
        target: DeploymentTarget,
        capabilities: Capabilities,
    ) -> None:
        self._wanted = {spec.deployment: spec for spec in goal.deployments}
        self._observed = observed
        self._draft = observed or EndpointState(endpoint=goal.endpoint, status=EndpointStatus.CREATING)
        self._exists = observed is not None
        self._target = target
        self._capabilities = capabilities
        self._changes: list[Change] = []

    def changes(self) -> tuple[Change, ...]:
        """Return the changes in their order."""
        if not self._wanted:
            return () if self._observed is None else (deletion(self._observed),)
        busiest_first = sorted(
            self._wanted.values(), key=lambda spec: (-spec.traffic_percent, spec.deployment)
        )
        for spec in busiest_first:
            if spec.traffic_percent:
                self._bring(spec)
        self._share(None)
        for spec in busiest_first:
            if not spec.traffic_percent:
                self._bring(spec)
        self._share(self._mirrors())
        for found in self._draft.deployments:
            if found.deployment not in self._wanted:
                self._add(self._target.plan_removal(self._draft.endpoint, found.deployment, self._draft))
        return tuple(self._changes)

    def _add(self, changes: tuple[Change, ...]) -> None:
        self._changes += changes_only(changes)

    def _bring(self, spec: DeploymentSpec) -> None:
        """Make a deployment as it was, with the share of the traffic that it has now."""
        found = self._draft.find(spec.deployment)
        share = found.traffic_percent if found else 0
        if not any(self._draft.traffic.values()):  # somebody has to take the requests
            share = 100
        if not self._capabilities.supports(Feature.DEPLOYMENTS_TRAFFIC):
            share = spec.traffic_percent
        mirror = found.mirror_percent if found and not share else 0  # who answers gets no copies
        step = msgspec.structs.replace(spec, traffic_percent=share, mirror_percent=mirror)
        self._add(self._target.plan(step, self._draft if self._exists else None))
        self._exists = True
        brought = DeploymentState(
            deployment=spec.deployment,
            model=spec.model,
            status=EndpointStatus.READY,
            traffic_percent=share,
            mirror_percent=mirror,
            instance_count=spec.instance_count,
            spec=step,
        )
        self._redraft({**self._by_name(), spec.deployment: brought})

    def _share(self, mirrors: dict[str, int] | None) -> None:
        """Give each deployment that is there its share, once those that share are all there."""
        shares = {name: spec.traffic_percent for name, spec in self._wanted.items() if spec.traffic_percent}
        can_share = self._capabilities.supports(Feature.DEPLOYMENTS_TRAFFIC)
        if not can_share or sum(shares.values()) != 100:
            return
        self._add(
            self._target.plan_traffic(
                self._draft.endpoint,
                self._draft,
                percent_by_deployment=shares,
                mirror_percent_by_deployment=mirrors,
            )
        )
        self._redraft(
            {
                name: msgspec.structs.replace(
                    found,
                    traffic_percent=shares.get(name, 0),
                    mirror_percent=0 if shares.get(name) else (mirrors or {}).get(name, found.mirror_percent),
                )
                for name, found in self._by_name().items()
            }
        )

    def _mirrors(self) -> dict[str, int] | None:
        """Return the wanted mirror of each deployment; None where the target has no mirrors."""
        if not self._capabilities.supports(Feature.DEPLOYMENTS_MIRROR):
            return None
        wanted = {name: spec.mirror_percent for name, spec in self._wanted.items()}
        return {name: wanted.get(name, 0) for name in self._by_name()}

    def _by_name(self) -> Mapping[str, DeploymentState]:
        return {found.deployment: found for found in self._draft.deployments}

    def _redraft(self, by_name: Mapping[str, DeploymentState]) -> None:
        deployments = tuple(by_name[name] for name in sorted(by_name))
        self._draft = msgspec.structs.replace(self._draft, deployments=deployments)
