"""Changes of a registry are told once they are made."""

from __future__ import annotations

from typing import Any

import pytest

from trackbridge.domain.events import (
    MODEL_ALIAS_SET,
    MODEL_APPROVAL_SET,
    MODEL_STAGE_SET,
    MODEL_VERSION_CREATED,
)
from trackbridge.domain.models import Approval, ChangeReason, ModelVersion, ModelVersionSpec
from trackbridge.errors import NotFound
from trackbridge.events import registry as registry_module
from trackbridge.events.registry import telling

WHY = ChangeReason(user="ada", why="better")


class Registry:
    """Takes everything for ``wine``, nothing else."""

    def create_version(self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason) -> ModelVersion:
        return ModelVersion(name=spec.name, version="3", source=spec.source, digest=spec.digest, run_id="r")

    def set_alias(self, name: str, *_: object, **__: object) -> None:
        if name != "wine":
            raise NotFound("there is no such model")

    set_stage = set_approval = set_alias

    def get_model(self, name: str) -> str:
        return name


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, Any]]]:
    found: list[tuple[str, str, dict[str, Any]]] = []

    def publish(kind: str, *, subject: str, source: str, data: dict[str, Any]) -> None:
        assert source == "file:/x"
        found.append((kind, subject, data))

    monkeypatch.setattr(registry_module, "publish", publish)
    return found


def test_every_change(told: list[tuple[str, str, dict[str, Any]]]) -> None:
    registry = telling(Registry(), "file:/x")  # type: ignore[arg-type]
    spec = ModelVersionSpec(name="wine", source="s", digest="d")
    assert registry.create_version(spec, key="k", reason=WHY).version == "3"
    registry.set_alias("wine", "champion", version="3", reason=WHY)
    registry.set_alias("wine", "champion", version=None, reason=WHY)
    registry.set_stage("wine", "3", stage="Production", reason=WHY)
    registry.set_approval("wine", "3", approval=Approval.APPROVED, reason=WHY)
    assert [(kind, subject) for kind, subject, _ in told] == [
        (MODEL_VERSION_CREATED, "models:/wine/3"),
        (MODEL_ALIAS_SET, "models:/wine/3"),
        (MODEL_ALIAS_SET, "models:/wine"),
        (MODEL_STAGE_SET, "models:/wine/3"),
        (MODEL_APPROVAL_SET, "models:/wine/3"),
    ]
    common = {"name": "wine", "version": "3", "user": "ada", "why": "better"}
    assert told[0][2] == {**common, "run_id": "r", "digest": "d"}
    assert told[1][2] == {**common, "alias": "champion"}
    assert told[4][2] == {**common, "approval": "approved"}


def test_what_fails_is_not_told(told: list[tuple[str, str, dict[str, Any]]]) -> None:
    registry = telling(Registry(), "file:/x")  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        registry.set_alias("beer", "champion", version="3")
    assert told == []
    assert registry.get_model("wine") == "wine"  # type: ignore[comparison-overlap]
