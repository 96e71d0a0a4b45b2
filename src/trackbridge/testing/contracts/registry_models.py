"""The registry contract: models."""

from __future__ import annotations

import pytest

from trackbridge.errors import InvalidInput, NotFound
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.registry_base import REASON, RegistryTests, own
from trackbridge.testing.contracts.tracking_base import pages_hold, refuses_garbage


class ModelTests(RegistryTests):
    """ensure_model, get_model, list_models."""

    def test_a_model_is_created_with_description_and_tags(self) -> None:
        created = self.registry.ensure_model(
            "wine", description="red & white", tags={"team": "a"}, reason=REASON
        )
        assert (created.name, created.description, own(created.tags)) == (
            "wine",
            "red & white",
            {"team": "a"},
        )
        assert created.aliases == {}
        assert self.model() == created

    def test_a_model_needs_nothing_but_a_name(self) -> None:
        created = self.registry.ensure_model("wine")
        assert (created.name, created.description, own(created.tags)) == ("wine", "", {})

    def test_a_model_that_exists_keeps_its_description_and_tags(self) -> None:
        self.registry.ensure_model("wine", description="first", tags={"a": "1"})

        def ensure_again() -> None:
            self.registry.ensure_model("wine")
            self.registry.ensure_model("wine", description="x", tags={"a": "2", "b": "3"})

        self.unchanged_by(ensure_again)
        assert self.registry.ensure_model("wine", description="second") == self.model()
        assert self.model().description == "first"

    def test_the_time_of_creation_stays(self) -> None:
        created = self.registry.ensure_model("wine").creation_time
        self.create()
        self.registry.set_tags("wine", None, tags={"a": "1"})
        model = self.model()
        assert model.creation_time == created
        assert (model.last_update_time or 0) >= (created or 0)

    def test_an_unknown_model_is_not_found(self) -> None:
        for other in ("another-wine", "dine", "white"):
            self.ensure(other)
        for name in ("wine", "", "Wein", "wine ", "wine/1", "%", "_ine", "w*"):
            with pytest.raises(NotFound):
                self.registry.get_model(name)

    def test_models_of_different_names_are_different(self) -> None:
        names = ["wine", "wine-2", "wine_2", "wines"]
        for name in names:
            self.registry.ensure_model(name, description=f"this is {name}")
        assert [self.model(name).description for name in names] == [f"this is {name}" for name in names]

    def test_models_are_listed_in_order_of_name(self) -> None:
        names = ["b", "a", "B", "a-b", "10", "9", "a1"]
        for name in names:
            self.ensure(name)
        assert self.names() == sorted(names), "by code point"

    def test_a_listed_model_is_as_it_is_read(self) -> None:
        for name in ("a", "b", "c"):
            self.registry.ensure_model(name, description=f"this is {name}", tags={"name": name})
        assert [self.model(name) for name in ("a", "b", "c")] == list(self.registry.list_models())

    @requires(Feature.REGISTRY_ALIAS)
    def test_listed_models_have_their_own_aliases(self) -> None:
        for name in ("a", "b", "c"):
            self.create(name)
            self.registry.set_alias(name, f"alias-of-{name}", version="1")
        found = {item.name: item.aliases for item in self.registry.list_models()}
        assert found == {name: {f"alias-of-{name}": "1"} for name in ("a", "b", "c")}

    def test_an_empty_registry_has_no_models(self) -> None:
        page = self.registry.list_models()
        assert (page.items, page.token) == ((), None)

    def test_models_are_paged(self) -> None:
        names = [f"model-{number}" for number in range(5)]
        for name in names:
            self.ensure(name)
        pages_hold(
            names,
            lambda size, token: self.registry.list_models(max_results=size, token=token),
            sizes=(1, 2, 5, 100),
            item=lambda model: model.name,
        )

    def test_a_foreign_token_of_a_listing_of_models_is_refused(self) -> None:
        self.ensure()
        refuses_garbage(lambda token: self.registry.list_models(token=token))

    def test_a_page_of_no_models_is_refused(self) -> None:
        self.ensure()
        for size in (0, -1):
            with pytest.raises(InvalidInput):
                self.registry.list_models(max_results=size)
