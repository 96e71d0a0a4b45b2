"""A model of the registry contract, against which Hypothesis plays any registry.

Bind it by a subclass that says where a new, empty store is::

    class LocalRegistryMachine(RegistryStateMachine):
        def new_store(self) -> Callable[[], Adapter]:
            folder = tempfile.mkdtemp()
            return lambda: open_adapter(f"file:{folder}", context=...)

    TestLocalRegistryMachine = LocalRegistryMachine.TestCase

Where payloads do not lie in the adapter's artifacts, it has a method ``new_source`` as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trackbridge.domain.models import STAGES, Approval, ChangeReason, ModelVersion, ModelVersionSpec
from trackbridge.errors import Conflict, NotFound
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.registry import ModelRegistry
from trackbridge.testing.contracts.registry_base import own, put_payload, told

Result = TypeVar("Result")

MODEL_NAMES = ["wine", "Bier & Öl"]
VERSIONS = ["1", "2", "3", "4"]
ALIASES = ["champion", "challenger"]
KEYS = ["a", "b", "c", "d", "e"]
DIGESTS = ["sha256:1", "sha256:1", "sha256:1", "sha256:2"]  # a conflict now and then
TEXTS = ["", "1", "é 'x'"]

NAMES, NUMBERS = st.sampled_from(MODEL_NAMES), st.sampled_from(VERSIONS)
PLACES = st.sampled_from([None, *VERSIONS])
REASONS = st.builds(ChangeReason, user=st.sampled_from(["ann", "bob"]), why=st.sampled_from(TEXTS))

Entry = tuple[str | None, str, str | None, str | None, str, str]
"""Version, what, before, after, user, why."""


@dataclass
class ExpectedVersion:
    """What a version should be."""

    key: str
    source: str
    digest: str
    description: str
    tags: dict[str, str]
    user: str
    stage: str = "None"
    approval: Approval = Approval.PENDING


@dataclass
class ExpectedModel:
    """What a model should be; one that was deleted keeps its keys and its history."""

    exists: bool = False
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    versions: dict[str, ExpectedVersion] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    changes: list[list[Entry]] = field(default_factory=list)


class RegistryStateMachine(RuleBasedStateMachine):
    """Creates, changes, deletes, repeats and crashes; reads everything after each step."""

    def new_store(self) -> Callable[[], Adapter]:
        """Return a function that opens a new, empty store; called again it opens the same store anew."""
        raise TypeError(f"{type(self).__name__} needs a method new_store")

    def new_source(self) -> str:
        """Return the address of a payload that is there."""
        with tempfile.TemporaryDirectory() as folder:
            return put_payload(self.adapter, Path(folder))

    @initialize()
    def begin(self) -> None:
        """Open the store; a version is there from the start, so that most steps have something to work on."""
        self.open_adapter = self.new_store()
        self.adapter = self.open_adapter()
        self.capabilities = self.adapter.capabilities()
        self.source = self.new_source()
        self.models = {name: ExpectedModel() for name in MODEL_NAMES}
        self.last: Callable[[], object] = self.adapter.capabilities
        self.ensure_model(MODEL_NAMES[0], "", "1", ChangeReason(user="ann"))
        self.create_version(MODEL_NAMES[0], KEYS[0], DIGESTS[0], "1", ChangeReason(user="ann"))

    def teardown(self) -> None:
        """Close the store."""
        if hasattr(self, "adapter"):
            self.adapter.close()

    @property
    def registry(self) -> ModelRegistry:
        """The port under test."""
        assert self.adapter.registry is not None
        return self.adapter.registry

    def supports(self, option: str) -> bool:
        return self.capabilities.supports(Feature(f"registry.{option}"))

    def do(self, write: Callable[[], Result]) -> Result:
        """Make a write that may be repeated."""
        result = write()
        self.last = write
        return result

    def refuses(
        self, kinds: type[Exception] | tuple[type[Exception], ...], write: Callable[[], object]
    ) -> None:
        try:
            write()
        except kinds:
            return
        raise AssertionError(f"{kinds} was not raised")

    def is_there(self, name: str, version: str | None) -> bool:
        model = self.models[name]
        return model.exists and (version is None or version in model.versions)

    def note(self, name: str, reason: ChangeReason, *entries: Entry | tuple[object, ...]) -> None:
        real = [(*entry[:4], reason.user, reason.why) for entry in entries if entry[2] != entry[3]]
        if real:
            self.models[name].changes.append(real)  # type: ignore[arg-type]

    @rule(name=NAMES, description=st.sampled_from(TEXTS), tag=st.sampled_from(TEXTS), reason=REASONS)
    def ensure_model(self, name: str, description: str, tag: str, reason: ChangeReason) -> None:
        """Create a model, or find it."""
        model = self.models[name]
        self.do(
            lambda: self.registry.ensure_model(name, description=description, tags={"t": tag}, reason=reason)
        )
        if not model.exists:
            model.exists, model.description, model.tags = True, description, {"t": tag}
            self.note(name, reason, (None, "created", None, ...))

    @rule(
        name=NAMES,
        key=st.sampled_from(KEYS),
        digest=st.sampled_from(DIGESTS),
        text=st.sampled_from(TEXTS),
        reason=REASONS,
    )
    def create_version(self, name: str, key: str, digest: str, text: str, reason: ChangeReason) -> None:
        """Create a version, repeat a creation, or be refused."""
        model = self.models[name]
        spec = ModelVersionSpec(
            name=name, source=self.source, digest=digest, description=text, tags={"t": text}
        )

        def create() -> ModelVersion:
            return self.registry.create_version(spec, key=key, reason=reason)

        if not model.exists:
            self.refuses(NotFound, create)
            return
        number, known_digest = model.keys.get(key, (str(len(model.keys) + 1), digest))
        is_deleted = key in model.keys and number not in model.versions
        if known_digest != digest or is_deleted:
            kinds = [Conflict] * (known_digest != digest) + [NotFound] * is_deleted
            self.refuses(tuple(kinds), create)
            return
        created = self.do(create)
        assert created.version == number
        if key not in model.keys:
            model.keys[key] = number, digest
            model.versions[number] = ExpectedVersion(key, self.source, digest, text, {"t": text}, reason.user)
            self.note(name, reason, (number, "created", None, ...))
        assert created == self.registry.get_version(name, number)

    @rule(
        name=NAMES,
        version=PLACES,
        tags=st.dictionaries(st.sampled_from(["t", "u", "ключ"]), st.none() | st.sampled_from(TEXTS)),
        reason=REASONS,
    )
    def set_tags(
        self, name: str, version: str | None, tags: dict[str, str | None], reason: ChangeReason
    ) -> None:
        """Set and delete tags."""

        def write() -> None:
            self.registry.set_tags(name, version, tags=tags, reason=reason)

        if not self.is_there(name, version):
            self.refuses(NotFound, write)
            return
        self.do(write)
        model = self.models[name]
        held = model.tags if version is None else model.versions[version].tags
        self.note(
            name, reason, *[(version, f"tag:{key}", held.get(key), value) for key, value in tags.items()]
        )
        for key, value in tags.items():
            held.pop(key, None)
            if value is not None:
                held[key] = value

    @precondition(lambda self: self.supports("description"))
    @rule(name=NAMES, version=PLACES, description=st.sampled_from(TEXTS), reason=REASONS)
    def set_description(self, name: str, version: str | None, description: str, reason: ChangeReason) -> None:
        """Replace a description."""

        def write() -> None:
            self.registry.set_description(name, version, description=description, reason=reason)

        if not self.is_there(name, version):
            self.refuses(NotFound, write)
            return
        self.do(write)
        model = self.models[name]
        held = model if version is None else model.versions[version]
        self.note(name, reason, (version, "description", held.description or None, description or None))
        held.description = description

    @precondition(lambda self: self.supports("alias"))
    @rule(name=NAMES, alias=st.sampled_from(ALIASES), version=PLACES, reason=REASONS)
    def set_alias(self, name: str, alias: str, version: str | None, reason: ChangeReason) -> None:
        """Point an alias, move it, or remove it."""

        def write() -> None:
            self.registry.set_alias(name, alias, version=version, reason=reason)

        model = self.models[name]
        if version is not None and version not in model.versions:
            self.refuses(NotFound, write)
            return
        if not model.exists:
            return
        self.do(write)
        before = model.aliases.pop(alias, None)
        concerned = [place for place in (before, version) if place is not None]
        self.note(name, reason, *[(place, f"alias:{alias}", before, version) for place in concerned])
        if version is not None:
            model.aliases[alias] = version

    @precondition(lambda self: self.supports("stage"))
    @rule(name=NAMES, version=NUMBERS, stage=st.sampled_from(STAGES), reason=REASONS)
    def set_stage(self, name: str, version: str, stage: str, reason: ChangeReason) -> None:
        """Move a version to a stage."""

        def write() -> None:
            self.registry.set_stage(name, version, stage=stage, reason=reason)

        if not self.is_there(name, version):
            self.refuses(NotFound, write)
            return
        self.do(write)
        held = self.models[name].versions[version]
        self.note(name, reason, (version, "stage", held.stage, stage))
        held.stage = stage

    @precondition(lambda self: self.supports("approval"))
    @rule(name=NAMES, version=NUMBERS, approval=st.sampled_from(Approval), reason=REASONS)
    def set_approval(self, name: str, version: str, approval: Approval, reason: ChangeReason) -> None:
        """Approve or reject a version."""

        def write() -> None:
            self.registry.set_approval(name, version, approval=approval, reason=reason)

        if not self.is_there(name, version):
            self.refuses(NotFound, write)
            return
        self.do(write)
        held = self.models[name].versions[version]
        self.note(name, reason, (version, "approval", held.approval.value, approval.value))
        held.approval = approval

    @precondition(lambda self: self.supports("delete"))
    @rule(name=NAMES, version=NUMBERS, reason=REASONS)
    def delete_version(self, name: str, version: str, reason: ChangeReason) -> None:
        """Delete a version, which may be absent."""
        self.do(lambda: self.registry.delete_version(name, version, reason=reason))
        if self.is_there(name, version):
            self.note(name, reason, *self.deletion(name, version))

    @precondition(lambda self: self.supports("delete"))
    @rule(name=NAMES, reason=REASONS)
    def delete_model(self, name: str, reason: ChangeReason) -> None:
        """Delete a model, which may be absent."""
        self.do(lambda: self.registry.delete_model(name, reason=reason))
        model = self.models[name]
        if not model.exists:
            return
        entries = [entry for version in list(model.versions) for entry in self.deletion(name, version)]
        self.note(name, reason, *entries, (None, "deleted", ..., None))
        model.exists, model.description, model.tags = False, "", {}

    def deletion(self, name: str, version: str) -> list[tuple[object, ...]]:
        """Take a version out of the model; return what is noted of that."""
        model = self.models[name]
        removed = [alias for alias, place in model.aliases.items() if place == version]
        for alias in removed:
            del model.aliases[alias]
        del model.versions[version]
        return [
            *((version, f"alias:{alias}", version, None) for alias in removed),
            (version, "deleted", ..., None),
        ]

    @rule()
    def repeat(self) -> None:
        """Make the last write again, as a caller does who does not know whether it was made."""
        self.last()

    @rule()
    def crash(self) -> None:
        """Leave the store without closing it, and open it anew."""
        abandoned, self.adapter = self.adapter, self.open_adapter()
        abandoned.close()

    @invariant()
    def models_are_what_was_written(self) -> None:
        """``list_models`` and ``get_model`` agree with the model."""
        if not hasattr(self, "models"):
            return
        there = {name: model for name, model in self.models.items() if model.exists}
        listed = list(self.registry.list_models())
        assert [item.name for item in listed] == sorted(there)
        for item in listed:
            model = there[item.name]
            assert item == self.registry.get_model(item.name)
            assert (item.description, own(item.tags)) == (model.description, model.tags)
            assert item.aliases == model.aliases

    @invariant()
    def versions_are_what_was_written(self) -> None:
        """``list_versions`` and ``get_version`` agree with the model."""
        for name, model in getattr(self, "models", {}).items():
            listed = list(self.registry.list_versions(name))
            assert [item.version for item in listed] == sorted(model.versions, key=int, reverse=True)
            for item in listed:
                held = model.versions[item.version]
                assert item == self.registry.get_version(name, item.version)
                assert (item.source, item.digest, item.user) == (held.source, held.digest, held.user)
                assert (item.description, own(item.tags)) == (held.description, held.tags)
                assert (item.stage, item.approval) == (held.stage, held.approval)
                pointing = [alias for alias, version in model.aliases.items() if version == item.version]
                assert sorted(item.aliases) == sorted(pointing)

    @invariant()
    def changes_are_what_was_made(self) -> None:
        """``list_changes`` agrees with the model; the order within one call is left open."""
        if not hasattr(self, "models") or not self.supports("history"):
            return
        for name, model in self.models.items():
            noted = list(self.registry.list_changes(name))[::-1]
            assert len(noted) == sum(map(len, model.changes))
            entries = iter(noted)
            for group in model.changes:
                found = [
                    (*told(change), change.user, change.why)
                    for _, change in zip(group, entries, strict=False)
                ]
                assert sorted(map(_comparable, found)) == sorted(map(_comparable, group))
            for version in VERSIONS:
                expected = [change for change in noted[::-1] if change.version == version]
                assert list(self.registry.list_changes(name, version)) == expected


def _comparable(entry: tuple[object, ...]) -> str:
    """Return an entry as text, leaving out what a registry may say as it likes (the text of a creation)."""
    version, what, before, after, user, why = entry
    if what in ("created", "deleted"):
        before, after = before is None, after is None
    return repr((version, what, before, after, user, why))
