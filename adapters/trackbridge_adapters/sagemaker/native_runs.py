"""What SageMaker is shown of a run: a trial component in the shape that Studio and AWS's SDK know.

The record in S3 is the truth. A component has as much of it as it can hold: the status, times, parameters
that fit (the others point to the record), data sets as inputs, and tags that fit. What others have put there
stays: it is read first, and sent along, because the service does not say whether an update replaces a map or
adds to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from trackbridge.domain.runs import TAG_GIT_COMMIT, TAG_GIT_REPOSITORY, DatasetInput, RunStatus
from trackbridge.errors import AuthError, Conflict, NotFound, Rejected, Unavailable
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.errors_services import QuotaReached
from trackbridge_adapters.sagemaker.limits import fits
from trackbridge_adapters.sagemaker.names import (
    DELETED_TAG,
    RUN_SOURCE,
    RUN_SOURCE_TAG,
    RUN_TAG,
    display_name,
    is_native,
    key_part,
)
from trackbridge_adapters.sagemaker.run_records import RunRecord

PARAMETERS_MAX = 300
ARTIFACTS_MAX = 60
TAGS_MAX = 50
REMOVABLE_KEY_CHARS_MAX = 256
"""A parameter with a longer key can be set and never be removed (TrialComponentKey256)."""
MORE = "bridge.more"
"""The parameter that says where those are for which there was no room."""
GENERATED_BY = "trackbridge"
TIME_S_MAX = 253_402_300_799  # the end of the year 9999, which is where datetime ends
OWN_TAGS = frozenset({RUN_TAG, RUN_SOURCE_TAG, DELETED_TAG})
STATUSES = {
    RunStatus.SCHEDULED: "InProgress",
    RunStatus.RUNNING: "InProgress",
    RunStatus.FINISHED: "Completed",
    RunStatus.FAILED: "Failed",
    RunStatus.KILLED: "Stopped",
}

Native = dict[str, Any]


class NameTaken(Rejected):
    """A component stands in the place of a run's, and is somebody else's."""


class NativeRuns:
    """Components of runs. Any thread may use it."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def find(self, component: str) -> Native | None:
        """Return a component as SageMaker describes it; None when there is none."""
        if not is_native(component):
            return None
        try:
            return self._clients.call("sagemaker", "DescribeTrialComponent", TrialComponentName=component)
        except NotFound:
            return None

    def tags(self, arn: str) -> dict[str, str]:
        """Return the tags of anything of SageMaker's."""
        return {
            str(tag["Key"]): str(tag["Value"])
            for tag in self._clients.pages("sagemaker", "ListTags", "Tags", ResourceArn=arn)
        }

    def experiment_of(self, component: str) -> str | None:
        """Return SageMaker's name of the experiment in which a component is; None where it is in none."""
        trials = self._clients.call("sagemaker", "ListTrials", TrialComponentName=component, MaxResults=1)
        for trial in trials.get("TrialSummaries") or ():
            found = self._clients.call("sagemaker", "DescribeTrial", TrialName=trial["TrialName"])
            return str(found["ExperimentName"])
        return None

    def create(self, record: RunRecord) -> str:
        """Make the component of a run, or find the one that an earlier attempt has made; return its ARN.

        Raises:
            NameTaken: A component of this name is somebody else's.
            Rejected: SageMaker does not take the least of it either.
        """
        least: Native = {"TrialComponentName": record.component, "Status": _status(record), **_times(record)}
        tags = tags_of(record)
        more: Native = {"MetadataProperties": _origin(record), **_display(record)}
        try:
            try:
                return self._create(tags, **least, **more)
            except QuotaReached:
                raise
            except Rejected:  # by a rule that nobody has written down: without what users have named
                return self._create({key: tags[key] for key in tags if key in OWN_TAGS}, **least)
        except Conflict:
            return self._made_before(record)

    def _create(self, tags: Mapping[str, str], **named: Any) -> str:
        labels = [{"Key": key, "Value": value} for key, value in tags.items()]
        made = self._clients.call("sagemaker", "CreateTrialComponent", Tags=labels, **named)
        return str(made["TrialComponentArn"])

    def unmark(self, arn: str) -> None:
        """Take the tag off by which AWS's SDK knows a run, where that is allowed: no run fails for it."""
        with suppress(AuthError, Rejected):
            self._clients.call("sagemaker", "DeleteTags", ResourceArn=arn, TagKeys=[RUN_SOURCE_TAG])

    def show(self, record: RunRecord, address: str) -> list[str]:
        """Bring the component up to the record.

        Args:
            record: What it is to show.
            address: Where the whole record lies, for what the component cannot hold.

        Returns:
            The keys of the tags that it has from us now.

        Raises:
            NotFound: There is no such component.
            Unavailable: Others are changing it.
        """
        held = self._clients.call("sagemaker", "DescribeTrialComponent", TrialComponentName=record.component)
        named: Native = {
            "TrialComponentName": record.component,
            "Status": _status(record),
            **_times(record),
            **_display(record),
        }
        parameters = parameters_of(record, held.get("Parameters") or {}, address)
        if parameters:
            named["Parameters"] = parameters
        inputs = inputs_of(record, held.get("InputArtifacts") or {}, address)
        if inputs:
            named["InputArtifacts"] = inputs
        try:
            self._clients.call("sagemaker", "UpdateTrialComponent", **named)
        except Conflict as error:
            raise Unavailable(error.message, adapter=ADAPTER, resource=error.resource) from None
        return self._show_tags(str(held["TrialComponentArn"]), record)

    def _show_tags(self, arn: str, record: RunRecord) -> list[str]:
        wanted = tags_of(record)
        gone = sorted(set(record.native_tags) - set(wanted))
        if gone:
            self._clients.call("sagemaker", "DeleteTags", ResourceArn=arn, TagKeys=gone)
        if wanted:
            tags = [{"Key": key, "Value": value} for key, value in wanted.items()]
            self._clients.call("sagemaker", "AddTags", ResourceArn=arn, Tags=tags)
        return sorted(wanted)

    def _made_before(self, record: RunRecord) -> str:
        found = self._clients.call("sagemaker", "DescribeTrialComponent", TrialComponentName=record.component)
        arn = str(found["TrialComponentArn"])
        tags = self.tags(arn)
        if tags.get(RUN_TAG) == tags_of(record)[RUN_TAG]:
            if record.trial != 1 and not record.adopted and RUN_SOURCE_TAG in tags:
                self.unmark(arn)  # the attempt broke off before it was
            return arn
        raise NameTaken(
            f"SageMaker has a component {record.component}, and it is not of this run",
            adapter=ADAPTER,
            resource=f"run {record.run_id}",
            hint=f"open that one by its name, run_id={found['TrialComponentName']!r}, or take another run id",
        )


