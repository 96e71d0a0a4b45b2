"""The jobs of a cloud: what each is, what goes on with it, and which nodes of a compute it has."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.resources import resource_key
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperation
from trackbridge.testing.emulators.pauses import Pauses

ENDED = frozenset({"Completed", "Failed", "Canceled"})
CANCEL = "Canceled"
OWNER = "azureml.batchendpoint"
"""The property of a job that says which batch endpoint has started it."""
CLOSE_S = 20.0
"""How long a job may take to be gone when the emulator closes."""


@dataclass(frozen=True, slots=True)
class Taken:
    """How nodes are taken away from a job.

    ``notice_s`` is the time between SIGTERM and the end, in seconds of this machine; None for an end without
    a word. ``restarts`` says whether other nodes take over.
    """

    notice_s: float | None
    restarts: bool


@dataclass(slots=True, eq=False)
class Job:
    """A job, in the thread that it lives in.

    ``asked`` are its properties as they are kept; ``wanted_end`` says why it is to end before its time;
    ``taken`` how its nodes are taken away, ``starts`` how often its program was started;
    ``run_id`` and ``experiment_id`` are the MLflow server's; ``cancels`` end when it has ended.
    """

    name: str
    workspace_id: str
    asked: dict[str, Any]
    pauses: Pauses
    compute: str
    nodes: int
    experiment_id: str = ""
    run_id: str = ""
    status: str = "NotStarted"
    wanted_end: str = ""
    created_s: float = 0.0
    started_s: float | None = None
    ended_s: float | None = None
    error: dict[str, Any] | None = None
    cancels: list[SlowOperation] = field(default_factory=list)
    taken: Taken | None = None
    starts: int = 0
    thread: threading.Thread | None = None
    is_done: threading.Event = field(default_factory=threading.Event)

    @property
    def resource_id(self) -> str:
        """Where it lies in ARM."""
        return f"{self.workspace_id}/jobs/{self.name}"

    @property
    def folder(self) -> str:
        """Where the files of its run are, in the datastore of artifacts."""
        return f"ExperimentRun/dcid.{self.name}"


class Jobs:
    """The jobs; ``cloud.part(Jobs)``. Its settings may be changed by a test.

    ``step_s`` is what each step before and after the program takes, in seconds of a life cycle; ``grace_s``
    how long a program may take to end when it is asked to; ``nodes`` how many nodes each compute has.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.step_s = 1.0
        self.grace_s = 5.0
        self.nodes = 4
        self.held: dict[str, Job] = {}
        self._waiting: dict[str, deque[Job]] = {}
        self._taken: dict[str, int] = {}
        self._nodes_lock = threading.Lock()

    def find(self, resource_id: str) -> Job | None:
        """Return a job by its id in ARM, None when there is none."""
        return self.held.get(resource_key(resource_id))

    def add(self, job: Job) -> None:
        """Remember a job."""
        self.held[resource_key(job.resource_id)] = job

    def forget(self, resource_id: str) -> Job | None:
        """Forget a job that was deleted, and return it."""
        return self.held.pop(resource_key(resource_id), None)

    def enqueue(self, job: Job) -> None:
        """Let a job wait for its nodes."""
        with self._nodes_lock:
            self._waiting.setdefault(job.compute, deque()).append(job)

    def take(self, job: Job) -> bool:
        """Give a job its nodes, if they are free and its turn has come; returns whether it has them."""
        with self._nodes_lock:
            queue = self._waiting[job.compute]
            is_free = self._taken.get(job.compute, 0) + job.nodes <= self.nodes
            if not queue or queue[0] is not job or not is_free:
                return False
            queue.popleft()
            self._taken[job.compute] = self._taken.get(job.compute, 0) + job.nodes
            return True

    def lose_nodes(self, job: Job) -> None:
        """Let a job's nodes vanish without notice; it fails."""
        job.taken = Taken(None, restarts=False)

    def take_away(self, job: Job, *, notice_s: float = 30.0, restarts: bool = True) -> None:
        """Take spot capacity away: SIGTERM, then the end after the notice; other nodes take over, or not.

        "A preempted job is restarted, not resumed", says Azure; others saw it fail
        (MachineLearningNotebooks#1242).
        """
        job.taken = Taken(notice_s, restarts=restarts)

    def leave(self, job: Job, *, had_nodes: bool) -> None:
        """Give nodes back, or a place in the queue; those that wait look again."""
        with self._nodes_lock:
            if had_nodes:
                self._taken[job.compute] -= job.nodes
            elif job in self._waiting.get(job.compute, ()):
                self._waiting[job.compute].remove(job)
            waiting = list(self._waiting.get(job.compute, ()))
        for other in waiting:
            other.pauses.wake()

    def close(self) -> None:
        """End every job, and wait for their threads."""
        held, self.held = list(self.held.values()), {}
        for job in held:
            job.pauses.end()
        for job in held:
            if job.thread is not None and job.thread is not threading.current_thread():
                job.thread.join(CLOSE_S)


def set_status(cloud: Cloud, job: Job, status: str) -> None:
    """Let a job go to a status, unless it was deleted."""
    with cloud.lock:
        job.status = status
        kept = cloud.resources.get(job.resource_id)
        if kept is not None:
            kept["properties"]["status"] = status


def request_cancel(cloud: Cloud, job: Job, why: str = CANCEL) -> None:
    """Let a job end before its time; nothing for one that has ended."""
    if job.status in ENDED or job.wanted_end:
        return
    job.wanted_end = why
    set_status(cloud, job, "CancelRequested")
    job.pauses.wake()
