"""The registry contract: versions."""

from __future__ import annotations

import pytest

from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.models import Approval, Origin
from trackbridge.errors import Conflict, InvalidInput, NotFound
from trackbridge.testing.contracts.registry_base import DIGEST, REASON, RegistryTests, own
from trackbridge.testing.contracts.samples import digest_of
from trackbridge.testing.contracts.tracking_base import pages_hold, refuses_garbage

ORIGIN = Origin(registry="https://elsewhere.example.org", name="wine-of-old", version="17")
NO_VERSIONS = ("0", "2", "-1", "", "01", "1.0", " 1", "1 ", "+1", "1e0", "one", "latest", "v1", "١", "9" * 40)


class VersionTests(RegistryTests):
    """create_version, get_version, list_versions."""

    def test_versions_are_numbered_from_one(self) -> None:
        assert [self.create().version for _ in range(3)] == ["1", "2", "3"]
        assert [self.create("beer").version for _ in range(2)] == ["1", "2"], "each model has its own numbers"

    def test_a_version_has_what_it_was_created_with(self) -> None:
        self.ensure()
        spec = self.spec(
            run_id=mint_id(),
            origin=ORIGIN,
            description="the first",
            tags={"framework": "sklearn", "empty": ""},
            datasets=("train@1a2b", "validation@3c4d"),
        )
        created = self.registry.create_version(spec, key="k", reason=REASON)
        for field in ("name", "source", "digest", "run_id", "origin", "description", "datasets"):
            assert getattr(created, field) == getattr(spec, field), field
        assert own(created.tags) == spec.tags
        assert self.version() == created

    def test_a_version_needs_nothing_but_source_and_digest(self) -> None:
        created = self.create()
        assert (created.source, created.digest) == (self.source, DIGEST)
        assert (created.run_id, created.origin, created.datasets) == (None, None, ())
        assert (created.description, own(created.tags)) == ("", {})

    def test_a_new_version_is_in_no_stage_and_waits_for_approval(self) -> None:
        created = self.create()
        assert (created.stage, created.approval, created.aliases) == ("None", Approval.PENDING, ())

    def test_the_user_who_creates_is_noted(self) -> None:
        assert self.create(reason=REASON).user == REASON.user
        assert self.create().user, "without a user the backend's own identity is noted"

    def test_two_versions_may_have_one_source(self) -> None:
        assert [self.create(key=key).version for key in ("a", "b")] == ["1", "2"]
        assert self.version("1").source == self.version("2").source == self.source

    # Keys.

    def test_the_same_key_is_the_same_version(self) -> None:
        created = self.create(key="k", tags={"a": "1"})
        assert self.create(key="k", tags={"a": "1"}) == created
        self.unchanged_by(lambda: self.create(key="k", tags={"a": "1"}))
        assert self.versions() == ["1"]

    def test_a_repetition_with_other_tags_changes_nothing(self) -> None:
        self.create(key="k", description="first", tags={"a": "1"})
        self.unchanged_by(
            lambda: self.create(
                key="k", description="second", tags={"b": "2"}, run_id=mint_id(), reason=REASON
            )
        )

    def test_a_repetition_returns_the_version_as_it_stands_now(self) -> None:
        self.create(key="k", tags={"a": "1"})
        self.create(key="another")
        self.registry.set_tags("wine", "1", tags={"a": "2"})
        again = self.create(key="k", tags={"a": "1"})
        assert (again.version, own(again.tags)) == ("1", {"a": "2"})
        assert again == self.version("1")

    def test_a_key_with_another_source_is_a_conflict(self) -> None:
        self.create(key="k")
        other = self.new_source()
        before = self.state()
        with pytest.raises(Conflict):
            self.create(key="k", source=other)
        assert self.state() == before

    def test_a_key_with_another_digest_is_a_conflict(self) -> None:
        self.create(key="k")
        before = self.state()
        with pytest.raises(Conflict):
            self.create(key="k", digest=digest_of(b"other"))
        assert self.state() == before

    def test_a_key_holds_for_its_model_alone(self) -> None:
        self.create("wine", key="k")
        self.create("beer", key="k", digest=digest_of(b"other"))
        assert (self.versions("wine"), self.versions("beer")) == (["1"], ["1"])

    def test_keys_are_compared_exactly(self) -> None:
        keys = ["k", "K", "k ", "kk", "k" * 200, f"{'k' * 200}2"]
        assert len({self.create(key=key).version for key in keys}) == len(keys)
        assert [self.create(key=key).version for key in keys] == self.versions()[::-1]

    # What is missing.

    def test_a_version_of_an_unknown_model_cannot_be_created(self) -> None:
        with pytest.raises(NotFound):
            self.registry.create_version(self.spec("unknown"), key="k")
        assert self.names() == []

    def test_a_version_without_a_payload_cannot_be_created(self) -> None:
        self.create()
        before = self.state()
        absent = artifact_uri(mint_id(), "model")
        with pytest.raises(NotFound):
            self.create(source=absent)
        assert self.state() == before

    def test_a_key_of_a_refused_creation_is_free(self) -> None:
        self.ensure()
        with pytest.raises(NotFound):
            self.create(key="k", source=artifact_uri(mint_id(), "model"))
        created = self.create(key="k")
        assert created.source == self.source
        assert self.versions() == [created.version]

    def test_an_unknown_version_is_not_found(self) -> None:
        self.create()
        for version in NO_VERSIONS:
            with pytest.raises(NotFound):
                self.registry.get_version("wine", version)

    def test_a_version_of_an_unknown_model_is_not_found(self) -> None:
        self.create()
        with pytest.raises(NotFound):
            self.registry.get_version("beer", "1")

    # Listing.

    def test_versions_are_listed_newest_first(self) -> None:
        created = [self.create(tags={"number": str(number)}) for number in range(10)]
        assert list(self.registry.list_versions("wine")) == created[::-1]

    def test_an_unknown_model_has_no_versions(self) -> None:
        self.create()
        page = self.registry.list_versions("beer")
        assert (page.items, page.token) == ((), None)

    def test_a_model_without_versions_has_none(self) -> None:
        self.ensure()
        assert self.versions() == []

    def test_versions_are_paged(self) -> None:
        whole = [self.create(tags={"number": str(number)}) for number in range(5)]
        self.create("beer")
        pages_hold(
            whole[::-1],
            lambda size, token: self.registry.list_versions("wine", max_results=size, token=token),
            sizes=(1, 2, 5, 100),
        )

    def test_a_foreign_token_of_a_listing_of_versions_is_refused(self) -> None:
        self.create()
        refuses_garbage(lambda token: self.registry.list_versions("wine", token=token))

    def test_the_token_of_another_listing_is_refused(self) -> None:
        for _ in range(2):
            self.create("wine")
            self.create("beer")
        token = self.registry.list_versions("wine", max_results=1).token
        assert token is not None
        with pytest.raises(InvalidInput):
            self.registry.list_versions("beer", token=token)
        with pytest.raises(InvalidInput):
            self.registry.list_models(token=token)

    def test_a_page_of_no_versions_is_refused(self) -> None:
        self.create()
        for size in (0, -1):
            with pytest.raises(InvalidInput):
                self.registry.list_versions("wine", max_results=size)