def tags_of(record: RunRecord) -> dict[str, str]:
    """Return the tags that the component of a run is to have: ours, and as many of the run's as fit."""
    tags = {RUN_TAG: key_part(record.run_id)}
    # AWS's list_runs puts all that have this tag into the first trial, and fails when that is full.
    if not record.adopted and record.trial == 1:
        tags[RUN_SOURCE_TAG] = RUN_SOURCE
    if record.deleted:
        tags[DELETED_TAG] = "true"
    for key, value in record.tags.items():
        if len(tags) == TAGS_MAX - 1:  # the last place is for the mark of deletion
            break
        if key not in OWN_TAGS and taggable(key, value):
            tags[key] = value
    return tags


def taggable(key: str, value: str) -> bool:
    """Tell whether AWS takes this as a tag; ``aws:`` and ``sagemaker:`` are its own."""
    if key.lower().startswith(("aws:", "sagemaker:")):
        return False
    return fits("sagemaker", "AddTags", "Tags.member.Key", key) and fits(
        "sagemaker", "AddTags", "Tags.member.Value", value
    )


def parameters_of(record: RunRecord, theirs: Mapping[str, Native], address: str) -> dict[str, Native]:
    """Return the parameters that a component is to have: what others have put there, and the run's."""
    others = {key: value for key, value in theirs.items() if key not in record.params and key != MORE}
    room = PARAMETERS_MAX - len(others)
    ours = {
        key: _parameter(value, address)
        for key, value in record.params.items()
        if 0 < len(key) <= REMOVABLE_KEY_CHARS_MAX and fits(*_CREATE, "Parameters.key", key)
    }
    if len(ours) <= room and len(ours) == len(record.params):
        return {**others, **ours}
    chosen = dict(list(ours.items())[: max(room - 1, 0)])
    left = len(record.params) - len(chosen)
    more = {MORE: {"StringValue": f"{left} more: {address}"}} if room > 0 else {}
    return {**others, **chosen, **more}


