"""From the name of a model to its files here: resolved, fetched once, checked, and never half."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.memory_adapter import MemoryAdapter, MemoryArtifacts, MemoryState
from trackbridge.delivery.payload_members import known_payload_digest, payload_digest
from trackbridge.domain.artifacts import ArtifactInfo, artifact_uri
from trackbridge.domain.model_digest import digest_of_path
from trackbridge.domain.models import ModelVersion, ModelVersionSpec
from trackbridge.domain.paging import Page
from trackbridge.errors import InvalidInput, NotFound, Rejected, Unavailable, Unsupported
from trackbridge.operations import model_payloads
from trackbridge.operations.model_payloads import materialise, resolve_model, resolve_version
from trackbridge.ports.artifacts import ArtifactStore

RUN = "r" * 32
FILES = {"MLmodel": b"run_id: x\nflavors: {}\n", "data/model.pkl": b"w" * 300_000, "a.txt": b"a"}


class Store(MemoryArtifacts):
    """Artifacts that can fail while a file is read, and that count what is opened."""

    def __init__(self) -> None:
        super().__init__(MemoryState(), MemoryAdapter().capabilities())
        self.opened: list[str] = []
        self.fails_at: str | None = None
        self.knows_digests = True

    def open(self, run_id: str, path: str) -> BinaryIO:
        self.opened.append(path)
        content = super().open(run_id, path)
        return _Torn(content.read(1000)) if path == self.fails_at else content

    def list(
        self, run_id: str, prefix: str = "", *, max_results: int = 1000, token: str | None = None
    ) -> Page[ArtifactInfo]:
        page = super().list(run_id, prefix, max_results=max_results, token=token)
        if self.knows_digests:
            return page
        items = tuple(
            ArtifactInfo(path=item.path, is_dir=item.is_dir, file_size=item.file_size) for item in page
        )
        return Page(items=items, token=page.token)


class _Torn(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        part = super().read(size)
        if not part:
            raise Unavailable("the connection broke")
        return part


def put(store: ArtifactStore, folder: Path, path: str, content: bytes, run_id: str = RUN) -> None:
    file = folder / "staged"
    file.write_bytes(content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    store.put(run_id, path, file, digest=digest, size=len(content))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store()
    for name, content in FILES.items():
        put(made, tmp_path, f"model/{name}", content)
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "models"


def version_of(store: ArtifactStore, digest: str | None = "") -> ModelVersion:
    found = payload_digest(store, RUN, "model") if digest == "" else digest
    return ModelVersion(name="wine", version="1", source=artifact_uri(RUN, "model"), digest=found)


# Fetching.


def test_brings_every_file_under_its_digest(store: Store, cache: Path) -> None:
    version = version_of(store)
    seen: list[tuple[int, int]] = []
    folder = materialise(version, store, cache=cache, on_progress=lambda *now: seen.append(now))
    assert folder == cache / str(version.digest).removeprefix("sha256:")
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert digest_of_path(folder) == version.digest
    total = sum(map(len, FILES.values()))
    assert seen[0] == (0, total)
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


def test_a_second_time_nothing_is_fetched(store: Store, cache: Path) -> None:
    folder = materialise(version_of(store), store, cache=cache)
    version = version_of(store)
    store.opened.clear()
    assert materialise(version, store, cache=cache) == folder
    assert store.opened == []


def test_an_interrupted_fetch_goes_on(store: Store, cache: Path) -> None:
    version = version_of(store)
    store.fails_at = "model/data/model.pkl"
    with pytest.raises(Unavailable):
        materialise(version, store, cache=cache)
    assert not (cache / str(version.digest).removeprefix("sha256:")).exists()
    store.fails_at = None
    store.opened.clear()
    folder = materialise(version, store, cache=cache)
    assert digest_of_path(folder) == version.digest
    assert store.opened == ["model/data/model.pkl"]
    assert sorted(file.name for file in folder.rglob("*") if file.is_file()) == [
        "MLmodel",
        "a.txt",
        "model.pkl",
    ]


def test_changed_files_are_refused_and_do_not_stay(store: Store, cache: Path, tmp_path: Path) -> None:
    version = version_of(store)
    put(store, tmp_path, "model/a.txt", b"b")
    with pytest.raises(Rejected, match="not those that were registered"):
        materialise(version, store, cache=cache)
    put(store, tmp_path, "model/a.txt", b"a")
    assert digest_of_path(materialise(version, store, cache=cache)) == version.digest


def test_a_leftover_of_the_right_size_is_not_trusted(store: Store, cache: Path) -> None:
    version = version_of(store)
    part = cache / f"{str(version.digest).removeprefix('sha256:')}.part"
    part.mkdir(parents=True)
    (part / "a.txt").write_bytes(b"z")
    (part / "of another time").write_bytes(b"z")
    assert digest_of_path(materialise(version, store, cache=cache)) == version.digest


def test_a_payload_that_was_changed_here_is_fetched_again(store: Store, cache: Path) -> None:
    version = version_of(store)
    folder = materialise(version, store, cache=cache)
    (folder / "a.txt").write_bytes(b"z")
    assert materialise(version, store, cache=cache) == folder
    assert (folder / "a.txt").read_bytes() == b"a"
    (folder / "more.txt").write_bytes(b"z")
    assert digest_of_path(materialise(version_of(store, None), store, cache=cache)) == version.digest
    assert [path.name for path in cache.iterdir() if path.suffix == ".spoiled"] == []


def test_what_python_compiles_beside_a_model_does_not_count(store: Store, cache: Path) -> None:
    version = version_of(store)
    folder = materialise(version, store, cache=cache)
    (folder / "code" / "__pycache__").mkdir(parents=True)
    (folder / "code" / "__pycache__" / "net.pyc").write_bytes(b"z")
    store.opened.clear()
    assert materialise(version, store, cache=cache) == folder
    assert store.opened == []


@pytest.mark.parametrize("knows_digests", [True, False])
def test_without_a_digest(store: Store, cache: Path, knows_digests: bool) -> None:
    store.knows_digests = knows_digests
    expected = payload_digest(store, RUN, "model")
    assert known_payload_digest(store, RUN, "model") == (expected if knows_digests else None)
    folder = materialise(version_of(store, None), store, cache=cache)
    assert folder.name == expected.removeprefix("sha256:")
    assert materialise(version_of(store, None), store, cache=cache) == folder
    assert [path.name for path in cache.iterdir() if path.suffix == ".part"] == []


def test_a_single_file_lies_in_a_folder(store: Store, cache: Path, tmp_path: Path) -> None:
    put(store, tmp_path, "weights.bin", b"1234")
    source = artifact_uri(RUN, "weights.bin")
    folder = materialise(ModelVersion(name="", version="", source=source), store, cache=cache)
    assert [(file.name, file.read_bytes()) for file in folder.iterdir()] == [("weights.bin", b"1234")]


def test_a_folder_of_this_machine(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.txt").write_bytes(b"a")
    version = ModelVersion(name="", version="", source=(tmp_path / "here").as_uri())
    assert (materialise(version, None, cache=cache) / "a.txt").read_bytes() == b"a"


def test_absent_and_unreadable_sources(store: Store, cache: Path) -> None:
    digest = f"sha256:{'0' * 64}"
    absent = ModelVersion(name="wine", version="1", source=artifact_uri(RUN, "absent"), digest=digest)
    with pytest.raises(NotFound):
        materialise(absent, store, cache=cache)
    far = ModelVersion(name="wine", version="1", source="s3://bucket/model", digest=digest)
    with pytest.raises(Unsupported, match="cannot be read"):
        materialise(far, store, cache=cache)


class Climbing(Store):
    def list(self, *_: object, **__: object) -> Page[ArtifactInfo]:
        return Page(items=(ArtifactInfo(path="model/../../evil", file_size=1),))


def test_a_store_cannot_write_outside_of_the_cache(cache: Path, tmp_path: Path) -> None:
    store = Climbing()
    put(store, tmp_path, "model/a.txt", b"a")
    with pytest.raises(InvalidInput):
        materialise(version_of(store, f"sha256:{'0' * 64}"), store, cache=cache)


def test_an_address_with_secrets_does_not_reach_the_error(store: Store, cache: Path) -> None:
    far = ModelVersion(name="", version="", source="https://ana:hunter2@host/model?sig=abcdef123456")
    with pytest.raises(Unsupported) as caught:
        materialise(far, store, cache=cache)
    assert "hunter2" not in str(caught.value)
    assert "abcdef123456" not in str(caught.value)


def test_a_digest_that_is_a_path(store: Store, cache: Path) -> None:
    with pytest.raises(InvalidInput, match="no digest"):
        materialise(version_of(store, "sha256:../../evil"), store, cache=cache)


def test_two_at_once_fetch_once(store: Store, cache: Path) -> None:
    version = version_of(store)
    store.opened.clear()
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(materialise(version, store, cache=cache)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert store.opened.count("model/data/model.pkl") == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from trackbridge.domain.models import ModelVersion
from trackbridge.operations import model_payloads

source, cache, digest, step = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
steps = 0

def count(*_):
    global steps
    steps += 1
    if steps == step:
        os.kill(os.getpid(), signal.SIGKILL)

complete = model_payloads._complete
def completing(*arguments):
    count()
    done = complete(*arguments)
    count()
    return done

model_payloads._complete = completing
version = ModelVersion(name="wine", version="1", source=source, digest=digest)
print(model_payloads.materialise(version, None, cache=cache, on_progress=count))
"""


