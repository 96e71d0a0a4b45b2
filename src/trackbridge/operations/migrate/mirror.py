"""Two registries in step: what was changed on either side since they agreed last goes to the other.

::

    base (ledger)  source  target
          |           |       |
          +--- merge, field by field ---> edits of either side, clashes
          versions that one side lacks -> copied there with their files and runs

A version is known by where it was first registered. What is agreed on afterwards is what was decided, not
what is read then: an edit that somebody makes meanwhile differs from it, and is seen the next time. Where a
registry keeps a history, an edit that came between reading a field and setting it is found there, and stands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec

from trackbridge.domain.migration import Kind, Selection, State
from trackbridge.domain.models import (
    Approval,
    ChangeReason,
    ModelVersion,
    Origin,
    RegisteredModel,
    RegistryChange,
)
from trackbridge.domain.plans import Action, Change, Plan
from trackbridge.domain.runs import LifecycleStage
from trackbridge.errors import BridgeError, Conflict, NotFound, Unsupported
from trackbridge.operations.migrate.agreements import concealed, revealed
from trackbridge.operations.migrate.applying import Applying, apply_migration
from trackbridge.operations.migrate.ledger import Ledger
from trackbridge.operations.migrate.merging import NOTHING, Clash, Merged, Policy, Values, merge
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import kind_of_change, plan_migration
from trackbridge.operations.migrate.preflight import Preflight, promotes
from trackbridge.operations.migrate.prints import own_tags, shown_fields
from trackbridge.operations.migrate.registry_plans import find_model, versions_by_origin
from trackbridge.operations.migrate.report import Account
from trackbridge.operations.migrate.side import Side
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.registry import ModelRegistry
from trackbridge.resolve.config import close_match

Changed = RegisteredModel | ModelVersion
SOURCE, TARGET = "source", "target"
RECENT_CHANGES = 50
"""Changes of a model in which our own is looked for right after it was made."""
FEATURES = {
    "description": Feature.REGISTRY_DESCRIPTION,
    "stage": Feature.REGISTRY_STAGE,
    "approval": Feature.REGISTRY_APPROVAL,
    "alias": Feature.REGISTRY_ALIAS,
}


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """One field to be set on one side. ``origin`` is None for a field of the model itself."""

    side: str
    name: str
    origin: Origin | None
    what: str
    before: str | None
    after: str | None

    @property
    def subject(self) -> str:
        """What it is of, for people."""
        return subject_of(self.name, self.origin)


class MirrorPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to do so that two registries agree.

    ``forward`` and ``backward`` copy versions that one side lacks; ``agreed`` holds by subject what both
    agree on once all of it is done, of which ``awaited`` are to be copied first.
    """

    edits: tuple[Edit, ...]
    clashes: tuple[Clash, ...]
    forward: Plan
    backward: Plan | None
    agreed: dict[str, dict[str, str | None]]
    awaited: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def runs_there(self) -> int:
        """How many of the runs that made the versions are there already, as they are to be."""
        return sum(change.action is Action.KEEP for change in self._runs())

    @property
    def runs_to_copy(self) -> int:
        """How many of these runs are not there, or not as they are to be."""
        return sum(change.action is not Action.KEEP for change in self._runs())

    def _runs(self) -> Iterator[Change]:
        return (change for _, change in self.changes() if change.subject.startswith("run "))

    @property
    def changes_something(self) -> bool:
        """False when both agree already."""
        copies = (self.forward, self.backward)
        return bool(self.edits) or any(plan is not None and plan.changes_something for plan in copies)

    def changes(self) -> Iterator[tuple[str, Change]]:
        """Yield every change with the side that it is made on, for people."""
        for side, plan in ((TARGET, self.forward), (SOURCE, self.backward)):
            yield from ((side, change) for change in (plan.changes if plan is not None else ()))
        for edit in self.edits:
            yield edit.side, _shown(edit)


class MirrorResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a mirror plan.

    ``copied`` counts versions, ``runs_copied`` runs; ``skipped`` are edits whose field was changed meanwhile.
    """

    done: int
    skipped: tuple[Edit, ...]
    failed: tuple[tuple[str, str], ...]
    copied: int
    runs_copied: int
    remaining: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """True when both sides agree on everything that was planned."""
        return not (self.skipped or self.failed or self.remaining)


def plan_mirror(
    pair: Pair, models: tuple[str, ...] = (), *, two_way: bool, policy: Policy = Policy.FAIL
) -> MirrorPlan:
    """Compare two registries with what they agreed on last.

    Args:
        pair: The two sides.
        models: Names or patterns; all where none is named.
        two_way: Whether what was changed at the target goes to the source, too.
        policy: What is done about fields that were changed on both sides.

    Raises:
        Unsupported: A side has no registry.
        NotFound: A model that was named is on neither side; one way, it is not at the source.
    """
    for side in (pair.source, pair.target):
        _registry_of(side)
    _refuse_unknown(pair, models)
    selection = _present(pair.source, models) if two_way else Selection(models=models or ("*",))
    forward, backward = plan_migration(pair, Asked(selection=selection)), None
    homes = frozenset(pair.rewriter.runs) if two_way else frozenset()
    homes_back: frozenset[str] = frozenset()
    if two_way:
        with _reversed(pair) as back:
            backward = plan_migration(back, Asked(selection=_present(pair.target, models)))
            homes_back = frozenset(back.rewriter.runs)
    planner = _Planner(pair, two_way, policy)
    names = {model.name for side in (pair.source, pair.target) for model in side.models()}
    for name in sorted(names):
        if not models or any(_means(pattern, name) for pattern in models):
            planner.model(name)
    return MirrorPlan(
        edits=tuple(planner.edits),
        clashes=tuple(planner.clashes),
        forward=_copies_only(forward, planner.deleted_at_target, homes, is_merged=two_way),
        backward=_copies_only(backward, planner.deleted_at_source, homes_back, is_merged=True)
        if backward is not None
        else None,
        agreed=planner.agreed,
        awaited=tuple(planner.awaited),
        notes=tuple(planner.notes),
    )


def apply_mirror(
    pair: Pair,
    plan: MirrorPlan,
    *,
    user: str = "",
    on_point: Callable[[str], None] = lambda name: None,
    on_done: Callable[[str], None] = lambda told: None,
    preflight: Preflight | None = None,
) -> MirrorResult:
    """Do what a plan says; ``preflight`` looks at versions before they are promoted on either side.

    ``on_done`` is told of each version and field, and what became of it.

    Raises:
        Conflict: It has clashes; nothing was changed.
        PlanStale: A side has changed since; nothing was changed there.
        Locked: Another process does the same.
    """
    if plan.clashes:
        first = plan.clashes[0]
        more = f", and {len(plan.clashes) - 1:,} more" if len(plan.clashes) > 1 else ""
        raise Conflict(
            f"{first.subject}: {first.what} was changed on both sides{more}",
            operation="models sync",
            hint="put one side right, or say which is to win: --conflict newer, source, target or keep-both",
        )
    how = Applying(user=user, on_point=on_point, check_first=False, merges=True)
    how.preflight = preflight
    how.on_outcome = lambda item: on_done(f"{item.action} {item.subject}: {item.state.value}")
    accounts = [apply_migration(plan.forward, pair, how)] if plan.forward.changes_something else []
    if plan.backward is not None and plan.backward.changes_something:
        with _reversed(pair) as back:
            accounts.append(apply_migration(plan.backward, back, how))
    with pair.ledger.applying():
        return _Editor(pair, user, on_point, preflight, on_done).apply(plan, accounts)


class _Planner:
    def __init__(self, pair: Pair, two_way: bool, policy: Policy) -> None:
        self._pair = pair
        self._two_way = two_way
        self._policy = policy
        self._base = pair.ledger.agreed()
        self.edits: list[Edit] = []
        self.clashes: list[Clash] = []
        self.agreed: dict[str, dict[str, str | None]] = {}
        self.awaited: list[str] = []
        self.deleted_at_source: set[Origin | str] = set()
        self.deleted_at_target: set[Origin | str] = set()
        self.notes: list[str] = []

    def model(self, name: str) -> None:
        """Plan one model and its versions."""
        here, there = versions_by_origin(self._pair.source, name), versions_by_origin(self._pair.target, name)
        for origin in sorted({*here, *there}, key=lambda item: (item.registry, item.name, item.version)):
            self._version(name, origin, here.get(origin), there.get(origin))
        source, target = find_model(self._pair.source, name), find_model(self._pair.target, name)
        if source is not None and target is not None:
            states = model_state(source, here), model_state(target, there)
            self._merge(name, None, states, self._newer(name, source, target))
        elif source is not None:
            self._copied_model(name, TARGET, model_state(source, here), here)
        elif target is not None and self._two_way:
            self._copied_model(name, SOURCE, model_state(target, there), there)

    def _copied_model(
        self, name: str, side: str, state: dict[str, str | None], versions: dict[Origin, ModelVersion]
    ) -> None:
        """Plan a model that one side lacks: what its copy is made of is what both will agree on."""
        key = _key(name, None)
        if key in self._base and all(_key(name, origin) in self._base for origin in versions):
            gone = self.deleted_at_target if side == TARGET else self.deleted_at_source
            gone.add(name)
            self.notes.append(f"model {name} was deleted at the {side}, and stays on the other side")
            return
        self.agreed[key] = state
        self.awaited.append(key)
        self.edits += [
            Edit(side=side, name=name, origin=None, what=what, before=None, after=value)
            for what, value in self._held(state).items()
            if what.startswith("alias:")
        ]

    def _version(
        self, name: str, origin: Origin, here: ModelVersion | None, there: ModelVersion | None
    ) -> None:
        key = _key(name, origin)
        if here is not None and there is not None:
            states = version_state(here), version_state(there)
            self._merge(name, origin, states, self._newer(name, here, there))
            return
        if key in self._base:
            side, gone = (
                (TARGET, self.deleted_at_target) if there is None else (SOURCE, self.deleted_at_source)
            )
            gone.add(origin)
            self.notes.append(
                f"{subject_of(name, origin)} was deleted at the {side}, and stays on the other side"
            )
        elif here is not None:
            self.agreed[key] = version_state(here)
            self.awaited.append(key)
        elif there is not None and self._two_way:
            self.agreed[key] = version_state(there)
            self.awaited.append(key)

    def _merge(
        self,
        name: str,
        origin: Origin | None,
        states: tuple[dict[str, str | None], dict[str, str | None]],
        source_is_newer: Callable[[str], bool | None],
    ) -> None:
        here, there = (self._held(state) for state in states)
        key, subject = _key(name, origin), subject_of(name, origin)
        base = self._base.get(key)
        if base is not None:
            base = revealed(base, here, there)
        if not self._two_way:  # the source has what is right; what the target has besides stays
            merged = _one_way(base or {}, here, there)
        else:
            merged = merge(subject, base, here, there, policy=self._policy, source_is_newer=source_is_newer)
        self.clashes += merged.clashes
        for side, changes, state in ((SOURCE, merged.to_source, here), (TARGET, merged.to_target, there)):
            self.edits += [
                Edit(side=side, name=name, origin=origin, what=what, before=state.get(what), after=value)
                for what, value in changes.items()
            ]
        self.agreed[key] = merged.agreed

    def _newer(self, name: str, here: Changed, there: Changed) -> Callable[[str], bool | None]:
        """Return what tells which side has changed a field later; at the same time counts as the source."""

        def tell(what: str) -> bool | None:
            times = [
                _time_of_change(side, name, item, what)
                for side, item in ((self._pair.source, here), (self._pair.target, there))
            ]
            return None if None in times else (times[0] or 0) >= (times[1] or 0)

        return tell

    def _held(self, state: dict[str, str | None]) -> dict[str, str | None]:
        """Return the fields that both sides have."""
        sides = (self._pair.source, self._pair.target)
        return {
            what: value
            for what, value in state.items()
            if (feature := FEATURES.get(what.partition(":")[0])) is None
            or all(side.supports(feature) for side in sides)
        }


class _Editor:
    def __init__(
        self,
        pair: Pair,
        user: str,
        on_point: Callable[[str], None],
        preflight: Preflight | None,
        on_done: Callable[[str], None],
    ) -> None:
        self._on_done = on_done
        self._pair = pair
        self._user = user
        self._on_point = on_point
        self._preflight = preflight

    def apply(self, plan: MirrorPlan, accounts: list[Account]) -> MirrorResult:
        """Make every edit whose field is still as planned; agree on what went well."""
        skipped: list[Edit] = []
        failed: list[tuple[str, str]] = []
        unsettled: dict[str, set[str]] = {}
        for edit in plan.edits:
            try:
                is_done = self._make(edit)
            except BridgeError as error:
                failed.append((f"{edit.subject} {edit.what} at the {edit.side}", str(error)))
                is_done = False
            else:
                if not is_done:
                    skipped.append(edit)
            if not is_done:
                unsettled.setdefault(_key(edit.name, edit.origin), set()).add(edit.what)
            self._on_point("edit")
            state = "done" if is_done else "not done"
            self._on_done(f"set {edit.what} of {edit.subject} at the {edit.side}: {state}")
        self._agree(plan, unsettled, accounts)
        return MirrorResult(
            done=len(plan.edits) - len(skipped) - len(failed),
            skipped=tuple(skipped),
            failed=tuple(failed),
            copied=sum(account.target.versions for account in accounts),
            runs_copied=sum(account.kinds[Kind.RUN, State.DONE] for account in accounts),
            remaining=tuple(
                f"{outcome.subject}: {outcome.error}" for account in accounts for outcome in account.remaining
            ),
        )

    def _agree(self, plan: MirrorPlan, unsettled: dict[str, set[str]], accounts: list[Account]) -> None:
        """Write down what both agree on; of what went wrong the old base stays."""
        is_copied = all(account.is_complete for account in accounts)
        base = self._pair.ledger.agreed()
        for key, state in plan.agreed.items():
            if key in plan.awaited and not is_copied:
                continue  # copies that may not be there yet are no agreement
            missing = unsettled.get(key, set())
            old = base.get(key, {})
            kept = concealed({what: value for what, value in state.items() if what not in missing})
            kept.update({what: old[what] for what in missing if what in old})
            self._pair.ledger.agree(key, kept)

    def _make(self, edit: Edit) -> bool:
        """Set a field; False where it is not as it was planned any more."""
        side = self._pair.source if edit.side == SOURCE else self._pair.target
        self._look_at(edit, side)
        versions = versions_by_origin(side, edit.name)
        if edit.origin is None:
            model = find_model(side, edit.name)
            state = model_state(model, versions) if model is not None else {}
            number = None
        else:
            version = versions.get(edit.origin)
            if version is None:
                return False
            state, number = version_state(version), version.version
        if state.get(edit.what) != edit.before:
            return state.get(edit.what) == edit.after
        other = self._pair.target if edit.side == SOURCE else self._pair.source
        reason = ChangeReason(user=self._user, why=f"in step with {other.uri}")
        registry = _registry_of(side)
        self._on_point("read")
        _set_field(registry, edit, number, versions, reason)
        if not side.supports(Feature.REGISTRY_HISTORY):
            return True
        before = _native(edit, edit.before, versions)
        replaced = _overwritten(registry, edit, number, before, reason)
        if replaced is None:
            return True
        self._put_back(side, edit, number, replaced.before)
        return False

    def _look_at(self, edit: Edit, side: Side) -> None:
        """Look at the version that a field would promote; before the field is read, as it may take minutes.

        Raises:
            Rejected: It is not fit for it.
        """
        if self._preflight is None or not promotes(edit.what, edit.after):
            return
        origin = edit.origin or msgspec.json.decode(edit.after or "", type=Origin)
        version = versions_by_origin(side, edit.name).get(origin)
        if version is not None:
            self._preflight.refuse_unfit(side, version)

    def _put_back(self, side: Side, edit: Edit, number: str | None, value: str | None) -> None:
        """Set a field to what somebody had made of it when we overwrote it."""
        versions = versions_by_origin(side, edit.name)
        origins = {version.version: origin for origin, version in versions.items()}
        if edit.what.startswith("alias:") and value is not None:
            value = msgspec.json.encode(origins[value]).decode() if value in origins else None
        back = msgspec.structs.replace(edit, after=value)
        reason = ChangeReason(user=self._user, why="put back: it was changed meanwhile")
        _set_field(_registry_of(side), back, number, versions, reason)


def _set_field(
    registry: ModelRegistry,
    edit: Edit,
    number: str | None,
    versions: dict[Origin, ModelVersion],
    reason: ChangeReason,
) -> None:
    kind, _, key = edit.what.partition(":")
    if kind == "tag":
        registry.set_tags(edit.name, number, tags={key: edit.after}, reason=reason)
    elif kind == "description":
        registry.set_description(edit.name, number, description=edit.after or "", reason=reason)
    elif kind == "alias":
        registry.set_alias(edit.name, key, version=_pointed_at(edit, versions), reason=reason)
    elif number is not None and kind == "stage":
        registry.set_stage(edit.name, number, stage=edit.after or "None", reason=reason)
    elif number is not None:
        registry.set_approval(edit.name, number, approval=Approval(edit.after or "pending"), reason=reason)


def _overwritten(
    registry: ModelRegistry, edit: Edit, number: str | None, before: str | None, reason: ChangeReason
) -> RegistryChange | None:
    """Return our own change where its history says that it has replaced something else than we had read."""
    version = None if edit.what.startswith("alias:") else number
    for change in registry.list_changes(edit.name, version, max_results=RECENT_CHANGES).items:
        if (change.what, change.why, change.user) == (edit.what, reason.why, reason.user):
            replaced = None if change.before in NOTHING else change.before
            return change if replaced != (None if before in NOTHING else before) else None
    return None


def _native(edit: Edit, value: str | None, versions: dict[Origin, ModelVersion]) -> str | None:
    """Return the value of a field as the history of a registry tells it: an alias as the version's number."""
    if value is None or not edit.what.startswith("alias:"):
        return value
    version = versions.get(msgspec.json.decode(value, type=Origin))
    return version.version if version is not None else None


