"""Journals that a platform kept come here whole, once, and without anything that no journal has."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.journals import URI, Bench
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from tests.support.s3_servers import BUCKET, KEY, REGION, SECRET, s3_client, s3_server
from trackbridge.delivery.by_hand import HandDelivery, Left
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.domain.records import ArtifactLogged
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import NotFound, Unavailable, Unsupported
from trackbridge.journal.folder import JournalFolder
from trackbridge.operations.job_homecoming import Arrival, bring_home
from trackbridge.operations.uri_files import UriFiles, is_files_address, open_files

STEPS = 300


class Scene:
    """A machine whose program was killed, the copy that its platform keeps, and a machine at home."""

    def __init__(self, folder: Path, *, dedup: bool = True) -> None:
        self.state = MemoryState()
        self.away = Bench(folder / "away" / "journal", MemoryAdapter(self.state, dedup=dedup))
        self.recorder = self.away.run()
        self.log(0, STEPS)
        self.recorder.content(b"weights", "model/weights.bin")
        self.kept = folder / "kept"
        self.root = folder / "home" / "journal"
        self.home = Bench(self.root, self.away.adapter)  # delivers, and logs nothing
        self.home.writer.close()
        shutil.rmtree(self.home.writer.folder.path)

    @property
    def journal_id(self) -> str:
        return self.away.writer.folder.journal_id

    @property
    def copy(self) -> Path:
        return self.kept / "journal" / self.journal_id

    def log(self, first: int, last: int) -> None:
        for step in range(first, last):
            self.recorder.metric("loss", step / 3, step, timestamp=1_700_000_000_000 + step)

    def vanish(self) -> None:
        """Let the program die, and the platform keep what an object store keeps of its folder: files."""
        self.away.writer._stop_keeper.set()
        self.away.writer._writer_lock.release()
        self.keep()

    def keep(self) -> None:
        """Copy the folder as it stands, without empty folders."""
        for path in self.away.root.rglob("*"):
            if path.is_file():
                target = self.kept / "journal" / path.relative_to(self.away.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)

    def bring(self, files: UriFiles | None = None) -> Arrival:
        return bring_home(files or open_files(str(self.kept)), self.root, accepts=lambda uri: uri == URI)

    def deliver(self, arrival: Arrival) -> list[Left]:
        left = HandDelivery(self.root, open_backend=self.home.backend).run()
        arrival.note_delivered()
        return left

    def check(self, *, last: int = STEPS) -> None:
        tracking = self.home.backend(URI).tracking
        assert list(tracking.metric_history(self.recorder.run_id, "loss").steps) == list(range(last))
        artifacts = self.home.adapter.artifacts
        assert artifacts is not None
        with artifacts.open(self.recorder.run_id, "model/weights.bin") as file:
            assert file.read() == b"weights"
        assert tracking.get_run(self.recorder.run_id).info.status is RunStatus.KILLED


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_journal_comes_home_once(scene: Scene) -> None:
    scene.vanish()
    arrival = scene.bring()
    assert list(arrival.journals) == [scene.journal_id]
    assert scene.deliver(arrival) == []
    scene.check()
    again = scene.bring()
    assert (dict(again.journals), again.known) == ({}, (scene.journal_id,))
    assert not (scene.root / scene.journal_id).exists()


@pytest.mark.parametrize("dedup", [True, False])
@pytest.mark.parametrize("delivered", [0, 100, STEPS])
def test_what_was_delivered_from_there_is_not_there_twice(
    tmp_path: Path, dedup: bool, delivered: int
) -> None:
    """The copy is older than what the machine had delivered when it vanished."""
    scene = Scene(tmp_path, dedup=dedup)
    scene.keep()
    if delivered:
        scene.away.deliver()
    scene.log(STEPS, STEPS + delivered)
    scene.away.writer._stop_keeper.set()
    scene.away.writer._writer_lock.release()
    assert scene.deliver(scene.bring()) == []
    scene.check()


def test_an_old_copy_of_what_its_machine_has_delivered_does_not_come(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_JOB_ID", "job")
    monkeypatch.setenv("BRIDGE_HOME", str(scene.away.root.parent))
    scene.recorder.tags({"phase": "begun"})
    scene.keep()
    scene.recorder.tags({"phase": "done"})
    scene.recorder.close(RunStatus.FINISHED)
    scene.away.writer.close()
    assert HandDelivery(scene.away.root, open_backend=scene.away.backend).run() == []
    assert not scene.away.writer.folder.path.exists()
    scene.keep()  # adds what is new, and deletes nothing
    arrival = scene.bring()
    assert (dict(arrival.journals), arrival.known) == ({}, (scene.journal_id,))
    run = scene.home.backend(URI).tracking.get_run(scene.recorder.run_id)
    assert (run.data.tags["phase"], run.info.status) == ("done", RunStatus.FINISHED)


def test_a_machine_of_ones_own_keeps_no_notes(scene: Scene) -> None:
    scene.recorder.close(RunStatus.FINISHED)
    scene.away.writer.close()
    assert HandDelivery(scene.away.root, open_backend=scene.away.backend).run() == []
    assert not (scene.away.root / "delivered").exists()


def test_a_journal_that_has_grown_comes_again(scene: Scene) -> None:
    scene.keep()
    assert scene.deliver(scene.bring()) == []
    scene.log(STEPS, STEPS + 10)
    scene.vanish()
    assert scene.deliver(scene.bring()) == []
    scene.check(last=STEPS + 10)


def test_a_call_that_was_interrupted_is_gone_on_with(scene: Scene) -> None:
    scene.vanish()

    class Breaking(UriFiles):
        """Breaks off before the files that were staged."""

        def __init__(self, inner: UriFiles) -> None:
            self._inner, self.address, self.opened = inner, inner.address, []  # type: ignore[var-annotated]
            self.is_down = True

        def below(self, path: str) -> UriFiles:
            found = Breaking(self._inner.below(path))
            found.is_down, found.opened = self.is_down, self.opened
            return found

        def listed(self) -> dict[str, int]:
            return self._inner.listed()

        def open(self, path: str) -> BinaryIO:
            if self.is_down and "/staged/" in path:
                raise Unavailable("the network is gone")
            self.opened.append(path.rpartition("/")[2])
            return self._inner.open(path)

    files = Breaking(open_files(str(scene.kept)))
    with pytest.raises(Unavailable):
        scene.bring(files)
    assert "00000001.log" in files.opened
    files.is_down = False
    files.opened.clear()
    assert scene.deliver(scene.bring(files)) == []
    assert "00000001.log" not in files.opened
    scene.check()


def test_a_journal_that_is_here_already_is_completed(scene: Scene) -> None:
    """The first delivery found no server; meanwhile more was kept."""
    scene.keep()
    scene.bring()
    scene.log(STEPS, STEPS + 10)
    scene.vanish()
    arrival = scene.bring()
    assert list(arrival.journals) == [scene.journal_id]
    assert scene.deliver(arrival) == []
    scene.check(last=STEPS + 10)


def test_what_lives_here_is_left_alone(scene: Scene) -> None:
    scene.keep()
    arrival = bring_home(open_files(str(scene.kept)), scene.away.root, accepts=lambda uri: True)
    (left,) = arrival.left_behind
    assert left.why == "the program that writes it lives on this machine"
    assert scene.away.writer.folder.path.exists()


# Copies that are not as they should be.


def test_a_copy_that_was_cut_off_anywhere(scene: Scene) -> None:
    scene.vanish()
    segment = scene.copy / "00000001.log"
    content = segment.read_bytes()
    segment.write_bytes(content[: len(content) // 2])
    arrival = scene.bring()
    scene.deliver(arrival)
    steps = scene.home.backend(URI).tracking.metric_history(scene.recorder.run_id, "loss").steps
    assert list(steps) == list(range(len(steps)))
    assert 50 < len(steps) < STEPS
    assert len(DeadLetters(scene.root).damages()) == 1


def test_a_copy_without_its_description_goes_where_somebody_says(scene: Scene) -> None:
    scene.vanish()
    (scene.copy / "journal.json").unlink()
    arrival = scene.bring()
    left = scene.deliver(arrival)
    assert "cannot be read" in left[0].why
    done = HandDelivery(scene.root, open_backend=scene.home.backend, destinations=(URI,)).run()
    assert done == []
    scene.check()


def test_a_cursor_behind_everything_that_was_kept(scene: Scene) -> None:
    scene.vanish()
    (scene.copy / "cursor-0000000000000000.json").write_text("{")
    cursor = JournalFolder(scene.copy)
    from trackbridge.journal.cursors import Cursor, store_cursor
    from trackbridge.journal.reader import Position

    store_cursor(cursor, Cursor(destination=URI, position=Position(segment=9, offset=1, sequence=1)))
    assert scene.deliver(scene.bring()) == []
    scene.check()


def test_a_journal_for_another_place_is_not_taken(scene: Scene) -> None:
    scene.vanish()
    description = json.loads((scene.copy / "journal.json").read_text())
    description["destinations"] = [URI, "https://elsewhere.example"]
    (scene.copy / "journal.json").write_text(json.dumps(description))
    arrival = scene.bring()
    (left,) = arrival.left_behind
    assert "--uri https://elsewhere.example" in left.why
    assert not (scene.root / scene.journal_id).exists()


@pytest.mark.parametrize("named", ["[5]", '"x"', '{"a": 1}', "[]", "[" * 100_000])
def test_a_description_that_is_none_is_told_as_a_damaged_one(scene: Scene, named: str) -> None:
    scene.vanish()
    (scene.copy / "journal.json").write_text(
        f'{{"format": 1, "pid": 1, "host": "h", "created_ms": 1, "destinations": {named}}}'
    )
    (left,) = scene.deliver(scene.bring())
    assert "cannot be read" in str(left)


def test_names_that_no_journal_has_stay_where_they_are(scene: Scene) -> None:
    scene.vanish()
    for name in ("writer.lock", "00000002.log.sh", "staged/..", "../escaped", "flush", "open/a b"):
        target = scene.copy / "strange" if ".." in name else scene.copy / name
        target.parent.mkdir(exist_ok=True)
        target.write_text("x")
    (scene.copy / "staged" / ("a" * 32)).symlink_to("/etc/hostname")
    arrival = scene.bring()
    here = scene.root / scene.journal_id
    names = {path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()}
    assert names.isdisjoint({"writer.lock", "00000002.log.sh", "flush", "open/a b", f"staged/{'a' * 32}"})
    assert scene.deliver(arrival) == []
    scene.check()


def test_paths_that_climb_are_left_out(scene: Scene) -> None:
    class Climbing(UriFiles):
        address = "s3://bucket/kept/journal/"

        def below(self, path: str) -> UriFiles:
            return self

        def listed(self) -> dict[str, int]:
            return {
                "../../escaped": 1,
                f"{'a' * 32}/../../escaped": 1,
                f"{'a' * 32}/staged/../../../escaped": 1,
                f"{'a' * 32}/open/../x": 1,
            }

        def open(self, path: str) -> BinaryIO:
            raise AssertionError(path)

    assert scene.bring(Climbing()).journals == {}


def test_a_record_that_names_a_file_of_this_machine_is_refused(scene: Scene, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    digest = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    climbing = os.path.relpath(secret, scene.root / scene.journal_id / "staged")
    import msgspec

    record = ArtifactLogged(scene.recorder.run_id, 1, "stolen", digest, 6, climbing)
    scene.away.writer.append(msgspec.msgpack.encode(record))
    scene.vanish()
    scene.deliver(scene.bring())
    (letter,) = DeadLetters(scene.root).read()
    assert "there is no" in letter.reason
    artifacts = scene.home.adapter.artifacts
    assert artifacts is not None
    with pytest.raises(NotFound):
        artifacts.open(scene.recorder.run_id, "stolen")
    assert secret.exists()


def test_nothing_there(tmp_path: Path) -> None:
    arrival = bring_home(open_files(str(tmp_path / "no")), tmp_path / "journal", accepts=lambda uri: True)
    assert (dict(arrival.journals), arrival.known, arrival.left_behind) == ({}, (), ())


# Buckets.


def test_from_a_bucket(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scene.vanish()
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "BRIDGE_HOME": str(tmp_path / "bridge"),
    }.items():
        monkeypatch.setenv(name, value)
    with s3_server() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for path in scene.kept.rglob("*"):
            if path.is_file():
                key = f"jobs/one/{path.relative_to(scene.kept).as_posix()}"
                s3_client(endpoint).put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        files = open_files(f"s3://{BUCKET}/jobs/one")
        arrival = scene.bring(files)
        assert list(arrival.journals) == [scene.journal_id]
        assert scene.deliver(arrival) == []
        assert scene.bring(files).known == (scene.journal_id,)
        assert bring_home(open_files(f"s3://{BUCKET}/jobs/two"), scene.root, accepts=bool).journals == {}
    scene.check()


def test_addresses() -> None:
    for text in (
        "s3://b/k",
        "azureml://jobs/j/outputs/artifacts/paths/x",
        "abfss://c@a.dfs/x",
        "gs://b",
        "dbfs:/x",
    ):
        assert is_files_address(text), text
    for text in ("azureml:", "azureml://s/g/w", "sagemaker:", "https://x", "file:/x", "./s3", "prod"):
        assert not is_files_address(text), text
    with pytest.raises(Unsupported, match="cannot be read from here"):
        open_files("wasbs://c@a.blob.core.windows.net/x")
