"""A model as it stands: our record and SageMaker's own registry, put together.

That a group or a package exists, is approved, or is in a stage: SageMaker says it, whoever changed it there.
All else of what was made here the record says. Packages and groups that others made are shown with what
SageMaker knows of them, and have a record from the first change on that is made here. A package of others has
SageMaker's number, or the next free one where a version of ours had that number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from trackbridge.domain.models import ModelVersion, RegisteredModel
from trackbridge.errors import NotFound
from trackbridge_adapters.sagemaker.bucket import READS_AT_ONCE
from trackbridge_adapters.sagemaker.registry_edits import NATIVE_USER, Edit
from trackbridge_adapters.sagemaker.registry_groups import Group, Groups
from trackbridge_adapters.sagemaker.registry_native import (
    NativeGroup,
    NativePackage,
    PackageDetails,
    Packages,
)
from trackbridge_adapters.sagemaker.registry_projection import (
    DIGEST,
    KEY,
    NAME_TAG,
    OWN_METADATA,
    RECORD,
    RECORD_TAG,
    RUN,
    SOURCE,
    aliases_in,
    free_tags,
    metadata,
    origin_in,
    unquoted,
)
from trackbridge_adapters.sagemaker.registry_records import ModelRecord, Records, VersionRecord

UNFINISHED_MS = 3_600_000
"""For how long a package of ours that no record knows is taken to be in the making."""
LIFE_CYCLE_TAG = "sagemaker.life_cycle"
"""Tag of a version that is in a stage of SageMaker's which is none of ours: ``Stage/Status``."""


@dataclass(slots=True, kw_only=True)
class Model:
    """A model that is there. ``match`` is the version of the record's object; None: there is none.

    ``is_new``: the record was put together from what SageMaker knows, and is kept nowhere yet.
    """

    group: Group
    native: NativeGroup
    record: ModelRecord
    match: str | None
    is_new: bool
    others: dict[int, NativePackage] = field(default_factory=dict)

    def view(self) -> RegisteredModel:
        """Return it as the port has it."""
        record = self.record
        return RegisteredModel(
            name=record.name,
            description=record.description,
            aliases={alias: str(number) for alias, number in sorted(record.aliases.items())},
            tags=dict(record.tags),
            creation_time=record.created,
            last_update_time=record.changed,
        )

    def aliases_of(self, number: int) -> tuple[str, ...]:
        """Return the aliases that point at a version."""
        return tuple(sorted(alias for alias, place in self.record.aliases.items() if place == number))