def _pointed_at(edit: Edit, versions: dict[Origin, ModelVersion]) -> str | None:
    if edit.after is None:
        return None
    version = versions.get(msgspec.json.decode(edit.after, type=Origin))
    if version is None:
        raise Conflict(
            "the version that the alias points at is not there",
            operation="models sync",
            resource=edit.subject,
        )
    return version.version


# States.


def version_state(version: ModelVersion) -> dict[str, str | None]:
    """Return what may be changed of a version, but for its aliases, which are the model's."""
    return {
        "description": version.description,
        "stage": version.stage,
        "approval": version.approval.value,
        **{f"tag:{key}": value for key, value in own_tags(version.tags).items()},
    }


def model_state(model: RegisteredModel, versions: dict[Origin, ModelVersion]) -> dict[str, str | None]:
    """Return what may be changed of a model; aliases point at origins, which mean the same on both sides."""
    origins = {version.version: origin for origin, version in versions.items()}
    return {
        "description": model.description,
        **{f"tag:{key}": value for key, value in own_tags(model.tags).items()},
        **{
            f"alias:{alias}": msgspec.json.encode(origins[number]).decode()
            for alias, number in model.aliases.items()
            if number in origins
        },
    }


def subject_of(name: str, origin: Origin | None) -> str:
    """Return what people call an item of both registries."""
    return (
        f"model {name}" if origin is None else f"version {origin.name}/{origin.version} of {origin.registry}"
    )


