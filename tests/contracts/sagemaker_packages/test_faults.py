"""What breaks off between SageMaker and the record, and two programs at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.contracts.sagemaker_packages.rig import (
    ANN,
    SOURCE,
    Opening,
    create,
    described,
    numbers,
    spec,
)
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.models import Approval
from trackbridge.errors import AuthError, Conflict, NotFound, Unavailable
from trackbridge.ports.adapter import AdapterContext
from trackbridge.ports.registry import ModelRegistry
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter
from trackbridge_adapters.sagemaker.adapter import SageMakerAdapter


class TestWhatBreaksOff:
    @pytest.fixture
    def adapter(self, opened: Opening) -> SageMakerAdapter:
        return opened()

    def dies_before_the_record(
        self, adapter: SageMakerAdapter, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Make a call that SageMaker has taken, and of which no record was written any more."""

        def put(*arguments: object, **named: object) -> str:
            raise Unavailable("the program was killed")

        with monkeypatch.context() as patch:
            patch.setattr(adapter.backend.bucket, "put", put)
            with pytest.raises(Unavailable, match="was killed"):
                call()

    def test_a_version_is_made_once(
        self, adapter: SageMakerAdapter, aws: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry = adapter.registry
        registry.ensure_model("wine")
        self.dies_before_the_record(adapter, lambda: registry.create_version(spec(), key="k"), monkeypatch)
        assert (numbers(aws, "wine"), list(registry.list_versions("wine"))) == ([1], [])
        with pytest.raises(NotFound):
            registry.get_version("wine", "1")
        assert registry.create_version(spec(), key="k").version == "1"
        assert numbers(aws, "wine") == [1]

    def test_what_nobody_finishes_is_shown_after_an_hour(
        self,
        adapter: SageMakerAdapter,
        emulator: SageMakerEmulator,
        opened: Opening,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        adapter.registry.ensure_model("wine")
        self.dies_before_the_record(
            adapter, lambda: adapter.registry.create_version(spec(tags={"a": "1"}), key="k"), monkeypatch
        )
        later = time.time_ns() // 1_000_000 + 3_700_000
        context = AdapterContext(home=adapter.backend.context.home, options={}, clock_ms=lambda: later)
        aged = open_adapter(emulator.uri, context=context)
        assert aged.registry is not None
        (found,) = aged.registry.list_versions("wine")
        assert (found.source, found.digest, found.tags) == (SOURCE, "sha256:1", {"a": "1"})
        aged.close()

    def test_a_model_is_made_once(
        self, adapter: SageMakerAdapter, aws: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry = adapter.registry

        def ensure() -> object:
            return registry.ensure_model("wine", description="a\nb", tags={"t": "{1}"})

        self.dies_before_the_record(adapter, ensure, monkeypatch)
        ensure()
        assert len(aws.list_model_package_groups()["ModelPackageGroupSummaryList"]) == 1
        found = registry.get_model("wine")
        assert (found.description, found.tags) == ("a\nb", {"t": "{1}"})

    def test_a_deletion_goes_on(
        self, adapter: SageMakerAdapter, aws: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry = adapter.registry
        for key in "ab":
            create(registry, key=key)
        self.dies_before_the_record(adapter, lambda: registry.delete_version("wine", "1"), monkeypatch)
        assert [item.version for item in registry.list_versions("wine")] == ["2"]
        registry.delete_version("wine", "1")
        self.dies_before_the_record(adapter, lambda: registry.delete_model("wine"), monkeypatch)
        assert list(registry.list_models()) == []
        registry.delete_model("wine", reason=ANN)
        assert (registry.list_changes("wine").items[0].what, registry.list_changes("wine").items[0].user) == (
            "deleted",
            "ann",
        )
        assert create(registry, key="c").version == "3"

    def test_changes_are_made_again(
        self, adapter: SageMakerAdapter, aws: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry = adapter.registry
        version = create(registry)
        changes: list[Callable[[], object]] = [
            lambda: registry.set_alias("wine", "champion", version="1"),
            lambda: registry.set_tags("wine", "1", tags={"a": "1"}),
            lambda: registry.set_approval("wine", "1", approval=Approval.APPROVED),
            lambda: registry.set_stage("wine", "1", stage="Production"),
        ]
        for change in changes:
            self.dies_before_the_record(adapter, change, monkeypatch)
            change()
        found = registry.get_version("wine", "1")
        assert (found.aliases, found.tags) == (("champion",), {"a": "1"})
        assert (found.approval, found.stage) == (Approval.APPROVED, "Production")
        assert described(aws, version)["CustomerMetadataProperties"]["a"] == "1"
        assert [change.what for change in registry.list_changes("wine")][::-1] == [
            "created",
            "created",
            "alias:champion",
            "tag:a",
            "approval",
            "stage",
        ]

    def test_a_lost_answer_is_no_second_version(
        self, emulator: SageMakerEmulator, opened: Opening, aws: Any
    ) -> None:
        registry = wrap_adapter(opened()).registry
        assert registry is not None
        registry.ensure_model("wine")
        emulator.faults.fail("CreateModelPackage", after=True)
        assert registry.create_version(spec(), key="k").version == "1"
        assert numbers(aws, "wine") == [1]

    def test_packages_that_sagemaker_still_counts_are_waited_for(
        self, emulator: SageMakerEmulator, opened: Opening, aws: Any
    ) -> None:
        registry = wrap_adapter(opened()).registry
        assert registry is not None
        create(registry)
        emulator.faults.fail(
            "DeleteModelPackageGroup",
            code="ConflictException",
            message="Model Package Group cannot be deleted as it still contains Model Packages.",
            status=400,
        )
        registry.delete_model("wine")
        assert aws.list_model_package_groups()["ModelPackageGroupSummaryList"] == []
        assert [change.what for change in registry.list_changes("wine")][:2] == ["deleted", "deleted"]

    def test_throttling_is_waited_out(self, emulator: SageMakerEmulator, opened: Opening) -> None:
        registry = wrap_adapter(opened()).registry
        assert registry is not None
        emulator.throttle("*ModelPackage*", times=2)
        assert registry.ensure_model("wine").name == "wine"

    def test_who_may_not_approve_changes_nothing(
        self, emulator: SageMakerEmulator, registry: ModelRegistry
    ) -> None:
        create(registry)
        before = list(registry.list_changes("wine"))
        emulator.deny("sagemaker:UpdateModelPackage")
        with pytest.raises(AuthError, match="sagemaker:UpdateModelPackage"):
            registry.set_approval("wine", "1", approval=Approval.APPROVED)
        assert list(registry.list_changes("wine")) == before
        assert registry.get_version("wine", "1").approval is Approval.PENDING


class TestTwoPrograms:
    def between(
        self,
        adapter: SageMakerAdapter,
        other: Callable[[], object],
        call: Callable[[], Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> Any:
        """Make a call; once, when it is about to write its record, another program is quicker."""
        bucket = adapter.backend.bucket
        original, others = bucket.put, [other]

        def put(key: str, data: bytes, **named: Any) -> str:
            if others and key.endswith("model.json"):
                others.pop()()
            return original(key, data, **named)

        with monkeypatch.context() as patch:
            patch.setattr(bucket, "put", put)
            return call()

    def test_changes_of_both_are_kept(self, opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
        ours, theirs = opened(), opened().registry
        create(ours.registry)
        self.between(
            ours,
            lambda: theirs.set_tags("wine", "1", tags={"theirs": "1"}),
            lambda: ours.registry.set_tags("wine", "1", tags={"ours": "1"}),
            monkeypatch,
        )
        assert ours.registry.get_version("wine", "1").tags == {"theirs": "1", "ours": "1"}
        assert [change.sequence for change in ours.registry.list_changes("wine")] == [4, 3, 2, 1]

    def test_models_made_by_both_are_one(
        self, opened: Opening, aws: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours, theirs = opened(), opened().registry
        made = self.between(
            ours,
            lambda: theirs.ensure_model("wine", description="theirs"),
            lambda: ours.registry.ensure_model("wine", description="ours"),
            monkeypatch,
        )
        assert made.description == ours.registry.get_model("wine").description == "theirs"

    def test_versions_of_one_key_are_one(
        self, opened: Opening, aws: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours, theirs = opened(), opened().registry
        ours.registry.ensure_model("wine")
        made = self.between(
            ours,
            lambda: create(theirs, key="k", description="theirs"),
            lambda: create(ours.registry, key="k", description="ours"),
            monkeypatch,
        )
        assert made.description == "theirs"
        assert [item.version for item in ours.registry.list_versions("wine")] == [made.version]

    def test_of_two_contents_with_one_key_the_later_leaves_nothing(
        self, opened: Opening, aws: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours, theirs = opened(), opened().registry
        ours.registry.ensure_model("wine")
        with pytest.raises(Conflict, match="another source or digest"):
            self.between(
                ours,
                lambda: create(theirs, key="k", digest="sha256:theirs"),
                lambda: create(ours.registry, key="k"),
                monkeypatch,
            )
        assert numbers(aws, "wine") == [2]
        (found,) = ours.registry.list_versions("wine")
        assert (found.version, found.digest) == ("2", "sha256:theirs")
