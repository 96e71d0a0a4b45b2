"""The registry contract: texts that break stores are kept exactly or refused, never changed."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest

from trackbridge.domain.models import ChangeReason, ModelVersion, Origin, RegisteredModel
from trackbridge.errors import BridgeError, NotFound, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.registry_base import NAME, RegistryTests, own, told, without_times
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS

HOSTILE = each("name", HOSTILE_TEXTS)
ALIASES = ("champion", "a-b_C9", "Ünïcödé", "漢字", "x" * 255, "_", "-")
HUGE_TAGS = {
    "long value": {"before a long value": "1", "t": "v" * 1_000_000},
    "long key": {"before a long key": "1", "k" * 10_000: "v"},
    "many": {f"key {number}": str(number) for number in range(60)},
}
TAG_CHARS = 256
"""What every registry must hold of a tag's value; the smallest limit of those that we know (SageMaker)."""


class RegistryHostileTests(RegistryTests):
    """Hostile names, keys, values and reasons everywhere."""

    def test_a_hostile_name_of_a_model(self) -> None:
        held: list[str] = []
        for name, text in HOSTILE_TEXTS.items():
            if self.is_accepted(partial(self.registry.ensure_model, text, description=name)):
                held.append(text)
            else:
                with pytest.raises(BridgeError):
                    self.registry.get_model(text)
            assert self.names() == sorted(held), name
        for text in held:
            created = self.registry.create_version(self.spec(text), key="k")
            assert (created.name, created.version) == (text, "1")
            assert self.version("1", text) == created
        names = {text: name for name, text in HOSTILE_TEXTS.items()}
        assert {text: self.model(text).description for text in held} == {text: names[text] for text in held}

    def test_a_hostile_key(self) -> None:
        """All in one model, so that none can be taken for another."""
        made = {"plain": self.create(key="plain").version}
        for text in HOSTILE_TEXTS.values():
            with suppress(Rejected):
                made[text] = self.create(key=text).version
        assert {text: self.create(key=text).version for text in made} == made
        assert self.versions() == sorted(made.values(), key=int, reverse=True)
        assert len(set(made.values())) == len(made)

    def test_a_hostile_text_in_every_field_of_a_version(self) -> None:
        self.ensure()
        made: list[ModelVersion] = []
        for name, text in HOSTILE_TEXTS.items():
            spec = self.spec(
                digest=text,
                run_id=text,
                origin=Origin(registry=text, name=text, version=text),
                description=text,
                tags={text: text, "t": text},
                datasets=(text, f"{text}@{text}"),
            )
            with suppress(Rejected):
                made.append(self.version(self.registry.create_version(spec, key=name).version))
                for field in ("digest", "run_id", "origin", "description", "datasets"):
                    assert getattr(made[-1], field) == getattr(spec, field), (name, field)
                assert own(made[-1].tags) == spec.tags, name
        listed = [without_times(item) for item in self.registry.list_versions(NAME)]
        assert listed == [without_times(item) for item in reversed(made)]

    def test_a_hostile_source(self) -> None:
        self.ensure()
        for text in HOSTILE_TEXTS.values():
            for source in (f"bridge-artifacts:/{text}", f"bridge-artifacts:/{text}/{text}"):
                with pytest.raises((NotFound, Rejected)):
                    self.registry.create_version(self.spec(source=source), key="k")
        assert self.versions() == []

    def test_a_hostile_tag(self) -> None:
        self.create()
        for version in (None, "1"):
            kept: dict[str, str] = {}
            for text in HOSTILE_TEXTS.values():
                accepted = self.is_accepted(partial(self.registry.set_tags, NAME, version, tags={text: text}))
                kept |= {text: text} if accepted else {}
            assert own(self.labelled(version).tags) == kept
            for some in (tuple(kept)[::2], tuple(kept)[1::2]):
                self.registry.set_tags(NAME, version, tags=dict.fromkeys(some))
                kept = {text: text for text in kept if text not in some}
                assert own(self.labelled(version).tags) == kept

    def labelled(self, version: str | None) -> RegisteredModel | ModelVersion:
        """Read a version, or without one the model."""
        return self.model() if version is None else self.version(version)

    def test_a_plain_tag_of_usual_length_is_kept(self) -> None:
        tags = {"key" * 20: "v" * TAG_CHARS}
        self.create(tags=tags)
        assert own(self.version().tags) == tags

    def test_very_long_or_many_tags_are_kept_or_refused_as_a_whole(self) -> None:
        self.create()
        kept: dict[str, str] = {}
        for kind, tags in HUGE_TAGS.items():
            accepted = self.is_accepted(partial(self.registry.set_tags, NAME, "1", tags=tags))
            kept |= tags if accepted else {}
            assert own(self.version().tags) == kept, kind

    @requires(Feature.REGISTRY_DESCRIPTION)
    def test_a_hostile_description(self) -> None:
        self.create(description="plain")
        for version in ("1", None):
            kept = self.labelled(version).description
            for name, text in HOSTILE_TEXTS.items():
                change = partial(self.registry.set_description, NAME, version, description=text)
                kept = text if self.is_accepted(change) else kept
                assert self.labelled(version).description == kept, name

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
        text = HOSTILE_TEXTS[name]
        if not self.ensured:
            self.create()
        before, reason = self.changes(), ChangeReason(user=text, why=text)
        accepted = self.is_accepted(
            lambda: self.registry.set_tags(NAME, "1", tags={f"t {text}": text}, reason=reason)
        )
        changes = self.changes()
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
