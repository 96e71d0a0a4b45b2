"""``azureml://…/paths/…`` names files of datastores, jobs and runs; nothing leads out of a folder."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from trackbridge.errors import ConfigError, Conflict, NotFound, Rejected, Unavailable
from trackbridge.testing.contracts.samples import digest_of
from trackbridge_adapters._mlflow_rest.artifacts_files import Entry, Files
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.datastores import Datastores
from trackbridge_adapters.azureml.paths import BREAKS_MAX, PART, AzurePath, Paths, parse_path

WORKSPACE = Workspace("Sub", "Group", "Space")
LONG = "azureml://subscriptions/sub/resourcegroups/group/workspaces/space"


class Stored(Files):
    """Files in memory."""

    keeps_digests = True
    may_collide = False

    def __init__(self, root: str, content: dict[str, bytes]) -> None:
        self.root, self.content = root, content

    def problem(self, path: str) -> str | None:
        return None

    def address(self, path: str) -> str:
        return f"{self.root}/{path}"

    def held(self, path: str) -> Entry | None:
        return self.find(path)

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        self.content[path] = source.read()
        return ""

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.content[path])

    def find(self, path: str) -> Entry | None:
        name = path.rpartition("/")[2]
        if path in self.content:
            return Entry(name, size=len(self.content[path]))
        return Entry(name, is_dir=True) if self.children(path) else None

    def children(self, folder: str) -> Sequence[Entry]:
        start = f"{folder}/" if folder else ""
        below = [
            (path[len(start) :], content) for path, content in self.content.items() if path.startswith(start)
        ]
        folders = {path.partition("/")[0] for path, _ in below if "/" in path}
        files = [Entry(path, size=len(content)) for path, content in below if "/" not in path]
        return [*files, *(Entry(name, is_dir=True) for name in folders)]

    def delete(self, path: str, entry: Entry) -> None:
        del self.content[path]

    def digest(self, path: str) -> str | None:
        return None

    def presign(self, path: str, expires_s: int) -> str:
        return ""


class Cloud:
    """A workspace with one datastore, one run and jobs with outputs."""

    def __init__(self) -> None:
        self.blobs = {
            "models/wine/MLmodel": b"flavors",
            "models/wine/data/big.bin": b"x" * 100,
            ".gitignore": b"*",
        }
        self.run_files = {"model/MLmodel": b"of the run"}
        self.outputs: dict[str, Any] = {}

    def files(self, name: str, prefix: str = "") -> Files:
        if name != "workspaceblobstore":
            raise NotFound(f"there is no datastore {name}")
        return Stored("azureml://datastores/workspaceblobstore/paths", self.blobs)

    def job_outputs(self, job: str) -> dict[str, Any]:
        return self.outputs

    def paths(self) -> Paths:
        run_files = Stored("azureml://run", self.run_files)
        return Paths(WORKSPACE, cast("Datastores", self), lambda run: run_files)


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("azureml://datastores/d/paths/a/b", AzurePath("datastore", "d", "a/b")),
        ("azureml://datastores/d/paths/a//b/", AzurePath("datastore", "d", "a/b")),
        ("azureml://datastores/d/paths/100%25 ?#", AzurePath("datastore", "d", "100%25 ?#")),
        ("azureml://datastores/d/paths", AzurePath("datastore", "d", "")),
        (f"{LONG}/datastores/d/paths/a", AzurePath("datastore", "d", "a", workspace="sub/group/space")),
        ("azureml://jobs/j/outputs/artifacts/paths/model/", AzurePath("job", "j", "model", "artifacts")),
        ("azureml://jobs/j/outputs/weights", AzurePath("job", "j", "", "weights")),
        ("azureml://experiments/e/runs/r/artifacts/x", AzurePath("run", "r", "x")),
        (
            "azureml://h.api.azureml.ms/mlflow/v2.0/x/experiments/e/runs/r/artifacts",
            AzurePath("run", "r", ""),
        ),
        ("runs:/r/model", AzurePath("run", "r", "model")),
    ],
)
def test_addresses(uri: str, named: AzurePath) -> None:
    assert parse_path(uri) == named


@pytest.mark.parametrize(
    "uri",
    [
        "azureml://datastores/d/paths/../other",
        "azureml://datastores/d/paths/a/./b",
        "azureml://datastores/d/paths/a\0b",
        "azureml://datastores//paths/a",
        "azureml://registries/r/models/m/versions/1",
        "s3://bucket/key",
        "",
    ],
)
def test_what_is_none(uri: str) -> None:
    with pytest.raises(ConfigError):
        parse_path(uri)


def test_another_workspace_is_refused_with_its_address() -> None:
    uri = f"{LONG}-other/datastores/workspaceblobstore/paths/models"
    with pytest.raises(ConfigError, match="are of the workspace sub/group/space-other") as raised:
        Cloud().paths().list(uri)
    assert "azureml://sub/group/space-other" in str(raised.value.hint)


def test_sizes_are_the_real_ones() -> None:
    found = Cloud().paths().list(f"{LONG}/datastores/workspaceblobstore/paths/models/wine")
    assert [(info.path, info.is_dir, info.file_size) for info in found] == [
        ("models/wine/MLmodel", False, 7),
        ("models/wine/data", True, None),
    ]


def test_a_file_lists_itself() -> None:
    found = Cloud().paths().list("azureml://datastores/workspaceblobstore/paths/models/wine/MLmodel")
    assert [info.path for info in found] == ["models/wine/MLmodel"]


def test_a_folder_comes_whole_and_nothing_is_dropped(tmp_path: Path) -> None:
    cloud = Cloud()
    target = cloud.paths().download("azureml://datastores/workspaceblobstore/paths", tmp_path / "all")
    came = {
        path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()
    }
    assert came == cloud.blobs


def test_a_file_comes_under_its_name(tmp_path: Path) -> None:
    uri = "azureml://datastores/workspaceblobstore/paths/models/wine/MLmodel"
    assert Cloud().paths().download(uri, tmp_path).read_bytes() == b"flavors"
    assert [path.name for path in tmp_path.iterdir()] == ["MLmodel"]


class Breaking(Stored):
    """A file whose download breaks off after each block, and ends where it is told to."""

    BLOCK = 7

    def __init__(self, content: bytes, *, blocks_max: int, digest: str | None = None) -> None:
        super().__init__("azureml://datastores/workspaceblobstore/paths", {"a.bin": content})
        self.blocks_left, self.kept, self.asked = blocks_max, digest, []  # type: ignore[var-annotated]

    def find(self, path: str) -> Entry | None:
        entry = super().find(path)
        return entry and Entry(entry.name, size=entry.size, version="v1", digest=self.kept or "")

    def read_from(self, path: str, start: int, version: str) -> Iterator[Any]:
        self.asked.append((start, version))
        if self.blocks_left:
            self.blocks_left -= 1
            yield self.content[path][start : start + self.BLOCK]
        raise Unavailable("the connection was reset")

    def download(self, folder: Path) -> Path:
        cloud = Cloud()
        cloud.files = lambda name, prefix="": self  # type: ignore[method-assign]
        return cloud.paths().download("azureml://datastores/workspaceblobstore/paths/a.bin", folder)


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    content = bytes(range(28))
    files = Breaking(content, blocks_max=9, digest=digest_of(content))
    assert files.download(tmp_path).read_bytes() == content
    assert files.asked == [(0, "v1"), (7, "v1"), (14, "v1"), (21, "v1")]


def test_what_killed_downloads_have_left_goes_with_the_next_and_nothing_else_does(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    uri = "azureml://datastores/workspaceblobstore/paths/models/wine"
    target = Cloud().paths().download(uri, tmp_path)
    names = {file.name for file in target.iterdir()}
    left, new, running, mine = (
        target / name
        for name in (
            f"w{PART}{killed.pid}-0123abcd",
            f"x{PART}{killed.pid}-0123abcd",  # of another machine, it may be
            f"y{PART}{os.getpid()}-0123abcd",
            f"notes{PART}",
        )
    )
    for file in (left, new, running, mine):
        file.write_bytes(b"half")
        if file is not new:
            os.utime(file, (0, 0))
    Cloud().paths().download(uri, tmp_path)
    assert {file.name for file in target.iterdir()} == names | {new.name, running.name, mine.name}


def test_a_download_of_which_nothing_comes_ends(tmp_path: Path) -> None:
    files = Breaking(bytes(28), blocks_max=1)
    with pytest.raises(Unavailable):
        files.download(tmp_path)
    assert files.asked == [(0, "v1"), *[(7, "v1")] * (BREAKS_MAX + 1)]
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_not_those_of_the_digest_take_no_name(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"what was there")
    with pytest.raises(Rejected, match="digest"):
        Breaking(bytes(28), blocks_max=9, digest=digest_of(b"others")).download(tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"what was there")]


def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    files = Breaking(bytes(28), blocks_max=9)
    files.read_from = lambda path, start, version: iter(())  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="shorter"):
        files.download(tmp_path)


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    cloud = Cloud()
    cloud.blobs = {"models/..\\..\\escaped": b"bad"}
    with pytest.raises(Rejected, match="leads out of the folder"):
        cloud.paths().download("azureml://datastores/workspaceblobstore/paths/models", tmp_path / "in")
    assert list(tmp_path.rglob("*escaped*")) == []


@pytest.mark.parametrize("path", ["nothing", "models"])
def test_only_a_file_can_be_opened(path: str) -> None:
    with pytest.raises(NotFound, match="no such file"):
        Cloud().paths().open(f"azureml://datastores/workspaceblobstore/paths/{path}")


def test_nothing_to_download(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Cloud().paths().download("azureml://datastores/workspaceblobstore/paths/nothing", tmp_path)


def test_what_a_jobs_run_logged() -> None:
    with Cloud().paths().open("azureml://jobs/j/outputs/artifacts/paths/model/MLmodel") as file:
        assert file.read() == b"of the run"


def test_a_named_output_is_where_the_job_says() -> None:
    cloud = Cloud()
    cloud.outputs = {"weights": {"uri": "azureml://datastores/workspaceblobstore/paths/models/"}}
    with cloud.paths().open("azureml://jobs/j/outputs/weights/paths/wine/MLmodel") as file:
        assert file.read() == b"flavors"


def test_a_named_output_without_an_address_has_its_usual_place() -> None:
    cloud = Cloud()
    cloud.outputs, cloud.blobs = {"weights": {}}, {"azureml/j/weights/w.bin": b"w"}
    with cloud.paths().open("azureml://jobs/j/outputs/weights/paths/w.bin") as file:
        assert file.read() == b"w"


def test_an_output_that_a_job_lacks_is_told_with_those_it_has() -> None:
    cloud = Cloud()
    cloud.outputs = {"weights": {}}
    with pytest.raises(NotFound, match="no output 'wights'") as raised:
        cloud.paths().list("azureml://jobs/j/outputs/wights/paths/")
    assert "weights" in str(raised.value.hint)


def test_an_output_that_names_itself_ends() -> None:
    cloud = Cloud()
    cloud.outputs = {"weights": {"uri": "azureml://jobs/j/outputs/weights/paths"}}
    with pytest.raises(ConfigError, match="names itself"):
        cloud.paths().list("azureml://jobs/j/outputs/weights/paths/")
