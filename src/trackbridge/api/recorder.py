"""What one process logs to one run: each call one record in the journal, and what it knows in memory.

``metric`` is the path that a training loop goes through: a few microseconds, no lock but the journal's,
nothing imported, nothing looked up that can be held.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from trackbridge.api.values import (
    INT64_MAX,
    INT64_MIN,
    as_float,
    as_step,
    as_text,
    as_timestamp,
    checked_key,
)
from trackbridge.domain.artifacts import artifact_uri, checked_path
from trackbridge.domain.records import (
    METRIC_KIND,
    ArtifactLogged,
    InputLogged,
    MetricsLogged,
    ModelRegistered,
    OpenMode,
    ParamsSet,
    RunClosed,
    RunOpened,
    TagsSet,
)
from trackbridge.domain.runs import (
    TAG_NAME,
    DatasetInput,
    Metric,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunStatus,
)
from trackbridge.errors import Conflict, InvalidInput, JournalError, JournalFull
from trackbridge.journal.natives import Native, find_native
from trackbridge.journal.staging import Incoming, Staged, stage_bytes, stage_file
from trackbridge.journal.writer import JournalWriter

_encode = msgspec.msgpack.Encoder().encode
_time_ns = time.time_ns
_bits = struct.Struct(">d").pack


def now_ms() -> int:
    """Return milliseconds since 1970."""
    return _time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """What lies below the name of a model: digest, files, and whether a registered version needs them."""

    digest: str
    members: frozenset[str]
    is_registered: bool


class KeptPoints:
    """Points of one run in memory, so that they are read back without asking the backend.

    Beyond ``POINTS_MAX`` they are given up, and ``history`` knows nothing more.
    """

    POINTS_MAX = 100_000

    def __init__(self) -> None:
        self._points: dict[str, dict[tuple[int, int, bytes], float]] | None = {}
        self._count = 0

    def add(self, key: str, value: float, timestamp: int, step: int) -> None:
        """Keep a point; the same one again is one."""
        points = self._points
        if points is None:
            return
        points.setdefault(key, {})[step, timestamp, _bits(value)] = value
        self._count += 1
        if self._count > self.POINTS_MAX:
            self._points = None

    def holds(self, point: Metric) -> bool:
        """Tell whether a point was kept."""
        points = {} if self._points is None else self._points.get(point.key, {})
        is_float = isinstance(point.value, float)
        return is_float and (point.step, point.timestamp, _bits(point.value)) in points

    def history(self, key: str) -> list[Metric] | None:
        """Return the points of a metric in order of step, then time; None when they are not all here."""
        points = self._points
        if points is None:
            return None
        found = list(points.get(key, {}).items())
        return [
            Metric(key, value, timestamp, step)
            for (step, timestamp, _), value in sorted(found, key=lambda item: item[0])
        ]


class RunRecorder:
    """Logs to one run through a journal.

    Args:
        writer: The journal of this process.
        opened: How the run was opened; appended as the first record.
    """

    def __init__(self, writer: JournalWriter, opened: RunOpened) -> None:
        self.run_id = opened.run_id
        self.opened = opened
        self.status = RunStatus.RUNNING
        self.end_time: int | None = None
        self._writer = writer
        self._append = writer.append
        self._latest: dict[str, tuple[int, int, float]] = {}
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = dict(opened.tags)
        self._inputs: dict[tuple[str, str], DatasetInput] = {}
        self._native: Native | None = None
        self.tables: dict[str, bytes] = {}
        """What this process logged as tables, by path: rows are added to them."""
        self.models: dict[str, LoggedModel] = {}
        """What this process logged, or registered, as models, by path."""
        self.kept: KeptPoints | None = None
        """The points of a run that this process began, where somebody wants them from memory."""
        self.announce(opened.how)

    def announce(self, how: OpenMode) -> None:
        """Say in this process's journal that it has the run open."""
        self._writer.enter_process()
        folder, answers_for_end = self._writer.folder, not self.opened.is_of_client
        if answers_for_end and (self.opened.experiment_name or how is not OpenMode.JOIN):
            folder.mark_open(self.run_id)
        if how is OpenMode.CREATE:
            folder.mark_created(self.run_id)
        elif how is OpenMode.RESUME and answers_for_end:
            folder.mark_resumed(self.run_id)
        self._writer.append_control(_encode(msgspec.structs.replace(self.opened, how=how)))

    def keep_points(self) -> None:
        """Keep from now on the points of a run that this process began, and has logged nothing to."""
        if self.opened.how is OpenMode.CREATE and not self._latest and self.kept is None:
            self.kept = KeptPoints()

    # Logging.

    def metric(self, key: str, value: float, step: int | None = None, timestamp: int | None = None) -> None:
        """Log one point; see ``trackbridge.log_metric``."""
        try:
            latest = self._latest.get(key)
        except TypeError:  # an unhashable key
            latest = None
        if latest is None:
            checked_key(key, kind="metric")
        if type(value) is not float:
            value = as_float(value, key=key)
        if step is None:
            step = 0
        elif type(step) is not int or not INT64_MIN <= step <= INT64_MAX:
            step = as_step(step, key=key)
        timestamp = _time_ns() // 1000000 if timestamp is None else as_timestamp(timestamp, key=key)
        self._append(_encode((METRIC_KIND, self.run_id, key, value, timestamp, step)))
        if latest is None or step > latest[0]:
            self._latest[key] = (step, timestamp, value)
        elif step == latest[0]:
            self._keep_last(key, step, timestamp, value)
        if self.kept is not None:
            self.kept.add(key, value, timestamp, step)

    def metrics(self, points: Iterable[Metric]) -> None:
        """Log several points as one record; each is checked as by ``metric``."""
        checked = [_checked_point(point) for point in points]
        for start in range(0, len(checked), _POINTS_PER_RECORD):
            part = checked[start : start + _POINTS_PER_RECORD]
            record = MetricsLogged(
                self.run_id,
                [point.key for point in part],
                [point.value for point in part],
                [point.timestamp for point in part],
                [point.step for point in part],
            )
            self._append(_encode(record), len(part))
        for point in checked:
            self._keep_last(point.key, point.step, point.timestamp, point.value)
            if self.kept is not None:
                self.kept.add(point.key, point.value, point.timestamp, point.step)

    def columns(self, keys: list[str], values: list[float], timestamps: list[int], steps: list[int]) -> None:
        """Log several points, given as columns and checked already, as one record.

        Args:
            keys: Names of metrics, as ``values.checked_key`` takes them.
            values: 64-bit floats.
            timestamps: Milliseconds since 1970, from 0 to 2^63 - 1.
            steps: 64-bit integers.
        """
        for start in range(0, len(keys), _POINTS_PER_RECORD):
            end = start + _POINTS_PER_RECORD
            record = MetricsLogged(
                self.run_id, keys[start:end], values[start:end], timestamps[start:end], steps[start:end]
            )
            self._append(_encode(record), len(record.keys))
        latest = self._latest
        for key, value, timestamp, step in zip(keys, values, timestamps, steps, strict=True):
            known = latest.get(key)
            if known is None or step > known[0]:
                latest[key] = (step, timestamp, value)
            elif step == known[0]:
                self._keep_last(key, step, timestamp, value)

    def params(self, params: Mapping[str, object]) -> None:
        """Log params.

        Raises:
            Conflict: This process has logged another value for one of them.
        """
        texts = {
            checked_key(key, kind="param"): as_text(value, key=str(key), kind="param")
            for key, value in params.items()
        }
        self.check_params(texts)
        if texts:
            self._append(_encode(ParamsSet(self.run_id, now_ms(), texts)), len(texts))
            self._params.update(texts)

    def check_params(self, texts: Mapping[str, str]) -> None:
        """Refuse what ``params`` would refuse, logging nothing.

        Raises:
            Conflict: This process knows another value for one of them.
        """
        for key, text in texts.items():
            if self._params.get(key, text) != text:
                raise Conflict(
                    f"param {key!r} is {self._params[key]!r} already and cannot become {text!r}",
                    operation="log_param",
                    resource=f"run {self.run_id}",
                    hint="params are written once; use set_tag or log_metric for what changes",
                )

    def know_params(self, params: Mapping[str, str]) -> None:
        """Take over params that the run has already, so that another value is refused at the call."""
        self._params = {**params, **self._params}

    def tags(self, tags: Mapping[str, object | None]) -> None:
        """Set tags; None deletes one."""
        texts = {
            checked_key(key, kind="tag"): None if value is None else as_text(value, key=str(key), kind="tag")
            for key, value in tags.items()
        }
        if not texts:
            return
        self._append(_encode(TagsSet(self.run_id, now_ms(), texts)), len(texts))
        for key, text in texts.items():
            if text is None:
                self._tags.pop(key, None)
            else:
                self._tags[key] = text

    def has_tag(self, key: str) -> bool:
        """Tell whether this process has set a tag, and not deleted it."""
        return key in self._tags

    def input(self, dataset: DatasetInput) -> None:
        """Log a data set that the run reads."""
        self._append(_encode(InputLogged(self.run_id, now_ms(), dataset)))
        self._inputs[dataset.name, dataset.digest] = dataset

    def registered(self, registration: ModelRegistered) -> None:
        """Log that a model of the run, whose files were logged before, is to be registered."""
        self._append(_encode(registration))

    def file(self, source: Path, path: str) -> str | None:
        """Log a file as an artifact; what it holds now is what is stored.

        Returns:
            The digest of its bytes; None when the journal is full and refuses it.
        """
        checked_path(path)
        return self._artifact(path, lambda: stage_file(self._writer.folder, source))

    def content(self, content: bytes, path: str) -> str | None:
        """Log bytes as an artifact.

        Returns:
            Their digest; None when the journal is full and refuses them.
        """
        checked_path(path)
        return self._artifact(path, lambda: stage_bytes(self._writer.folder, content))

    def incoming(self) -> Incoming:
        """Return a file that is written block by block, to be handed to ``arrived`` or discarded."""
        self._writer.enter_process()
        return Incoming(self._writer.folder.staged)

    def arrived(self, incoming: Incoming, path: str) -> str | None:
        """Log a file that has come block by block as an artifact, without copying it.

        Returns:
            The digest of its bytes; None when the journal is full and refuses it.

        Raises:
            JournalError: Somebody has deleted the journal, and the file with it.
        """
        checked_path(path)
        return self._artifact(path, lambda: self._finished(incoming))

    def _finished(self, incoming: Incoming) -> Staged:
        if incoming.path.parent != self._writer.folder.staged or not incoming.path.exists():
            raise JournalError(
                "the journal was deleted while the file came",
                resource=str(incoming.path),
                hint="log it again",
            )
        return incoming.finish()

    def _artifact(self, path: str, stage: Callable[[], Staged]) -> str | None:
        if self._writer.keeps_nothing:
            return None
        self._writer.enter_process()
        try:
            staged = stage()
        except JournalFull as error:
            self._writer.refuse(error)
            return None
        record = ArtifactLogged(self.run_id, now_ms(), path, staged.digest, staged.size, staged.name)
        sequence = 0
        try:
            sequence = self._append(_encode(record))
        finally:
            if not sequence:
                (self._writer.folder.staged / staged.name).unlink(missing_ok=True)
        return staged.digest if sequence else None

    def close(self, status: RunStatus, end_time: int | None = None) -> None:
        """End the run. Closing again changes nothing."""
        if self.end_time is not None:
            return
        end = now_ms() if end_time is None else end_time
        self._writer.append_control(_encode(RunClosed(self.run_id, status, end)))
        self._writer.folder.unmark_open(self.run_id)
        self.status, self.end_time = status, end

    # What this process knows of the run.

    def _keep_last(self, key: str, step: int, timestamp: int, value: float) -> None:
        """Keep the point if it is the last one: highest step, then time, then value (NaN the smallest)."""
        latest = self._latest.get(key)
        rank = (step, timestamp, value == value, value)
        if latest is None or rank >= (latest[0], latest[1], latest[2] == latest[2], latest[2]):
            self._latest[key] = (step, timestamp, value)

    @property
    def metric_count(self) -> int:
        """How many metrics this process logged to the run, by name."""
        return len(self._latest)

    def snapshot(self) -> Run:
        """Return the run as this process knows it."""
        opened, native = self.opened, self._native_names()
        info = RunInfo(
            run_id=self.run_id,
            experiment_id=opened.experiment_id,
            run_name=self._tags.get(TAG_NAME, opened.name),
            user_id=opened.user,
            status=self.status,
            start_time=opened.start_time,
            end_time=self.end_time,
            artifact_uri=artifact_uri(self.run_id),
            native_id=native.native_id,
            native_url=native.native_url,
        )
        data = RunData.of_points(self._latest.copy(), params=dict(self._params), tags=dict(self._tags))
        return Run(info=info, data=data, inputs=RunInputs(dataset_inputs=tuple(self._inputs.values())))

    def _native_names(self) -> Native:
        """Return what the first destination calls the run, nothing while that is not known."""
        if self._native is None:
            self._native = find_native(self._writer.folder, self._writer.destinations[0], self.run_id)
        return self._native or Native()


def _checked_point(point: Metric) -> Metric:
    try:
        key, value, timestamp, step = point.key, point.value, point.timestamp, point.step
    except AttributeError as error:
        raise InvalidInput(
            f"a point must have key, value, timestamp and step; {type(point).__name__} has not",
            operation="log_batch",
            hint="trackbridge.Metric(key, value, timestamp, step)",
        ) from error
    return Metric(
        checked_key(key, kind="metric"),
        as_float(value, key=key),
        as_timestamp(timestamp, key=key),
        as_step(step, key=key),
    )


_POINTS_PER_RECORD = 5_000
"""Keeps a record of several points below the journal's limit, whatever the length of their keys."""
