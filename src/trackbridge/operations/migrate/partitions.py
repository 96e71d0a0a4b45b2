"""A plan's runs in parts that other machines apply: what is sent there, and what comes back.

All of it is plain data, as JSON: subjects, ids, prints, names, and the two URIs with the options of their
remotes, none of which ever holds a credential. Who applies a part finds credentials in its own surroundings.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from trackbridge.domain.migration import OPERATION, Kind, Outcome
from trackbridge.domain.plans import Action, Change, Plan
from trackbridge.domain.runs import Experiment, LifecycleStage
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    Exhausted,
    Rejected,
    Transient,
    Unavailable,
)
from trackbridge.operations.migrate.bounds import Bounds
from trackbridge.operations.migrate.pair import Pair

PART_RUNS_MAX = 50
"""Runs of one part: what is lost at the most when a worker is, and done again."""
PARTS_PER_WORKER = 4
"""So many parts has each worker of a plan, where it is large enough: the slow ones even out."""

Data = TypeVar("Data")

_KINDS: dict[str, type[BridgeError]] = {
    "auth": AuthError,
    "config": ConfigError,
    "passing": Unavailable,
    "permanent": Rejected,
}


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One side: its URI without credentials, and the options of its remote."""

    uri: str
    options: dict[str, str] = {}


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """Where an experiment's runs go: its id at the target, and the target's own id where that is another.

    ``is_deleted`` is true of one that ends deleted, with all its runs.
    """

    experiment_id: str
    native_id: str | None = None
    is_deleted: bool = False


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts of a plan have in common.

    ``parameters`` are the plan's. ``homes`` are the target's experiments by name. Links are rewritten by
    ``runs``, ids at the target by ids at the source, and ``versions``: name, number, number at the target.
    """

    source: Place
    target: Place
    parameters: dict[str, Any] = {}
    homes: dict[str, Home] = {}
    runs: dict[str, str] = {}
    versions: tuple[tuple[str, str, str], ...] = ()


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that do not wait for each other. ``absent`` are the subjects of which nothing is there yet."""

    changes: tuple[Change, ...]
    absent: tuple[str, ...] = ()
    bounds: Bounds = msgspec.field(default_factory=Bounds)


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one run, and the print that its copy is to have, "" where that cannot be told."""

    outcome: Outcome
    print: str = ""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An error on its way back: ``auth``, ``config``, ``passing`` or ``permanent``, and what it says."""

    kind: str
    message: str
    hint: str | None = None


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a part.

    ``stopped`` says why no more was begun, with the code of that; ``refusal`` why nothing was begun at all.
    """

    copied: tuple[Copied, ...] = ()
    bytes: int = 0
    stopped: str = ""
    stopped_code: int = 0
    refusal: Refusal | None = None


class Engine(Protocol):
    """What applies parts. Any thread may use it."""

    width: int
    """Parts on their way at the same time."""

    def begin(self, common: Common) -> None:
        """Take what all parts have in common, before the first one."""

    def apply(self, part: Part) -> Applied:
        """Apply a part.

        Raises:
            BridgeError: Nobody could; the same plan can be gone on with.
        """

    def cancel(self) -> str:
        """End what is under way; return why somebody may still write, "" when nobody does."""


def partitioned(
    changes: Sequence[Change], *, workers: int, runs_max: int = PART_RUNS_MAX
) -> Iterator[list[Change]]:
    """Yield changes in parts of nearly the same size, in their order.

    Args:
        changes: Runs that do not wait for each other.
        workers: How many parts can be on their way at the same time.
        runs_max: Runs of one part at the most.
    """
    if not changes:
        return
    wanted = -(-len(changes) // (max(workers, 1) * PARTS_PER_WORKER))
    size = max(1, min(wanted, runs_max))
    count = -(-len(changes) // size)
    for number in range(count):
        yield list(changes[number * len(changes) // count : (number + 1) * len(changes) // count])


def common_of(plan: Plan, pair: Pair, experiments: Mapping[str, Experiment]) -> Common:
    """Return what all parts of a plan have in common, once the target has its experiments."""
    deleted = {name for name, stage in _stages(plan) if stage == LifecycleStage.DELETED.value}
    homes = {
        name: Home(experiment_id=found.experiment_id, native_id=found.native_id, is_deleted=name in deleted)
        for name, found in experiments.items()
    }
    versions = pair.rewriter.versions.items()
    return Common(
        source=Place(uri=pair.source.uri),
        target=Place(uri=pair.target.uri),
        parameters=plan.parameters,
        homes=homes,
        runs=dict(pair.rewriter.runs),
        versions=tuple((name, number, new) for (name, number), new in versions),
    )


def part_of(changes: Iterable[Change], *, absent: Container[str], bounds: Bounds) -> Part:
    """Return changes as a part; what is told of losses beforehand is left out."""
    slim = tuple(
        msgspec.structs.replace(
            change, after={key: value for key, value in (change.after or {}).items() if key != "losses"}
        )
        for change in changes
    )
    there = tuple(change.subject for change in slim if change.subject in absent)
    return Part(changes=slim, absent=there, bounds=bounds)


def plan_of(part: Part, common: Common) -> Plan:
    """Return a part as the plan that it is: experiments that are kept, and some runs."""
    kept = tuple(
        Change(
            action=Action.KEEP,
            subject=f"{Kind.EXPERIMENT} {name}",
            after={"name": name, "id": home.experiment_id, "stage": _stage_of(home).value},
        )
        for name, home in common.homes.items()
    )
    return Plan(
        operation=OPERATION,
        basis="",
        changes=(*kept, *part.changes),
        created_time=0,
        parameters=common.parameters,
    )


def experiments_of(common: Common) -> dict[str, Experiment]:
    """Return the target's experiments by name."""
    return {
        name: Experiment(experiment_id=home.experiment_id, name=name, native_id=home.native_id)
        for name, home in common.homes.items()
    }


def _stages(plan: Plan) -> Iterator[tuple[str, str]]:
    for change in plan.changes:
        if change.subject.startswith(f"{Kind.EXPERIMENT} "):
            after = change.after or {}
            yield after["name"], after["stage"]


def _stage_of(home: Home) -> LifecycleStage:
    return LifecycleStage.DELETED if home.is_deleted else LifecycleStage.ACTIVE


def refusal_of(error: BridgeError) -> Refusal:
    """Return an error as data."""
    is_passing = isinstance(error, (Transient, Exhausted))
    known = ("auth", AuthError), ("config", ConfigError)
    kind = next((name for name, found in known if isinstance(error, found)), "permanent")
    return Refusal(kind="passing" if is_passing else kind, message=str(error), hint=error.hint)


def error_of(refusal: Refusal) -> BridgeError:
    """Return the error that was sent as data."""
    return _KINDS[refusal.kind](refusal.message, hint=refusal.hint)


def encoded(data: object) -> bytes:
    """Return data as JSON, in ASCII: names may hold what no encoding takes."""
    return json.dumps(msgspec.to_builtins(data), separators=(",", ":")).encode("ascii")


def decoded(content: bytes, kind: type[Data]) -> Data:
    """Return the data of a JSON text.

    Raises:
        msgspec.ValidationError: It is something else.
    """
    values: Any = json.loads(content)
    return msgspec.convert(values, kind)
