"""The registry contract: what can be changed of models and versions."""

from __future__ import annotations

import pytest

from trackbridge.domain.models import STAGES, Approval
from trackbridge.errors import NotFound, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.registry_base import RegistryTests, own

UNKNOWN = [("wine", "2"), ("beer", "1"), ("wine", "one"), ("wine", "")]
MODEL_OR_VERSION = pytest.mark.parametrize("version", [None, "1"])
MODEL_AND_VERSION = each("version", [None, "1"])


class LabelTests(RegistryTests):
    """set_tags, set_description, set_alias, set_stage, set_approval."""

    def tags_of(self, version: str | None) -> dict[str, str]:
        return own((self.model() if version is None else self.version(version)).tags)

    def description_of(self, version: str | None) -> str:
        return (self.model() if version is None else self.version(version)).description

    # Tags.

    def created_once(self, tags: dict[str, str] | None = None) -> None:
        """Create the model and its first version with tags, unless the test has them already."""
        if not self.ensured:
            self.registry.ensure_model("wine", tags=tags)
            self.create(tags=tags or {})

    @MODEL_AND_VERSION
    def test_tags_are_set_replaced_and_deleted(self, version: str | None) -> None:
        self.created_once()
        self.registry.set_tags("wine", version, tags={"a": "1", "b": "", "c": "3"})
        assert self.tags_of(version) == {"a": "1", "b": "", "c": "3"}
        self.registry.set_tags("wine", version, tags={"a": "2", "c": None, "d": "4"})
        assert self.tags_of(version) == {"a": "2", "b": "", "d": "4"}

    @MODEL_AND_VERSION
    def test_tags_that_change_nothing(self, version: str | None) -> None:
        self.created_once()
        self.registry.set_tags("wine", version, tags={"a": "1"})

        def change_nothing() -> None:
            for tags in ({"a": "1"}, {"absent": None}, {}):
                self.registry.set_tags("wine", version, tags=tags)

        self.unchanged_by(change_nothing)

    def test_tags_belong_to_one_version_or_to_the_model(self) -> None:
        self.create()
        self.create()
        self.create("beer")
        self.registry.set_tags("wine", "1", tags={"a": "of 1"})
        self.registry.set_tags("wine", None, tags={"a": "of wine"})
        assert [self.tags_of(version) for version in ("1", "2", None)] == [
            {"a": "of 1"},
            {},
            {"a": "of wine"},
        ]
        assert own(self.version("1", "beer").tags) == own(self.model("beer").tags) == {}

    @MODEL_AND_VERSION
    def test_tags_given_at_creation_can_be_changed(self, version: str | None) -> None:
        self.created_once(tags={"a": "1", "b": "2"})
        self.registry.set_tags("wine", version, tags={"a": "9", "b": None})
        assert self.tags_of(version) == {"a": "9"}

    @MODEL_AND_VERSION
    def test_of_several_tags_all_are_set_or_none(self, version: str | None) -> None:
        self.created_once()
        tags = {"first": "1", "worst": "\ud800", "last": "3"}
        accepted = self.is_accepted(lambda: self.registry.set_tags("wine", version, tags=tags))
        assert self.tags_of(version) == (tags if accepted else {})

    def test_tags_of_what_is_unknown_cannot_be_set(self) -> None:
        self.create()
        for name, version in (*UNKNOWN, ("beer", None)):
            with pytest.raises(NotFound):
                self.registry.set_tags(name, version, tags={"a": "1"})

    # Descriptions.

    @requires(Feature.REGISTRY_DESCRIPTION)
    @MODEL_OR_VERSION
    def test_a_description_is_replaced_and_emptied(self, version: str | None) -> None:
        self.registry.ensure_model("wine", description="the first")
        self.create(description="the first")
        for text in ("the second", "", "the\nthird"):
            self.registry.set_description("wine", version, description=text)
            assert self.description_of(version) == text
        self.unchanged_by(lambda: self.registry.set_description("wine", version, description="the\nthird"))
        other = "1" if version is None else None
        assert self.description_of(other) == "the first"

    @requires(Feature.REGISTRY_DESCRIPTION)
    def test_what_is_unknown_cannot_be_described(self) -> None:
        self.create()
        for name, version in (*UNKNOWN, ("beer", None)):
            with pytest.raises(NotFound):
                self.registry.set_description(name, version, description="x")

    # Aliases.

    def aliases(self) -> dict[str, str]:
        """Return the model's aliases, having seen that versions and listings say the same."""
        aliases = dict(self.model().aliases)
        pointed = {
            alias: item.version for item in self.registry.list_versions("wine") for alias in item.aliases
        }
        assert pointed == aliases
        for number in self.versions():
            assert set(self.version(number).aliases) == {a for a, v in aliases.items() if v == number}
        return aliases

    @requires(Feature.REGISTRY_ALIAS)
    def test_an_alias_points_at_one_version(self) -> None:
        self.create()
        self.create()
        self.registry.set_alias("wine", "champion", version="1")
        assert self.aliases() == {"champion": "1"}
        self.registry.set_alias("wine", "champion", version="2")
        assert self.aliases() == {"champion": "2"}
        self.unchanged_by(lambda: self.registry.set_alias("wine", "champion", version="2"))

    @requires(Feature.REGISTRY_ALIAS)
    def test_a_version_may_have_several_aliases(self) -> None:
        self.create()
        self.create()
        for alias in ("b", "a", "c"):
            self.registry.set_alias("wine", alias, version="1")
        self.registry.set_alias("wine", "c", version="2")
        assert self.aliases() == {"a": "1", "b": "1", "c": "2"}

    @requires(Feature.REGISTRY_ALIAS)
    def test_an_alias_is_removed(self) -> None:
        self.create()
        self.registry.set_alias("wine", "champion", version="1")
        self.registry.set_alias("wine", "challenger", version="1")
        self.registry.set_alias("wine", "champion", version=None)
        assert self.aliases() == {"challenger": "1"}

        def remove_what_is_absent() -> None:
            for alias in ("champion", "never-set"):
                self.registry.set_alias("wine", alias, version=None)

        self.unchanged_by(remove_what_is_absent)

    @requires(Feature.REGISTRY_ALIAS)
    def test_an_alias_belongs_to_its_model(self) -> None:
        self.create("wine")
        self.create("beer")
        self.registry.set_alias("wine", "champion", version="1")
        assert (self.model("beer").aliases, self.version("1", "beer").aliases) == ({}, ())

    @requires(Feature.REGISTRY_ALIAS)
    def test_an_alias_cannot_point_at_what_is_unknown(self) -> None:
        self.create()
        self.registry.set_alias("wine", "champion", version="1")
        for name, version in UNKNOWN:
            with pytest.raises(NotFound):
                self.registry.set_alias(name, "champion", version=version)
        assert self.aliases() == {"champion": "1"}, "it stays where it was"

    # Stages.

    @requires(Feature.REGISTRY_STAGE)
    def test_a_version_is_in_one_stage_at_a_time(self) -> None:
        self.create()
        for stage in (*STAGES[1:], *STAGES):
            self.registry.set_stage("wine", "1", stage=stage)
            assert self.version().stage == stage
            assert self.registry.list_versions("wine").items[0].stage == stage
        self.unchanged_by(lambda: self.registry.set_stage("wine", "1", stage=STAGES[-1]))

    @requires(Feature.REGISTRY_STAGE)
    def test_several_versions_may_share_a_stage(self) -> None:
        for number in ("1", "2", "3"):
            self.create()
            self.registry.set_stage("wine", number, stage="Production")
        assert [self.version(number).stage for number in ("1", "2", "3")] == ["Production"] * 3

    @requires(Feature.REGISTRY_STAGE)
    def test_another_stage_is_refused(self) -> None:
        self.create()
        self.registry.set_stage("wine", "1", stage="Staging")
        for stage in ("", "production", "Production ", "Live", "none", "latest", "漢字"):
            with pytest.raises(Rejected):
                self.registry.set_stage("wine", "1", stage=stage)
        assert self.version().stage == "Staging"

    @requires(Feature.REGISTRY_STAGE)
    def test_what_is_unknown_has_no_stage(self) -> None:
        self.create()
        for name, version in UNKNOWN:
            with pytest.raises(NotFound):
                self.registry.set_stage(name, version, stage="Staging")

    # Approval.

    @requires(Feature.REGISTRY_APPROVAL)
    def test_a_version_is_approved_rejected_and_taken_back(self) -> None:
        self.create()
        self.create()
        for approval in (Approval.APPROVED, Approval.REJECTED, Approval.PENDING, Approval.APPROVED):
            self.registry.set_approval("wine", "1", approval=approval)
            assert self.version("1").approval is approval
        assert self.version("2").approval is Approval.PENDING
        self.unchanged_by(lambda: self.registry.set_approval("wine", "1", approval=Approval.APPROVED))

    @requires(Feature.REGISTRY_APPROVAL)
    def test_what_is_unknown_cannot_be_approved(self) -> None:
        self.create()
        for name, version in UNKNOWN:
            with pytest.raises(NotFound):
                self.registry.set_approval(name, version, approval=Approval.APPROVED)

    @requires(Feature.REGISTRY_ALIAS, Feature.REGISTRY_STAGE, Feature.REGISTRY_APPROVAL)
    def test_changes_of_one_kind_leave_the_others_alone(self) -> None:
        self.create(description="d", tags={"a": "1"})
        self.registry.set_alias("wine", "champion", version="1")
        self.registry.set_stage("wine", "1", stage="Production")
        self.registry.set_approval("wine", "1", approval=Approval.APPROVED)
        self.registry.set_tags("wine", "1", tags={"b": "2"})
        found = self.version()
        assert (found.aliases, found.stage, found.approval) == (
            ("champion",),
            "Production",
            Approval.APPROVED,
        )
        assert (found.description, own(found.tags)) == ("d", {"a": "1", "b": "2"})
