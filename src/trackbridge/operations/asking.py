"""Questions to backends: all at once, and none of them longer than somebody waits for a page.

A place that does not answer keeps one thread for each kind of question, however often its page is looked at:
who looks again waits for the question that is under way, or gets the answer that came too late.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from trackbridge.errors import BridgeError

Value = TypeVar("Value")

ASK_S_MAX = 5.0
"""How long a page waits for a place, in seconds."""
KEPT_S = 60.0
"""How long an answer that came too late is kept for who looks again, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[Value]):
    """What a place answers: a value, or ``trouble`` that says why there is none, and ``hint`` what to do."""

    place: str
    value: Value | None = None
    trouble: str = ""
    hint: str = ""


class Asking:
    """The questions that are under way. Any thread may use it.

    Args:
        limit_s: How long one is waited for, in seconds.
    """

    def __init__(self, limit_s: float = ASK_S_MAX) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, str], Future[Any]] = {}
        self._late: dict[tuple[str, str], tuple[float, Future[Any]]] = {}

    def ask(self, kind: str, questions: Mapping[str, Callable[[], Value]]) -> list[Answer[Value]]:
        """Return an answer for each place, in the order of the questions.

        Args:
            kind: What is asked; together with the place it tells one question from another.
            questions: By place.
        """
        asked = {place: self._begun((kind, place), question) for place, question in questions.items()}
        wait(asked.values(), timeout=self._limit_s)
        with self._lock:
            for place, future in asked.items():
                if future.done():  # somebody has it now
                    self._late.pop((kind, place), None)
        return [self._answer(place, future) for place, future in asked.items()]

    def ask_one(self, kind: str, place: str, question: Callable[[], Value]) -> Answer[Value]:
        """Return the answer of one place."""
        return self.ask(kind, {place: question})[0]

    def _begun(self, key: tuple[str, str], question: Callable[[], Value]) -> Future[Value]:
        with self._lock:
            if key in self._under_way:
                return self._under_way[key]
            if key in self._late and time.monotonic() - self._late[key][0] < KEPT_S:
                return self._late[key][1]
            future: Future[Value] = Future()
            self._under_way[key] = future
        # Daemons: a place that hangs must not hold up the end of the program.
        threading.Thread(target=self._run, args=(key, question, future), name="asking", daemon=True).start()
        return future

    def _run(self, key: tuple[str, str], question: Callable[[], Value], future: Future[Value]) -> None:
        begun_s = time.monotonic()
        try:
            value = question()
        except BaseException as error:
            self._end(key, begun_s)
            future.set_exception(error)
        else:
            self._end(key, begun_s)
            future.set_result(value)

    def _end(self, key: tuple[str, str], begun_s: float) -> None:
        now_s = time.monotonic()
        with self._lock:
            future = self._under_way.pop(key)
            self._late = {other: kept for other, kept in self._late.items() if now_s - kept[0] < KEPT_S}
            if now_s - begun_s >= self._limit_s:
                self._late[key] = (now_s, future)

    def _answer(self, place: str, future: Future[Value]) -> Answer[Value]:
        if not future.done():
            return Answer(
                place=place,
                trouble=f"it did not answer within {self._limit_s:g} s",
                hint="it is still being asked; look again in a moment",
            )
        try:
            return Answer(place=place, value=future.result())
        except BridgeError as error:
            return Answer(place=place, trouble=str(error), hint=error.hint or "")
