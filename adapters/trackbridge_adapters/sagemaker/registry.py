"""The registry port over package groups of SageMaker and records in S3.

Every write tells SageMaker first, then replaces the record by compare-and-swap. What broke off between the
two is done by making the call again: a version's package is found by its metadata, all else is set anew.
"""

# ruff: noqa: D102  the docstrings of the port are the contract

from __future__ import annotations

import getpass
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from trackbridge.domain.models import (
    NO_REASON,
    STAGES,
    Approval,
    ChangeReason,
    ModelVersion,
    ModelVersionSpec,
    RegisteredModel,
    RegistryChange,
)
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.errors import BridgeError, Conflict, NotFound, Rejected, Unavailable
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.registry import ModelRegistry
from trackbridge.ports.tracking import TrackingStore
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.bucket import SWAPS_MAX
from trackbridge_adapters.sagemaker.capabilities import PAGE_ITEMS_MAX
from trackbridge_adapters.sagemaker.registry_edits import NATIVE_USER, Edit
from trackbridge_adapters.sagemaker.registry_groups import Group, Groups
from trackbridge_adapters.sagemaker.registry_models import Model, Models, record_of, view_of
from trackbridge_adapters.sagemaker.registry_native import NativePackage, Packages
from trackbridge_adapters.sagemaker.registry_payloads import Payloads
from trackbridge_adapters.sagemaker.registry_projection import (
    ALIAS_TAG,
    creation,
    description_of,
    group_tags,
    metadata,
    native_number,
    tellable,
    words,
)
from trackbridge_adapters.sagemaker.registry_records import ModelRecord, Records, version_record
from trackbridge_adapters.sagemaker.registry_settings import registry_settings

UNKNOWN_USER = "unknown"
LOCKS = 64
DELETES_AT_ONCE = 8
UNKNOWN_TEXT = ""
"""Stands for the value of a tag in SageMaker that is not known; none that is told is empty."""
_VERSION = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
Result = TypeVar("Result")
Telling = Callable[[], None]


