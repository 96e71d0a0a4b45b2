"""What a migration selects, what a target cannot hold, what was compared, and what became of it all."""

from __future__ import annotations

from enum import Enum

import msgspec

from trackbridge.domain.traces import ModelLink

OPERATION = "migrate"
"""What plans of migrations call themselves."""
MIRROR_OPERATION = "models sync"
"""What plans of keeping two registries in step call themselves."""

TAG_SOURCE_URI = "bridge.src.uri"
TAG_SOURCE_RUN_ID = "bridge.src.run_id"
TAG_SOURCE_START = "bridge.src.start_time"
TAG_SOURCE_PRINT = "bridge.src.print"
TAG_SOURCE_CREATED = "bridge.src.creation_time"
COPY_TAGS = frozenset({TAG_SOURCE_URI, TAG_SOURCE_RUN_ID, TAG_SOURCE_START, TAG_SOURCE_PRINT})
"""Tags that every copy of a run has."""
BOOK_KEEPING_PREFIX = "bridge.src."
"""Tags that a copy has and its original has not; they are never copied further, nor compared."""
REGISTRY_FOLDER = "bridge/registry"
"""Where the history of a version lies in the artifacts of the run that holds its payload."""


class Kind(str, Enum):
    """What a subject is."""

    EXPERIMENT = "experiment"
    RUN = "run"
    LOGGED_MODEL = "logged_model"
    TRACE = "trace"
    MODEL = "model"
    VERSION = "version"

    def __str__(self) -> str:
        return self.value


class Treatment(str, Enum):
    """What is done with something that the target does not hold as it is."""

    SPILLED = "spilled"
    ESCAPED = "escaped"
    REWRITTEN = "rewritten"
    RENUMBERED = "renumbered"
    CLAMPED = "clamped"
    REFUSED = "refused"

    @property
    def is_lossless(self) -> bool:
        """True when the API reads back what was there before, or what means the same."""
        return self not in (Treatment.CLAMPED, Treatment.REFUSED)


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the target does not hold as it is.

    ``item`` is a subject (``run 0193…``); ``field`` is what of it, for example ``metrics.loss``; ``count``
    says how many records (points, params, tags, data sets, files).
    """

    item: str
    field: str
    treatment: Treatment
    detail: str
    count: int = 1

    def __str__(self) -> str:
        times = f" ({self.count:,})" if self.count != 1 else ""
        return f"{self.item}: {self.field} {self.treatment.value}{times}: {self.detail}"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be moved; nothing named means everything.

    ``experiments`` and ``models`` are names, or patterns with ``*`` and ``?``. ``runs`` are ids. ``filter``
    is a text of the search language. ``stages`` keeps versions in these stages. ``since`` keeps runs that
    started or ended at that time or later, in milliseconds since 1970. Runs that the models need come along.
    """

    experiments: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    filter: str = ""
    models: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    since: int | None = None

    @property
    def names_runs(self) -> bool:
        """True when only some runs are meant."""
        return bool(self.experiments or self.runs or self.filter or self.since is not None)

    @property
    def names_models(self) -> bool:
        """True when only some models are meant."""
        return bool(self.models or self.stages)

    @property
    def takes_runs(self) -> bool:
        """True when runs are moved for their own sake."""
        return self.names_runs or not self.names_models

    @property
    def takes_models(self) -> bool:
        """True when registered models are moved."""
        return self.names_models or not self.names_runs

    @property
    def narrows_runs(self) -> bool:
        """True when not every run of a selected experiment is meant, so that none can be told to be gone."""
        return bool(self.runs or self.filter or self.since is not None)


class Counts(msgspec.Struct, kw_only=True):
    """How many there are of each."""

    experiments: int = 0
    runs: int = 0
    params: int = 0
    tags: int = 0
    points: int = 0
    inputs: int = 0
    files: int = 0
    bytes: int = 0
    logged_models: int = 0
    traces: int = 0
    models: int = 0
    versions: int = 0

    def add(self, other: Counts) -> None:
        """Add another count."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def subtract(self, other: Counts) -> None:
        """Take another count away."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) - getattr(other, name))


class State(str, Enum):
    """What became of a change."""

    DONE = "done"
    HELD = "held"
    GONE = "gone"
    FAILED = "failed"
    LEFT = "left"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one change of a plan.

    ``source`` counts what the source had, ``target`` what the target took; the difference is in ``losses``.
    ``links`` are the source's logged models that a run made or read: it ends once they are at the target.
    ``error`` says why a change failed.
    """

    subject: str
    action: str
    state: State
    source: Counts = msgspec.field(default_factory=Counts)
    target: Counts = msgspec.field(default_factory=Counts)
    losses: tuple[Loss, ...] = ()
    links: tuple[ModelLink, ...] = ()
    error: str = ""
    exit_code: int = 0


class Symbol(str, Enum):
    """How a source's item and a target's compare."""

    SAME = "="
    DIFFERENT = "*"
    MISSING_AT_TARGET = "+"
    MISSING_AT_SOURCE = "-"
    ERROR = "!"

    def __str__(self) -> str:
        return self.value


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """How one item compares; ``differences`` name the fields, with both values where they are short."""

    symbol: Symbol
    subject: str
    differences: tuple[str, ...] = ()
