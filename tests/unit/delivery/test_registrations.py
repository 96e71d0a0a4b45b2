"""A journalled registration: after the files, once, at the first destination, and never without its files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.deliveries import World, die
from tests.support.journals import URI, Bench
from tests.support.memory_adapter import MemoryAdapter, MemoryArtifacts, MemoryState
from trackbridge.api.recorder import RunRecorder
from trackbridge.delivery.backend import Backend
from trackbridge.delivery.connect import Registries
from trackbridge.delivery.lane import Progress
from trackbridge.delivery.registrations import registration_key
from trackbridge.delivery.replay import replay
from trackbridge.delivery.service import deliver_now
from trackbridge.domain.artifacts import ArtifactInfo, artifact_uri
from trackbridge.domain.model_digest import digest_of_members
from trackbridge.domain.models import ModelVersion
from trackbridge.domain.records import ModelRegistered, Record
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import BridgeError, Rejected, Unavailable
from trackbridge.journal.reader import Position

FILES = {"MLmodel": b"flavors: {}\n", "model.pkl": b"weights"}


def log_registered(recorder: RunRecorder, *, registry: str = "", name: str = "wine") -> ModelRegistered:
    """Log a model's files, then that it is to be registered."""
    import io

    for path, content in FILES.items():
        recorder.content(content, f"model/{path}")
    digest = digest_of_members((path, io.BytesIO(content)) for path, content in FILES.items())
    record = ModelRegistered(
        run_id=recorder.run_id,
        timestamp=1_700_000_000_000,
        registry=registry,
        name=name,
        path="model",
        digest=digest,
        key=registration_key(artifact_uri(recorder.run_id, "model"), digest),
        user="ana",
        description="first",
        tags={"team": "red"},
        datasets=["wine@abc"],
    )
    recorder.registered(record)
    return record


def versions(adapter: MemoryAdapter, name: str = "wine") -> list[ModelVersion]:
    assert adapter.registry is not None
    return list(adapter.registry.list_versions(name))


class Scarce(MemoryArtifacts):
    """Artifacts that refuse one file."""

    refuses = ""

    def put(self, run_id: str, path: str, file: Path, **details: Any) -> ArtifactInfo:
        if path == self.refuses:
            raise Rejected(f"no {path} here")
        return super().put(run_id, path, file, **details)


@pytest.fixture
def adapter() -> MemoryAdapter:
    return MemoryAdapter(MemoryState())


@pytest.fixture
def bench(tmp_path: Path, adapter: MemoryAdapter) -> Bench:
    return Bench(tmp_path / "journal", adapter)


def finish(bench: Bench, recorder: RunRecorder) -> None:
    recorder.close(RunStatus.FINISHED)
    bench.writer.close()


def test_is_registered_after_its_files(bench: Bench, adapter: MemoryAdapter) -> None:
    recorder = bench.run()
    record = log_registered(recorder)
    finish(bench, recorder)
    assert bench.deliver() is Progress.FINISHED
    (version,) = versions(adapter)
    assert version.source == artifact_uri(recorder.run_id, "model")
    assert (version.digest, version.run_id) == (record.digest, recorder.run_id)
    assert (version.description, version.tags, version.datasets) == (
        "first",
        {"team": "red"},
        ("wine@abc",),
    )
    assert version.user == "ana"
    assert bench.dead_letters.read() == []


def test_a_registry_that_is_named(bench: Bench, adapter: MemoryAdapter) -> None:
    recorder = bench.run()
    log_registered(recorder, registry=URI)
    finish(bench, recorder)
    assert bench.deliver() is Progress.FINISHED
    (version,) = versions(adapter)
    assert version.source == artifact_uri(recorder.run_id, "model")


def test_delivered_again_it_stays_one_version(bench: Bench, adapter: MemoryAdapter) -> None:
    recorder = bench.run()
    log_registered(recorder)
    log_registered(recorder)
    for _ in range(3):
        bench.lane = bench.new_lane()
        bench.lane.cursor = msgspec.structs.replace(bench.lane.cursor, position=Position())
        bench.deliver()
    assert [version.version for version in versions(adapter)] == ["1"]


