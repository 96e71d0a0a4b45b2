"""Files on DBFS are whole or not there, also when the upload of a large one breaks off."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from trackbridge.errors import Conflict, NotFound, Rejected, Unavailable
from trackbridge.testing.emulators.databricks_files import WorkspaceFiles
from trackbridge_adapters._mlflow_rest.artifacts_dbfs import DbfsFiles
from trackbridge_adapters._mlflow_rest.artifacts_files import BLOCK_BYTES, INCOMING

LARGE = bytes(range(256)) * (3 * 4096 + 1)
ERRORS = {404: NotFound, 400: Rejected}


class Dbfs:
    """Stands for the wire: DBFS alone, which goes away when it is told to."""

    service = SimpleNamespace(adapter="databricks")

    def __init__(self) -> None:
        seconds = count(1_700_000_000)
        self.workspace = WorkspaceFiles(lambda: float(next(seconds)))
        self.breaks_at = ""
        self.before: dict[str, Callable[[], object]] = {}
        """What happens, once, before a route is asked."""
        self.missed = Event()

    def get(self, route: str, query: dict[str, Any], *, prefix: str) -> Any:
        return self._ask("GET", route, query)

    def post(self, route: str, body: dict[str, Any], *, prefix: str) -> Any:
        return self._ask("POST", route, body)

    def _ask(self, method: str, route: str, request: dict[str, Any]) -> Any:
        if route == self.breaks_at:
            raise Unavailable(f"gone at {route}")
        self.before.pop(route, lambda: None)()
        answer = self.workspace.dbfs(method, route, request)
        if answer.status >= 400:
            self.missed.set()
            raise ERRORS[answer.status](str(answer.body))
        return json.loads(answer.body)


@pytest.fixture
def dbfs() -> Dbfs:
    return Dbfs()


@pytest.fixture
def files(dbfs: Dbfs) -> DbfsFiles:
    return DbfsFiles(dbfs, "dbfs:/mnt/run")  # type: ignore[arg-type]


def put(files: DbfsFiles, path: str, content: bytes) -> None:
    files.put(path, io.BytesIO(content), digest="", size=len(content))


def read(files: DbfsFiles, path: str) -> bytes:
    with files.open(path) as reader:
        return reader.read()


def test_a_large_file_replaces_an_old_one_and_leaves_nothing_beside_it(dbfs: Dbfs, files: DbfsFiles) -> None:
    for content in (b"old", LARGE, LARGE[::-1], b"small"):
        put(files, "folder/x", content)
        assert read(files, "folder/x") == content
        assert list(dbfs.workspace.files) == ["/mnt/run/folder/x"]


@pytest.mark.parametrize("route", ["create", "add-block", "close"])
@pytest.mark.parametrize("old", [b"old", None])
def test_what_breaks_off_leaves_what_was_there(
    dbfs: Dbfs, files: DbfsFiles, route: str, old: bytes | None
) -> None:
    if old is not None:
        put(files, "folder/x", old)
    dbfs.breaks_at = route
    with pytest.raises(Unavailable, match=route):
        put(files, "folder/x", LARGE)
    dbfs.breaks_at = ""
    found = files.find("folder/x")
    assert (None if found is None else read(files, "folder/x")) == old
    assert [entry.name for entry in files.children("folder")] == ([] if old is None else ["x"])


def test_a_killed_upload_is_hidden_and_its_name_cannot_be_asked_for(dbfs: Dbfs, files: DbfsFiles) -> None:
    dbfs.workspace.files[f"/mnt/run/folder/{INCOMING}abc"] = (LARGE[:1000], 0)
    put(files, "folder/x", b"content")
    assert [entry.name for entry in files.children("folder")] == ["x"]
    assert "on their way" in (files.problem(f"folder/{INCOMING}abc") or "")


@pytest.mark.parametrize("ask", [read, lambda files, path: files.find(path).size])
def test_who_looks_while_a_file_is_replaced_finds_the_new_one(
    dbfs: Dbfs, files: DbfsFiles, ask: Callable[[DbfsFiles, str], object]
) -> None:
    put(files, "folder/x", b"old")
    with ThreadPoolExecutor(1) as pool:
        looking = []

        def look() -> None:
            looking.append(pool.submit(ask, files, "folder/x"))
            assert dbfs.missed.wait(60)

        dbfs.before["move"] = look
        put(files, "folder/x", LARGE)
        assert looking[0].result() in (LARGE, len(LARGE))


def test_a_reader_is_told_that_the_file_was_replaced_meanwhile(dbfs: Dbfs, files: DbfsFiles) -> None:
    put(files, "folder/x", LARGE)
    with files.open("folder/x") as reader:
        begun = reader.read(10)
        put(files, "folder/x", LARGE[::-1])
        with pytest.raises(Conflict, match="replaced or deleted while it was read"):
            reader.read()
    assert begun == LARGE[:10]


def test_a_writer_that_comes_between_is_written_over(dbfs: Dbfs, files: DbfsFiles) -> None:
    dbfs.before["move"] = lambda: put(files, "folder/x", b"another")
    put(files, "folder/x", LARGE)
    assert read(files, "folder/x") == LARGE
    assert list(dbfs.workspace.files) == ["/mnt/run/folder/x"]


def test_a_file_of_exactly_one_block_is_read_whole(files: DbfsFiles) -> None:
    for size in (0, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES):
        put(files, "x", LARGE[:size])
        assert read(files, "x") == LARGE[:size]
