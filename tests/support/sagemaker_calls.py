"""Calls of the emulator's operations without a server, held against the service model both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation
from trackbridge.testing.emulators.sagemaker.limits import check
from trackbridge.testing.emulators.sagemaker.protocol import read_json, service_model

UNTOLD = frozenset({"ModelPackageName"})
"""Required by the model, yet AWS leaves it out for a version (sagemaker-python-sdk#5606)."""


class Calls:
    """Calls operations as the server does: types and limits first; then holds the answer against its shape.

    Args:
        cloud: Whose state it is.
        operations: By AWS's names.
        service: ``sagemaker`` or ``sagemaker-metrics``.
    """

    def __init__(self, cloud: Cloud, operations: Mapping[str, Operation], service: str = "sagemaker") -> None:
        self.cloud, self._operations, self._model = cloud, operations, service_model(service)

    def __call__(self, name: str, /, **asked: Any) -> dict[str, Any]:
        """Return the answer of an operation."""
        model = self._model.operation_model(name)
        params = read_json(model.input_shape, json.dumps(asked).encode())
        check(model.input_shape, params)
        with self.cloud.lock:
            answer = self._operations[name](self.cloud, params)
        if model.output_shape is None:
            assert answer == {}
        else:
            hold(model.output_shape, answer, name)
        return answer


def hold(shape: Any, value: Any, where: str) -> None:
    """Fail when an answer has a member that its shape lacks, lacks a required one, or has a wrong type."""
    kind = shape.type_name
    if kind == "structure":
        value = {name: item for name, item in value.items() if item is not None}
        assert set(value) <= set(shape.members), f"{where}: {set(value) - set(shape.members)}"
        missing = set(shape.required_members) - set(value) - UNTOLD
        assert not missing, f"{where}: {missing}"
        for name, item in value.items():
            hold(shape.members[name], item, f"{where}.{name}")
    elif kind == "list":
        for item in value:
            hold(shape.member, item, f"{where}[]")
    elif kind == "map":
        for key, item in value.items():
            hold(shape.value, item, f"{where}.{key}")
    else:
        types = {"string": str, "integer": int, "long": int, "boolean": bool}
        assert isinstance(value, types.get(kind, (int, float))), f"{where}: {value!r}"
