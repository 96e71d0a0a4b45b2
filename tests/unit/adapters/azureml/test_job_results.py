"""A result file that cannot be had leaves the word to Azure."""

from __future__ import annotations

import io
from typing import Any

import pytest

from trackbridge.errors import AuthError, NotFound, Unavailable
from trackbridge_adapters.azureml.jobs_results import JobResults


def found(content: bytes | Exception) -> Any:
    class Paths:
        def open(self, uri: str) -> Any:
            if isinstance(content, Exception):
                raise content
            return io.BytesIO(content)

    paths: Any = Paths()
    return JobResults(paths, lambda root: pytest.fail(root)).find("azureml://x", job="one", experiment="e")


def test_what_is_there_is_read() -> None:
    assert found(b'{"job_id": "one", "attempt": 1, "exit_code": 3}').exit_code == 3


@pytest.mark.parametrize("content", [NotFound("gone"), AuthError("not yours"), b'{"job_id": "on'])
def test_what_cannot_be_had_is_none(content: bytes | Exception) -> None:
    assert found(content) is None


def test_a_storage_that_does_not_answer_now_is_told() -> None:
    with pytest.raises(Unavailable):
        found(Unavailable("later"))
