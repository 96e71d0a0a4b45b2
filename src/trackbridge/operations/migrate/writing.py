"""The records of a run into the target: fitted, side-cars first, repeated only where that is safe."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from trackbridge.calls.call import Operation
from trackbridge.calls.policy import CallPolicy
from trackbridge.calls.retry import retry_transient
from trackbridge.delivery.fitting import FittedBatch, fit
from trackbridge.delivery.readback import without_present
from trackbridge.delivery.sending import PERMANENT
from trackbridge.delivery.spills import Spill, SpilledParam, SpilledTag, encode_spills, extra_settings
from trackbridge.delivery.steps import halves
from trackbridge.delivery.tag_room import EXTRA_TAGS_PATH, TagRoom, encode_extra
from trackbridge.domain.batches import Batch, MetricColumns, Receipt
from trackbridge.domain.migration import Loss, Treatment
from trackbridge.domain.runs import LifecycleStage
from trackbridge.errors import Exhausted, NotFound, Rejected, Transient
from trackbridge.operations.migrate.losses import (
    fields_of_records,
    losses_of_extra_params,
    losses_of_extra_tags,
    losses_of_fitting,
    numbered,
    within_params,
)
from trackbridge.operations.migrate.side import ATTEMPTS_MAX, CALL_S_MAX, Side
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.tracking import TrackingStore

POINTS_AT_ONCE = 50_000
"""Points of a run in memory."""


@dataclass(slots=True, kw_only=True)
class RunWriter:
    """Writes the records of one run.

    Args:
        target: Where to.
        run_id: The run at the target.
        subject: What its losses are told of.
        now_ms: The time from which the age of points is measured.
        present: Params that the target has already, by their names there.
        tags: Names of the tags that the target has of a run that is new; None: look.
        repeats: Whether points may be there already.
    """

    target: Side
    run_id: str
    subject: str
    now_ms: int
    present: frozenset[str] = frozenset()
    tags: frozenset[str] | None = None
    repeats: bool = False
    refused: int = 0
    losses: dict[tuple[str, Treatment, str], Loss] = field(default_factory=dict)
    _room: TagRoom | None = None

    def write(self, batch: Batch) -> None:
        """Write a batch.

        Raises:
            BridgeError: The target does not take anything now, or the run takes nothing at all.
        """
        capabilities = self.target.capabilities
        batch, extra = self._within_params(self._within_tags(batch))
        fitted = fit(
            batch,
            capabilities.limits,
            now_ms=self.now_ms,
            datasets=capabilities.supports(Feature.TRACKING_DATASETS),
        )
        self._note(losses_of_fitting(batch, fitted, self.subject))
        self.put_spills(extra)
        for part in fitted:
            self._write_fitted(self._tag_room().without_extra_names(part))

    def put_spills(self, spills: tuple[Spill, ...]) -> None:
        """Store what the target cannot hold in the side-car that reading merges back."""
        if not spills:
            return
        path, content = encode_spills(spills)
        self.put_bytes(path, content)

    def put_bytes(self, path: str, content: bytes) -> None:
        """Store a small file of the run.

        Raises:
            Rejected: The target stores no files.
        """
        artifacts = self.target.artifacts
        if artifacts is None:
            raise Rejected(
                "values exceed the limits of the target, and it stores no files to hold them",
                resource=self.subject,
                hint="copy to a target that stores files",
            )
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        with tempfile.TemporaryDirectory(prefix="trackbridge-migrate-") as folder:
            file = Path(folder) / "content"
            file.write_bytes(content)
            artifacts.put(self.run_id, path, file, digest=digest, size=len(content))

    def _within_params(self, batch: Batch) -> tuple[Batch, tuple[Spill, ...]]:
        """Take out the params that are more than the target takes for a run."""
        params, extra = within_params(batch.params, self.target.capabilities.limits, self.present)
        self._note(losses_of_extra_params(len(params), len(extra), self.subject))
        spills = tuple(
            SpilledParam(key=param.key, placeholder="", value=param.value or "", sequence=param.sequence)
            for param in extra
        )
        return replace(batch, params=params), spills

    def _within_tags(self, batch: Batch) -> Batch:
        """Take out the tags that are more than the target takes for a run, into the side-car's own file."""
        if self.target.capabilities.limits.tags_per_run_max is None or not batch.tags:
            return batch
        room = self._tag_room()
        before = dict(room.extra)
        kept = room.without_extra(batch)
        if room.extra != before:
            self.put_bytes(EXTRA_TAGS_PATH, encode_extra(room.extra))
        self._note(losses_of_extra_tags(batch, kept, self.target.capabilities.limits, self.subject))
        return kept

    def _tag_room(self) -> TagRoom:
        """Return what room the run has for tags, as the target has it now."""
        limits = self.target.capabilities.limits
        if self._room is not None:
            return self._room
        if limits.tags_per_run_max is None or self.tags is not None:
            self._room = TagRoom(limits, set(self.tags or ()))
        else:
            held = set(self.target.tracking.get_run(self.run_id).data.tags)
            extra = extra_settings(self.target.stored.spills(self.run_id), SpilledTag)
            self._room = TagRoom(limits, held, extra)
        return self._room

    def _write_fitted(self, part: FittedBatch) -> None:
        self.put_spills(part.spills)
        self.refused += len(part.rejected)
        left = [part.batch]
        while left:
            batch = left.pop()
            if len(batch):
                left.extend(reversed(self._write_or_halve(batch)))

    def _write_or_halve(self, batch: Batch) -> tuple[Batch, ...]:
        """Write a batch; return its halves when it was refused as a whole."""
        try:
            receipt = self._written(batch)
        except PERMANENT as error:
            if isinstance(error, NotFound) or self._is_deleted():
                raise
            if len(batch) > 1:
                return halves(batch)
            self._refuse(batch, dict.fromkeys(_sequences(batch), error.message))
            return ()
        reasons = {rejection.sequence: rejection.reason for rejection in receipt.rejected}
        if reasons:
            self._refuse(batch, reasons)
        return ()

    def _written(self, batch: Batch) -> Receipt:
        """Write once; what a store would keep twice is read back before it is sent again."""
        store = self.target.writing
        if self.target.supports(Feature.TRACKING_METRIC_DEDUP):
            return store.write(batch)

        def attempt() -> Receipt:
            some = without_present(batch, self.target.tracking) if self.repeats else batch
            self.repeats = True
            return _attempted(store, some) if len(some) else Receipt()

        policy, world = CallPolicy(elapsed_s_max=CALL_S_MAX, attempts_max=ATTEMPTS_MAX), self.target.world
        operation = Operation(self.target.capabilities.adapter, "migrate.write", None)
        repeated = self.repeats
        receipt: Receipt = retry_transient(attempt, operation, policy, world, world.clock_s() + CALL_S_MAX)
        self.repeats = repeated
        return receipt

    def _is_deleted(self) -> bool:
        run = self.target.tracking.get_run(self.run_id)
        return run.info.lifecycle_stage is LifecycleStage.DELETED

    def _refuse(self, batch: Batch, reasons: dict[int, str]) -> None:
        self.refused += len(reasons)
        for reason in dict.fromkeys(reasons.values()):
            sequences = [sequence for sequence, found in reasons.items() if found == reason]
            for name, count in fields_of_records(batch, sequences).items():
                self._note(
                    [
                        Loss(
                            item=self.subject,
                            field=name,
                            treatment=Treatment.REFUSED,
                            detail=reason,
                            count=count,
                        )
                    ]
                )

    def _note(self, losses: list[Loss] | tuple[Loss, ...]) -> None:
        for loss in losses:
            key = (loss.field, loss.treatment, loss.detail)
            known = self.losses.get(key)
            if known is None:
                self.losses[key] = loss
            elif loss.treatment is not Treatment.ESCAPED:  # a name is escaped once, however often it is used
                count = known.count + loss.count
                self.losses[key] = Loss(
                    item=loss.item,
                    field=loss.field,
                    treatment=loss.treatment,
                    detail=loss.detail,
                    count=count,
                )


