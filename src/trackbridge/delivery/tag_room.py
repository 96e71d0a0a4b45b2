"""How many tags a run takes: what is more lies in one file of its side-car, which reading merges back.

::

    tags of a run -> those that there is room for -> the store
                  -> the others                   -> bridge/spill/tags.jsonl, written as a whole each time
    names of escaped keys -> tags while there is room, then the side-car as well

Known only to who writes a run as a whole: a batch of a run that goes on does not tell what the run has.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from trackbridge.delivery.fitting import FittedBatch, escaped_key
from trackbridge.delivery.spills import ESCAPED_PREFIX, SPILL_FOLDER, Spill, SpilledKey, SpilledTag
from trackbridge.domain.batches import Batch, Setting
from trackbridge.ports.capabilities import Limits

EXTRA_TAGS_PATH = f"{SPILL_FOLDER}/tags.jsonl"
"""Where the tags of a run lie that are more than its store takes."""

_SHOWN_BY_STORES = "mlflow."


@dataclass(slots=True)
class TagRoom:
    """The tags of one run.

    Args:
        limits: What the store declares.
        held: Names of the tags that the store has of the run; it learns of more.
        extra: The tags that lie in the side-car.
    """

    limits: Limits
    held: set[str]
    extra: dict[str, str] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def fits(self, count: int) -> bool:
        """Tell whether there is room for so many more tags."""
        most = self.limits.tags_per_run_max
        return most is None or len(self.held) + count <= most

    def without_extra(self, batch: Batch) -> Batch:
        """Take out the tags that there is no room for; ``extra`` holds them.

        A tag that the store has stays there. Of new ones, those come first that stores show.
        """
        if self.limits.tags_per_run_max is None:
            return batch
        taken: set[int] = set()
        for tag in sorted(batch.tags, key=lambda tag: not tag.key.startswith(_SHOWN_BY_STORES)):
            if self._takes(tag):
                taken.add(id(tag))
        return replace(batch, tags=[tag for tag in batch.tags if id(tag) in taken])

    def _takes(self, tag: Setting) -> bool:
        name = escaped_key(tag.key, self.limits) or tag.key
        self.extra.pop(tag.key, None)
        if tag.value is None:
            self.held.discard(name)
            return True
        if name in self.held or self.fits(1):
            self.held.add(name)
            return True
        self.extra[tag.key] = tag.value
        return False

    def without_extra_names(self, part: FittedBatch) -> FittedBatch:
        """Put the names of escaped keys that there is no room for into the side-car."""
        if self.limits.tags_per_run_max is None:
            return part
        kept: list[Setting] = []
        spills: list[Spill] = []
        for tag in part.batch.tags:
            is_name = tag.key.startswith(ESCAPED_PREFIX)
            if not is_name or tag.key in self.held or self.fits(1):
                self.held.add(tag.key)
                kept.append(tag)
                continue
            escaped = tag.key[len(ESCAPED_PREFIX) :]
            if escaped not in self._names:
                spills.append(SpilledKey(escaped=escaped, key=tag.value or "", sequence=tag.sequence))
            self._names.add(escaped)
        if len(kept) == len(part.batch.tags):
            return part
        return replace(part, batch=replace(part.batch, tags=kept), spills=(*part.spills, *spills))


def encode_extra(tags: dict[str, str]) -> bytes:
    """Return extra tags as the bytes of their file; none of them is an empty file."""
    spills = [SpilledTag(key=key, placeholder="", value=tags[key], sequence=0) for key in sorted(tags)]
    return msgspec.json.Encoder().encode_lines(spills)
