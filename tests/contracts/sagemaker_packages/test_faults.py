"""What breaks off between SageMaker and the record, and two programs at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.sagemaker_packages.rig import (
    ANN,
    SOURCE,
    Opening,
    create,
    described,
    logged_model,
    numbers,
    spec,
    tags_of,
)
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.models import Approval, ModelVersion
from trackbridge.errors import AuthError, Conflict, NotFound, Unavailable
from trackbridge.ports.adapter import AdapterContext
from trackbridge.ports.registry import ModelRegistry
from trackbridge.testing.contracts.samples import batch_of
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter
from trackbridge_adapters.sagemaker.adapter import SageMakerAdapter
from trackbridge_adapters.sagemaker.registry_native import Packages


class TestWhatBreaksOff:
    @pytest.fixture
    def adapter(self, opened: Opening) -> SageMakerAdapter:
        return opened()

    def dies_before_the_record(
        self, adapter: SageMakerAdapter, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Make a call that SageMaker has taken, and of which no record was written any more."""

        original = adapter.backend.bucket.put

        def put(key: str, data: bytes, **named: Any) -> str:
            if key.endswith("model.json"):
                raise Unavailable("the program was killed")
            return original(key, data, **named)

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

    def test_a_version_is_made_once_though_its_run_went_on(
        self, adapter: SageMakerAdapter, aws: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry, run = adapter.registry, logged_model(adapter, tmp_path, {"model": b"x"})
        registry.ensure_model("wine")

        def register() -> ModelVersion:
            return registry.create_version(spec(run_id=run), key="k")

        adapter.tracking.write(batch_of(run, metrics=[("loss", 1.0, 0, 1)]))
        self.dies_before_the_record(adapter, register, monkeypatch)
        adapter.tracking.write(batch_of(run, metrics=[("loss", 0.5, 1, 2)]))
        assert register().version == "1"
        assert register().native_id == registry.get_version("wine", "1").native_id
        assert numbers(aws, "wine") == [1]

    def test_what_another_key_or_content_began_is_not_taken(
        self, adapter: SageMakerAdapter, aws: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry = adapter.registry
        registry.ensure_model("wine")
        self.dies_before_the_record(adapter, lambda: registry.create_version(spec(), key="k"), monkeypatch)
        assert create(registry, key="another").version == "2"
        assert create(registry, key="k", digest="sha256:2").version == "3"
        assert numbers(aws, "wine") == [1, 2, 3]

    def test_tags_that_were_told_and_not_noted_are_set_back(
        self, adapter: SageMakerAdapter, aws: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry = adapter.registry
        version, _ = (create(registry, key=key) for key in "ab")

        def set_all(alias: str | None, tag: str | None) -> None:
            registry.set_alias("wine", "champion", version=alias)
            registry.set_tags("wine", None, tags={"team": tag})
            registry.set_tags("wine", "1", tags={"a": tag})

        def told() -> tuple[str | None, ...]:
            tags, properties = tags_of(aws, "wine"), described(aws, version)["CustomerMetadataProperties"]
            return tags.get("alias:champion"), tags.get("team"), properties.get("a")

        changes: list[Callable[[], object]] = [
            lambda: registry.set_alias("wine", "champion", version="2"),
            lambda: registry.set_tags("wine", None, tags={"team": "2"}),
            lambda: registry.set_tags("wine", "1", tags={"a": "2"}),
        ]
        for held in (None, "1"):
            set_all(held, held)
            for change in changes:
                self.dies_before_the_record(adapter, change, monkeypatch)
            assert told() == ("2", "2", "2")
            set_all(held, held)
            assert told() == (held, held, held)

    def test_who_approved_and_why_is_kept(
        self, adapter: SageMakerAdapter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry = adapter.registry
        create(registry)
        changes: list[Callable[[], object]] = [
            lambda: registry.set_approval("wine", "1", approval=Approval.APPROVED, reason=ANN),
            lambda: registry.set_stage("wine", "1", stage="Production", reason=ANN),
        ]
        for change in changes:
            self.dies_before_the_record(adapter, change, monkeypatch)
            change()
        noted = registry.list_changes("wine", "1").items[:2]
        assert [(item.what, item.user, item.why) for item in noted] == [
            ("stage", ANN.user, ANN.why),
            ("approval", ANN.user, ANN.why),
        ]

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

    @pytest.mark.parametrize("operation", ["CreateModelPackage", "UpdateModelPackage"])
    def test_who_else_writes_a_package_is_waited_for(
        self, emulator: SageMakerEmulator, opened: Opening, operation: str
    ) -> None:
        registry = wrap_adapter(opened()).registry
        assert registry is not None
        emulator.faults.fail(operation, code="ConflictException", message="It is being changed.", status=400)
        create(registry)
        registry.set_approval("wine", "1", approval=Approval.APPROVED)
        assert registry.get_version("wine", "1").approval is Approval.APPROVED
        with pytest.raises(Conflict, match="another source or digest"):
            create(registry, digest="sha256:2")

    def test_what_sagemaker_refuses_to_show_is_in_the_record(
        self, emulator: SageMakerEmulator, registry: ModelRegistry, aws: Any
    ) -> None:
        version = create(registry)
        theirs = {f"theirs{number}": "1" for number in range(30)}
        aws.update_model_package(ModelPackageArn=version.native_id, CustomerMetadataProperties=theirs)
        ours = {f"ours{number}": "1" for number in range(40)}
        registry.set_tags("wine", "1", tags=ours)
        assert registry.get_version("wine", "1").tags == ours
        emulator.faults.fail("AddTags", code="ValidationException", message="Tag policy.", status=400)
        registry.set_tags("wine", None, tags={"team": "1"})
        assert registry.get_model("wine").tags == {"team": "1"}

    def test_what_sagemaker_refuses_of_an_experiment_is_in_the_record(
        self, emulator: SageMakerEmulator, adapter: SageMakerAdapter
    ) -> None:
        emulator.faults.fail("AddTags", code="ValidationException", message="Tag policy.", status=400)
        made = adapter.tracking.ensure_experiment("e", experiment_id="e1", tags={"team": "1"})
        assert adapter.tracking.list_experiments().items == (made,)
        assert made.tags == {"team": "1"}

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

    def test_a_second_package_of_one_version_is_deleted(
        self, opened: Opening, aws: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours, theirs = opened(), opened()
        run = logged_model(ours, tmp_path, {"model": b"x"})
        ours.tracking.write(batch_of(run, metrics=[("loss", 1.0, 0, 1)]))
        ours.registry.ensure_model("wine")

        def change() -> None:
            theirs.tracking.write(batch_of(run, metrics=[("loss", 0.5, 1, 2)]))
            theirs.registry.set_tags("wine", None, tags={"a": "1"})

        # A listing does not have yet what was just made.
        monkeypatch.setattr(Packages, "list_packages", lambda packages, reference: iter(()))
        made = self.between(ours, change, lambda: create(ours.registry, run_id=run), monkeypatch)
        assert (made.version, numbers(aws, "wine")) == ("2", [2])

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
