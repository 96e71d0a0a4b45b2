"""The scoring thread and its queue: full, too slow, hanging, raising."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from trackbridge.serving.answers import Answer, Refusal
from trackbridge.serving.scoring import ScoringThread


class Model:
    """Answers with the body; ``wait`` waits for ``go``."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.scored: list[bytes] = []

    def score(self, content_type: str, body: bytes) -> Answer:
        self.scored.append(body)
        if body.startswith(b"wait"):
            assert self.go.wait(30)
        if body == b"exit":
            raise SystemExit(1)
        if body == b"fail":
            raise Refusal("INTERNAL_ERROR", "failed") from ValueError("why")
        return Answer(200, body)


def with_thread(
    use: Callable[[ScoringThread, Model], Awaitable[Any]],
    *,
    queue_max: int = 2,
    timeout_s: float = 30.0,
    hung: list[str] | None = None,
) -> list[int]:
    """Use a thread, and return how many requests waited at each change; what hung is added to ``hung``."""
    told: list[str] = [] if hung is None else hung
    waiting: list[int] = []

    async def run() -> None:
        model = Model()
        thread = ScoringThread(
            lambda: model,
            queue_max=queue_max,
            timeout_s=timeout_s,
            on_hung=lambda: told.append("hung"),
            on_queue=waiting.append,
        )
        with pytest.raises(Refusal, match="being loaded") as caught:
            await score(thread, b"early")
        assert caught.value.status == 503
        thread.start()
        await thread.loaded
        try:
            await use(thread, model)
        finally:
            model.go.set()
            thread.stop()
            while any(running.name == "scoring" for running in threading.enumerate()):
                await asyncio.sleep(0.01)

    asyncio.run(run())
    return waiting


async def score(thread: ScoringThread, body: bytes, spent_s: float = 0.0) -> Answer:
    return await thread.score("id", "application/json", body, spent_s=spent_s)


async def statuses(*calls: Awaitable[Answer]) -> list[int]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [result.status for result in results if isinstance(result, (Answer, Refusal))]


def test_what_waits_is_bounded() -> None:
    async def use(thread: ScoringThread, model: Model) -> None:
        calls = [asyncio.ensure_future(score(thread, b"wait %d" % number)) for number in range(5)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert thread.waiting == 2
        model.go.set()
        assert await statuses(*calls) == [200, 200, 200, 429, 429]
        refusal = calls[3].exception()
        assert isinstance(refusal, Refusal)
        assert dict(refusal.headers)[b"retry-after"] == b"1"
        assert thread.waiting == 0
        assert await statuses(score(thread, b"again")) == [200]

    waiting = with_thread(use)
    assert (max(waiting), waiting[-1]) == (2, 0)


def test_without_a_queue_one_at_a_time_is_scored() -> None:
    async def use(thread: ScoringThread, model: Model) -> None:
        model.go.set()
        assert await statuses(score(thread, b"a"), score(thread, b"b")) == [200, 429]
        assert await statuses(score(thread, b"c")) == [200]

    with_thread(use, queue_max=0)


def test_what_ran_out_of_time_in_the_queue_is_never_scored() -> None:
    async def use(thread: ScoringThread, model: Model) -> None:
        assert await statuses(score(thread, b"wait"), score(thread, b"late")) == [504, 504]
        model.go.set()
        while thread.waiting or await statuses(score(thread, b"next")) != [200]:
            await asyncio.sleep(0.01)
        assert b"late" not in model.scored

    with_thread(use, timeout_s=0.2)


def test_time_that_the_body_took_counts() -> None:
    async def use(thread: ScoringThread, model: Model) -> None:
        assert await statuses(score(thread, b"slow", spent_s=30.0)) == [504]
        assert model.scored == []

    with_thread(use)


def test_a_model_that_hangs_is_told_after_twice_the_time() -> None:
    async def use(thread: ScoringThread, model: Model) -> None:
        assert await statuses(score(thread, b"wait")) == [504]
        while not hung:
            await asyncio.sleep(0.01)

    hung: list[str] = []
    with_thread(use, timeout_s=0.1, hung=hung)
    assert hung == ["hung"]


def test_what_waits_for_a_model_that_hangs_is_answered() -> None:
    async def use(thread: ScoringThread, model: Model) -> None:
        calls = [asyncio.ensure_future(score(thread, b"wait %d" % number)) for number in range(3)]
        await asyncio.sleep(0)
        thread.abandon()
        assert await statuses(*calls) == [503, 503, 503]

    with_thread(use)


def test_whatever_the_model_raises_is_an_answer(capfd: pytest.CaptureFixture[str]) -> None:
    async def use(thread: ScoringThread, model: Model) -> None:
        assert await statuses(score(thread, b"exit"), score(thread, b"fail"), score(thread, b"a")) == [
            500,
            500,
            200,
        ]

    with_thread(use)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert '"error":"SystemExit: 1"' in lines[0]
    assert '"error":"ValueError: why"' in lines[1]
    assert '"request_id":"id"' in lines[1]


def test_a_model_that_cannot_be_loaded_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    def load() -> Any:
        raise SystemExit("no weights")

    async def run() -> None:
        thread = ScoringThread(load, queue_max=1, timeout_s=1, on_hung=lambda: None, on_queue=lambda _: None)
        thread.start()
        with pytest.raises(RuntimeError, match="SystemExit: no weights"):
            await thread.loaded

    asyncio.run(run())
    assert "no weights" in capfd.readouterr().err
