"""Where compute jobs run."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from trackbridge.domain.jobs import JobSpec, JobState, LogChunk
from trackbridge.domain.paging import Page
from trackbridge.ports.capabilities import Feature, needs
from trackbridge.ports.findings import Finding


class JobBackend(Protocol):
    """Runs commands on some compute. Same rules as for TrackingStore: one attempt, repeatable writes.

    Waiting is core code over ``status``. Spot capacity and distribution are asked for in the spec; where
    the features ``jobs.spot`` and ``jobs.distributed`` are not declared, ``submit`` raises Unsupported.
    """

    # Required.

    @abstractmethod
    def check(self, spec: JobSpec) -> tuple[Finding, ...]:
        """Say what would keep the job from running: names, limits, compute, quota. Submits nothing."""
        ...

    @abstractmethod
    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        """Start the job. Called again with the same key it returns the first job, however it stands.

        Raises:
            Rejected: The backend does not take the spec; ``check`` would have said so.
            Unsupported: The spec asks for spot or distribution, which is not declared.
        """
        ...

    @abstractmethod
    def status(self, job_id: str) -> JobState:
        """Return how the job stands.

        Raises:
            NotFound: There is no such job.
        """
        ...

    @abstractmethod
    def cancel(self, job_id: str) -> None:
        """Ask the job to stop. One that has ended stays as it ended.

        Raises:
            NotFound: There is no such job.
        """
        ...

    # Optional.

    @needs(Feature.JOBS_LOGS)
    @abstractmethod
    def read_logs(self, job_id: str, *, cursor: str = "") -> LogChunk:
        """Return what was logged after the cursor ("" is the beginning).

        Raises:
            NotFound: There is no such job.
        """
        ...

    @needs(Feature.JOBS_LIST)
    @abstractmethod
    def list_jobs(self, *, max_results: int = 1000, token: str | None = None) -> Page[JobState]:
        """List jobs, newest first."""
        ...
