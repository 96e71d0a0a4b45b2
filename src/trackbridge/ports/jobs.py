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

    A job goes on when the program that submitted it ends. Waiting is core code over ``status``. Spot capacity
    and distribution (``instance_count`` or ``processes_per_node`` above 1) are asked for in the spec; where
    the features ``jobs.spot`` and ``jobs.distributed`` are not declared, ``submit`` raises Unsupported.

    The job's program finds the variables of the spec in its environment, and what a secret's reference leads
    to under the secret's name. Neither the backend's records nor its logs hold the value of a secret.
    """

    # Required.

    @abstractmethod
    def check(self, spec: JobSpec) -> tuple[Finding, ...]:
        """Say what would keep the job from running: names, limits, compute, quota, missing files.

        Submits nothing and changes nothing. A spec that ``submit`` rejects has a finding of severity ERROR;
        one without such a finding is accepted.
        """
        ...

    @abstractmethod
    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        """Start the job, or queue it. Called again with the same key it returns the first job as it stands.

        Returns before the job ends. Two calls at once with the same key start one job.

        Raises:
            Rejected: The backend does not take the spec; ``check`` would have said so.
            Conflict: The key was used for another spec.
            Unsupported: The spec asks for spot or distribution, which is not declared.
        """
        ...

    @abstractmethod
    def status(self, job_id: str) -> JobState:
        """Return how the job stands.

        A job ends SUCCEEDED with exit code 0, FAILED with another one, after its time limit, or when its
        machine is lost, and CANCELLED when it was asked to. A final state does not change any more. A state
        is final only when no process of the job is left.

        Raises:
            NotFound: There is no such job.
        """
        ...

    @abstractmethod
    def cancel(self, job_id: str) -> None:
        """Ask the job to stop, with all processes that it started. One that has ended stays as it ended.

        Returns at once; the job is CANCELLED when ``status`` says so. Its program gets SIGTERM (or what the
        platform has), and the platform's notice to end by itself.

        Raises:
            NotFound: There is no such job.
        """
        ...

    # Optional.

    @needs(Feature.JOBS_LOGS)
    @abstractmethod
    def read_logs(self, job_id: str, *, cursor: str = "") -> LogChunk:
        """Return what was logged after the cursor ("" is the beginning), in bounded pieces.

        The pieces, one after the other, are what the program wrote to stdout and stderr; bytes that are no
        UTF-8 are replaced. A piece may be empty while the job runs. Asking again with a cursor goes on from
        there. ``done`` comes only once the job has ended and everything was read.

        Raises:
            NotFound: There is no such job.
            InvalidInput: The cursor was not given out for this job.
        """
        ...

    @needs(Feature.JOBS_LIST)
    @abstractmethod
    def list_jobs(self, *, max_results: int = 1000, token: str | None = None) -> Page[JobState]:
        """List jobs, newest first.

        Raises:
            InvalidInput: ``token`` was not given out by this listing, or ``max_results`` is not positive.
        """
        ...