class Mortal:
    """Stands for a backend: the process dies at a given call of a port, before or after it was made."""

    def __init__(self, target: object, count: list[int], dies_at: int) -> None:
        self._target = target
        self._count = count
        self._dies_at = dies_at

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._step()
            result = method(*arguments, **options)
            self._step()
            return result

        return call

    def _step(self) -> None:
        self._count[0] += 1
        if self._count[0] == self._dies_at:
            raise KeyboardInterrupt


def test_killed_at_each_step_of_delivery(tmp_path: Path) -> None:
    deaths = 0
    for step in range(1, 200):
        adapter = MemoryAdapter(MemoryState())
        bench = Bench(tmp_path / f"journal{step}", adapter)
        recorder = bench.run()
        record = log_registered(recorder)
        finish(bench, recorder)
        count = [0]
        mortal = MemoryAdapter(adapter.state)
        for port in ("tracking", "artifacts", "registry"):
            setattr(mortal, port, Mortal(getattr(mortal, port), count, step))

        def open_mortal(uri: str, mortal: MemoryAdapter = mortal) -> Backend:
            assert mortal.tracking is not None
            return Backend(
                uri=uri,
                tracking=mortal.tracking,
                artifacts=mortal.artifacts,
                capabilities=mortal.capabilities(),
                registry=Registries(uri, mortal).open,
            )

        lane = bench.new_lane(open_mortal)
        try:
            lane.advance()
        except KeyboardInterrupt:
            deaths += 1
        for version in versions(adapter):
            assert version.digest == record.digest
            assert set(adapter.state.files[recorder.run_id]) == {"model/MLmodel", "model/model.pkl"}
        bench.lane = bench.new_lane()
        assert bench.deliver() is Progress.FINISHED
        assert [version.digest for version in versions(adapter)] == [record.digest]
        assert bench.dead_letters.read() == []
        if count[0] < step:
            break
    assert deaths >= 15


def test_a_killed_program_leaves_it_to_who_delivers(tmp_path: Path, world: World) -> None:
    bench = Bench(tmp_path / "journal", uris=("memory:a",))
    recorder = bench.run()
    log_registered(recorder)
    die(bench)
    deliver_now(tmp_path / "journal", open_backend=world.open, deadline_s=30)
    assert len(versions(MemoryAdapter(world.states["memory:a"]))) == 1


def test_only_the_first_destination_registers(tmp_path: Path, world: World) -> None:
    bench = Bench(tmp_path / "journal", uris=("memory:a", "memory:b"))
    recorder = bench.run()
    log_registered(recorder)
    finish(bench, recorder)
    deliver_now(tmp_path / "journal", open_backend=world.open, deadline_s=30)
    assert len(versions(MemoryAdapter(world.states["memory:a"]))) == 1
    assert versions(MemoryAdapter(world.states["memory:b"])) == []
    assert set(world.states["memory:b"].files[recorder.run_id]) == {"model/MLmodel", "model/model.pkl"}
    assert bench.dead_letters.read() == []


def test_another_registry_gets_the_native_address(tmp_path: Path) -> None:
    from trackbridge.domain.file_uris import file_uri
    from trackbridge.ports.adapter import AdapterContext
    from trackbridge_adapters.local import open_adapter

    context = AdapterContext(home=tmp_path, options={}, clock_ms=lambda: 1_700_000_000_000)
    tracking, registry = tmp_path / "tracking", tmp_path / "registry"
    local = open_adapter(file_uri(tracking), context=context)
    bench = Bench(tmp_path / "journal", local)
    recorder = bench.run()
    record = log_registered(recorder, registry=file_uri(registry))
    finish(bench, recorder)
    assert bench.deliver() is Progress.FINISHED
    assert bench.dead_letters.read() == []
    other = open_adapter(file_uri(registry), context=context)
    assert other.registry is not None
    (version,) = other.registry.list_versions("wine")
    assert version.source == (tracking / "artifacts" / recorder.run_id / "model").as_uri()
    assert version.digest == record.digest
    assert local.registry is not None
    assert list(local.registry.list_versions("wine")) == []
    local.close()
    other.close()


