"""The registry contract: texts that break stores are kept exactly or refused, never changed."""

from __future__ import annotations

import pytest

from trackbridge.domain.models import ChangeReason, Origin
from trackbridge.errors import BridgeError, NotFound, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.registry_base import RegistryTests, own, told, without_times
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS

HOSTILE = pytest.mark.parametrize("name", HOSTILE_TEXTS)
ALIASES = ("champion", "a-b_C9", "Ünïcödé", "漢字", "x" * 255, "_", "-")
HUGE_TAGS = {
    "long value": {"first": "1", "t": "v" * 1_000_000},
    "long key": {"first": "1", "k" * 10_000: "v"},
    "many": {f"key {number}": str(number) for number in range(300)},
}
TAG_CHARS = 256
"""What every registry must hold of a tag's value; the smallest limit of those that we know (SageMaker)."""


class RegistryHostileTests(RegistryTests):
    """Hostile names, keys, values and reasons everywhere."""

    @HOSTILE
    def test_a_hostile_name_of_a_model(self, name: str) -> None:
        text = HOSTILE_TEXTS[name]
        if not self.is_accepted(lambda: self.registry.ensure_model(text, description="x")):
            assert self.names() == []
            with pytest.raises(BridgeError):
                self.registry.get_model(text)
            return
        created = self.create(text)
        assert self.names() == [created.name] == [text]
        assert self.model(text).description == "x"
        assert self.version("1", text) == created

    @HOSTILE
    def test_a_hostile_key(self, name: str) -> None:
        text = HOSTILE_TEXTS[name]
        accepted = self.is_accepted(lambda: self.create(key=text))
        if accepted:
            assert self.create(key=text).version == "1"
        assert self.create(key="plain").version == self.versions()[0]
        assert len(self.versions()) == 1 + accepted

    @HOSTILE
    def test_a_hostile_text_in_every_field_of_a_version(self, name: str) -> None:
        text = HOSTILE_TEXTS[name]
        self.ensure()
        spec = self.spec(
            digest=text,
            run_id=text,
            origin=Origin(registry=text, name=text, version=text),
            description=text,
            tags={text: text, "t": text},
            datasets=(text, f"{text}@{text}"),
        )
        if not self.is_accepted(lambda: self.registry.create_version(spec, key="k")):
            assert self.versions() == []
            return
        created = self.version()
        for field in ("digest", "run_id", "origin", "description", "datasets"):
            assert getattr(created, field) == getattr(spec, field), field
        assert own(created.tags) == spec.tags
        assert without_times(self.registry.list_versions("wine").items[0]) == without_times(created)

    @HOSTILE
    def test_a_hostile_source(self, name: str) -> None:
        text = HOSTILE_TEXTS[name]
        self.ensure()
        for source in (f"bridge-artifacts:/{text}", f"bridge-artifacts:/{text}/{text}"):
            with pytest.raises((NotFound, Rejected)):
                self.registry.create_version(self.spec(source=source), key="k")
        assert self.versions() == []

    @HOSTILE
    @pytest.mark.parametrize("version", [None, "1"])
    def test_a_hostile_tag(self, name: str, version: str | None) -> None:
        text = HOSTILE_TEXTS[name]
        self.create()
        accepted = self.is_accepted(lambda: self.registry.set_tags("wine", version, tags={text: text}))
        found = self.model() if version is None else self.version()
        assert own(found.tags) == ({text: text} if accepted else {})
        if accepted:
            self.registry.set_tags("wine", version, tags={text: None})
            assert own((self.model() if version is None else self.version()).tags) == {}

    def test_a_plain_tag_of_usual_length_is_kept(self) -> None:
        tags = {"key" * 20: "v" * TAG_CHARS}
        self.create(tags=tags)
        assert own(self.version().tags) == tags

    @pytest.mark.parametrize("kind", HUGE_TAGS)
    def test_very_long_or_many_tags_are_kept_or_refused_as_a_whole(self, kind: str) -> None:
        self.create()
        tags = HUGE_TAGS[kind]
        accepted = self.is_accepted(lambda: self.registry.set_tags("wine", "1", tags=tags))
        assert own(self.version().tags) == (tags if accepted else {})

    @requires(Feature.REGISTRY_DESCRIPTION)
    @HOSTILE
    @pytest.mark.parametrize("version", [None, "1"])
    def test_a_hostile_description(self, name: str, version: str | None) -> None:
        text = HOSTILE_TEXTS[name]
        self.create()
        self.registry.set_description("wine", version, description="plain")
        accepted = self.is_accepted(lambda: self.registry.set_description("wine", version, description=text))
        found = self.model() if version is None else self.version()
        assert found.description == (text if accepted else "plain")

    @requires(Feature.REGISTRY_ALIAS)
    @pytest.mark.parametrize("alias", ALIASES)
    def test_an_unusual_alias(self, alias: str) -> None:
        self.create()
        accepted = self.is_accepted(lambda: self.registry.set_alias("wine", alias, version="1"))
        assert self.model().aliases == ({alias: "1"} if accepted else {})
        assert self.version().aliases == ((alias,) if accepted else ())

    @requires(Feature.REGISTRY_HISTORY)
    @HOSTILE
    def test_a_hostile_reason(self, name: str) -> None:
        text = HOSTILE_TEXTS[name]
        self.create()
        before, reason = self.changes(), ChangeReason(user=text, why=text)
        accepted = self.is_accepted(
            lambda: self.registry.set_tags("wine", "1", tags={f"t {text}": text}, reason=reason)
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

    @HOSTILE
    def test_a_hostile_version_is_not_found(self, name: str) -> None:
        self.create()
        with pytest.raises(BridgeError):
            self.registry.get_version("wine", HOSTILE_TEXTS[name])
        with pytest.raises(BridgeError):
            self.registry.set_tags("wine", HOSTILE_TEXTS[name], tags={"a": "1"})

    def test_what_is_returned_is_not_what_is_kept(self) -> None:
        tags = {"a": "1"}
        self.registry.ensure_model("wine", tags=tags)
        created = self.create(tags=tags)
        for returned in (tags, created.tags, self.model().tags, self.version().tags):
            returned["b"] = "2"
        self.registry.list_versions("wine").items[0].tags["c"] = "3"
        assert own(self.version().tags) == own(self.model().tags) == {"a": "1"}
