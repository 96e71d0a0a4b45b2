"""The registry contract: who changed what, when, from what, to what, and why."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.models import Approval, ChangeReason, RegistryChange
from trackbridge.domain.paging import Page
from trackbridge.errors import BridgeError, InvalidInput
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.registry import ModelRegistry
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.registry_base import REASON, RegistryTests, told
from trackbridge.testing.contracts.tracking_base import pages_hold, refuses_garbage

Change = Callable[[ModelRegistry, ChangeReason], object]
Told = tuple[str | None, str, str | None, str | None]

TAGS: dict[str, tuple[Change, Told]] = {
    "a version's tag": (
        lambda registry, why: registry.set_tags("wine", "1", tags={"new": "x"}, reason=why),
        ("1", "tag:new", None, "x"),
    ),
    "another value": (
        lambda registry, why: registry.set_tags("wine", "1", tags={"old": "y"}, reason=why),
        ("1", "tag:old", "x", "y"),
    ),
    "emptied": (
        lambda registry, why: registry.set_tags("wine", "1", tags={"old": ""}, reason=why),
        ("1", "tag:old", "x", ""),
    ),
    "deleted": (
        lambda registry, why: registry.set_tags("wine", "1", tags={"old": None}, reason=why),
        ("1", "tag:old", "x", None),
    ),
    "a model's tag": (
        lambda registry, why: registry.set_tags("wine", None, tags={"new": "x"}, reason=why),
        (None, "tag:new", None, "x"),
    ),
}
DESCRIPTIONS: dict[str, tuple[Change, Told]] = {
    "of a version": (
        lambda registry, why: registry.set_description("wine", "1", description="new", reason=why),
        ("1", "description", "old", "new"),
    ),
    "emptied": (
        lambda registry, why: registry.set_description("wine", "1", description="", reason=why),
        ("1", "description", "old", None),
    ),
    "of a model": (
        lambda registry, why: registry.set_description("wine", None, description="new", reason=why),
        (None, "description", None, "new"),
    ),
}


class HistoryTests(RegistryTests):
    """list_changes."""

    @requires(Feature.REGISTRY_HISTORY)
    def test_creations_are_noted(self) -> None:
        self.registry.ensure_model("wine", description="d", tags={"a": "1"}, reason=REASON)
        self.create(reason=REASON, description="d", tags={"a": "1"})
        version, model = self.changes()
        assert (version.version, version.what, version.before) == ("1", "created", None)
        assert (model.version, model.what, model.before) == (None, "created", None)
        assert {(change.user, change.why) for change in (version, model)} == {(REASON.user, REASON.why)}

    def is_noted(self, change: Change, expected: Told) -> None:
        """Make a change twice: it is noted with all that it says; what changes nothing leaves no trace."""
        self.create(description="old", tags={"old": "x"})
        before = self.changes()
        change(self.registry, REASON)
        noted, *rest = self.changes()
        assert told(noted) == expected
        assert (noted.name, noted.user, noted.why) == ("wine", REASON.user, REASON.why)
        assert rest == before
        change(self.registry, ChangeReason(user="another", why="again"))
        assert self.changes() == [noted, *rest]

    @requires(Feature.REGISTRY_HISTORY)
    @pytest.mark.parametrize("kind", TAGS)
    def test_a_tag_is_noted(self, kind: str) -> None:
        self.is_noted(*TAGS[kind])

    @requires(Feature.REGISTRY_HISTORY, Feature.REGISTRY_DESCRIPTION)
    @pytest.mark.parametrize("kind", DESCRIPTIONS)
    def test_a_description_is_noted(self, kind: str) -> None:
        self.is_noted(*DESCRIPTIONS[kind])

    @requires(Feature.REGISTRY_HISTORY, Feature.REGISTRY_ALIAS)
    def test_an_alias_is_noted(self) -> None:
        self.is_noted(
            lambda registry, why: registry.set_alias("wine", "champion", version="1", reason=why),
            ("1", "alias:champion", None, "1"),
        )

    @requires(Feature.REGISTRY_HISTORY, Feature.REGISTRY_STAGE)
    def test_a_stage_is_noted(self) -> None:
        self.is_noted(
            lambda registry, why: registry.set_stage("wine", "1", stage="Production", reason=why),
            ("1", "stage", "None", "Production"),
        )

    @requires(Feature.REGISTRY_HISTORY, Feature.REGISTRY_APPROVAL)
    def test_an_approval_is_noted(self) -> None:
        self.is_noted(
            lambda registry, why: registry.set_approval("wine", "1", approval=Approval.REJECTED, reason=why),
            ("1", "approval", "pending", "rejected"),
        )

    @requires(Feature.REGISTRY_HISTORY)
    def test_the_backend_tells_who_when_nobody_else_does(self) -> None:
        self.create()
        self.registry.set_tags("wine", "1", tags={"a": "1"})
        assert all(change.user for change in self.changes())
        assert {change.why for change in self.changes()} == {""}

    @requires(Feature.REGISTRY_HISTORY)
    def test_changes_are_numbered_and_dated_in_the_order_in_which_they_were_made(self) -> None:
        self.create()
        for number in range(12):
            self.registry.set_tags("wine", "1", tags={"a": str(number)})
        changes = self.changes()
        assert [change.after for change in changes[:12]] == [str(number) for number in range(11, -1, -1)]
        sequences = [change.sequence for change in changes]
        assert sequences == sorted(set(sequences), reverse=True)
        times = [change.time for change in changes]
        assert times == sorted(times, reverse=True)
        assert min(times) > 0

    @requires(Feature.REGISTRY_HISTORY)
    def test_several_tags_are_as_many_changes(self) -> None:
        self.create(tags={"a": "1", "b": "2", "c": "3"})
        self.registry.set_tags("wine", "1", tags={"a": "1", "b": "9", "c": None, "d": "4"}, reason=REASON)
        noted = {told(change) for change in self.changes()[:3]}
        assert noted == {("1", "tag:b", "2", "9"), ("1", "tag:c", "3", None), ("1", "tag:d", None, "4")}
        assert self.changes()[3].what == "created"

    @requires(Feature.REGISTRY_HISTORY, Feature.REGISTRY_ALIAS)
    def test_an_alias_that_moves_is_a_change_of_both_versions(self) -> None:
        self.create()
        self.create()
        self.create()
        self.registry.set_alias("wine", "champion", version="1")
        self.registry.set_alias("wine", "champion", version="2", reason=REASON)
        for version in ("1", "2"):
            moved = self.changes(version)[0]
            assert told(moved) == (version, "alias:champion", "1", "2")
            assert (moved.user, moved.why) == (REASON.user, REASON.why)
        assert [change.what for change in self.changes("3")] == ["created"]
        self.registry.set_alias("wine", "champion", version=None)
        assert told(self.changes()[0]) == ("2", "alias:champion", "2", None)

    @requires(Feature.REGISTRY_HISTORY)
    def test_the_history_of_a_version_is_its_own(self) -> None:
        self.create()
        self.create()
        self.create("beer")
        self.registry.set_tags("wine", "1", tags={"a": "of 1"})
        self.registry.set_tags("wine", None, tags={"a": "of wine"})
        self.registry.set_tags("beer", "1", tags={"a": "of beer"})
        assert self.changes("1")[0].after == "of 1"
        assert [change.what for change in self.changes("1")] == ["tag:a", "created"]
        assert [change.what for change in self.changes("2")] == ["created"]
        assert [change.version for change in self.changes()] == [None, "1", "2", "1", None]

    @requires(Feature.REGISTRY_HISTORY)
    def test_what_is_unknown_has_no_history(self) -> None:
        self.create()
        for name, version in (("beer", None), ("beer", "1"), ("wine", "7"), ("wine", "x")):
            page = self.registry.list_changes(name, version)
            assert (page.items, page.token) == ((), None)

    @requires(Feature.REGISTRY_HISTORY)
    def test_a_refused_change_leaves_no_trace(self) -> None:
        self.create()
        before = self.changes()
        refused: list[Callable[[], object]] = [
            lambda: self.create(source=artifact_uri(mint_id(), "model"), reason=REASON),
            lambda: self.registry.set_tags("wine", "2", tags={"a": "1"}),
            lambda: self.registry.set_stage("wine", "1", stage="Live"),
            lambda: self.registry.set_alias("wine", "champion", version="2"),
        ]
        for change in refused:
            with pytest.raises(BridgeError):
                change()
        assert self.changes() == before

    @requires(Feature.REGISTRY_HISTORY, Feature.REGISTRY_DELETE)
    def test_what_was_deleted_keeps_its_history(self) -> None:
        self.create()
        self.create()
        before = self.changes("1")
        self.registry.delete_version("wine", "1", reason=REASON)
        deleted, *rest = self.changes("1")
        assert (deleted.version, deleted.what, deleted.after) == ("1", "deleted", None)
        assert (deleted.user, deleted.why) == (REASON.user, REASON.why)
        assert rest == before
        whole = self.changes()
        self.registry.delete_version("wine", "1", reason=REASON)
        assert self.changes() == whole, "deleting it again is no change"

    @requires(Feature.REGISTRY_HISTORY, Feature.REGISTRY_DELETE, Feature.REGISTRY_ALIAS)
    def test_the_aliases_of_a_deleted_version_are_noted_as_removed(self) -> None:
        self.create()
        self.registry.set_alias("wine", "champion", version="1")
        self.registry.delete_version("wine", "1", reason=REASON)
        noted = self.changes("1")[:2]
        assert {(change.what, change.after) for change in noted} == {
            ("deleted", None),
            ("alias:champion", None),
        }
        assert {change.why for change in noted} == {REASON.why}

    @requires(Feature.REGISTRY_HISTORY, Feature.REGISTRY_DELETE)
    def test_a_deleted_model_keeps_its_history_and_goes_on_with_it(self) -> None:
        self.create()
        before = self.changes()
        self.registry.delete_model("wine", reason=REASON)
        deleted = self.changes()
        assert deleted[-len(before) :] == before
        assert (deleted[0].version, deleted[0].what, deleted[0].why) == (None, "deleted", REASON.why)
        assert self.changes("1")[0].what == "deleted", "its versions went with it"
        self.ensure()
        created, *rest = self.changes()
        assert (created.version, created.what) == (None, "created")
        assert rest == deleted

    @requires(Feature.REGISTRY_HISTORY)
    def test_changes_are_paged(self) -> None:
        self.create()
        for number in range(4):
            self.registry.set_tags("wine", "1", tags={"a": str(number)})
            self.registry.set_tags("wine", None, tags={"a": str(number)})
        for version in (None, "1"):
            pages_hold(self.changes(version), partial(self.page, version), sizes=(1, 2, 5, 100))

    def page(self, version: str | None, size: int, token: str | None) -> Page[RegistryChange]:
        """Return a page of the history."""
        return self.registry.list_changes("wine", version, max_results=size, token=token)

    @requires(Feature.REGISTRY_HISTORY)
    def test_a_foreign_token_of_a_history_is_refused(self) -> None:
        self.create()
        refuses_garbage(lambda token: self.registry.list_changes("wine", token=token))

    @requires(Feature.REGISTRY_HISTORY)
    def test_a_page_of_no_changes_is_refused(self) -> None:
        self.create()
        for size in (0, -1):
            with pytest.raises(InvalidInput):
                self.registry.list_changes("wine", max_results=size)
