"""Where models are served."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from trackbridge.domain.deployments import (
    CapturedPayload,
    DeploymentSpec,
    EndpointMetrics,
    EndpointRevision,
    EndpointState,
    Operation,
    Serving,
)
from trackbridge.domain.jobs import LogChunk
from trackbridge.domain.paging import Page
from trackbridge.domain.plans import Change
from trackbridge.ports.capabilities import Feature, needs
from trackbridge.ports.findings import Finding


def features_of(spec: DeploymentSpec) -> tuple[Feature, ...]:
    """Return the features that a deployment needs of its target."""
    asked = {
        Feature.DEPLOYMENTS_TRAFFIC: spec.traffic_percent < 100 and not spec.mirror_percent,
        Feature.DEPLOYMENTS_MIRROR: spec.mirror_percent > 0,
        Feature.DEPLOYMENTS_AUTOSCALE: spec.autoscale is not None,
        Feature.DEPLOYMENTS_CAPTURE: spec.capture_percent > 0,
        Feature.DEPLOYMENTS_SERVERLESS: spec.serving is Serving.SERVERLESS,
        Feature.DEPLOYMENTS_ASYNCHRONOUS: spec.serving is Serving.ASYNCHRONOUS,
        Feature.DEPLOYMENTS_BATCH: spec.serving is Serving.BATCH,
    }
    return tuple(feature for feature, is_asked in asked.items() if is_asked)


class DeploymentTarget(Protocol):
    """Serves registered models at endpoints. Same rules as for TrackingStore: one attempt, repeatable.

    An endpoint has one address and deployments, each with a model and a share of the requests. Deploying is::

        observe -> plan -> (the plan is shown) -> lock -> observe: is it as planned? -> save_revision
                -> each change: apply, poll until done -> observe -> plan: must be empty

    Mirroring, autoscaling and payload capture are asked for in the spec; where their features are not
    declared, ``plan`` raises Unsupported.
    """

    # Required.

    @abstractmethod
    def observe(self, endpoint: str) -> EndpointState | None:
        """Return the endpoint as it stands now, or None when there is none."""
        ...

    @abstractmethod
    def list_endpoints(self, *, max_results: int = 1000, token: str | None = None) -> Page[EndpointState]:
        """List the endpoints in order of name.

        Raises:
            InvalidInput: ``token`` was not given out by this listing, or ``max_results`` is not positive.
        """
        ...

    @abstractmethod
    def can_read(self, source: str) -> bool:
        """Tell whether the target fetches a payload from this address itself. Pure: contacts nobody.

        Where it does not, ``apply`` is handed the payload as a folder of this machine.
        """
        ...

    @abstractmethod
    def check(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Finding, ...]:
        """Look, before anything is billed, whether the platform would take and run the deployment.

        Asks for what ``plan`` cannot know: role and permissions, image, region of the bucket, quota, the
        kind of machine. Reads only. Errors make the deployment impossible; each finding says its fix. What
        cannot be looked at (no permission to ask) is a warning, never an error of this method.
        """
        ...

    @abstractmethod
    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        """Return the changes that lead from the observed state to the spec, in order; none when it holds.

        Pure: contacts nobody. The adapter alone knows what forces a replacement. Changes are small enough
        that the endpoint serves between any two of them: a deployment is there before it gets traffic, and
        loses its traffic before it goes. Each says its subject (``endpoint wine``, ``deployment wine/v2``,
        ``traffic wine``), its state before and after, and why. ``after`` holds all that ``apply`` needs,
        as JSON can hold it, without secrets.

        Raises:
            Rejected: The target cannot hold the spec: a name, a number, an option.
            Unsupported: The spec asks for a feature that is not declared.
        """
        ...

    @abstractmethod
    def plan_removal(self, endpoint: str, deployment: str, observed: EndpointState) -> tuple[Change, ...]:
        """Return the changes that take one deployment away; none when it is not there. Pure, as ``plan``.

        Raises:
            Rejected: The deployment has traffic; another one must get it first.
        """
        ...

    @abstractmethod
    def apply(self, change: Change, *, payload: Path | None = None) -> Operation:
        """Start one change and return at once. Applying what holds already is a finished operation.

        Once this returned, the change is not lost, whatever dies; repeating it is safe.

        Args:
            change: One that ``plan`` or ``plan_removal`` returned, possibly in another process.
            payload: The folder with the model of a change that brings one, where ``can_read`` said no. It
                is not changed, and need not stay after the operation is done.

        Raises:
            PlanStale: The subject stands neither as before the change nor as after it.
            Rejected: The target does not take it.
        """
        ...

    @abstractmethod
    def poll(self, operation: Operation) -> Operation:
        """Return how the operation stands. A failed one has an error that says why, and what stands now.

        Raises:
            NotFound: There is no such operation.
        """
        ...

    @abstractmethod
    def delete(self, endpoint: str) -> Operation:
        """Start deleting an endpoint with all its deployments. Deleting an absent one succeeds.

        What was captured, and the revisions, stay.
        """
        ...

    # Optional.

    @needs(Feature.DEPLOYMENTS_TRAFFIC)
    @abstractmethod
    def plan_traffic(
        self,
        endpoint: str,
        observed: EndpointState,
        *,
        percent_by_deployment: Mapping[str, int],
        mirror_percent_by_deployment: Mapping[str, int] | None = None,
    ) -> tuple[Change, ...]:
        """Return the change that shares live requests among the deployments so; none when it holds.

        Pure, as ``plan``. The percentages add up to 100; who is not named gets none. Mirrors stay as they are
        unless they are named.

        Raises:
            Rejected: They do not add up, or a deployment is not there.
            Unsupported: A mirror is asked for, and ``deployments.mirror`` is not declared.
        """
        ...

    @needs(Feature.DEPLOYMENTS_INVOKE)
    @abstractmethod
    def invoke(
        self, endpoint: str, payload: bytes, *, content_type: str, deployment: str | None = None
    ) -> bytes:
        """Send one request and return the answer's body; ``deployment`` bypasses the traffic rule.

        Never sent twice: whether scoring may be repeated is not ours to know.

        Raises:
            NotFound: There is no such endpoint or deployment.
            Rejected: The model refuses the payload; the message is the model's.
            RateLimited: Too many requests are waiting.
            Unavailable: Nobody serves.
        """
        ...

    @needs(Feature.DEPLOYMENTS_LOGS)
    @abstractmethod
    def read_logs(self, endpoint: str, deployment: str, *, cursor: str = "") -> LogChunk:
        """Return what a deployment logged after the cursor ("" is the beginning), in bounded pieces.

        ``done`` is True once the deployment is gone and everything was read.

        Raises:
            NotFound: There is no such endpoint or deployment, and there was none.
            InvalidInput: The cursor was not given out for this deployment.
        """
        ...

    @needs(Feature.DEPLOYMENTS_METRICS)
    @abstractmethod
    def read_metrics(self, endpoint: str, *, window_s: int) -> tuple[EndpointMetrics, ...]:
        """Return telemetry of each deployment over the last seconds, in order of name.

        Raises:
            NotFound: There is no such endpoint.
        """
        ...

    @needs(Feature.DEPLOYMENTS_CAPTURE)
    @abstractmethod
    def read_captured(
        self,
        endpoint: str,
        *,
        deployment: str | None = None,
        since: int = 0,
        until: int | None = None,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[CapturedPayload]:
        """Return requests whose payload was kept, in the order in which the platform keeps them.

        Also of a deployment, or an endpoint, that is gone, as long as the files are there; none of one that
        never was. Clouds write some minutes later.

        Args:
            endpoint: Its name.
            deployment: Only of this one.
            since: Not before this time, in milliseconds since 1970.
            until: Before this time; by default to the newest.
            max_results: How many at most.
            token: Where to go on.

        Raises:
            InvalidInput: ``token`` was not given out by this listing, or ``max_results`` is not positive.
        """
        ...

    @needs(Feature.DEPLOYMENTS_BATCH)
    @abstractmethod
    def start_batch(
        self, endpoint: str, *, source: str, destination: str, key: str, deployment: str | None = None
    ) -> Operation:
        """Start scoring the files below an address, and return at once; ``poll`` tells when it is done.

        The answers lie below ``destination`` once it is. The same key finds what was started with it.

        Args:
            endpoint: Its name.
            source: Address of a file or folder in the platform's storage: lines of JSON, or CSV.
            destination: Address of a folder there.
            key: Names this piece of work for good.
            deployment: Score with this one; by default the one with the most traffic.

        Raises:
            NotFound: There is no such endpoint or deployment.
            Rejected: The platform does not take the addresses.
        """
        ...

    @needs(Feature.DEPLOYMENTS_REVISIONS)
    @abstractmethod
    def save_revision(self, revision: EndpointRevision) -> EndpointRevision:
        """Keep how an endpoint stood, and return it with its number.

        The same deployments twice in a row are one revision: the later one (with what followed, who and why)
        takes the place and the number of the earlier.
        """
        ...

    @needs(Feature.DEPLOYMENTS_REVISIONS)
    @abstractmethod
    def list_revisions(
        self, endpoint: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[EndpointRevision]:
        """List the revisions of an endpoint, newest first; also of one that was deleted.

        Raises:
            InvalidInput: ``token`` was not given out by this listing, or ``max_results`` is not positive.
        """
        ...

    @needs(Feature.DEPLOYMENTS_LOCK)
    @abstractmethod
    def lock(self, endpoint: str) -> AbstractContextManager[None]:
        """Keep others from changing an endpoint, from this call's return to the end of the ``with`` block.

        The lock ends with the process that holds it, however that ends.

        Raises:
            Locked: Somebody else has it; the message says who and since when.
        """
        ...