def test_killed_at_each_step_leaves_nothing_that_counts_as_whole(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).write_bytes(name.encode() * 5000)
    digest = digest_of_path(folder)
    killed = 0
    for step in range(1, 30):
        cache = tmp_path / f"cache{step}"
        command = [sys.executable, "-c", KILLED, folder.as_uri(), str(cache), digest, str(step)]
        done = subprocess.run(command, capture_output=True, timeout=60)
        whole = cache / digest.removeprefix("sha256:")
        if whole.exists():
            assert digest_of_path(whole) == digest
        version = ModelVersion(name="wine", version="1", source=folder.as_uri(), digest=digest)
        assert digest_of_path(materialise(version, None, cache=cache)) == digest
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
    assert killed >= 8


def test_waits_for_who_fetches_it(store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = version_of(store)
    cache.mkdir(parents=True)
    lock = cache / f"{str(version.digest).removeprefix('sha256:')}.lock"
    monkeypatch.setattr(model_payloads, "LOCK_WAIT_S", 0.1)
    with model_payloads._locked(lock), pytest.raises(Exception, match="another process is fetching"):
        materialise(version, store, cache=cache)
    assert os.path.isdir(materialise(version, store, cache=cache))


# Resolving.


@pytest.fixture
def adapter(tmp_path: Path) -> MemoryAdapter:
    made = MemoryAdapter()
    assert made.artifacts is not None
    assert made.registry is not None
    for number in (1, 2, 3):
        put(made.artifacts, tmp_path, f"m{number}/a.txt", b"a", RUN)
    made.registry.ensure_model("wine")
    for number in (1, 2, 3):
        spec = ModelVersionSpec(
            name="wine", source=artifact_uri(RUN, f"m{number}"), digest=f"sha256:{number:064x}"
        )
        made.registry.create_version(spec, key=str(number))
    made.registry.set_alias("wine", "champion", version="2")
    made.registry.set_stage("wine", "1", stage="Production")
    made.registry.set_stage("wine", "2", stage="Production")
    return made


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        ("models:/wine/1", "1"),
        ("models:/wine@champion", "2"),
        ("models:/wine/production", "2"),
        ("models:/wine/latest", "3"),
        ("models:/wine", "3"),
    ],
)
def test_a_registered_version(adapter: MemoryAdapter, reference: str, version: str) -> None:
    assert adapter.registry is not None
    assert resolve_version(reference, adapter.registry).version == version


