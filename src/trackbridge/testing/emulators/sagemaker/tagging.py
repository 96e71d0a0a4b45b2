"""AddTags, ListTags and DeleteTags: of every resource that the emulator has itself."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused

PAGE_ROWS = 50


def _add_tags(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    return {"Tags": cloud.tags.add(asked["ResourceArn"], asked["Tags"])}


def _list_tags(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    tags = sorted(cloud.tags.list(asked["ResourceArn"]), key=lambda tag: tag["Key"])
    last = _key_of(asked["NextToken"]) if "NextToken" in asked else ""
    found, count = [tag for tag in tags if tag["Key"] > last], asked.get("MaxResults", PAGE_ROWS)
    if len(found) <= count:
        return {"Tags": found}
    token = base64.urlsafe_b64encode(found[count - 1]["Key"].encode()).decode()
    return {"Tags": found[:count], "NextToken": token}


def _delete_tags(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    cloud.tags.delete(asked["ResourceArn"], asked["TagKeys"])
    return {}


def _key_of(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise Refused("ValidationException", "Invalid pagination token") from None


OPERATIONS: Mapping[str, Operation] = {
    "AddTags": _add_tags,
    "ListTags": _list_tags,
    "DeleteTags": _delete_tags,
}
