"""Experiments: records in S3, each with an experiment of SageMaker's and its trials.

A name leads to one experiment; who first wrote ``experiment-names/<SageMaker's name>`` has decided its id.
SageMaker's side is made before the record: a record says that all of it was there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from trackbridge.domain.runs import Experiment, LifecycleStage
from trackbridge.errors import Conflict, InvalidInput, NotFound, Rejected
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.errors_services import QuotaReached
from trackbridge_adapters.sagemaker.foreign_runs import milliseconds
from trackbridge_adapters.sagemaker.names import (
    DELETED_TAG,
    EXPERIMENT_TAG,
    description_of,
    display_name,
    experiment_digest,
    experiment_name,
    is_native,
    trial_name,
)
from trackbridge_adapters.sagemaker.native_runs import TAGS_MAX, Native, taggable
from trackbridge_adapters.sagemaker.run_records import (
    EXPERIMENTS,
    ExperimentRecord,
    NameRecord,
    decode,
    encode,
    experiment_key,
    is_text,
    name_key,
    replaced,
)

TRIALS_TRIED_MAX = 400
SEARCH_ITEMS = 100
OWN_TAGS = frozenset({EXPERIMENT_TAG, DELETED_TAG})


class Experiments:
    """The experiments of one place."""

    def __init__(self, backend: Backend) -> None:
        self._clients = backend.clients
        self._bucket = backend.bucket
        self._prefix = backend.place.prefix
        self._beginning = f"{self._prefix}-".lower() if self._prefix else ""
        self._clock_ms = backend.context.clock_ms
        self._ids: dict[str, str] = {}
        self._trials: dict[str, int] = {}

    # Finding.

    def get(self, experiment_id: str) -> ExperimentRecord | None:
        """Return the record of an experiment; None where there is none."""
        key = experiment_key(experiment_id)
        held = self._bucket.get(key)
        return None if held is None else self._decoded(held[0], key)

    def resolve(self, experiment_id: str) -> ExperimentRecord:
        """Return the record of an experiment, or what it would be for one that others made.

        Args:
            experiment_id: Ours, or SageMaker's name.

        Raises:
            NotFound: There is no such experiment.
        """
        record = self.get(experiment_id)
        if record is None and is_native(experiment_id):
            record = self.of_native(experiment_id)
        if record is None:
            raise NotFound(
                f"there is no experiment {experiment_id!r}",
                adapter=ADAPTER,
                hint="list the experiments to see their ids",
            )
        return record

    def of_native(self, native: str) -> ExperimentRecord | None:
        """Return the experiment that SageMaker has under a name, ours or not."""
        named = self._named(native)
        return self._foreign(native) if named is None else self.get(named.experiment_id)

    def listed(self) -> Iterator[ExperimentRecord]:
        """Yield every experiment, with a record or without, in no order."""
        natives: set[str] = set()
        for key, held in self._bucket.get_many(self._bucket.list(EXPERIMENTS)):
            if held is not None:
                record = self._decoded(held[0], key)
                natives.add(record.native.lower())
                yield record
        beginning = self._beginning
        for found in self._search():
            name = str(found["ExperimentName"]).lower()
            if name.startswith(beginning) and name not in natives:
                tags = {str(tag["Key"]): str(tag["Value"]) for tag in found.get("Tags") or ()}
                yield _foreign_record(found, tags)

    # Making and changing.

    def ensure(self, name: str, experiment_id: str, tags: Mapping[str, str]) -> ExperimentRecord:
        """Find an experiment by its name, or make it with this id; set tags on it.

        Raises:
            Rejected: It was deleted, its name or a tag cannot be kept, the id is another one's, or SageMaker
                has an experiment in its place.
        """
        if not all(map(is_text, (name, *tags, *tags.values()))):
            raise InvalidInput(
                "the name or a tag of the experiment is not valid Unicode",
                adapter=ADAPTER,
                hint="leave lone surrogates out",
            )
        record = self._by_name(name) or self._made(name, experiment_id)
        if record.deleted:
            raise Rejected(
                f"experiment {name!r} was deleted",
                adapter=ADAPTER,
                hint="restore it with restore_experiment, or use another name",
            )
        wanted = {**record.tags, **tags}
        if wanted == record.tags:
            return record
        return self._changed(record, lambda held: replaced(held, tags={**held.tags, **tags}))

    def adopt(self, record: ExperimentRecord) -> ExperimentRecord:
        """Give an experiment that others made a record."""
        held = self.get(record.experiment_id)
        if held is not None:
            return held
        return self._kept(replaced(record, last_update_time=self._clock_ms()))

    def mark(self, experiment_id: str, *, deleted: bool) -> None:
        """Mark an experiment as deleted, or as not.

        Raises:
            NotFound: There is none.
        """
        record = self.resolve(experiment_id)
        if record.deleted != deleted:
            self._changed(self.adopt(record), lambda held: replaced(held, deleted=deleted))

    # Trials.

    def current_trial(self, record: ExperimentRecord) -> int:
        """Return the number of the trial that is being filled, as far as it is known here."""
        return max(record.trial, self._trials.get(record.native, 1))

    def associate(self, record: ExperimentRecord, component: str) -> int:
        """Put a component into the trial that is being filled, or into the next when that is full.

        Returns:
            The number of the trial; 0 when the experiment has as many as the account's quota allows: the
            component then stands by itself.

        Raises:
            NotFound: There is no such component.
        """
        first = number = self.current_trial(record)
        for number in range(first, first + TRIALS_TRIED_MAX):
            try:
                self._associate(record, number, component)
            except _NoRoom:
                continue
            except QuotaReached:
                return 0
            break
        self._trials[record.native] = number
        if number > record.trial:
            self._swap(record, lambda held: replaced(held, trial=max(held.trial, number)))
        return number

    def _associate(self, record: ExperimentRecord, number: int, component: str) -> None:
        trial = trial_name(record.native, number)
        for has_made in (False, True):
            try:
                self._clients.call(
                    "sagemaker", "AssociateTrialComponent", TrialName=trial, TrialComponentName=component
                )
            except QuotaReached:
                raise _NoRoom from None
            except NotFound:
                if has_made:
                    raise
                self._make_trial(record, trial)
            else:
                return

    def _make_trial(self, record: ExperimentRecord, trial: str) -> None:
        for is_last in (False, True):
            try:
                self._clients.call("sagemaker", "CreateTrial", TrialName=trial, ExperimentName=record.native)
            except Conflict:
                return
            except NotFound:  # somebody deleted the experiment from SageMaker
                if is_last:
                    raise
                self._make_native(record)
            else:
                return

    # What the methods share.

    def _by_name(self, name: str) -> ExperimentRecord | None:
        known = self._ids.get(name)
        found = None if known is None else self.get(known)
        if found is not None:
            return found
        # The second: one that others made, whose name is SageMaker's.
        for native in dict.fromkeys((experiment_name(self._prefix, name), name)):
            if not is_native(native):
                continue
            named = self._named(native)
            if named is not None and named.name == name:
                found = self.get(named.experiment_id)
            if found is not None:
                self._ids[name] = found.experiment_id
                return found
        return None

    def _named(self, native: str) -> NameRecord | None:
        key = name_key(native)
        held = self._bucket.get(key)
        return None if held is None else decode(held[0], NameRecord, resource=self._bucket.address(key))

    def _made(self, name: str, experiment_id: str) -> ExperimentRecord:
        """Make an experiment that has no record yet."""
        if is_native(name) and name.lower().startswith(self._beginning):
            found = self._described(name)
            if found is not None and EXPERIMENT_TAG not in self._tags(found):
                if found["ExperimentName"] != name:
                    raise self._taken(name, str(found["ExperimentName"]))
                return self._kept(_foreign_record(found, self._tags(found)))
        held = self.get(experiment_id)
        if held is not None and held.name != name:
            raise Rejected(
                f"the id {experiment_id} belongs to experiment {held.name!r}",
                adapter=ADAPTER,
                resource=f"experiment {name!r}",
                hint="leave the id to trackbridge, or use another one",
            )
        now = self._clock_ms()
        record = ExperimentRecord(
            experiment_id=experiment_id,
            name=name,
            native=experiment_name(self._prefix, name),
            creation_time=now,
            last_update_time=now,
        )
        with suppress(QuotaReached):  # the account may have no more of them: the record holds it all
            record = replaced(record, arn=self._make_native(record))
        return self._kept(record)

    def _kept(self, record: ExperimentRecord) -> ExperimentRecord:
        """Write a new record; return the one that somebody else was quicker to write."""
        named = self._claimed(record)
        if named.name != record.name:
            raise self._taken(record.name, named.name)
        record = replaced(record, experiment_id=named.experiment_id)
        key = experiment_key(record.experiment_id)
        data = self._bucket.swap(key, lambda held: encode(record) if held is None else None)
        self._ids[record.name] = record.experiment_id
        return record if data is None else self._decoded(data, key)

    def _claimed(self, record: ExperimentRecord) -> NameRecord:
        key = name_key(record.native)
        claim = encode(NameRecord(experiment_id=record.experiment_id, name=record.name))
        data = self._bucket.swap(key, lambda held: claim if held is None else None)
        return decode(data or claim, NameRecord, resource=self._bucket.address(key))

    def _make_native(self, record: ExperimentRecord) -> str:
        """Make SageMaker's experiment, or find the one that an earlier attempt has made; return its ARN."""
        digest = experiment_digest(self._prefix, record.name)
        shown = display_name(record.name)
        named: Native = {
            "ExperimentName": record.native,
            "Tags": [{"Key": EXPERIMENT_TAG, "Value": digest}],
            **({"DisplayName": shown} if shown else {}),
        }
        if description_of(record.name):
            named["Description"] = description_of(record.name)
        try:
            return str(self._clients.call("sagemaker", "CreateExperiment", **named)["ExperimentArn"])
        except Conflict:
            found = self._described(record.native) or {}
        if self._tags(found).get(EXPERIMENT_TAG) != digest:
            raise self._taken(record.name, str(found.get("ExperimentName", record.native)))
        return str(found["ExperimentArn"])

    def _changed(
        self, record: ExperimentRecord, change: Callable[[ExperimentRecord], ExperimentRecord]
    ) -> ExperimentRecord:
        """Change an experiment: SageMaker's side first, so that repeating makes a break in between good."""
        self._show(record, change(record))
        return self._swap(record, lambda held: replaced(change(held), last_update_time=self._clock_ms()))

    def _show(self, before: ExperimentRecord, after: ExperimentRecord) -> None:
        """Bring the tags of SageMaker's experiment up to the record; it may have been deleted there."""
        arn = after.arn or str((self._described(after.native) or {}).get("ExperimentArn", ""))
        wanted = native_tags(after)
        try:
            if arn and before.deleted and not after.deleted:
                self._clients.call("sagemaker", "DeleteTags", ResourceArn=arn, TagKeys=[DELETED_TAG])
            if arn and wanted:
                tags = [{"Key": key, "Value": value} for key, value in wanted.items()]
                self._clients.call("sagemaker", "AddTags", ResourceArn=arn, Tags=tags)
        except (NotFound, Rejected):  # what it does not take, the record has
            return

    def _swap(
        self, record: ExperimentRecord, change: Callable[[ExperimentRecord], ExperimentRecord]
    ) -> ExperimentRecord:
        key = experiment_key(record.experiment_id)

        def changed(held: bytes | None) -> bytes:
            return encode(change(record if held is None else self._decoded(held, key)))

        return self._decoded(self._bucket.swap(key, changed) or b"", key)

    def _foreign(self, native: str) -> ExperimentRecord | None:
        """Return what the record of an experiment would be that others made; None where there is none."""
        found = self._described(native)
        return None if found is None else _foreign_record(found, self._tags(found))

    def _described(self, native: str) -> Native | None:
        if not is_native(native):
            return None
        try:
            return self._clients.call("sagemaker", "DescribeExperiment", ExperimentName=native)
        except NotFound:
            return None

    def _tags(self, found: Native) -> dict[str, str]:
        arn = found.get("ExperimentArn")
        tags = self._clients.pages("sagemaker", "ListTags", "Tags", ResourceArn=arn) if arn else ()
        return {str(tag["Key"]): str(tag["Value"]) for tag in tags}

    def _search(self) -> Iterator[Native]:
        pages = self._clients.pages(
            "sagemaker", "Search", "Results", Resource="Experiment", MaxResults=SEARCH_ITEMS
        )
        return (item["Experiment"] for item in pages)

    def _decoded(self, data: bytes, key: str) -> ExperimentRecord:
        return decode(data, ExperimentRecord, resource=self._bucket.address(key))

    def _taken(self, name: str, native: str) -> Rejected:
        return Rejected(
            f"SageMaker has an experiment {native} that stands in the place of {name!r}",
            adapter=ADAPTER,
            resource=f"experiment {name!r}",
            hint=f"use that one by its own name, {native!r}, or take another name or prefix",
        )


