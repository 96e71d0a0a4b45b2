"""What a job's machine has left is read in bounds; a stream that breaks off is a passing trouble."""

from __future__ import annotations

from typing import Any

import pytest

from trackbridge.errors import Unavailable
from trackbridge_adapters.sagemaker.jobs import RESULT_BYTES_MAX, SageMakerJobs


class Body:
    def __init__(self, content: bytes | Exception) -> None:
        self.content = content
        self.asked = 0

    def read(self, amount: int) -> bytes:
        self.asked = amount
        if isinstance(self.content, Exception):
            raise self.content
        return self.content[:amount]


def result_of(body: Body) -> Any:
    class Clients:
        def call(self, *words: str, **named: str) -> dict[str, Any]:
            return {"Body": body}

    jobs: Any = object.__new__(SageMakerJobs)
    jobs._clients = Clients()
    return jobs._read_result("bucket", "key/result.json")


def test_a_whole_one() -> None:
    body = Body(b'{"job_id": "one", "attempt": 2, "exit_code": 3}')
    assert result_of(body).exit_code == 3
    assert body.asked == RESULT_BYTES_MAX


def test_one_that_was_torn_or_is_no_result_at_all() -> None:
    assert result_of(Body(b'{"job_id": "o')) is None
    assert result_of(Body(b"[" * (RESULT_BYTES_MAX // 1000))) is None


def test_a_stream_that_breaks_off() -> None:
    from botocore.exceptions import ReadTimeoutError

    with pytest.raises(Unavailable, match="broke off"):
        result_of(Body(ReadTimeoutError(endpoint_url="https://s3.example")))
