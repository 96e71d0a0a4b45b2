"""Payloads that Azure has kept, page by page, from files by name."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import BinaryIO
from unittest.mock import Mock

from trackbridge.domain.deployments import CapturedPayload
from trackbridge.errors import NotFound
from trackbridge_adapters._mlflow_rest.artifacts_files import Entry
from trackbridge_adapters.azureml.deployments_captured import CapturedFiles

HOUR = "2026/11/22/23"
NEXT_HOUR = "2026/11/23/00"


class Files:
    """Files below a folder; a file is lines of events, by their correlations."""

    def __init__(self, files: Mapping[str, Sequence[str]]) -> None:
        self._files = files

    def children(self, folder: str) -> Sequence[Entry]:
        start = f"{folder}/" if folder else ""
        below = [path[len(start) :].partition("/") for path in self._files if path.startswith(start)]
        return [Entry(name, is_dir=bool(rest)) for name, _, rest in dict.fromkeys(below)]

    def open(self, path: str) -> BinaryIO:
        if path not in self._files:
            raise NotFound(path)
        events = [
            {"id": path, "correlationid": name, "time": "2026-11-22T23:59:59Z", "data": {"of": name}}
            for name in self._files[path]
        ]
        return io.BytesIO("\n".join(json.dumps(event) for event in events).encode())


def read(files: Mapping[str, Sequence[str]], size: int = 1000) -> list[CapturedPayload]:
    datastores = Mock()
    datastores.files.return_value = Files(files)
    found: list[CapturedPayload] = []
    token = None
    while True:
        page = CapturedFiles(datastores).read(
            "wine", deployment=None, since=0, until=None, max_results=size, token=token
        )
        found += page.items
        token = page.token
        if token is None:
            return found


def test_no_payload_is_lost_between_pages_whatever_the_names() -> None:
    names = ("blue", "blue-2", "blue0")
    files = {f"{name}/request/{HOUR}/one.jsonl": [f"{name} 1", f"{name} 2"] for name in names}
    wanted = {f"{name} {number}" for name in names for number in (1, 2)}
    for size in (1, 2, 3, 1000):
        found = [payload.request_id for payload in read(files, size)]
        assert (set(found), len(found)) == (wanted, 6)


def test_an_answer_may_be_in_the_file_of_the_next_hour() -> None:
    files = {
        f"blue/request/{HOUR}/one.jsonl": ["soon", "late", "never"],
        f"blue/response/{HOUR}/one.jsonl": ["soon"],
        f"blue/response/{NEXT_HOUR}/one.jsonl": ["late"],
    }
    answers = {payload.request_id: payload.response for payload in read(files)}
    assert answers == {"soon": b'{"of": "soon"}', "late": b'{"of": "late"}', "never": None}
