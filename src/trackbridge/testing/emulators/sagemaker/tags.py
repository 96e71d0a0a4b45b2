"""Tags of resources, by SageMaker's rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.refusal import Refused

TAGS_MAX = 50


class Tags:
    """Tags by the ARN of their resource, in any case. Only what was put with ``start`` can be tagged."""

    def __init__(self) -> None:
        self._by_arn: dict[str, dict[str, str]] = {}

    def start(self, arn: str, tags: Iterable[Mapping[str, Any]] | None = None) -> None:
        """Begin the tags of a resource that is being made; as the last step, or after ``check``.

        Raises:
            Refused: The tags are not allowed; then nothing was kept.
        """
        self.check(tags)
        self._by_arn[arn.lower()] = {tag["Key"]: tag["Value"] for tag in tags or ()}

    def check(self, tags: Iterable[Mapping[str, Any]] | None) -> None:
        """Refuse tags that no resource can be made with."""
        keys = [tag["Key"] for tag in tags or ()]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise Refused(
                "ValidationException", f"Duplicate tag keys found. Please use unique tag keys: {twice}"
            )
        _check_reserved(keys)
        if len(keys) > TAGS_MAX:
            raise _too_many(len(keys))

    def add(self, arn: str, tags: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
        """Add tags, each in place of the one with its key; return all."""
        held, added = self._of(arn), {tag["Key"]: tag["Value"] for tag in tags}
        _check_reserved(added)
        merged = held | added
        if len(merged) > TAGS_MAX:
            raise _too_many(len(merged))
        self._by_arn[arn.lower()] = merged
        return self.list(arn)

    def delete(self, arn: str, keys: Iterable[str]) -> None:
        """Take tags away; a key that is not there is none the less done."""
        held = self._of(arn)
        keys = list(keys)
        _check_reserved(keys)
        for key in keys:
            held.pop(key, None)

    def list(self, arn: str) -> list[dict[str, str]]:
        """Return the tags of a resource as AWS tells them."""
        return [{"Key": key, "Value": value} for key, value in self._of(arn).items()]

    def find(self, arn: str) -> dict[str, str]:
        """Return the tags of a resource, by key; none when it is not known."""
        return dict(self._by_arn.get(arn.lower(), {}))

    def has(self, arn: str) -> bool:
        """Tell whether there is such a resource."""
        return arn.lower() in self._by_arn

    def end(self, arn: str) -> None:
        """Forget a resource that is being deleted."""
        self._by_arn.pop(arn.lower(), None)

    def _of(self, arn: str) -> dict[str, str]:
        if arn.lower() not in self._by_arn:
            raise Refused("ValidationException", f"Could not find resource '{arn}'.")
        return self._by_arn[arn.lower()]


def _check_reserved(keys: Iterable[str]) -> None:
    for key in keys:
        if key.lower().startswith("aws:"):
            message = f"Tag keys starting with 'aws:' are reserved for system use: '{key}'"
            raise Refused("ValidationException", message)


def _too_many(count: int) -> Refused:
    message = f"The number of tags, {count}, is more than the {TAGS_MAX} that a resource can have."
    return Refused("ResourceLimitExceeded", message)