def _one_way(base: Values, here: Values, there: Values) -> Merged:
    """Return what the target lacks of the source; what only the target has stays, unless it came along."""
    changed = {what: value for what, value in here.items() if there.get(what) != value}
    gone = [what for what in base if what not in here and what in there]
    removed = dict.fromkeys(what for what in gone if there[what] == base[what])
    kept = {what: base[what] for what in gone if what not in removed}
    return Merged(to_source={}, to_target={**changed, **removed}, clashes=(), agreed={**kept, **here})


def _key(name: str, origin: Origin | None) -> str:
    return msgspec.json.encode([name, origin]).decode()


def _refuse_unknown(pair: Pair, models: tuple[str, ...]) -> None:
    """Refuse a name that neither side has."""
    known = {model.name for side in (pair.source, pair.target) for model in side.models()}
    for pattern in models:
        if pattern != "*" and not any(_means(pattern, name) for name in known):
            raise NotFound(
                f"there is no model {pattern!r} on either side{close_match(pattern, known)}",
                operation="models sync",
                resource=f"{pair.source.uri} and {pair.target.uri}",
                hint=f"see what there is: bridge models list --uri {pair.source.uri}",
            )


def _time_of_change(side: Side, name: str, item: Changed, what: str) -> int | None:
    """Return when a field was changed last, or the whole item where the registry tells no more."""
    if side.supports(Feature.REGISTRY_HISTORY):
        number = item.version if isinstance(item, ModelVersion) else None
        for change in _registry_of(side).list_changes(name, number).items:
            is_of_item = number is not None or change.version is None or what.startswith("alias:")
            if change.what == what and is_of_item:
                return change.time
    return item.last_update_time