def _attempted(store: TrackingStore, batch: Batch) -> Receipt:
    """Write once, and raise what went wrong as what it is: passing, or not.

    Raises:
        Transient: It may go well after a look at what is there.
    """
    try:
        return store.write(batch)
    except Exhausted as error:  # of the one attempt that the pipeline makes
        if isinstance(error.__cause__, Transient):
            raise error.__cause__ from error
        raise


def batches_of(
    settings: Batch, keys: list[str], history: Callable[[str], MetricColumns]
) -> Iterator[tuple[Batch, int]]:
    """Yield the records of a run in batches of bounded size, and how many points each has.

    Args:
        settings: Params, tags and data sets, which come in the first batch.
        keys: The metrics.
        history: Returns the points of a metric.
    """
    batch, count, sequence = settings, 0, max(_sequences(settings), default=0)
    for key in keys:
        columns = history(key)
        start = 0
        while start < len(columns):
            stop = min(start + POINTS_AT_ONCE - count, len(columns))
            batch.metrics[key] = numbered(columns, start, stop, sequence)
            count += stop - start
            sequence += stop - start
            start = stop
            if count == POINTS_AT_ONCE:
                yield batch, count
                batch, count = Batch(run_id=settings.run_id), 0
    if len(batch):
        yield batch, count


def _sequences(batch: Batch) -> Iterator[int]:
    yield from (setting.sequence for setting in (*batch.params, *batch.tags))
    yield from (added.sequence for added in batch.inputs)
    for columns in batch.metrics.values():
        yield from columns.sequences
