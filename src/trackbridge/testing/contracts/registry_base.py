"""What the parts of the registry contract share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock

import msgspec
import pytest

from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.models import (
    NO_REASON,
    ChangeReason,
    ModelVersion,
    ModelVersionSpec,
    RegisteredModel,
    RegistryChange,
)
from trackbridge.errors import Rejected
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.registry import ModelRegistry
from trackbridge.testing.contracts.base import Contract
from trackbridge.testing.contracts.samples import digest_of, file_of, run_spec

RESERVED = "bridge."
NAME = "wine"
DIGEST = digest_of(b"the digest of a model's content")
REASON = ChangeReason(user="Zoë <zoe@example.org>", why="accuracy 0.93 > 0.91; 'approved' by QA")


def put_payload(adapter: Adapter, folder: Path, content: bytes = b"a model") -> str:
    """Put one file into the adapter's artifacts; return its address as a version's source."""
    store = adapter.artifacts
    if store is None:
        raise TypeError("the adapter keeps no artifacts; the binding needs a method 'new_source'")
    run_id = mint_id() if adapter.tracking is None else adapter.tracking.open_run(run_spec()).info.run_id
    file = file_of(folder, content)
    store.put(run_id, "model/weights.bin", file, digest=digest_of(content), size=len(content))
    return artifact_uri(run_id, "model")


class RegistryTests(Contract):
    """Access to the registry, and versions with payloads that are there."""

    @pytest.fixture
    def kept_source(self) -> str:
        """Return the address of a payload. A binding replaces this where payloads outlast the tests."""
        return ""

    @pytest.fixture(autouse=True)
    def _payloads(self, tmp_path_factory: pytest.TempPathFactory, kept_source: str) -> None:
        self.folder = tmp_path_factory.mktemp("payloads")
        self.known_source = kept_source
        self.ensured: set[str] = set()
        self.source_lock = Lock()

    def new_source(self) -> str:
        """Return the address of a new payload. A binding replaces this where payloads lie elsewhere."""
        return put_payload(self.opened, self.folder)

    @property
    def source(self) -> str:
        """The address of a payload, the same throughout a test."""
        with self.source_lock:
            self.known_source = self.known_source or self.new_source()
            return self.known_source

    @property
    def registry(self) -> ModelRegistry:
        """The port under test."""
        registry = self.opened.registry
        assert registry is not None, "the adapter has no registry port"
        return registry

    def ensure(self, name: str = NAME) -> str:
        """Ensure a model and return its name."""
        self.ensured.add(name)
        return self.registry.ensure_model(name).name

    def spec(self, name: str = NAME, **fields: object) -> ModelVersionSpec:
        """Return what creates a version, with the payload of this test."""
        given = {"source": self.source, "digest": DIGEST, **fields}
        return ModelVersionSpec(name=name, **given)  # type: ignore[arg-type]

    def create(
        self, name: str = NAME, *, key: str | None = None, reason: ChangeReason = NO_REASON, **fields: object
    ) -> ModelVersion:
        """Ensure a model, unless this test did so before, and create a version of it."""
        if name not in self.ensured:
            self.ensure(name)
        return self.registry.create_version(self.spec(name, **fields), key=key or mint_id(), reason=reason)

    def version(self, version: str = "1", name: str = NAME) -> ModelVersion:
        """Read a version."""
        return self.registry.get_version(name, version)

    def model(self, name: str = NAME) -> RegisteredModel:
        """Read a model."""
        return self.registry.get_model(name)

    def versions(self, name: str = NAME) -> list[str]:
        """Return the numbers of the versions that are listed."""
        return [item.version for item in self.registry.list_versions(name)]

    def names(self) -> list[str]:
        """Return the names of the models that are listed."""
        return [item.name for item in self.registry.list_models()]

    def changes(self, version: str | None = None, name: str = NAME) -> list[RegistryChange]:
        """Return the history, newest first."""
        return list(self.registry.list_changes(name, version))

    def state(self, name: str = NAME) -> tuple[object, ...]:
        """Return all that can be read of a model, its history where there is one."""
        seen = (self.model(name), tuple(self.registry.list_versions(name)))
        if not self.capabilities.supports(Feature.REGISTRY_HISTORY):
            return seen
        return (*seen, tuple(self.changes(name=name)))

    def unchanged_by(self, write: Callable[[], object], name: str = NAME) -> None:
        """Make a write that must change nothing, and leave no trace; twice."""
        before = self.state(name)
        write()
        write()
        assert self.state(name) == before

    def is_accepted(self, write: Callable[[], object]) -> bool:
        """Make a write; tell whether the registry took it."""
        try:
            write()
        except Rejected:
            return False
        return True


def own(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags without those that an adapter adds for itself."""
    return {key: value for key, value in tags.items() if not key.startswith(RESERVED)}


def told(change: RegistryChange) -> tuple[str | None, str, str | None, str | None]:
    """Return what a change says apart from who, when and why."""
    return change.version, change.what, change.before, change.after


def without_times(version: ModelVersion) -> ModelVersion:
    """Return a version without its times and the backend's own id."""
    return msgspec.structs.replace(version, creation_time=None, last_update_time=None, native_id=None)
