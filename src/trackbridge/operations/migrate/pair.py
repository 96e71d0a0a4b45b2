"""What a migration is between, and what was asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from trackbridge.domain.migration import Loss, Selection
from trackbridge.operations.migrate.ledger import Ledger
from trackbridge.operations.migrate.listed import ListedRuns
from trackbridge.operations.migrate.rewriting import Rewriter
from trackbridge.operations.migrate.side import Side, refuse_same


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks of a migration, as a plan keeps it.

    ``delete`` takes copies away whose originals are gone, and what else a copy has that its original has
    not; ``delete_max`` bounds how many items. ``deep`` compares histories and files of runs that look
    unchanged. ``preflight`` has models loaded and scored before they are promoted.
    """

    selection: Selection = Selection()
    delete: bool = False
    delete_max: int | None = None
    deep: bool = False
    preflight: bool = True


@dataclass(slots=True, kw_only=True)
class Pair:
    """The two sides of a migration and what is known of both."""

    source: Side
    target: Side
    ledger: Ledger
    clock_ms: Callable[[], int]
    listed: ListedRuns = field(default_factory=ListedRuns)
    rewriter: Rewriter = field(init=False)
    formats: dict[str, list[Loss]] = field(default_factory=dict)
    """What was seen of the formats of payloads, by version: archives are read for that, once."""
    has_logged_models: bool = False
    """Whether the source has logged models that the target holds: runs are then read with their links."""

    def __post_init__(self) -> None:
        refuse_same(self.source, self.target)
        self.rewriter = Rewriter(self.source.uri)
