"""Files on DBFS are whole or not there, also when the upload of a large one breaks off."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest

from trackbridge.errors import NotFound, Rejected, Unavailable
from trackbridge.testing.emulators.databricks_files import WorkspaceFiles
from trackbridge_adapters._mlflow_rest.artifacts_dbfs import DbfsFiles
from trackbridge_adapters._mlflow_rest.artifacts_files import INCOMING

LARGE = bytes(range(256)) * (3 * 4096 + 1)
ERRORS = {404: NotFound, 400: Rejected}


class Dbfs:
    """Stands for the wire: DBFS alone, which goes away when it is told to."""

    service = SimpleNamespace(adapter="databricks")

    def __init__(self) -> None:
        self.workspace = WorkspaceFiles(lambda: 1_700_000_000.0)
        self.breaks_at = ""

    def get(self, route: str, query: dict[str, Any], *, prefix: str) -> Any:
        return self._ask("GET", route, query)

    def post(self, route: str, body: dict[str, Any], *, prefix: str) -> Any:
        return self._ask("POST", route, body)

    def _ask(self, method: str, route: str, request: dict[str, Any]) -> Any:
        if route == self.breaks_at:
            raise Unavailable(f"gone at {route}")
        answer = self.workspace.dbfs(method, route, request)
        if answer.status >= 400:
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