@pytest.mark.parametrize(
    "reference", ["models:/wine/9", "models:/wine@absent", "models:/wine/Staging", "models:/beer"]
)
def test_an_absent_version(adapter: MemoryAdapter, reference: str) -> None:
    assert adapter.registry is not None
    with pytest.raises(NotFound):
        resolve_version(reference, adapter.registry)


def test_an_absent_alias_says_which_there_are(adapter: MemoryAdapter) -> None:
    assert adapter.registry is not None
    with pytest.raises(NotFound) as caught:
        resolve_version("models:/wine@absent", adapter.registry)
    assert "champion" in str(caught.value.hint)


def test_what_is_not_registered(adapter: MemoryAdapter, tmp_path: Path) -> None:
    def never() -> object:
        raise AssertionError("the registry is not needed")

    run = resolve_model(f"runs:/{RUN}/m1", never)  # type: ignore[arg-type]
    assert (run.name, run.source, run.run_id) == ("", artifact_uri(RUN, "m1"), RUN)
    same = resolve_model(artifact_uri(RUN, "m1"), never)  # type: ignore[arg-type]
    assert same == run
    path = resolve_model(str(tmp_path), never)  # type: ignore[arg-type]
    assert path.source == tmp_path.as_uri()
    assert adapter.registry is not None
    with pytest.raises(InvalidInput, match="no registered model"):
        resolve_version(f"runs:/{RUN}/m1", adapter.registry)