class Models:
    """Finds models and versions. Any thread may use it."""

    def __init__(
        self, groups: Groups, packages: Packages, records: Records, clock_ms: Callable[[], int]
    ) -> None:
        self._groups = groups
        self._packages = packages
        self._records = records
        self._clock_ms = clock_ms

    def find(self, name: str) -> Model | None:
        """Return the model of a name; None when there is none."""
        for group in self._groups.candidates(name):
            found = self.find_in(group)
            if found is not None:
                return found
        return None

    def find_in(self, group: Group) -> Model | None:
        """Return the model of a group; None when SageMaker has no such group."""
        native = self._packages.find_group(group.reference)
        # SageMaker does not mind the case of a name; here it counts.
        if native is None or not (group.is_shared or native.name == group.reference):
            return None
        model = self._model(group, native, self._records.read(group.folder))
        return model if model.record.name == group.model else None

    def all(self) -> Iterator[tuple[Group, NativeGroup]]:
        """Yield the groups of the place, and those of other accounts that have a name here."""
        for native in self._packages.list_groups(self._groups.begin.strip("-")):
            group = self._groups.of_native(native.name)
            if group is not None:
                yield group, native
        for group in self._groups.shared():
            found = self._packages.find_group(group.reference)
            if found is not None:
                yield group, found

    def listed(self, *, after: str | None, count: int) -> list[Model]:
        """Return models in order of name; of two with one name that which was made here.

        Args:
            after: Begin behind this name.
            count: How many at most.
        """
        natives = list(self.all())
        records = self._records.read_many([group.folder for group, _ in natives])
        found: dict[str, Callable[[], Model]] = {}
        for (group, native), (_, held) in zip(natives, records, strict=True):
            is_ours = held is not None and _is_of(held, native)
            name = self._name(group, native, held)
            if is_ours or name not in found:
                kept = None if held is None else (held, "")
                found[name] = partial(self._model, group, native, kept)
        chosen = [name for name in sorted(found) if after is None or name > after][:count]
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            return list(pool.map(lambda name: found[name](), chosen))

    def _name(self, group: Group, native: NativeGroup, held: ModelRecord | None) -> str:
        """Return the name of the model that a group is; only a tag tells it where no record does."""
        if group.is_shared:
            return group.model
        if held is not None:
            return held.name
        if not self._groups.looks_shortened(native.name):
            return group.model
        return _named(self._packages.list_tags(native.arn), group)

    def _model(self, group: Group, native: NativeGroup, held: tuple[ModelRecord, str] | None) -> Model:
        record, match = held if held is not None else (None, None)
        is_ours = record is not None and _is_of(record, native)
        if record is None or not is_ours:
            record = self._adopted(group, native, record)
        if group.is_shared:
            record.name = group.model
        return Model(group=group, native=native, record=record, match=match, is_new=not is_ours)

    def _adopted(self, group: Group, native: NativeGroup, held: ModelRecord | None) -> ModelRecord:
        """Return the record of a group that is not ours, behind what was kept of an older one of its name."""
        tags = {} if group.is_shared else self._packages.list_tags(native.arn)
        record = held or ModelRecord(name=_named(tags, group))
        if held is not None and not held.is_deleted:
            Edit(held, NATIVE_USER, "", self._clock_ms()).delete_model()
        record.is_deleted = False
        record.group_created = record.created = native.created
        record.changed = max(record.changed, native.created)
        record.description, record.tags = native.description, free_tags(tags)
        record.aliases = {}
        told = aliases_in(tags)
        if told:
            packages = {package.number: package for package in self._packages.list_packages(group.reference)}
            numbers = {
                package.number: number for number, package in _others(record, packages.values()).items()
            }
            record.aliases = {alias: numbers[native] for alias, native in told.items() if native in numbers}
        return record

    # Versions.

    def packages(self, model: Model) -> dict[int, NativePackage]:
        """Return the packages of a model that are there, by our numbers of the versions."""
        listed = {package.arn: package for package in self._packages.list_packages(model.group.reference)}
        living = model.record.living()
        # Listings may lag behind what was just made.
        missing = [item.package for item in living.values() if item.package not in listed]
        for arn in self._packages.existing(missing):
            details = self._packages.find_package(arn)
            if details is not None:
                listed[arn] = details.package
        found = {number: listed[item.package] for number, item in living.items() if item.package in listed}
        model.others = _others(model.record, listed.values())
        return found | model.others

    def details(self, model: Model, number: int) -> PackageDetails:
        """Return the package of a version, with what only its description tells.

        Raises:
            NotFound: There is no such version, or SageMaker has no such package any more.
        """
        item = model.record.living().get(number)
        if item is None:
            if not model.others:
                self.packages(model)
            package = model.others.get(number)
            arn = None if package is None else package.arn
        else:
            arn = item.package
        found = None if arn is None else self._packages.find_package(arn)
        if found is None or (item is None and self._is_unfinished(model, found)):
            raise NotFound(f"there is no version {number}")
        return found

    def begun(self, model: Model, item: VersionRecord) -> NativePackage | None:
        """Return the package that an attempt which broke off has made of a version; None: there is none.

        SageMaker would make another one: by now the run may have other metrics, which are in the request.
        """
        wanted = _own(metadata(item, self.address(model.group)))
        if not {RECORD, KEY} <= wanted.keys():
            return None
        self.packages(model)
        for package in reversed(model.others.values()):
            found = self._packages.find_package(package.arn)
            if found is not None and _own(found.metadata) == wanted:
                return found.package
        return None

    def view(self, model: Model, number: int, found: NativePackage) -> ModelVersion | None:
        """Return a version as the port has it; None when it is in the making."""
        item = model.record.living().get(number)
        if item is None:
            details = self._packages.find_package(found.arn)
            if details is None or self._is_unfinished(model, details):
                return None
            item = record_of(details)
        return view_of(model, number, item, found)

    def address(self, group: Group) -> str:
        """Return where the record of a group lies."""
        return self._records.address(group.folder)

    def is_ours(self, model: Model) -> bool:
        """Tell whether a group without a record was made here: the record was not written any more."""
        return (
            model.is_new
            and not model.group.is_shared
            and self._packages.list_tags(model.native.arn).get(RECORD_TAG) == self.address(model.group)
        )

    def _is_unfinished(self, model: Model, found: PackageDetails) -> bool:
        is_own = found.metadata.get(RECORD) == self.address(model.group) and KEY in found.metadata
        return is_own and self._clock_ms() - found.package.created < UNFINISHED_MS


def _is_of(record: ModelRecord, native: NativeGroup) -> bool:
    """Tell whether a record is about this group, not about an older one of its name."""
    return not record.is_deleted and record.group_created == native.created


def _named(tags: Mapping[str, str], group: Group) -> str:
    return unquoted(tags[NAME_TAG]) if NAME_TAG in tags else group.model


def view_of(model: Model, number: int, item: VersionRecord, found: NativePackage) -> ModelVersion:
    """Return a version as the port has it, from our record and SageMaker's package."""
    tags = dict(item.tags)
    if found.life_cycle:
        tags[LIFE_CYCLE_TAG] = found.life_cycle
    return ModelVersion(
        name=model.record.name,
        version=str(number),
        source=item.source,
        digest=item.digest,
        run_id=item.run_id,
        origin=item.origin,
        description=item.description,
        stage=found.stage,
        approval=found.approval,
        aliases=model.aliases_of(number),
        tags=tags,
        datasets=tuple(item.datasets),
        creation_time=item.created,
        last_update_time=item.changed,
        user=item.user,
        native_id=item.package,
    )


def record_of(found: PackageDetails) -> VersionRecord:
    """Return what SageMaker knows of a package that others made, as a record of a version."""
    told = found.metadata
    return VersionRecord(
        package=found.package.arn,
        source=told.get(SOURCE) or found.source or found.package.arn,
        digest=told.get(DIGEST),
        run_id=told.get(RUN),
        origin=origin_in(told),
        description=found.package.description,
        tags={key: value for key, value in told.items() if not key.startswith(OWN_METADATA)},
        stage=found.package.stage,
        approval=found.package.approval,
        user=found.user,
        created=found.package.created,
        changed=max(found.changed, found.package.created),
    )


def _own(told: Mapping[str, str]) -> dict[str, str]:
    """Return what of a package's metadata is ours, without the tags of the version."""
    return {key: value for key, value in told.items() if key.startswith(OWN_METADATA)}


def _others(record: ModelRecord, packages: Iterable[NativePackage]) -> dict[int, NativePackage]:
    """Return the packages that no record knows, by the numbers that they have here."""
    known = {item.package for item in record.living().values()}
    found: dict[int, NativePackage] = {}
    for package in sorted(packages, key=lambda package: package.number):
        if package.arn in known:
            continue
        number = package.number
        if number in record.versions or number in found:
            number = max(record.last_number, *found, 0) + 1
        found[number] = package
    return found
