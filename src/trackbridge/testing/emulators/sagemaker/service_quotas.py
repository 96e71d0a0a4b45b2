"""Service Quotas, as far as it tells of SageMaker's instances."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.protocol import service_model
from trackbridge.testing.emulators.sagemaker.quotas import ENDPOINT, SPOT, Quotas

PAGE_ROWS = 100
USES = {
    "training job": "TrainingInstanceType",
    SPOT: "TrainingInstanceType",
    "processing job": "ProcessingInstanceType",
    "transform job": "TransformInstanceType",
    ENDPOINT: "ProductionVariantInstanceType",
}
"""What instances are used for, and the enumeration of the types that may be."""


def _list(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["ServiceCode"] != "sagemaker":
        raise Refused("NoSuchResourceException", "The emulator has the quotas of sagemaker only")
    rows = list(_rows(cloud))
    start = int(base64.b64decode(asked["NextToken"])) if "NextToken" in asked else 0
    end = start + asked.get("MaxResults", PAGE_ROWS)
    answer: dict[str, Any] = {"Quotas": rows[start:end]}
    if end < len(rows):
        answer["NextToken"] = base64.b64encode(str(end).encode()).decode()
    return answer


def _rows(cloud: Cloud) -> Iterator[dict[str, Any]]:
    quotas = cloud.part(Quotas)
    for use, enumeration in USES.items():
        for kind in service_model("sagemaker").shape_for(enumeration).enum:
            yield {
                "ServiceCode": "sagemaker",
                "ServiceName": "Amazon SageMaker",
                "QuotaName": f"{kind} for {use} usage",
                "Value": float(quotas.limits.get((kind, use), quotas.default)),
                "Unit": "None",
                "Adjustable": True,
                "GlobalQuota": False,
            }


QUOTAS_OPERATIONS: Mapping[str, Operation] = {"ListServiceQuotas": _list}