class _NoRoom(Exception):
    """A trial has as many components as it takes."""


def experiment_of(record: ExperimentRecord) -> Experiment:
    """Return the experiment of a record."""
    return Experiment(
        experiment_id=record.experiment_id,
        name=record.name,
        lifecycle_stage=LifecycleStage.DELETED if record.deleted else LifecycleStage.ACTIVE,
        tags=dict(record.tags),
        creation_time=record.creation_time,
        last_update_time=record.last_update_time,
        native_id=record.native if record.native != record.experiment_id else None,
    )


def native_tags(record: ExperimentRecord) -> dict[str, str]:
    """Return the tags that SageMaker's experiment is to have beside ``EXPERIMENT_TAG``."""
    tags = {DELETED_TAG: "true"} if record.deleted else {}
    for key, value in record.tags.items():
        if len(tags) == TAGS_MAX - len(OWN_TAGS):
            break
        if key not in OWN_TAGS and taggable(key, value):
            tags[key] = value
    return tags


def _foreign_record(found: Native, tags: Mapping[str, str]) -> ExperimentRecord:
    name = str(found["ExperimentName"])
    created = milliseconds(found.get("CreationTime")) or 0
    return ExperimentRecord(
        experiment_id=name,
        name=name,
        native=name,
        arn=str(found.get("ExperimentArn", "")),
        tags={key: value for key, value in tags.items() if key not in OWN_TAGS},
        deleted=DELETED_TAG in tags,
        creation_time=created,
        last_update_time=milliseconds(found.get("LastModifiedTime")) or created,
    )
