"""The one thread that touches the model, and the bounded queue in front of it."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from trackbridge.errors import BridgeError
from trackbridge.serving.answers import Answer, Refusal
from trackbridge.serving.logs import log

TIMED_OUT = "Request processing time exceeded limit"
RETRY_AFTER = ((b"retry-after", b"1"),)

Score = Callable[[str, bytes], Answer]


class Job:
    """One request on its way through the queue."""

    __slots__ = ("answer", "body", "content_type", "has_begun", "is_over", "request_id", "timer")

    def __init__(
        self, request_id: str, content_type: str, body: bytes, answer: asyncio.Future[Answer]
    ) -> None:
        self.request_id = request_id
        self.content_type = content_type
        self.body = body
        self.answer = answer
        self.has_begun = False
        self.is_over = False
        self.timer: asyncio.TimerHandle | None = None


class ScoringThread:
    """Scores requests one after the other.

    Everything but ``_run`` is called in the event loop's thread. A request whose time is over before its turn
    is answered with 504 and never scored. One that is scored too long is answered as well, though the
    model goes on with it; when it has taken twice the time, ``on_hung`` is called.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        *,
        queue_max: int,
        timeout_s: float,
        on_hung: Callable[[], None],
        on_queue: Callable[[int], None],
    ) -> None:
        self._load = load
        self._jobs_max = queue_max + 1
        self._timeout_s = timeout_s
        self._on_hung = on_hung
        self._on_queue = on_queue
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._jobs = 0
        self._open: set[Job] = set()
        self.model: Any = None
        self.loaded: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)

    def start(self) -> None:
        """Load the model in the thread; ``loaded`` tells when, or why not."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait besides the one that is scored."""
        return max(0, self._jobs - 1)

    async def score(self, request_id: str, content_type: str, body: bytes, *, spent_s: float) -> Answer:
        """Return the answer to a request that has already taken ``spent_s`` to arrive.

        Raises:
            Refusal: 429 when the queue is full, 503 before the model is loaded, 504 when the time is over.
        """
        if self.model is None:
            raise Refusal("TEMPORARILY_UNAVAILABLE", "The model is being loaded.", headers=RETRY_AFTER)
        if self._jobs >= self._jobs_max:
            raise Refusal(
                "REQUEST_LIMIT_EXCEEDED",
                f"{self.waiting} requests are waiting already; try again later.",
                headers=RETRY_AFTER,
            )
        if spent_s >= self._timeout_s:
            raise _timed_out("while it was received")
        job = Job(request_id, content_type, body, self._loop.create_future())
        self._open.add(job)
        self._count(+1)
        job.timer = self._loop.call_later(self._timeout_s - spent_s, self._expire, job)
        self._queue.put(job)
        return await job.answer

    def abandon(self) -> None:
        """Answer everything that waits with 503: the model will not come to it any more."""
        for job in self._open:
            job.is_over = True
            if not job.answer.done():
                job.answer.set_exception(
                    Refusal("TEMPORARILY_UNAVAILABLE", "The model hangs; try again.", headers=RETRY_AFTER)
                )

    def stop(self) -> None:
        """End the thread after what is queued."""
        self._queue.put(None)

    def _count(self, change: int) -> None:
        before = self.waiting
        self._jobs += change
        if self.waiting != before:
            self._on_queue(self.waiting)

    def _expire(self, job: Job) -> None:
        job.is_over = True
        if not job.answer.done():
            where = "while the model worked on it" if job.has_begun else "in the queue; it was not scored"
            job.answer.set_exception(_timed_out(where))
        if job.has_begun:
            job.timer = self._loop.call_later(self._timeout_s, self._on_hung)

    def _finish(self, job: Job, result: Answer | Refusal | None) -> None:
        self._open.discard(job)
        self._count(-1)
        if job.timer is not None:
            job.timer.cancel()
        if result is None or job.answer.done():
            return
        if isinstance(result, Refusal):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)

    # In the thread.

    def _run(self) -> None:
        try:
            model = self._load()
        except BaseException as error:  # a model's file may call sys.exit
            self._loop.call_soon_threadsafe(self._set_failed, error)
            return
        self._loop.call_soon_threadsafe(self._set_loaded, model)
        while (job := self._queue.get()) is not None:
            result: Answer | Refusal | None = None
            if not job.is_over:
                job.has_begun = True
                result = _score(model.score, job)
            self._loop.call_soon_threadsafe(self._finish, job, result)

    def _set_loaded(self, model: Any) -> None:
        self.model = model
        self.loaded.set_result(None)

    def _set_failed(self, error: BaseException) -> None:
        text = str(error) if isinstance(error, BridgeError) else f"{type(error).__name__}: {error}"
        log("the model cannot be loaded", error=text, traceback=_traceback(error))
        self.loaded.set_exception(RuntimeError(text))


def _score(score: Score, job: Job) -> Answer | Refusal:
    began = time.perf_counter()
    try:
        answer = score(job.content_type, job.body)
        return answer._replace(scoring_s=time.perf_counter() - began)
    except Refusal as refusal:
        if refusal.is_failure:
            _log_failure(job, refusal.__cause__ or refusal)
        return refusal
    except BaseException as error:  # the model may raise anything; the server lives on
        _log_failure(job, error)
        return Refusal("INTERNAL_ERROR", "The server failed on this request; its log says why.")


def _log_failure(job: Job, cause: BaseException) -> None:
    log(
        "a request failed",
        request_id=job.request_id,
        error=f"{type(cause).__name__}: {cause}",
        traceback=_traceback(cause),
    )


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def _timed_out(where: str) -> Refusal:
    return Refusal("DEADLINE_EXCEEDED", f"{TIMED_OUT} {where}")