def _registry_of(side: Side) -> ModelRegistry:
    if side.registry is None:
        raise Unsupported("the backend has no registry of models", operation="models sync", resource=side.uri)
    return side.registry


@contextlib.contextmanager
def _reversed(pair: Pair) -> Iterator[Pair]:
    """Give the pair the other way round, with a ledger of its own in the same file."""
    ledger = Ledger(pair.ledger.home, source=pair.target.uri, target=pair.source.uri)
    try:
        yield Pair(source=pair.target, target=pair.source, ledger=ledger, clock_ms=pair.clock_ms)
    finally:
        ledger.close()


def _present(side: Side, models: tuple[str, ...]) -> Selection:
    """Return a selection of those models of a side that are meant; there may be none of some."""
    if not models:
        return Selection(models=("*",))
    names = [model.name for model in side.models()]
    found = tuple(name for name in names if any(_means(pattern, name) for pattern in models))
    return Selection(models=found or ("*",), stages=() if found else ("-",))


def _means(pattern: str, name: str) -> bool:
    from fnmatch import fnmatchcase

    return pattern == name or fnmatchcase(name, pattern)


def _copies_only(plan: Plan, deleted: set[Origin | str], homes: frozenset[str], *, is_merged: bool) -> Plan:
    """Return a plan that only adds what the other side lacks.

    Args:
        plan: Of a migration.
        deleted: Versions, and names of models, that were deleted there on purpose.
        homes: Runs that came from there: they are not written back onto themselves.
        is_merged: Whether both sides count, so that experiments that are there stay as they are.
    """
    kept = [change for change in plan.changes if _adds(change, deleted, homes)]
    if not any(kind_of_change(change) in (Kind.VERSION, Kind.MODEL) for change in kept):
        kept = []
    if is_merged:
        kept = [_left_alone(change) for change in kept]
    return msgspec.structs.replace(plan, changes=tuple(kept))


