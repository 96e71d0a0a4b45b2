"""Files of the Azure ML emulator, bytes in a real Azurite: by the datastore's secret, and hazards of others.

The contract by signed addresses is in ``test_azureml``. Both ways are meant where a test has ``way``.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.azureml_programs import ran
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.paging import Page
from trackbridge.errors import AuthError
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import ArtifactContract
from trackbridge.testing.contracts.samples import digest_of, file_of, run_spec
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.storage import CONTAINER
from trackbridge.testing.emulators.fault_proxy import FaultProxy, Weather
from trackbridge_adapters.azureml import open_paths, open_workspace
from trackbridge_adapters.azureml.artifacts_upload import Upload
from trackbridge_adapters.azureml.paths import Paths

WAYS = ("addresses", "account")
PART_BYTES = 8 * 1024 * 1024
LARGE = b"".join(bytes([number]) * PART_BYTES for number in range(3)) + b"the end"
SHORT_S = 2.0
"""How long an address lasts that is to end on the way."""
MANY = 8
GROWTH_MB_MAX = 96
"""Half of what is read."""


class Killed(BaseException):
    """The process ends here."""


def opened(azureml: AzureMlEmulator, home: Path, way: str = "addresses", **options: str) -> Adapter:
    named = {**azureml.options, "artifacts": way, **options}
    context = AdapterContext(home=home, options=named, clock_ms=lambda: time.time_ns() // 1_000_000)
    return wrap_adapter(open_workspace(azureml.uri, context=context, credential=azureml.credential()))


@pytest.fixture
def by_account(azureml: AzureMlEmulator, tmp_path: Path) -> Iterator[Adapter]:
    adapter = opened(azureml, tmp_path / "home", "account")
    yield adapter
    adapter.close()


class TestArtifactsByAccount(ArtifactContract):
    @pytest.fixture
    def adapter(self, by_account: Adapter) -> Adapter:
        return by_account


class Store:
    """The files of one run, by one of the two ways."""

    def __init__(self, azureml: AzureMlEmulator, folder: Path, way: str) -> None:
        self.azureml, self.folder, self.way = azureml, folder, way
        self.adapter = opened(azureml, folder / "home", way)
        self.run_id = self.adapter.tracking.open_run(run_spec()).info.run_id  # type: ignore[union-attr]

    @property
    def files(self) -> Any:
        return self.adapter.artifacts

    def put(self, path: str, content: bytes, state: Path | None = None) -> None:
        file = file_of(self.folder, content)
        named = {"digest": digest_of(content), "size": len(content)}
        if state is None:
            self.files.put(self.run_id, path, file, **named)
        else:
            self.files.put_resumable(self.run_id, path, file, state=state, **named)

    def read(self, path: str) -> bytes:
        with self.files.open(self.run_id, path) as reader:
            content: bytes = reader.read()
        return content

    def in_process(self, home: str, **options: str) -> Store:
        """Return the same files as another process has them, which knows nothing yet."""
        other = object.__new__(Store)
        other.azureml, other.folder, other.way = self.azureml, self.folder, self.way
        other.adapter = opened(self.azureml, self.folder / home, self.way, **options)
        other.run_id = self.run_id
        return other


@pytest.fixture(params=WAYS)
def store(azureml: AzureMlEmulator, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    made = Store(azureml, tmp_path, request.param)
    yield made
    made.adapter.close()


class Signatures:
    """Lets the next signature of storage end sooner than those after it."""

    def __init__(self, azureml: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sign = azureml.cloud.storage.sas
        self._next: list[float] = []
        self._ended_s = 0.0
        self.given = 0
        monkeypatch.setattr(azureml.cloud.storage, "sas", self._signed)

    def next_lasts(self, seconds: float) -> None:
        """Say how long, less than 0 for one that has ended when it is given."""
        self._next.append(seconds)
        self.given = 0

    def wait(self) -> None:
        """Return when the one that ends sooner has ended."""
        while time.time() <= self._ended_s:
            time.sleep(0.05)

    def _signed(self, *names: Any, **named: Any) -> str:
        self.given += 1
        if not self._next:
            return self._sign(*names, **named)
        seconds = self._next.pop()
        self._ended_s = time.time() + seconds
        return self._sign(*names, **{**named, "seconds": seconds})


@pytest.fixture
def signatures(azureml: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch) -> Signatures:
    return Signatures(azureml, monkeypatch)


# Addresses that end.


def test_an_address_that_ends_in_the_middle_of_an_upload(
    store: Store, signatures: Signatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, first_sent = Upload.send, threading.Event()

    def waiting(self: Upload, upload: str, number: int, content: bytes) -> str:
        if number > 1:
            first_sent.wait()
            signatures.wait()
        tag = send(self, upload, number, content)
        first_sent.set()
        return tag

    monkeypatch.setattr(Upload, "send", waiting)
    if store.way == "account":
        store.files.list(store.run_id)  # the container is open before: what is signed next is for blocks
        store = store.in_process("other")
    signatures.next_lasts(SHORT_S)
    store.put("large.bin", LARGE)
    assert signatures.given >= 2
    assert store.read("large.bin") == LARGE


LOOKS: dict[str, Callable[[Store], object]] = {
    "read": lambda other: other.read("a/b.txt"),
    "stat": lambda other: other.files.stat(other.run_id, "a/b.txt"),
    "list": lambda other: other.files.list(other.run_id, "a"),
    "put": lambda other: other.put("a/c.txt", b"more"),
}


@pytest.mark.parametrize("look", LOOKS)
def test_an_address_that_has_ended_when_it_is_given(look: str, store: Store, signatures: Signatures) -> None:
    store.put("a/b.txt", b"content")
    other = store.in_process("other")
    signatures.next_lasts(-60.0)
    LOOKS[look](other)
    assert signatures.given >= 2
    assert other.read("a/b.txt") == b"content"


def test_storage_that_takes_no_signature_is_told(
    store: Store, azureml: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a.txt", b"content")
    monkeypatch.setattr(azureml.cloud, "signature_seconds", -60.0)
    monkeypatch.setattr(azureml.cloud.storage, "signature_seconds", -60.0)
    with pytest.raises(AuthError) as told:
        store.in_process("other").put("b.txt", b"content")
    assert "sig=" not in f"{told.value!s}{told.value!r}{told.value.hint}"


def test_a_datastore_that_keeps_no_secret_is_opened_by_who_signs_in(
    azureml: AzureMlEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datastore = azureml.cloud.resources.get(f"{azureml.scope}/datastores/workspaceartifactstore")
    assert datastore is not None
    datastore["properties"]["credentials"] = {"credentialsType": "None"}
    for name, value in azureml.environment().items():  # tokens go to storage by TLS only
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(type(azureml), "options", {})
    store = Store(azureml, tmp_path, "account")
    store.put("large.bin", LARGE)
    store.put("deep/a.txt", b"content")
    assert asked(azureml, "/listSecrets") == 0
    other = store.in_process("other")
    assert other.read("large.bin") == LARGE
    assert [(item.path, item.file_size) for item in other.files.list(store.run_id)] == [
        ("deep", None),
        ("large.bin", len(LARGE)),
    ]
    assert other.files.stat(store.run_id, "large.bin").digest == digest_of(LARGE)
    assert asked(azureml, "/listSecrets") == 0


# Uploads that break off.


def test_an_upload_goes_on_in_another_process(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state, send = tmp_path / "state", Upload.send
    sent: list[int] = []
    two_sent = threading.Event()

    def killed_in_the_middle(self: Upload, upload: str, number: int, content: bytes) -> str:
        if number > 2:
            two_sent.wait()
            raise Killed
        tag = send(self, upload, number, content)
        sent.append(number)
        if len(sent) == 2:
            two_sent.set()
        return tag

    monkeypatch.setattr(Upload, "send", killed_in_the_middle)
    with pytest.raises(Killed):
        store.put("large.bin", LARGE, state)
    assert "sig=" not in state.read_text()
    assert store.files.list(store.run_id) == Page(items=())

    def counting(self: Upload, upload: str, number: int, content: bytes) -> str:
        sent.append(number)
        return send(self, upload, number, content)

    monkeypatch.setattr(Upload, "send", counting)
    other = store.in_process("other")
    other.put("large.bin", LARGE, state)
    assert sorted(sent) == [1, 2, 3, 4]
    assert other.read("large.bin") == LARGE
    assert not state.exists()


def test_a_download_that_breaks_off_goes_on(azureml: AzureMlEmulator, tmp_path: Path) -> None:
    store = Store(azureml, tmp_path, "account")
    store.put("large.bin", LARGE)
    weather = Weather(half_answer=0.7, only=lambda method, path: method == "GET" and "large.bin" in path)
    with FaultProxy(azureml.blob_url, weather, seed=3) as proxy:
        paths = paths_of(azureml, tmp_path, blob_endpoint=f"{proxy.url}/{{account}}")
        came = paths.download(run_address(store, "large.bin"), tmp_path / "down")
        assert proxy.counts["half_answer"] > 0
    assert came.read_bytes() == LARGE


# Hazards of azure-ai-ml and azureml-mlflow that our way has not.

FILES = {
    ".gitignore": b"*.bin\n*\n",
    ".amlignore": b"*",
    "weights.bin": b"w" * 1000,
    "deep/.gitignore": b"*.txt",
    "deep/notes.txt": b"",
    "deep/\u00fc 100%25 a?b#c.txt": b"odd",
}


def test_no_file_is_left_out_and_sizes_are_real(store: Store, tmp_path: Path) -> None:
    for path, content in FILES.items():
        store.put(path, content)
    listed = {
        item.path: item.file_size
        for folder in ("", "deep")
        for item in store.files.list(store.run_id, folder)
        if not item.is_dir
    }
    assert listed == {path: len(content) for path, content in FILES.items()}
    paths = paths_of(store.azureml, tmp_path)
    for address in (run_address(store), f"azureml://jobs/{native_of(store)}/outputs/artifacts/paths/"):
        folder = paths.download(address, tmp_path / hashlib.sha256(address.encode()).hexdigest())
        came = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert came == FILES


def test_a_folder_is_listed_by_one_request_to_storage_and_one_for_each_digest(
    azureml: AzureMlEmulator, tmp_path: Path
) -> None:
    store = Store(azureml, tmp_path, "account")
    for number in range(5):
        store.put(f"logs/{number}.txt", b"x" * number)
    with FaultProxy(azureml.blob_url) as proxy:
        other = store.in_process("other", blob_endpoint=f"{proxy.url}/{{account}}")
        listed = other.files.list(store.run_id, "logs")
        assert [item.file_size for item in listed] == list(range(5))
        assert proxy.counts["requests"] == 1 + 5


def test_both_ways_see_the_same_files(azureml: AzureMlEmulator, tmp_path: Path) -> None:
    store = Store(azureml, tmp_path, "account")
    store.put("model/MLmodel", b"flavors: {}")
    store.put("large.bin", LARGE)
    by_addresses = opened(azureml, tmp_path / "addresses")
    assert by_addresses.artifacts is not None
    for folder in ("", "model"):
        assert by_addresses.artifacts.list(store.run_id, folder) == store.files.list(store.run_id, folder)
    with by_addresses.artifacts.open(store.run_id, "large.bin") as reader:
        assert reader.read() == LARGE


MEMORY = """
import json, os, resource, sys, time
from pathlib import Path

