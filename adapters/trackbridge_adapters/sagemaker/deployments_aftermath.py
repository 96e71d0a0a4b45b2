"""What comes after SageMaker is done with a change: scaling, cleaning up, and saying what failed.

Whoever looks first does it: the poll of the command that began the change, or the next change when that
command was killed. All of it may be done twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import msgspec

from trackbridge.domain.deployment_changes import spec_of
from trackbridge.domain.deployments import Operation, Serving
from trackbridge.errors import AuthError, BridgeError, NotFound
from trackbridge_adapters.sagemaker import deployments_scaling
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.deployments_logs import last_lines
from trackbridge_adapters.sagemaker.deployments_names import variant_of
from trackbridge_adapters.sagemaker.deployments_records import Companion, EndpointRecord, Failure, Records
from trackbridge_adapters.sagemaker.deployments_view import BUSY, TAKEN_BACK, View, Views

REASON_CHARS_MAX = 1500


class Aftermath:
    """Finishes changes at one place. Any thread may use it."""

    def __init__(self, backend: Backend, records: Records, views: Views) -> None:
        self._clients = backend.clients
        self._records = records
        self._views = views

    # Looking how a change stands.

    def poll_config(self, operation: Operation, endpoint: str, config: str, deployment: str) -> Operation:
        """Return how it stands that an endpoint goes over to a config."""
        view = self._views.look(endpoint)
        if view.status in BUSY:
            return operation
        if view.told is None or view.status == "Deleting":
            known = self._known_failure(view, deployment)
            return _ended(operation, known or "the endpoint was deleted meanwhile")
        if view.status == "InService" and view.config_name == config:
            self.settle(view)
            if deployment:
                self.forget_failure(endpoint, deployment)
            return _ended(operation, None)
        if view.status == "Failed":
            reason = self._reason(view, deployment, str(view.told.get("FailureReason", "")))
            self._note_failure(view, view.kept, deployment, reason)
            self.clear_rest(view)
            return _ended(operation, f"{reason}; the endpoint, its config and its model were deleted")
        return self._taken_back(operation, view, config, deployment)

    def _taken_back(self, operation: Operation, view: View, config: str, deployment: str) -> Operation:
        known = self._known_failure(view, deployment)
        drafted = self._records.companion(view.endpoint, config)
        if drafted is None and known is not None:  # told and cleaned up before
            return _ended(operation, known)
        told = str((view.told or {}).get("FailureReason", "")) or TAKEN_BACK
        reason = self._reason(view, deployment, told)
        if drafted is not None:
            self._note_failure(view, drafted, deployment, reason)
        if view.status != "InService":  # a mix of both configs may serve
            return _ended(operation, f"{reason}; the endpoint is {view.status}, nothing was cleaned up")
        self.settle(view)
        return _ended(operation, f"{reason}; the endpoint serves as before")

    def poll_weights(self, operation: Operation, endpoint: str, config: str) -> Operation:
        """Return how a change of weights stands."""
        view = self._views.look(endpoint)
        if view.status in BUSY:
            return operation
        if view.status == "InService":
            return _ended(operation, None)
        return _ended(operation, f"the endpoint is {view.status or 'gone'}")

    def poll_deletion(self, operation: Operation, endpoint: str) -> Operation:
        """Return how a deletion stands; what is left of the endpoint goes with it."""
        view = self._views.look(endpoint)
        if view.told is not None:
            if view.status == "Deleting":
                return operation
            return _ended(operation, f"the endpoint is there, and {view.status}")
        self.finish_deletion(view)
        return _ended(operation, None)

    def finish_deletion(self, view: View) -> None:
        """Clean up after an endpoint that is gone at SageMaker."""
        self._clean(view.endpoint, kept=set())
        record = view.record
        if record is not None and record.is_deleting:
            for served in record.batch.values():
                self._delete("DeleteModel", ModelName=served.model)
            self._records.forget(view.endpoint)

    # Finishing.

    def settle(self, view: View) -> None:
        """Let the deployments in use scale as they should, and clean up what is used no more."""
        self._scale(view)
        in_use = {str(each.asked.get("ModelName", "")) for each in view.variants}
        self._clean(view.endpoint, kept={view.config_name}, in_use=in_use)
        config = view.config_name

        def settled(record: EndpointRecord | None) -> EndpointRecord | None:
            return msgspec.structs.replace(record, settled=config) if record is not None else None

        self._records.change(view.endpoint, settled)

    def clear_rest(self, view: View) -> None:
        """Delete an endpoint that never came up, with its config and its models."""
        self._delete("DeleteEndpoint", EndpointName=view.native)
        self._clean(view.endpoint, kept=set())

    def stop_scaling(self, view: View) -> None:
        """Let no variant of an endpoint scale: SageMaker keeps what scales."""
        for each in view.variants:
            if not each.mirrors and (view.scaling is None or each.name in view.scaling):
                self.stop_variant(view.native, each.name)

    def stop_variant(self, native: str, variant: str) -> None:
        """Let a variant scale no longer, by SageMaker's names."""
        try:
            deployments_scaling.stop(self._clients, native, variant)
        except AuthError:  # who may not ask whether it scales need not be allowed to end that
            return

    def _scale(self, view: View) -> None:
        for name, served in view.kept.deployments.items():
            variant = view.find(name)
            if variant is None or variant.mirrors or "ServerlessConfig" in variant.asked:
                continue
            spec = spec_of(served.facts)
            now = (view.scaling or {}).get(variant.name)
            if spec.autoscale is not None and spec.autoscale != now:
                is_asynchronous = spec.serving is Serving.ASYNCHRONOUS
                deployments_scaling.start(
                    self._clients, view.native, variant.name, spec.autoscale, is_asynchronous=is_asynchronous
                )
            elif spec.autoscale is None and now is not None:
                deployments_scaling.stop(self._clients, view.native, variant.name)

    # Cleaning up.

    def _clean(self, endpoint: str, *, kept: set[str], in_use: Set[str] = frozenset()) -> None:
        """Delete the configs of ours that are in use no more, and models that no other config needs.

        A model of ours that serves in somebody's copy of such a config stays, and is kept in mind.
        """
        configs = self._records.companions(endpoint)
        found = {name: self._records.companion(endpoint, name) or Companion() for name in configs}
        needed = {model for name in kept for model in found.get(name, Companion()).models}
        for name, companion in found.items():
            if name in kept:
                continue
            self._delete("DeleteEndpointConfig", EndpointConfigName=name)
            serving = set(companion.models) & (in_use - needed)
            for model in set(companion.models) - needed - serving:
                self._delete("DeleteModel", ModelName=model)
            if serving:
                self._records.keep_companion(endpoint, name, Companion(models=tuple(sorted(serving))))
            else:
                self._records.forget_companion(endpoint, name)

    def _delete(self, operation: str, /, **named: Any) -> None:
        try:
            self._clients.call("sagemaker", operation, **named)
        except NotFound:
            return

    # Failures.

    def forget_failure(self, endpoint: str, deployment: str) -> None:
        """Forget that a deployment did not come up."""

        def changed(record: EndpointRecord | None) -> EndpointRecord | None:
            if record is None or deployment not in record.failures:
                return None
            left = {name: each for name, each in record.failures.items() if name != deployment}
            return msgspec.structs.replace(record, failures=left)

        self._records.change(endpoint, changed)

    def _note_failure(self, view: View, drafted: Companion, deployment: str, reason: str) -> None:
        served = drafted.deployments.get(deployment)
        if served is None:
            return
        failure = Failure(facts=served.facts, reason=reason)

        def changed(record: EndpointRecord | None) -> EndpointRecord:
            known = record or EndpointRecord()
            failures: Mapping[str, Failure] = {**known.failures, deployment: failure}
            return msgspec.structs.replace(known, failures=failures)

        self._records.change(view.endpoint, changed)

    def _known_failure(self, view: View, deployment: str) -> str | None:
        failure = view.record.failures.get(deployment) if view.record is not None else None
        return failure.reason if failure is not None else None

    def _reason(self, view: View, deployment: str, told: str) -> str:
        """Return why a change failed: what SageMaker says, and the last words of the container."""
        if not deployment:
            return told
        try:
            names = [variant_of(deployment, mirrors=mirrors) for mirrors in (False, True)]
            last = last_lines(self._clients, view.native, names)
        except BridgeError:  # the log is a help, not the reason
            last = ""
        return f"{told}; its log ends: {last}"[:REASON_CHARS_MAX] if last else told or TAKEN_BACK


def _ended(operation: Operation, error: str | None) -> Operation:
    return Operation(operation_id=operation.operation_id, done=True, error=error)
