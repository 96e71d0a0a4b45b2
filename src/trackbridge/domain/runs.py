"""Experiments and runs, in the shape that mlflow's users know.

Times are milliseconds since 1970 in UTC. Names of fields are mlflow's own (``start_time`` rather than
``start_time_ms``), so that a reader of mlflow code reads ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

import msgspec

from trackbridge.domain.traces import ModelLink

DEFAULT_EXPERIMENT = "Default"

TAG_NAME = "mlflow.runName"
TAG_NOTE = "mlflow.note.content"
TAG_PARENT = "mlflow.parentRunId"
TAG_USER = "mlflow.user"
TAG_SOURCE_NAME = "mlflow.source.name"
TAG_SOURCE_TYPE = "mlflow.source.type"
TAG_GIT_COMMIT = "mlflow.source.git.commit"
TAG_GIT_BRANCH = "mlflow.source.git.branch"
TAG_GIT_REPOSITORY = "mlflow.source.git.repoURL"
RESERVED_TAG_PREFIX = "bridge."
TAG_GIT_DIRTY = "bridge.git.dirty"
TAG_HOST = "bridge.host"
TAG_PYTHON = "bridge.python"
TAG_TRACEBACK = "bridge.traceback"
TAG_RUN_ID = "bridge.run_id"


class RunStatus(str, Enum):
    """State of a run; the last three are final."""

    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"

    def __str__(self) -> str:
        return self.value

    @property
    def is_final(self) -> bool:
        """True once the run has ended."""
        return self in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)


class LifecycleStage(str, Enum):
    """Whether a run or an experiment was deleted (and can be restored)."""

    ACTIVE = "active"
    DELETED = "deleted"

    def __str__(self) -> str:
        return self.value


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """A named group of runs. ``native_id`` is the backend's own id where it differs."""

    experiment_id: str
    name: str
    lifecycle_stage: LifecycleStage = LifecycleStage.ACTIVE
    artifact_location: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    creation_time: int | None = None
    last_update_time: int | None = None
    native_id: str | None = None


class Metric(msgspec.Struct, frozen=True, gc=False):
    """One point: a 64-bit float at a step (64-bit integer, may be negative) and a time."""

    key: str
    value: float
    timestamp: int
    step: int


class Moment(msgspec.Struct, frozen=True, gc=False):
    """When a point was logged: its step, and milliseconds since 1970 (UTC)."""

    step: int
    timestamp: int


_UNKNOWN = Moment(0, 0)


class DatasetInput(msgspec.Struct, frozen=True, kw_only=True):
    """A data set that a run read. ``name`` and ``digest`` together identify it."""

    name: str
    digest: str
    source_type: str = "local"
    source: str = ""
    schema: str = ""
    profile: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to open a run, or to take it up again when it exists.

    ``resume`` says what to do with one that has ended: True sets it back to RUNNING, False leaves it.
    ``tags`` include the run's name, user, source and parent under mlflow's own tag names. ``is_new`` says
    that the caller has looked, and found the experiment there and the run not: a store need not look again.
    After a call that may have been done all the same, it is said no more.
    """

    run_id: str
    experiment_id: str
    experiment_name: str
    name: str
    user: str
    start_time: int
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    resume: bool = False
    is_new: bool = False


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Identity and life cycle of a run.

    ``native_id`` is the backend's own id where it differs, ``native_url`` its page in a browser where it
    has one.
    """

    run_id: str
    experiment_id: str
    run_name: str
    user_id: str
    status: RunStatus
    start_time: int
    end_time: int | None = None
    lifecycle_stage: LifecycleStage = LifecycleStage.ACTIVE
    artifact_uri: str = ""
    native_id: str | None = None
    native_url: str | None = None


class RunData(msgspec.Struct, frozen=True, kw_only=True):
    """Params, tags, and for each metric the value at the highest step, then the latest time.

    ``moments`` are the steps and times of those values; it lacks metrics of which the backend knows neither.
    """

    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    moments: dict[str, Moment] = msgspec.field(default_factory=dict)
    params: dict[str, str] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)

    @classmethod
    def of_points(
        cls, points: Mapping[str, tuple[int, int, float]], *, params: dict[str, str], tags: dict[str, str]
    ) -> RunData:
        """Return the data of a run, given the last point (step, timestamp, value) of each metric."""
        return cls(
            metrics={key: value for key, (_, _, value) in points.items()},
            moments={key: Moment(step, timestamp) for key, (step, timestamp, _) in points.items()},
            params=params,
            tags=tags,
        )

    def last_points(self) -> Iterator[Metric]:
        """Yield the point behind each metric's value; its step and time are 0 where they are not known."""
        for key, value in self.metrics.items():
            moment = self.moments.get(key, _UNKNOWN)
            yield Metric(key, value, moment.timestamp, moment.step)


class RunInputs(msgspec.Struct, frozen=True, kw_only=True):
    """The data sets that a run read."""

    dataset_inputs: tuple[DatasetInput, ...] = ()


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stood when it was read. ``models`` are the logged models that it made or read."""

    info: RunInfo
    data: RunData = msgspec.field(default_factory=RunData)
    inputs: RunInputs = msgspec.field(default_factory=RunInputs)
    models: tuple[ModelLink, ...] = ()
