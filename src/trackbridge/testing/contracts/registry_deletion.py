"""The registry contract: deletion, after which neither numbers nor keys are free."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.errors import BridgeError, Conflict, NotFound
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.registry_base import RegistryTests, own
from trackbridge.testing.contracts.samples import digest_of


class DeletionTests(RegistryTests):
    """delete_version, delete_model."""

    @requires(Feature.REGISTRY_DELETE)
    def test_a_deleted_version_is_gone(self) -> None:
        kept = [self.create() for _ in range(3)]
        self.registry.delete_version("wine", "2")
        with pytest.raises(NotFound):
            self.version("2")
        assert list(self.registry.list_versions("wine")) == [kept[2], kept[0]]
        with pytest.raises(NotFound):
            self.registry.set_tags("wine", "2", tags={"a": "1"})

    @requires(Feature.REGISTRY_DELETE)
    def test_deleting_twice_equals_once(self) -> None:
        self.create()
        self.create()
        self.registry.delete_version("wine", "1")
        self.unchanged_by(lambda: self.registry.delete_version("wine", "1"))
        self.registry.delete_model("wine")
        self.registry.delete_model("wine")
        assert self.names() == []

    @requires(Feature.REGISTRY_DELETE)
    def test_deleting_an_absent_version_succeeds(self) -> None:
        self.create()

        def delete_what_is_absent() -> None:
            for name, version in (("wine", "7"), ("wine", "x"), ("wine", ""), ("beer", "1")):
                self.registry.delete_version(name, version)

        self.unchanged_by(delete_what_is_absent)

    @requires(Feature.REGISTRY_DELETE)
    def test_deleting_an_absent_model_succeeds(self) -> None:
        self.create()
        self.unchanged_by(lambda: self.registry.delete_model("beer"))
        assert self.names() == ["wine"]

    @requires(Feature.REGISTRY_DELETE)
    def test_the_number_of_a_deleted_version_is_never_given_again(self) -> None:
        self.create()
        self.create()
        self.registry.delete_version("wine", "2")
        assert self.create().version == "3"
        self.registry.delete_version("wine", "3")
        self.registry.delete_version("wine", "1")
        assert self.create().version == "4", "not even when no version is left"

    @requires(Feature.REGISTRY_DELETE)
    def test_the_key_of_a_deleted_version_stays_taken(self) -> None:
        self.create(key="k")
        self.registry.delete_version("wine", "1")
        with pytest.raises(NotFound):
            self.create(key="k")
        with pytest.raises((NotFound, Conflict)):
            self.create(key="k", digest=digest_of(b"other"))
        assert self.versions() == []

    @requires(Feature.REGISTRY_DELETE, Feature.REGISTRY_ALIAS)
    def test_the_aliases_of_a_deleted_version_are_free(self) -> None:
        self.create()
        self.create()
        self.registry.set_alias("wine", "champion", version="1")
        self.registry.set_alias("wine", "other", version="2")
        self.registry.delete_version("wine", "1")
        assert self.model().aliases == {"other": "2"}
        self.registry.set_alias("wine", "champion", version="2")
        assert self.model().aliases == {"other": "2", "champion": "2"}

    @requires(Feature.REGISTRY_DELETE)
    def test_a_deleted_model_is_gone_with_its_versions(self) -> None:
        self.create()
        beer = self.create("beer")
        self.registry.delete_model("wine")
        assert self.names() == ["beer"]
        with pytest.raises(NotFound):
            self.model()
        with pytest.raises(NotFound):
            self.version("1")
        with pytest.raises(NotFound):
            self.registry.create_version(self.spec(), key="another")
        with pytest.raises(NotFound):
            self.registry.set_tags("wine", None, tags={"a": "1"})
        assert self.versions() == []
        assert list(self.registry.list_versions("beer")) == [beer]

    @requires(Feature.REGISTRY_DELETE)
    def test_a_model_that_is_created_again_is_new_but_goes_on_with_the_next_number(self) -> None:
        self.registry.ensure_model("wine", description="old", tags={"a": "1"})
        self.create(key="first", tags={"a": "1"})
        self.create(key="second")
        self.registry.delete_model("wine")
        again = self.registry.ensure_model("wine", description="new")
        assert (again.description, own(again.tags), again.aliases) == ("new", {}, {})
        assert self.versions() == []
        if not self.capabilities.supports(Feature.REGISTRY_NUMBERS_KEPT):
            assert self.create(key="first").version == "1", "declare that numbers are kept"
            return
        with pytest.raises(NotFound):
            self.create(key="first", tags={"a": "1"})
        created = self.create(key="third")
        assert (created.version, own(created.tags)) == ("3", {})

    @requires(Feature.REGISTRY_DELETE, Feature.REGISTRY_ALIAS)
    def test_a_model_that_is_created_again_has_no_aliases(self) -> None:
        self.create()
        self.registry.set_alias("wine", "champion", version="1")
        self.registry.delete_model("wine")
        self.ensure()
        created = self.create()
        assert (self.model().aliases, created.aliases) == ({}, ())

    @requires(Feature.REGISTRY_DELETE)
    def test_the_payload_stays(self) -> None:
        self.create()
        self.registry.delete_version("wine", "1")
        self.registry.delete_model("wine")
        artifact = split_artifact_uri(self.source)
        if artifact is not None and self.opened.artifacts is not None:
            assert self.opened.artifacts.stat(*artifact).is_dir
        self.ensure()
        assert self.create().source == self.source

    @requires(Feature.REGISTRY_DELETE)
    def test_a_deleted_model_cannot_be_found_by_any_write(self) -> None:
        self.create()
        self.registry.delete_model("wine")
        writes: list[Callable[[], object]] = [
            lambda: self.registry.set_tags("wine", "1", tags={"a": "1"}),
            lambda: self.registry.set_description("wine", None, description="x"),
            lambda: self.registry.set_alias("wine", "champion", version="1"),
            lambda: self.registry.set_stage("wine", "1", stage="Staging"),
        ]
        for write in writes:
            with pytest.raises(BridgeError):
                write()
        assert self.names() == []
