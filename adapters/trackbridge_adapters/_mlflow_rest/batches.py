"""A batch of records as the body of ``runs/log-batch``, built by joining texts, which is the quickest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from trackbridge.domain.batches import MetricColumns
from trackbridge_adapters._mlflow_rest.conversions import value_text

_text = msgspec.json.Encoder().encode


def log_batch_body(
    native_id: str,
    metrics: Mapping[str, MetricColumns],
    params: Iterable[tuple[str, str]],
    tags: Iterable[tuple[str, str]],
) -> bytes:
    """Return the body of one call."""
    fields = [f'"run_id":{_json(native_id)}']
    points = [point for key, columns in metrics.items() for point in _points(key, columns)]
    if points:
        fields.append(f'"metrics":[{",".join(points)}]')
    for name, settings in (("params", params), ("tags", tags)):
        items = [f'{{"key":{_json(key)},"value":{_json(value)}}}' for key, value in settings]
        if items:
            fields.append(f'"{name}":[{",".join(items)}]')
    return f"{{{','.join(fields)}}}".encode()


def _points(key: str, columns: MetricColumns) -> list[str]:
    begin = f'{{"key":{_json(key)},"value":'
    return [
        f'{begin}{value_text(value)},"timestamp":{timestamp},"step":{step}}}'
        for value, timestamp, step in zip(columns.values, columns.timestamps, columns.steps, strict=True)
    ]


def _json(text: str) -> str:
    return _text(text).decode()
