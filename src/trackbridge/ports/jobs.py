"""Where compute jobs run."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from trackbridge.domain.jobs import JobPreview, JobSpec, JobState, Launcher, LogChunk
from trackbridge.domain.paging import Page
from trackbridge.ports.capabilities import Feature, needs
from trackbridge.ports.findings import Finding


def features_of(spec: JobSpec) -> tuple[Feature, ...]:
    """Return the optional features that a spec asks for."""
    is_distributed = spec.compute.instance_count > 1 or spec.processes_per_node > 1
    asked = {
        Feature.JOBS_SPOT: spec.compute.spot,
        Feature.JOBS_DISTRIBUTED: is_distributed or spec.launcher is not Launcher.DIRECT,
        Feature.JOBS_DATA: bool(spec.inputs or spec.outputs or spec.checkpoints is not None),
    }
    return tuple(feature for feature, is_asked_for in asked.items() if is_asked_for)


class JobBackend(Protocol):
    """Runs commands on some compute. Same rules as for TrackingStore: one attempt, repeatable writes.

    A job goes on when the program that submitted it ends. Waiting is core code over ``status``.

    Spot capacity, distribution (``instance_count`` or ``processes_per_node`` above 1, or a launcher), and
    data (inputs, outputs, checkpoints) are asked for in the spec. Where ``jobs.spot``, ``jobs.distributed``
    or ``jobs.data`` is not declared, ``preview`` and ``submit`` raise Unsupported.

    A program of the job that logs to the run of the spec keeps its journal where the platform keeps files
    beyond the loss of the machine (``kept_uri`` of the state), so that nothing it has logged is lost.

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
    def preview(self, spec: JobSpec) -> JobPreview:
        """Return what ``submit`` would send, and where it would be billed.

        Sends and changes nothing; it may read files of the spec, and ask the backend for what it needs to
        know. The preview holds no value of a secret.

        Raises:
            Rejected: The backend does not take the spec; ``check`` says the same.
            Unsupported: The spec asks for a feature that is not declared.
        """
        ...

    @abstractmethod
    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        """Start the job, or queue it. Called again with the same key it returns the first job as it stands.

        Returns before the job ends. Two calls at once with the same key start one job.

        Raises:
            Rejected: The backend does not take the spec; ``check`` would have said so.
            Conflict: The key was used for another spec.
            Unsupported: The spec asks for a feature that is not declared: see ``features_of``.
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
    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        """Return what was logged after the cursor ("" is the beginning), in bounded pieces.

        The pieces, one after the other, are what the program wrote to stdout and stderr; bytes that are no
        UTF-8 are replaced. A piece may be empty while the job runs. Asking again with a cursor goes on from
        there. ``done`` comes only once the job has ended and everything was read.

        Without a cursor, ``tail_bytes`` asks for the end alone: what lies further before the end may be left
        out, of several machines' logs for each, so that a long log is not read whole. A backend that cannot
        begin elsewhere begins at the beginning.

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