class SageMakerRegistry(ModelRegistry):
    """Registered models of one place.

    Args:
        backend: The place.
        artifacts: The files of its runs.
        tracking: Its runs; None: packages say nothing about metrics.
    """

    def __init__(
        self, backend: Backend, artifacts: ArtifactStore, tracking: TrackingStore | None = None
    ) -> None:
        settings = registry_settings(backend.context.options)
        self._clock_ms = backend.context.clock_ms
        self._groups = Groups(backend.place.prefix, settings.shared)
        self._packages = Packages(backend.clients)
        self._records = Records(backend.bucket)
        self._models = Models(self._groups, self._packages, self._records, self._clock_ms)
        self._payloads = Payloads(backend.bucket, artifacts, tracking, settings)
        # Threads of one process wait for each other; others are met by compare-and-swap.
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    # Models.

    def ensure_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: ChangeReason = NO_REASON,
    ) -> RegisteredModel:
        group = self._groups.of(name)

        def ensure() -> RegisteredModel | None:
            found = self._models.find(name)
            if found is not None and not self._models.is_ours(found):
                return found.view()
            return self._make(group, description, dict(tags or {}), reason)

        return self._repeated(name, ensure)

    def _make(
        self, group: Group, description: str, tags: dict[str, str], reason: ChangeReason
    ) -> RegisteredModel | None:
        """Make a group and its record; None when others made the record meanwhile."""
        if group.is_shared:
            raise _no_model(group.model, "the group belongs to another account, which makes it")
        held = self._records.read(group.folder)
        record, match = held if held is not None else (ModelRecord(name=group.model), None)
        if record.name != group.model:
            raise Rejected(
                f"the model {record.name[:80]!r} has the package group that this name would have",
                adapter=ADAPTER,
                resource=_resource(group.model),
                hint="choose another name",
            )
        if not record.is_deleted and record.created:  # its group was deleted in SageMaker
            Edit(record, NATIVE_USER, "", self._clock_ms()).delete_model()
        edit = self._edit(record, reason)
        edit.create_model(description, tags, 0)
        self._records.encoded(record)
        address = self._models.address(group)
        self._packages.create_group(
            group.reference, description_of(description), group_tags(record, group, address)
        )
        native = self._packages.find_group(group.reference)
        if native is None:
            raise Unavailable(
                f"the package group {group.reference} cannot be read back",
                adapter=ADAPTER,
                hint="SageMaker may still be deleting an older one of this name; try again",
            )
        if native.name != group.reference:
            raise Rejected(
                f"somebody has the package group {native.name}, which for SageMaker is the same name",
                adapter=ADAPTER,
                resource=_resource(group.model),
                hint=f"use the model {native.name[len(self._groups.begin) :]}, or choose another name",
            )
        record.group_created = native.created
        if not self._records.write(group.folder, record, match):
            return None
        return Model(group=group, native=native, record=record, match=match, is_new=False).view()

    def get_model(self, name: str) -> RegisteredModel:
        return self._model(name).view()

    def list_models(self, *, max_results: int = 1000, token: str | None = None) -> Page[RegisteredModel]:
        operation = "registry.list_models"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        listing = listing_of(operation)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(str,))
        found = self._models.listed(after=None if place is None else place[0], count=size + 1)
        more = token_of(listing, [found[size - 1].record.name]) if len(found) > size else None
        return Page(items=tuple(item.view() for item in found[:size]), token=more)

    # Versions.

    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        made: list[str] = []

        def create() -> ModelVersion | None:
            model = self._model(spec.name)
            try:
                known = self._of_key(model, spec, key)
            except BridgeError:
                self._unmake(model, made)
                raise
            if known is None:
                known = self._make_version(model, spec, key, reason, made)
            if known is not None:
                self._unmake(model, made)
            return known

        return self._repeated(spec.name, create)

    def _make_version(
        self, model: Model, spec: ModelVersionSpec, key: str, reason: ChangeReason, made: list[str]
    ) -> ModelVersion | None:
        """Make a package and note it; None when the record was changed meanwhile."""
        record, group = model.record, model.group
        item = version_record(spec, key)
        # What no record could hold is refused before there is a package of it.
        record.versions[record.last_number + 1] = item
        self._records.encoded(record, beside=(reason.user, reason.why))
        del record.versions[record.last_number]
        begun = self._models.begun(model, item)
        if begun is not None:
            package = begun.arn
        else:
            package = self._packages.create_package(
                creation(
                    group,
                    item,
                    address=self._models.address(group),
                    made=model.native.created,
                    payload=self._payloads.described(spec, group.folder),
                )
            )
            made.append(package)
        number = int(native_number(package))
        if number in record.versions:  # SageMaker counts anew in a group that was made anew
            number = record.last_number + 1
        self._edit(record, reason).create_version(number, package, spec, key)
        if not self._records.write(group.folder, record, model.match):
            return None
        found = begun or NativePackage(
            arn=package,
            number=number,
            description="",
            created=0,
            approval=Approval.PENDING,
            stage=STAGES[0],
        )
        return view_of(model, number, record.versions[number], found)

    def _of_key(self, model: Model, spec: ModelVersionSpec, key: str) -> ModelVersion | None:
        """Return the version that a key stands for; None for a new key."""
        for number, item in model.record.versions.items():
            if item.key != key:
                continue
            if (item.source, item.digest) != (spec.source, spec.digest):
                raise Conflict(
                    f"the key stands for version {number}, which has another source or digest",
                    adapter=ADAPTER,
                    resource=_resource(spec.name, str(number)),
                    hint="use a new key for a new version",
                )
            if item.is_deleted:
                raise _no_version(spec.name, str(number), "it was deleted; register it with a new key")
            return self._version(model, number)
        return None

    def _unmake(self, model: Model, made: list[str]) -> None:
        """Delete packages that were made for a version which has another one."""
        known = {item.package for item in model.record.living().values()}
        for package in made:
            if package not in known:
                self._packages.delete_package(package)

    def get_version(self, name: str, version: str) -> ModelVersion:
        return self._version(self._model(name), _number(name, version))

    def _version(self, model: Model, number: int) -> ModelVersion:
        try:
            found = self._models.details(model, number)
        except NotFound as error:
            raise _no_version(model.record.name, str(number)) from error
        item = model.record.living().get(number) or record_of(found)
        return view_of(model, number, item, found.package)

    def list_versions(
        self, name: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[ModelVersion]:
        operation = "registry.list_versions"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        listing = listing_of(operation, name)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(int,))
        model = self._models.find(name)
        if model is None:
            return Page(items=())
        packages = self._models.packages(model)
        numbers = [number for number in sorted(packages, reverse=True) if place is None or number < place[0]]
        more = token_of(listing, [numbers[size - 1]]) if len(numbers) > size else None
        seen = (self._models.view(model, number, packages[number]) for number in numbers[:size])
        return Page(items=tuple(item for item in seen if item is not None), token=more)

    # Changes.

    def set_tags(
        self,
        name: str,
        version: str | None,
        *,
        tags: Mapping[str, str | None],
        reason: ChangeReason = NO_REASON,
    ) -> None:
        def edit(record: ModelRecord, number: int | None) -> None:
            self._edit(record, reason).set_tags(number, tags)

        self._change(name, version, edit, tags if version is None else (), () if version is None else tags)

    def set_description(
        self, name: str, version: str | None, *, description: str, reason: ChangeReason = NO_REASON
    ) -> None:
        def edit(record: ModelRecord, number: int | None) -> None:
            # SageMaker has no way to change one that a group or a package has.
            self._edit(record, reason).describe(number, description)

        self._change(name, version, edit)

    def set_alias(
        self, name: str, alias: str, *, version: str | None, reason: ChangeReason = NO_REASON
    ) -> None:
        def edit(record: ModelRecord, number: int | None) -> None:
            if number is not None and self._packages.find_package(record.versions[number].package) is None:
                raise _no_version(name, str(number))
            self._edit(record, reason).point(alias, number)

        self._change(name, version, edit, (f"{ALIAS_TAG}{alias}",))

    def set_stage(self, name: str, version: str, *, stage: str, reason: ChangeReason = NO_REASON) -> None:
        if stage not in STAGES:
            raise Rejected(
                f"{stage[:40]!r} is not a stage",
                adapter=ADAPTER,
                resource=_resource(name, version),
                hint=f"use one of {', '.join(STAGES)}",
            )
        self._label(name, version, reason, stage=stage)

    def set_approval(
        self, name: str, version: str, *, approval: Approval, reason: ChangeReason = NO_REASON
    ) -> None:
        self._label(name, version, reason, approval=approval)

    def _label(
        self,
        name: str,
        version: str,
        reason: ChangeReason,
        *,
        stage: str | None = None,
        approval: Approval | None = None,
    ) -> None:
        """Set a stage or an approval; what others made of it in SageMaker meanwhile is noted before."""

        def edit(record: ModelRecord, number: int | None) -> Telling | None:
            assert number is not None
            found = self._packages.find_package(record.versions[number].package)
            if found is None:
                raise _no_version(name, version)
            package = found.package
            theirs = Edit(record, found.changed_by or NATIVE_USER, "", found.changed or self._clock_ms())
            ours = self._edit(record, reason)
            said = words(ours.user, ours.why)
            # With our words it is our own change, which broke off before it was noted.
            if stage is not None:
                if (package.stage, found.stage_words) != (stage, said):
                    theirs.set_stage(number, package.stage)
                ours.set_stage(number, stage)
                if package.stage != stage:
                    return lambda: self._packages.move(package.arn, stage, said)
            if approval is not None:
                if (package.approval, found.approval_words) != (approval, said):
                    theirs.set_approval(number, package.approval)
                ours.set_approval(number, approval)
                if package.approval is not approval:
                    return lambda: self._packages.approve(package.arn, approval, said)
            return None

        self._change(name, version, edit)

    def list_changes(
        self, name: str, version: str | None = None, *, max_results: int = 1000, token: str | None = None
    ) -> Page[RegistryChange]:
        operation = "registry.list_changes"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        listing = listing_of(operation, name, version)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(int,))
        record = self._kept_record(name)
        if record is None:
            return Page(items=())
        found: list[RegistryChange] = []
        for change in self._records.changes(record):
            if place is not None and change.sequence >= place[0]:
                continue
            if version is not None and (change.version is None or str(change.version) != version):
                continue
            if len(found) == size:
                return Page(items=tuple(found), token=token_of(listing, [found[-1].sequence]))
            found.append(
                RegistryChange(
                    sequence=change.sequence,
                    name=name,
                    version=None if change.version is None else str(change.version),
                    what=change.what,
                    before=change.before,
                    after=change.after,
                    user=change.user,
                    time=change.time,
                    why=change.why,
                )
            )
        return Page(items=tuple(found))

    def _kept_record(self, name: str) -> ModelRecord | None:
        """Return the record of a model, be it there or deleted; None when nothing was ever noted."""
        for group in self._groups.candidates(name):
            held = self._records.read(group.folder)
            if held is not None and (held[0].name == name or group.is_shared):
                return held[0]
        return None

    # Deletion.

    def delete_version(self, name: str, version: str, *, reason: ChangeReason = NO_REASON) -> None:
        def edit(record: ModelRecord, number: int | None) -> Telling:
            assert number is not None
            package = record.versions[number].package
            self._edit(record, reason).delete_version(number)
            return lambda: self._packages.delete_package(package)

        try:
            self._change(name, version, edit)
        except NotFound:
            return  # what is absent is deleted already

    def delete_model(self, name: str, *, reason: ChangeReason = NO_REASON) -> None:
        candidates = self._groups.candidates(name)
        if not candidates:
            return

        def delete() -> bool | None:
            model = self._models.find(name)
            if model is not None:
                packages = [item.arn for item in self._packages.list_packages(model.group.reference)]
                with ThreadPoolExecutor(DELETES_AT_ONCE) as pool:
                    list(pool.map(self._packages.delete_package, packages))
                self._packages.delete_group(model.group.reference)
            group = candidates[0] if model is None else model.group
            held = self._records.read(group.folder)
            if held is None or held[0].is_deleted or (held[0].name != name and not group.is_shared):
                return True
            record, match = held
            self._edit(record, reason).delete_model()
            return self._records.write(group.folder, record, match) or None

        self._repeated(name, delete)

    # What the methods share.

    def _model(self, name: str) -> Model:
        found = self._models.find(name)
        if found is None:
            raise _no_model(name)
        return found

    def _change(
        self,
        name: str,
        version: str | None,
        edit: Callable[[ModelRecord, int | None], Telling | None],
        tags: Iterable[str] = (),
        properties: Iterable[str] = (),
    ) -> None:
        """Change a model that is there, and, when one is named, a version that is there too.

        Args:
            name: Of the model.
            version: Of the version; None: the model itself is changed.
            edit: Changes the record, and returns what SageMaker is to be told beyond tags and metadata.
            tags: Keys of the group's tags that the change is about. They are told even when the record has
                them like that: a change that broke off may have told others.
            properties: Likewise of the package's metadata.
        """
        number = None if version is None else _number(name, version)

        def change() -> bool | None:
            model = self._model(name)
            record = model.record
            if number is not None and number not in record.living():
                self._adopt(model, number)
            told = self._told(model, number)
            sequence = record.sequence
            telling = edit(record, number)
            if record.sequence == sequence and (model.is_new or not (tags or properties)):
                return True
            if not model.group.is_shared:
                told[0].update(dict.fromkeys(tellable(tags), UNKNOWN_TEXT))
            told[1].update(dict.fromkeys(tellable(properties), UNKNOWN_TEXT))
            self._records.encoded(record)
            if telling is not None:
                telling()
            self._tell(model, number, told)
            return self._records.write(model.group.folder, record, model.match) or None

        self._repeated(name, change)

    def _adopt(self, model: Model, number: int) -> None:
        """Take a version that others made into the record.

        Raises:
            NotFound: There is no such version.
        """
        try:
            model.record.versions[number] = record_of(self._models.details(model, number))
        except NotFound as error:
            raise _no_version(model.record.name, str(number)) from error

    def _told(self, model: Model, number: int | None) -> tuple[dict[str, str], dict[str, str]]:
        """Return what SageMaker knows, or should know, of a model and of one of its versions."""
        address = self._models.address(model.group)
        item = None if number is None else model.record.living().get(number)
        tags = {} if model.group.is_shared else group_tags(model.record, model.group, address)
        return tags, {} if item is None else metadata(item, address)

    def _tell(self, model: Model, number: int | None, told: tuple[dict[str, str], dict[str, str]]) -> None:
        """Tell SageMaker what has changed of that; what it refuses for good is in the record alone."""
        tags, properties = self._told(model, number)
        changed, removed = _difference(told[0], tags)
        with suppress(Rejected):
            self._packages.remove_tags(model.native.arn, removed)
        with suppress(Rejected):
            self._packages.add_tags(model.native.arn, changed)
        item = None if number is None else model.record.living().get(number)
        if item is None or properties == told[1]:
            return
        found = self._packages.find_package(item.package)
        if found is None:
            raise _no_version(model.record.name, str(number))
        gone = [key for key in _difference(told[1], properties)[1] if key in found.metadata]
        with suppress(Rejected):
            self._packages.set_metadata(item.package, properties, gone)

    def _repeated(self, name: str, attempt: Callable[[], Result | None]) -> Result:
        """Make a change until nobody else's came between."""
        with self._locks[hash(name) % LOCKS]:
            for _ in range(SWAPS_MAX):
                done = attempt()
                if done is not None:
                    return done
        raise Unavailable("others change the model all the time", adapter=ADAPTER, resource=_resource(name))

    def _edit(self, record: ModelRecord, reason: ChangeReason) -> Edit:
        return Edit(record, reason.user or _login_name(), reason.why, self._clock_ms())


def _difference(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what is new or has another value, and what is gone."""
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    return changed, sorted(before.keys() - after.keys())


def _number(name: str, version: str) -> int:
    if not _VERSION.fullmatch(version):
        raise _no_version(name, version)
    return int(version)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user id has no name
        return UNKNOWN_USER


def _resource(name: str, version: str | None = None) -> str:
    return f"model {name[:80]!r}" if version is None else f"model {name[:80]!r}, version {version[:20]!r}"


def _no_model(name: str, hint: str = "'bridge models list' shows those that there are") -> NotFound:
    return NotFound(f"there is no registered model {name[:80]!r}", adapter=ADAPTER, hint=hint)


def _no_version(name: str, version: str, hint: str = "") -> NotFound:
    return NotFound(
        f"model {name[:80]!r} has no version {version[:20]!r}",
        adapter=ADAPTER,
        hint=hint or "'bridge models show' lists the versions that there are",
    )
