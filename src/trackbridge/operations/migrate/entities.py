"""What logged models and traces have in common: how those of both sides are found, compared and planned.

::

    source's, of the selected experiments --> the target holds none    -> kept where they are: a loss each
                                              the target has none such -> create
                                              its mark is this state   -> keep
                                              it is of another state   -> update

A copy says in a tag what it was made of, and gets this mark last: one without it was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from trackbridge.domain.migration import TAG_SOURCE_PRINT, TAG_SOURCE_URI, Kind, Loss, Treatment
from trackbridge.domain.plans import Action, Change
from trackbridge.domain.runs import Experiment
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.side import Side
from trackbridge.ports.capabilities import Feature


class Found(NamedTuple):
    """What planning has to know of a logged model or a trace; ``native`` is its id for mlflow's clients."""

    identifier: str
    experiment_id: str
    name: str
    run_id: str
    print: str
    mark: str
    is_copy: bool
    native: str


class EntityPlanner:
    """Plans the entities of one kind.

    Args:
        pair: Source and target.
        kind: Of which kind they are.
        feature: What a backend declares that holds them.
        listing: Returns those of experiments of a side.
        compare: Returns how one and that of the target differ, links as they are there.
    """

    def __init__(
        self,
        pair: Pair,
        kind: Kind,
        feature: Feature,
        listing: Callable[[Side, tuple[str, ...]], Iterator[Found]],
        compare: Callable[[Pair, str], tuple[str, ...] | None],
    ) -> None:
        self._pair = pair
        self._kind = kind
        self._feature = feature
        self._listing = listing
        self._compare = compare
        self._there: dict[str, Found] = {}
        self.found: dict[str, list[Found]] = {}
        """Those of the source by their experiments' ids."""
        self.refusal = ""
        """Why the target holds none; "" where it does, or where the source has none."""

    def read(self, experiments: Iterable[Experiment], there: Iterable[Experiment]) -> None:
        """Look at those of both sides.

        Args:
            experiments: The source's that are meant.
            there: The target's.
        """
        new = tuple(item.experiment_id for item in experiments if item.experiment_id not in self.found)
        for found in self._listing(self._pair.source, new):
            self.found.setdefault(found.experiment_id, []).append(found)
        if not self.found:
            return
        there_ids = tuple(item.experiment_id for item in there)
        self.refusal = self._pair.target.reason_against(self._feature)
        if not self.refusal:
            self._there = {found.identifier: found for found in self._listing(self._pair.target, there_ids)}

    def pairs(self) -> Iterator[tuple[Found, Found | None]]:
        """Yield each of the source with that of the target."""
        for items in self.found.values():
            for item in items:
                yield item, self._there.get(item.identifier)

    def changes(self, experiment: Experiment, takes: Callable[[Found], bool]) -> Iterator[Change]:
        """Yield the changes of one experiment.

        Args:
            experiment: The source's.
            takes: Whether one is meant.
        """
        for item in self.found.get(experiment.experiment_id, ()):
            if takes(item):
                yield self._change(item, experiment, self._there.get(item.identifier))

    def _change(self, item: Found, experiment: Experiment, there: Found | None) -> Change:
        subject = f"{self._kind.value} {item.identifier}"
        after: dict[str, Any] = {
            "id": item.identifier,
            "experiment": experiment.name,
            "name": item.name,
            "print": item.print,
        }
        if self.refusal:
            loss = Loss(
                item=subject, field=self._kind.value, treatment=Treatment.REFUSED, detail=self.refusal
            )
            after["losses"] = msgspec.to_builtins([loss])
            return Change(action=Action.KEEP, subject=subject, after=after, why=self.refusal)
        if there is None:
            return Change(action=Action.CREATE, subject=subject, after=after, why="the target has none")
        before = {"print": there.print, "mark": there.mark}
        why = self._difference(item, there)
        if not why:
            return Change(action=Action.KEEP, subject=subject, before=before, after=after)
        return Change(action=Action.UPDATE, subject=subject, before=before, after=after, why=why)

    def _difference(self, item: Found, there: Found) -> str:
        """Return how that of the target is not as it is to be; "" where it is."""
        if there.is_copy and there.mark:
            return "" if item.print == there.mark else "it has changed at the source"
        if there.is_copy:
            return "an interrupted copy goes on"
        differing = self._compare(self._pair, item.identifier)  # of its original, on the way back
        return f"it differs: {differing[0]}" if differing else ""


def marks_of(tags: dict[str, str]) -> tuple[str, bool]:
    """Return what a copy was made of, "" where it is not whole, and whether it is one at all."""
    return tags.get(TAG_SOURCE_PRINT, ""), TAG_SOURCE_URI in tags