class Flaky:
    """A registry that fails so many times."""

    def __init__(self, target: object, errors: list[BridgeError]) -> None:
        self._target = target
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        if self._errors:
            error = self._errors.pop()

            def fail(*_: Any, **__: Any) -> Any:
                raise error

            return fail
        return getattr(self._target, name)


@pytest.mark.usefixtures("impatient")
def test_an_unavailable_registry_is_asked_again(bench: Bench, adapter: MemoryAdapter) -> None:
    adapter.registry = Flaky(adapter.registry, [Unavailable("away") for _ in range(3)])  # type: ignore[assignment]
    recorder = bench.run()
    log_registered(recorder)
    finish(bench, recorder)
    assert bench.deliver() is Progress.FINISHED
    assert len(versions(adapter)) == 1
    assert bench.dead_letters.read() == []


def test_refused_it_is_a_dead_letter_that_can_be_replayed(bench: Bench, adapter: MemoryAdapter) -> None:
    recorder = bench.run()
    log_registered(recorder)
    finish(bench, recorder)
    registry, adapter.registry = adapter.registry, None
    assert bench.deliver() is Progress.FINISHED
    (letter,) = bench.dead_letters.read()
    assert letter.kind == "ModelRegistered"
    assert "no registry" in letter.reason
    adapter.registry = registry
    report = replay(bench.root, None, bench.backend)
    assert (len(report.delivered), report.kept, report.waiting) == (1, {}, {})
    assert len(versions(adapter)) == 1
    assert bench.dead_letters.read() == []


def test_without_one_of_its_files_it_is_not_registered(bench: Bench, adapter: MemoryAdapter) -> None:
    scarce = Scarce(adapter.state, adapter.capabilities())
    scarce.refuses = "model/model.pkl"
    adapter.artifacts = scarce
    recorder = bench.run()
    log_registered(recorder)
    finish(bench, recorder)
    assert bench.deliver() is Progress.FINISHED
    letters = bench.dead_letters.read()
    assert [letter.kind for letter in letters] == ["ArtifactLogged", "ModelRegistered"]
    assert "not those that were logged" in letters[1].reason
    assert versions(adapter) == []
    scarce.refuses = ""
    report = replay(bench.root, None, bench.backend)
    assert len(report.delivered) == 2
    assert len(versions(adapter)) == 1


def test_of_a_run_that_was_refused_it_is_refused_too(bench: Bench, adapter: MemoryAdapter) -> None:
    recorder = bench.run()
    log_registered(recorder)
    finish(bench, recorder)
    assert adapter.tracking is not None
    adapter.tracking.ensure_experiment("tests", experiment_id="e" * 32)
    adapter.tracking.delete_experiment("e" * 32)
    assert bench.deliver() is Progress.FINISHED
    assert versions(adapter) == []
    assert "ModelRegistered" in [letter.kind for letter in bench.dead_letters.read()]


def test_the_form_of_the_record_is_for_ever() -> None:
    record = ModelRegistered(
        "r", 1, "file:/x", "wine", "model", "sha256:0", "k", "ana", "first", {"a": "b"}, ["wine@abc"]
    )
    encoded = msgspec.msgpack.encode(record)
    assert msgspec.msgpack.decode(encoded) == [
        10,
        "r",
        1,
        "file:/x",
        "wine",
        "model",
        "sha256:0",
        "k",
        "ana",
        "first",
        {"a": "b"},
        ["wine@abc"],
    ]
    assert msgspec.msgpack.decode(encoded, type=Record) == record


def test_the_key_depends_on_source_and_digest_alone() -> None:
    source, digest = "bridge-artifacts:/r/model", "sha256:0"
    assert registration_key(source, digest) == hashlib.sha256(f"{source}\n{digest}".encode()).hexdigest()