def _adds(change: Change, deleted: set[Origin | str], homes: frozenset[str]) -> bool:
    kind, after = kind_of_change(change), change.after or {}
    if kind is Kind.VERSION:
        origin = msgspec.convert(after["origin"], Origin)
        return change.action is Action.CREATE and origin not in deleted
    if kind is Kind.MODEL:
        return change.action is Action.CREATE and change.subject.partition(" ")[2] not in deleted
    return kind is not Kind.RUN or change.before is None or after["run"] not in homes


def _left_alone(change: Change) -> Change:
    """Return a change without what it would alter of an experiment that the other side has already."""
    stage = (change.before or {}).get("stage")
    if kind_of_change(change) is not Kind.EXPERIMENT or stage is None:
        return change
    after = {**(change.after or {}), "stage": stage}
    is_open = stage == LifecycleStage.ACTIVE.value
    return msgspec.structs.replace(change, action=Action.KEEP if is_open else change.action, after=after)


def _shown(edit: Edit) -> Change:
    return Change(
        action=Action.UPDATE,
        subject=edit.subject,
        before={edit.what: shown_value(edit.what, edit.before)},
        after={edit.what: shown_value(edit.what, edit.after)},
    )


def shown_value(what: str, value: str | None) -> str | None:
    """Return a value for people: an alias as the version it points at, without what looks like a secret."""
    if value is None:
        return None
    kind, _, name = what.partition(":")
    if kind == "alias":
        with contextlib.suppress(msgspec.MsgspecError):
            return subject_of("", msgspec.json.decode(value, type=Origin)).removeprefix("version ")
    return str(shown_fields({name or what: value})[name or what])
