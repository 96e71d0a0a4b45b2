"""Batch endpoints: models that score files on request. SageMaker has no endpoint for them; ours is a record.

::

    deployment -> CreateModel -> the record names it          start_batch -> CreateTransformJob of that model
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from trackbridge.domain.deployments import Operation
from trackbridge.errors import Conflict, NotFound
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.deployments_operations import held
from trackbridge_adapters.sagemaker.deployments_records import EndpointRecord, Records, Served
from trackbridge_adapters.sagemaker.deployments_view import View


class BatchModels:
    """Brings models and takes them away. Any thread may use it."""

    def __init__(self, clients: Clients, records: Records) -> None:
        self._clients = clients
        self._records = records

    def bring(self, view: View, deployment: str, served: Served, model: Mapping[str, Any]) -> Operation:
        """Make a model, and let a deployment be it; the model that it was before goes."""
        with suppress(Conflict):  # it is named by its content
            self._clients.call("sagemaker", "CreateModel", **model)
        self._change(view, lambda batch: {**batch, deployment: served})
        return held()

    def remove(self, view: View, deployment: str) -> None:
        """Take a deployment away, with its model."""
        self._change(view, lambda batch: {name: each for name, each in batch.items() if name != deployment})

    def share(self, view: View, traffic: Mapping[str, int]) -> Operation:
        """Say which deployment scores what is for none by name: the one with the largest share."""

        def changed(record: EndpointRecord | None) -> EndpointRecord | None:
            return msgspec.structs.replace(record, traffic=dict(traffic)) if record is not None else None

        self._records.change(view.endpoint, changed)
        return held()

    def delete(self, names: set[str]) -> None:
        """Delete models; those that are gone are no error."""
        for name in sorted(names):
            try:
                self._clients.call("sagemaker", "DeleteModel", ModelName=name)
            except NotFound:
                continue

    def _change(self, view: View, change: Callable[[dict[str, Served]], dict[str, Served]]) -> None:
        before: set[str] = set()
        after: set[str] = set()

        def changed(record: EndpointRecord | None) -> EndpointRecord:
            known = record or EndpointRecord()
            batch = change(known.batch)
            before.clear()
            before.update(each.model for each in known.batch.values())
            after.clear()
            after.update(each.model for each in batch.values())
            return msgspec.structs.replace(known, batch=batch)

        self._records.change(view.endpoint, changed)
        self.delete(before - after)
