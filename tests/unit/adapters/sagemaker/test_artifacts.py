"""Files in the bucket: requests per file, links to them as outputs, kills on the way, keys that end."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from tests.unit.adapters.sagemaker.place_rig import BUCKET, REGION, backend
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.errors import AuthError, NotFound, Rejected, Unavailable
from trackbridge.testing.emulators.aws_keys import Key
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.experiment_records import Experiments
from trackbridge_adapters._mlflow_rest import artifacts_taken
from trackbridge_adapters.sagemaker.artifacts import Runs, SageMakerArtifacts
from trackbridge_adapters.sagemaker.clients import Clients

RUN, COMPONENT = "1" * 32, "e-" + "1" * 32
PART_BYTES = 5 * 1024 * 1024  # S3 takes no less
PARTS, KILLS = 16, 10


class OneRun(Runs):
    """Knows one run."""

    def component_of(self, run_id: str) -> str:
        if run_id != RUN:
            raise NotFound("there is no such run")
        return COMPONENT

    def artifacts_prefix(self, run_id: str) -> str:
        self.component_of(run_id)
        return f"runs/{run_id}/artifacts"


@pytest.fixture(scope="module")
def server() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator(region=REGION) as emulator:
        yield emulator


@pytest.fixture
def aws(server: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    """An empty AWS with the component of one run."""
    server.reset()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    make_bucket(server, BUCKET)
    server.client("sagemaker").create_trial_component(TrialComponentName=COMPONENT)
    yield server
    server.raise_failures()


def make_bucket(aws: SageMakerEmulator, name: str, key: Key | None = None) -> Any:
    s3 = aws.client("s3", key)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return s3


class Opened:
    """The store under test, and the calls that it makes."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.backend = backend(home)
        self.store = SageMakerArtifacts(self.backend, OneRun())
        self.folder = home
        self.calls: list[str] = []
        call, opened = Clients.call, self

        def counted(self: Clients, service: str, operation: str, /, **named: Any) -> dict[str, Any]:
            opened.calls.append(operation)
            return call(self, service, operation, **named)

        monkeypatch.setattr(Clients, "call", counted)

    def put(self, path: str, content: bytes = b"content") -> ArtifactInfo:
        file = self.folder / f"source-{threading.get_ident()}"
        file.write_bytes(content)
        return self.store.put(RUN, path, file, digest=digest_of(content), size=len(content))

    def links(self) -> dict[str, Any]:
        found = self.backend.clients.call("sagemaker", "DescribeTrialComponent", TrialComponentName=COMPONENT)
        return dict(found.get("OutputArtifacts") or {})


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def opened(aws: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(tmp_path, monkeypatch)


# Requests.


def test_a_new_file_is_one_request(opened: Opened, aws: SageMakerEmulator) -> None:
    opened.put("folder/first")
    before = len(aws.calls)
    for number in range(10):
        opened.put(f"folder/{number}", b"%d" % number)
    assert [call.operation for call in aws.calls[before:]] == ["PutObject"] * 10
    before = len(aws.calls)
    opened.put("folder/3", b"3")
    assert "PutObject" not in [call.operation for call in aws.calls[before:]], "the same was sent again"


def test_what_others_put_meanwhile_is_seen(
    aws: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = Opened(tmp_path, monkeypatch), Opened(tmp_path, monkeypatch)
    ours.put("a/1")
    theirs.put("a/2", b"theirs")
    assert ours.put("a/2", b"ours").digest == digest_of(b"ours")
    with theirs.store.open(RUN, "a/2") as reader:
        assert reader.read() == b"ours"
    theirs.put("file")
    with pytest.raises(Rejected):
        ours.put("file/below")
    theirs.store.delete(RUN, "a")
    ours.put("a", b"a file now")
    assert [(item.path, item.is_dir) for item in ours.store.list(RUN)] == [("a", False), ("file", False)]


def test_a_run_with_more_files_than_are_remembered(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackbridge_adapters._mlflow_rest.artifacts.KNOWN_PATHS_MAX", 3)
    for number in range(8):
        opened.put(f"a/{number}")
    with pytest.raises(Rejected):
        opened.put("a")
    with pytest.raises(Rejected):
        opened.put("a/1/below")
    assert len(opened.store.list(RUN, "a").items) == 8


def test_claims_of_many_threads_do_not_cross() -> None:
    taken = artifacts_taken.Taken(["there"], most=10_000)

    def claim(number: int) -> list[bool]:
        return [taken.claim("x" if number % 2 else "x/y"), taken.claim(f"own/{number}"), taken.claim("there")]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(claim, range(64)))
    assert sum(first for first, _, _ in found) == 1
    assert all(second and not third for _, second, third in found)


# Links.


def test_files_and_folders_at_the_top_are_outputs_of_the_component(opened: Opened) -> None:
    opened.backend.clients.call(
        "sagemaker",
        "UpdateTrialComponent",
        TrialComponentName=COMPONENT,
        OutputArtifacts={"theirs": {"Value": "s3://elsewhere/x"}},
    )
    for path in ("model/MLmodel", "model/data/weights", "plot.png", "notes"):
        opened.put(path)
    root = f"s3://{BUCKET}/trackbridge/runs/{RUN}/artifacts"
    assert opened.links() == {
        "theirs": {"Value": "s3://elsewhere/x"},
        "model": {"Value": f"{root}/model/"},
        "plot.png": {"Value": f"{root}/plot.png", "MediaType": "image/png"},
        "notes": {"Value": f"{root}/notes"},
    }
    assert opened.store.stat(RUN, "plot.png").native_uri == f"{root}/plot.png"
    assert opened.calls.count("UpdateTrialComponent") == 4


def test_links_that_others_make_meanwhile_stay(opened: Opened, aws: SageMakerEmulator) -> None:
    aws.cloud.part(Experiments).merges = False
    opened.put("one")
    theirs = {**opened.links(), "theirs": {"Value": "s3://elsewhere/x"}}
    opened.backend.clients.call(
        "sagemaker", "UpdateTrialComponent", TrialComponentName=COMPONENT, OutputArtifacts=theirs
    )
    opened.put("two")
    assert sorted(opened.links()) == ["one", "theirs", "two"]


def test_links_that_others_are_changing_are_taken_away_later(opened: Opened, aws: SageMakerEmulator) -> None:
    opened.put("one")
    aws.faults.fail("UpdateTrialComponent", times=1, code="ConflictException", message="busy", status=400)
    with pytest.raises(Unavailable, match="busy"):
        opened.store.delete(RUN, "one")
    opened.store.delete(RUN, "one")
    assert opened.links() == {}


def test_whoever_hands_out_keys_is_not_reached(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.backend.bucket.store(write=True)

    def fail() -> Any:
        raise Unavailable("STS cannot be reached")

    monkeypatch.setattr(opened.backend.credentials, "frozen", fail)
    with pytest.raises(Unavailable, match="STS cannot be reached"):
        opened.store.stat(RUN, "a")


def test_sixty_are_linked_and_all_are_kept(opened: Opened) -> None:
    names = [f"{number:02}" for number in range(63)] + ["x" * 200]
    for name in names:
        opened.put(name)
    assert sorted(opened.links()) == names[:60]
    assert [item.path for item in opened.store.list(RUN)] == names


def test_links_of_several_threads_are_all_there(opened: Opened) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(opened.put, map(str, range(16))))
    assert sorted(opened.links()) == sorted(map(str, range(16)))


def test_a_component_that_somebody_deleted_is_no_obstacle(opened: Opened) -> None:
    opened.backend.clients.call("sagemaker", "DeleteTrialComponent", TrialComponentName=COMPONENT)
    opened.put("a")
    assert [item.path for item in opened.store.list(RUN)] == ["a"]


def test_an_unknown_run(opened: Opened) -> None:
    with pytest.raises(NotFound):
        opened.store.put("2" * 32, "a", opened.folder / "x", digest=digest_of(b""), size=0)
    assert opened.store.list("2" * 32).items == ()


def test_what_is_deleted_is_linked_no_more(opened: Opened) -> None:
    for path in ("model/a", "model/b", "plot.png"):
        opened.put(path)
    opened.store.delete(RUN, "model/a")
    assert sorted(opened.links()) == ["model", "plot.png"]
    opened.store.delete(RUN, "model")
    opened.store.delete(RUN, "never there")
    assert sorted(opened.links()) == ["plot.png"]
    opened.put("model/c")
    assert sorted(opened.links()) == ["model", "plot.png"]


# What others have linked.


@pytest.fixture
def linked(opened: Opened, aws: SageMakerEmulator) -> Opened:
    """A run with a file of ours, and links as AWS's SDK and jobs make them."""
    s3 = make_bucket(aws, "theirs")
    for key in ("job/output/model.tar.gz", "data/part-0", "data/deep/part-1", "data-2/x"):
        s3.put_object(Bucket="theirs", Key=key, Body=key.encode())
    opened.put("ours.txt", b"ours")
    links = {
        "SageMaker.ModelArtifact": "s3://theirs/job/output/model.tar.gz",
        "data": "s3://theirs/data/",
        "ours.txt": f"s3://{BUCKET}/trackbridge/runs/{RUN}/artifacts/ours.txt",
        "gone": "s3://theirs/gone",
        "page": "https://example.com/",
        "a/b": "s3://theirs/data-2/x",
    }
    opened.backend.clients.call(
        "sagemaker",
        "UpdateTrialComponent",
        TrialComponentName=COMPONENT,
        OutputArtifacts={name: {"Value": value} for name, value in links.items()},
    )
    # Another reader, who has seen nothing yet.
    opened.store = SageMakerArtifacts(opened.backend, OneRun())
    return opened


def test_linked_files_and_folders_are_read(linked: Opened) -> None:
    store = linked.store
    assert [(item.path, item.is_dir) for item in store.list(RUN)] == [
        ("SageMaker.ModelArtifact", False),
        ("data", True),
        ("ours.txt", False),
    ]
    assert [item.path for item in store.list(RUN, "data")] == ["data/deep", "data/part-0"]
    assert [item.path for item in store.list(RUN, "data/deep")] == ["data/deep/part-1"]
    for path, key in (
        ("SageMaker.ModelArtifact", "job/output/model.tar.gz"),
        ("data/part-0", "data/part-0"),
        ("data/deep/part-1", "data/deep/part-1"),
    ):
        info = store.stat(RUN, path)
        assert (info.path, info.file_size, info.native_uri) == (path, len(key), f"s3://theirs/{key}")
        with store.open(RUN, path) as reader:
            assert reader.read() == key.encode()
    assert store.stat(RUN, "data").is_dir
    assert store.stat(RUN, "ours.txt").digest == digest_of(b"ours")
    for item in store.list(RUN):
        assert item == store.stat(RUN, item.path)
    for path in ("gone", "page", "data/absent", "data-2/x", "SageMaker.ModelArtifact/x"):
        with pytest.raises(NotFound):
            store.stat(RUN, path)
        with pytest.raises(NotFound):
            store.open(RUN, path)


def test_a_file_of_ours_comes_before_a_link(linked: Opened) -> None:
    linked.put("data/part-0", b"mine")
    with linked.store.open(RUN, "data/part-0") as reader:
        assert reader.read() == b"mine"
    assert [item.path for item in linked.store.list(RUN, "data")] == ["data/part-0"]


def test_what_lies_elsewhere_is_never_deleted(linked: Opened, aws: SageMakerEmulator) -> None:
    with pytest.raises(Rejected, match="somebody else"):
        linked.store.delete(RUN, "data/part-0")
    linked.store.delete(RUN, "data")
    assert "data" not in linked.links()
    assert "SageMaker.ModelArtifact" in linked.links()
    found = aws.client("s3").list_objects_v2(Bucket="theirs")["Contents"]
    assert len(found) == 4


def test_links_into_a_bucket_that_is_gone_lead_nowhere(linked: Opened, aws: SageMakerEmulator) -> None:
    s3 = aws.client("s3")
    for item in s3.list_objects_v2(Bucket="theirs")["Contents"]:
        s3.delete_object(Bucket="theirs", Key=item["Key"])
    s3.delete_bucket(Bucket="theirs")
    assert [item.path for item in linked.store.list(RUN)] == ["ours.txt"]


def test_links_to_what_may_not_be_read_are_listed(linked: Opened, aws: SageMakerEmulator) -> None:
    stranger = aws.keys.issue(principal="arn:aws:iam::999999999999:user/stranger")
    make_bucket(aws, "strangers", stranger).put_object(Bucket="strangers", Key="x", Body=b"secret")
    linked.backend.clients.call(
        "sagemaker",
        "UpdateTrialComponent",
        TrialComponentName=COMPONENT,
        OutputArtifacts={"closed": {"Value": "s3://strangers/x"}},
    )
    listed = {item.path: item.file_size for item in linked.store.list(RUN)}
    assert listed["closed"] is None
    with pytest.raises(AuthError):
        linked.store.open(RUN, "closed")


# Kills.

KILLED = """
    import sys
    from pathlib import Path
    from tests.unit.adapters.sagemaker import test_artifacts as test
    from trackbridge_adapters._mlflow_rest import artifacts_parts, artifacts_parts_s3

    folder = Path(sys.argv[1])
    artifacts_parts.PART_BYTES_MIN = test.PART_BYTES
    send = artifacts_parts_s3.S3Parts.send
    store = test.SageMakerArtifacts(test.backend(folder), test.OneRun())

    def noted(self, upload, number, content):
        tag = send(self, upload, number, content)
        with (folder / "sent").open("a") as file:
            file.write(f"{number}\\n")
        return tag

    artifacts_parts_s3.S3Parts.send = noted
    print("ready", flush=True)
    store.put_resumable(
        test.RUN, "big.bin", folder / "big", digest=sys.argv[2], size=int(sys.argv[3]), state=folder / "state"
    )
    print("done")
"""


def test_a_large_upload_that_is_killed_ten_times_goes_on(opened: Opened, tmp_path: Path) -> None:
    content = os.urandom(1024) * (PARTS * PART_BYTES // 1024) + b"tail"
    (tmp_path / "big").write_bytes(content)
    told = [str(tmp_path), digest_of(content), str(len(content))]
    program = [sys.executable, "-c", textwrap.dedent(KILLED), *told]
    where: Any = {"cwd": Path(__file__).parents[4], "stdout": subprocess.PIPE, "text": True}
    chance, sent = random.Random(7), tmp_path / "sent"
    sent.touch()
    for kill in range(KILLS):
        before, noted = sent.read_text().split(), parts_noted(tmp_path / "state")
        enough = min(len(noted) + chance.choice((0, 1, 2)), PARTS * (kill + 1) // KILLS, PARTS - 5)
        with subprocess.Popen(program, **where) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            while process.poll() is None and len(parts_noted(tmp_path / "state")) < enough:
                threading.Event().wait(0.001)
            threading.Event().wait(chance.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, "it was done before it could be killed"
        assert not noted & set(sent.read_text().split()[len(before) :]), "a finished part was sent again"
        assert opened.store.list(RUN).items == (), "half a file is seen"
    before, noted = sent.read_text().split(), parts_noted(tmp_path / "state")
    assert noted, "no kill left a finished part"
    done = subprocess.run(program, **where, timeout=120, check=True)
    assert done.stdout == "ready\ndone\n"
    with opened.store.open(RUN, "big.bin") as reader:
        assert digest_of(reader.read()) == digest_of(content)
    assert set(sent.read_text().split()[len(before) :]) == set(map(str, range(1, PARTS + 2))) - noted
    assert not (tmp_path / "state").exists()


def parts_noted(state: Path) -> set[str]:
    """Return the numbers of the parts that a kill cannot lose any more."""
    lines = state.read_text().split("\n")[1:-1] if state.exists() else []
    return {line.strip("[]").partition(",")[0] for line in lines}