def inputs_of(record: RunRecord, theirs: Mapping[str, Native], address: str) -> dict[str, Native]:
    """Return the inputs that a component is to have: what others have put there, and the run's data sets."""
    inputs = dict(theirs)
    for dataset in record.inputs:
        key = input_name(dataset)
        if fits(*_CREATE, "InputArtifacts.key", key) and (key in inputs or len(inputs) < ARTIFACTS_MAX):
            source = dataset.source or dataset.name
            is_short = source != "" and fits(*_CREATE, "InputArtifacts.value.Value", source)
            inputs[key] = {"Value": source if is_short else address}
    return inputs


def input_name(dataset: DatasetInput) -> str:
    """Return under which name a data set is an input."""
    return f"{dataset.name}@{dataset.digest}"


def number_of(text: str) -> float | None:
    """Return the number that a param's text is, where nothing but that text is written for it."""
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return number if text in (repr(number), _whole(number)) else None


def text_of(parameter: Native) -> str:
    """Return a parameter of a component as the text of a param."""
    if "NumberValue" in parameter:
        number = float(parameter["NumberValue"])
        return _whole(number) or repr(number)
    return str(parameter.get("StringValue", ""))


def seconds(time_ms: int | None) -> float | None:
    """Return a time as SageMaker takes it; None where it is one that it cannot hold."""
    if time_ms is None or not 0 <= time_ms / 1000 <= TIME_S_MAX:
        return None
    return time_ms / 1000


_CREATE = ("sagemaker", "CreateTrialComponent")


def _whole(number: float) -> str:
    """Return a number without a fraction, and exact, as digits; "" for any other."""
    is_whole = (
        number.is_integer()
        and abs(number) < 2**53
        and math.copysign(1.0, number + 0.0) == math.copysign(1.0, number)
    )
    return str(int(number)) if is_whole else ""


def _parameter(text: str, address: str) -> Native:
    number = number_of(text)
    if number is not None:
        return {"NumberValue": number}
    is_short = fits(*_CREATE, "Parameters.value.StringValue", text)
    return {"StringValue": text if is_short else address}


def _status(record: RunRecord) -> Native:
    return {"PrimaryStatus": STATUSES[record.status], "Message": f"{GENERATED_BY}: {record.status}"}


def _times(record: RunRecord) -> Native:
    found = {"StartTime": seconds(record.start_time), "EndTime": seconds(record.end_time)}
    return {field: at for field, at in found.items() if at is not None}


def _display(record: RunRecord) -> Native:
    shown = display_name(record.name)
    return {"DisplayName": shown} if shown else {}


def _origin(record: RunRecord) -> dict[str, str]:
    found = {
        "CommitId": record.tags.get(TAG_GIT_COMMIT, ""),
        "Repository": record.tags.get(TAG_GIT_REPOSITORY, ""),
        "GeneratedBy": GENERATED_BY,
    }
    return {
        field: text
        for field, text in found.items()
        if text and fits(*_CREATE, f"MetadataProperties.{field}", text)
    }