from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters.azureml import open_adapter, open_paths

address, run_id = sys.argv[1:]
uri = os.environ["BRIDGE_TRACKING_URI"]
def context(**options):
    return AdapterContext(home=Path("home"), options=options, clock_ms=lambda: time.time_ns() // 1_000_000)
def peak_mb():
    status = Path("/proc/self/status")  # getrusage knows also what the process was that made this one
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2

def read_by(way):
    adapter = open_adapter(uri, context=context(artifacts=way))
    def read(name):
        with adapter.artifacts.open(run_id, name) as reader:
            return sum(len(block) for block in iter(lambda: reader.read(1 << 20), b""))
    return read
def download(name):
    return open_paths(uri, context=context()).download(f"{address}/{name}", Path("down")).stat().st_size

told = {}
for name, work in (("addresses", read_by("addresses")), ("account", read_by("account")), ("paths", download)):
    work("small.bin")
    before = peak_mb()
    told[name] = [work("large.bin"), peak_mb() - before]
print(json.dumps(told))
"""


def test_no_file_is_held_in_memory(azureml: AzureMlEmulator, tmp_path: Path) -> None:
    store, size = Store(azureml, tmp_path, "account"), len(LARGE) * MANY
    store.put("small.bin", b"small")
    store.put("large.bin", LARGE * MANY)
    address = run_address(store).rstrip("/")
    told = json.loads(ran(tmp_path, azureml, azureml.uri, MEMORY, address, native_of(store)))
    for name, (came, growth_mb) in told.items():
        assert came == size
        assert growth_mb < GROWTH_MB_MAX, name


def asked(azureml: AzureMlEmulator, end: str) -> int:
    """Return how many requests went to routes that end so."""
    return sum(call.path.endswith(end) for call in azureml.calls)


def paths_of(azureml: AzureMlEmulator, home: Path, **options: str) -> Paths:
    context = AdapterContext(
        home=home / "paths",
        options={**azureml.options, **options},
        clock_ms=lambda: time.time_ns() // 1_000_000,
    )
    return open_paths(azureml.uri, context=context, credential=azureml.credential())


def native_of(store: Store) -> str:
    """Return the run's id in Azure."""
    assert store.adapter.tracking is not None
    native = store.adapter.tracking.get_run(store.run_id).info.native_id
    assert native is not None
    return native


def run_address(store: Store, path: str = "") -> str:
    """Return the address of a run's file in its datastore."""
    return f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{native_of(store)}/{path}"


# What others have put into a datastore.


def test_folders_that_spark_marks_by_empty_blobs_are_folders(
    azureml: AzureMlEmulator, by_account: Adapter, tmp_path: Path
) -> None:
    paths = own_paths(azureml, tmp_path)
    stored = {"model/MLmodel": b"flavors", "model/sparkml/part-0": b"x", "model/empty": b""}
    for name, content in {**stored, "model": b"", "model/sparkml": b""}.items():
        azureml.cloud.storage.put(f"spark/{name}", content, container=CONTAINER)
    place = "azureml://datastores/workspaceblobstore/paths/spark"
    assert [(info.path, info.is_dir) for info in paths.list(f"{place}/model")] == [
        ("spark/model/MLmodel", False),
        ("spark/model/empty", False),
        ("spark/model/sparkml", True),
    ]
    for address in (place, f"{place}/model"):
        target = paths.download(address, tmp_path / address.rpartition("/")[2]).parent
        found = {file.relative_to(target).as_posix(): file for file in target.rglob("*") if file.is_file()}
        assert {name.removeprefix("spark/"): file.read_bytes() for name, file in found.items()} == stored


def test_a_name_that_is_a_file_and_a_folder_hides_neither(azureml: AzureMlEmulator, tmp_path: Path) -> None:
    for name in ("both/a", "both/a/b"):
        azureml.cloud.storage.put(name, b"x", container=CONTAINER)
    found = own_paths(azureml, tmp_path).list("azureml://datastores/workspaceblobstore/paths/both")
    assert sorted((info.path, info.is_dir) for info in found) == [("both/a", False), ("both/a", True)]


def test_threads_that_download_to_one_place_do_not_meet(azureml: AzureMlEmulator, tmp_path: Path) -> None:
    azureml.cloud.storage.put("big", LARGE, container=CONTAINER)
    paths = own_paths(azureml, tmp_path)
    with ThreadPoolExecutor(6) as pool:
        address = "azureml://datastores/workspaceblobstore/paths/big"
        for made in [pool.submit(paths.download, address, tmp_path / "down") for _ in range(6)]:
            assert made.result().read_bytes() == LARGE
    assert [file.name for file in (tmp_path / "down").iterdir()] == ["big"]


def own_paths(azureml: AzureMlEmulator, folder: Path) -> Paths:
    context = AdapterContext(
        home=folder / "home", options=azureml.options, clock_ms=lambda: time.time_ns() // 1_000_000
    )
    return open_paths(azureml.uri, context=context, credential=azureml.credential())
