"""The records of the journal: what happened, in the order in which it was said.

A record is a msgpack array whose first element is its kind::

    [1, run_id, experiment_id, experiment_name, name, user, start_time, tags, how,
        is_of_client]                                                                   RunOpened
    [2, run_id, status, end_time]                                                       RunClosed
    [3, run_id, key, value, timestamp, step]                                            MetricLogged
    [4, run_id, timestamp, {key: value}]                                                ParamsSet
    [5, run_id, timestamp, {key: value or nil}]                                         TagsSet
    [6, run_id, timestamp, path, digest, size, staged]                                  ArtifactLogged
    [7, run_id, timestamp, dataset]                                                     InputLogged
    [8, experiment_id, name, tags]                                                      ExperimentOpened
    [9, run_id, keys, values, timestamps, steps]                                        MetricsLogged
    [10, run_id, timestamp, registry, name, path, digest, key, user, description,
         tags, datasets]                                                                ModelRegistered

Kinds are numbered for ever: a retired kind keeps its number, and fields are only added at the end, so
that an old journal can always be read. Times are milliseconds since 1970 in UTC.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Union

import msgspec

from trackbridge.domain.runs import DatasetInput, RunStatus


class OpenMode(IntEnum):
    """How a process came by a run."""

    CREATE = 0  # it started the run
    RESUME = 1  # it took up a run that exists, and sets it back to RUNNING
    JOIN = 2  # it adds to a run that another process has open


class RunOpened(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A run was started, taken up again, or joined.

    Without ``experiment_name`` the run is expected to exist, and this process does not answer for its end.
    Neither does it with ``is_of_client``: the run is that of a client elsewhere, who may go on with it
    through another process when this one dies.
    """

    run_id: str
    experiment_id: str
    experiment_name: str
    name: str
    user: str
    start_time: int
    tags: dict[str, str]
    how: OpenMode = OpenMode.CREATE
    is_of_client: bool = False


class RunClosed(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A run ended."""

    run_id: str
    status: RunStatus
    end_time: int


class MetricLogged(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """One point of one metric."""

    run_id: str
    key: str
    value: float
    timestamp: int
    step: int


class ParamsSet(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Params of a run, each written once."""

    run_id: str
    timestamp: int
    params: dict[str, str]


class TagsSet(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Tags of a run; None deletes a tag."""

    run_id: str
    timestamp: int
    tags: dict[str, Union[str, None]]


class ArtifactLogged(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """A file was staged for a run. ``staged`` names it inside the journal's ``staged`` folder."""

    run_id: str
    timestamp: int
    path: str
    digest: str
    size: int
    staged: str


class InputLogged(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """A run read a data set."""

    run_id: str
    timestamp: int
    dataset: DatasetInput


class ExperimentOpened(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """An experiment was named, before any run of it."""

    experiment_id: str
    name: str
    tags: dict[str, str]


class MetricsLogged(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Several points of a run, possibly of several metrics, said in one call: parallel lists."""

    run_id: str
    keys: list[str]
    values: list[float]
    timestamps: list[int]
    steps: list[int]


class ModelRegistered(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """What a run logged below ``path`` becomes a version of the model ``name``.

    ``registry`` is the tracking URI of the registry, without credentials, empty where it is the journal's
    first destination, which may move. ``key`` makes the registration one, however often it is delivered.
    Only the first destination delivers it.
    """

    run_id: str
    timestamp: int
    registry: str
    name: str
    path: str
    digest: str
    key: str
    user: str
    description: str
    tags: dict[str, str]
    datasets: list[str]


Record = Union[
    RunOpened,
    RunClosed,
    MetricLogged,
    ParamsSet,
    TagsSet,
    ArtifactLogged,
    InputLogged,
    ExperimentOpened,
    MetricsLogged,
    ModelRegistered,
]


def sequence_count(record: Record) -> int:
    """Return how many sequence numbers the record takes: one for each point, param or tag in it."""
    if isinstance(record, MetricsLogged):
        return len(record.keys)
    if isinstance(record, ParamsSet):
        return len(record.params)
    if isinstance(record, TagsSet):
        return len(record.tags)
    return 1


METRIC_KIND = 3
"""First element of an encoded MetricLogged; the logging path writes that array without building one."""
