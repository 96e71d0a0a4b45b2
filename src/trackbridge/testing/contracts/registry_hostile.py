"""The registry contract: texts that break stores are kept exactly or refused, never changed."""

from __future__ import annotations

from functools import partial

import pytest

from trackbridge.domain.models import ChangeReason, ModelVersion, Origin, RegisteredModel
from trackbridge.errors import BridgeError, NotFound, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.registry_base import RegistryTests, own, told, without_times
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS

HOSTILE = each("name", HOSTILE_TEXTS)
ALIASES = ("champion", "a-b_C9", "Ünïcödé", "漢字", "x" * 255, "_", "-")
HUGE_TAGS = {
    "long value": {"first": "1", "t": "v" * 1_000_000},
    "long key": {"first": "1", "k" * 10_000: "v"},
    "many": {f"key {number}": str(number) for number in range(300)},
}
TAG_CHARS = 256
"""What every registry must hold of a tag's value; the smallest limit of those that we know (SageMaker)."""


def model_for(case: str) -> str:
    """Return the name of the model that a case has for itself."""
    return f"wine-{case.replace('_', '-').replace(' ', '-')}"


class RegistryHostileTests(RegistryTests):
    """Hostile names, keys, values and reasons everywhere."""

    @HOSTILE
    def test_a_hostile_name_of_a_model(self, name: str) -> None:
        text, before = HOSTILE_TEXTS[name], self.names()
        if not self.is_accepted(lambda: self.registry.ensure_model(text, description="x")):
            assert self.names() == before
            with pytest.raises(BridgeError):
                self.registry.get_model(text)
            return
        created = self.create(text)
        assert created.name == text
        assert self.names() == sorted([*before, text])
        assert self.model(text).description == "x"
        assert self.version("1", text) == created

    @HOSTILE
    def test_a_hostile_key(self, name: str) -> None:
        text, model = HOSTILE_TEXTS[name], model_for(name)
        accepted = self.is_accepted(lambda: self.create(model, key=text))
        if accepted:
            assert self.create(model, key=text).version == "1"
        assert self.create(model, key="plain").version == self.versions(model)[0]
        assert len(self.versions(model)) == 1 + accepted

    @HOSTILE
    def test_a_hostile_text_in_every_field_of_a_version(self, name: str) -> None:
        text, model = HOSTILE_TEXTS[name], model_for(name)
        self.ensure(model)
        spec = self.spec(
            model,
            digest=text,
            run_id=text,
            origin=Origin(registry=text, name=text, version=text),
            description=text,
            tags={text: text, "t": text},
            datasets=(text, f"{text}@{text}"),
        )
        if not self.is_accepted(lambda: self.registry.create_version(spec, key="k")):
            assert self.versions(model) == []
            return
        created = self.version(name=model)
        for field in ("digest", "run_id", "origin", "description", "datasets"):
            assert getattr(created, field) == getattr(spec, field), field
        assert own(created.tags) == spec.tags
        assert without_times(self.registry.list_versions(model).items[0]) == without_times(created)

    def test_a_hostile_source(self) -> None:
        self.ensure()
        for text in HOSTILE_TEXTS.values():
            for source in (f"bridge-artifacts:/{text}", f"bridge-artifacts:/{text}/{text}"):
                with pytest.raises((NotFound, Rejected)):
                    self.registry.create_version(self.spec(source=source), key="k")
        assert self.versions() == []

    @HOSTILE
    def test_a_hostile_tag(self, name: str) -> None:
        text, model = HOSTILE_TEXTS[name], model_for(name)
        self.create(model)
        for version in (None, "1"):
            accepted = self.is_accepted(partial(self.registry.set_tags, model, version, tags={text: text}))
            assert own(self.labelled(model, version).tags) == ({text: text} if accepted else {})
            if accepted:
                self.registry.set_tags(model, version, tags={text: None})
                assert own(self.labelled(model, version).tags) == {}

    def labelled(self, name: str, version: str | None) -> RegisteredModel | ModelVersion:
        """Read a version, or without one the model."""
        return self.model(name) if version is None else self.version(version, name)

    def test_a_plain_tag_of_usual_length_is_kept(self) -> None:
        tags = {"key" * 20: "v" * TAG_CHARS}
        self.create(tags=tags)
        assert own(self.version().tags) == tags

    @each("kind", HUGE_TAGS)
    def test_very_long_or_many_tags_are_kept_or_refused_as_a_whole(self, kind: str) -> None:
        tags, model = HUGE_TAGS[kind], model_for(kind)
        self.create(model)
        accepted = self.is_accepted(lambda: self.registry.set_tags(model, "1", tags=tags))
        assert own(self.version(name=model).tags) == (tags if accepted else {})

    @requires(Feature.REGISTRY_DESCRIPTION)
    @HOSTILE
    def test_a_hostile_description(self, name: str) -> None:
        text, model = HOSTILE_TEXTS[name], model_for(name)
        self.create(model)
        for version in (None, "1"):
            self.registry.set_description(model, version, description="plain")
            change = partial(self.registry.set_description, model, version, description=text)
            accepted = self.is_accepted(change)
            assert self.labelled(model, version).description == (text if accepted else "plain")

    @requires(Feature.REGISTRY_ALIAS)
    def test_an_unusual_alias(self) -> None:
        self.create()
        for alias in ALIASES:
            accepted = self.is_accepted(partial(self.registry.set_alias, "wine", alias, version="1"))
            assert self.model().aliases == ({alias: "1"} if accepted else {})
            assert self.version().aliases == ((alias,) if accepted else ())
            if accepted:
                self.registry.set_alias("wine", alias, version=None)

    @requires(Feature.REGISTRY_HISTORY)
    @HOSTILE
    def test_a_hostile_reason(self, name: str) -> None:
        text, model = HOSTILE_TEXTS[name], model_for(name)
        self.create(model)
        before, reason = self.changes(name=model), ChangeReason(user=text, why=text)
        accepted = self.is_accepted(
            lambda: self.registry.set_tags(model, "1", tags={f"t {text}": text}, reason=reason)
        )
        changes = self.changes(name=model)
        if not accepted:
            assert changes == before
            return
        assert (changes[0].user, changes[0].why) == (text, text)
        assert told(changes[0]) == ("1", f"tag:t {text}", None, text)
        assert changes[1:] == before

    def test_texts_that_differ_only_in_form_stay_apart(self) -> None:
        self.create()
        tags = {"é": "composed", "e\u0301": "decomposed"}
        accepted = self.is_accepted(lambda: self.registry.set_tags("wine", "1", tags=tags))
        assert own(self.version().tags) == (tags if accepted else {})

    def test_a_hostile_version_is_not_found(self) -> None:
        self.create()
        for text in HOSTILE_TEXTS.values():
            with pytest.raises(BridgeError):
                self.registry.get_version("wine", text)
            with pytest.raises(BridgeError):
                self.registry.set_tags("wine", text, tags={"a": "1"})

    def test_what_is_returned_is_not_what_is_kept(self) -> None:
        tags = {"a": "1"}
        self.registry.ensure_model("wine", tags=tags)
        created = self.create(tags=tags)
        for returned in (tags, created.tags, self.model().tags, self.version().tags):
            returned["b"] = "2"
        self.registry.list_versions("wine").items[0].tags["c"] = "3"
        assert own(self.version().tags) == own(self.model().tags) == {"a": "1"}
