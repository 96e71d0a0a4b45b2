"""A part of a plan applied by another process, mostly on another machine, with that one's own credentials.

Nothing is kept there but what large files go on with, in a temporary folder. A part may be applied twice, the
second time after a process that died on the way: then nothing is taken for new, and the target is looked at.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from trackbridge.domain.plans import Change
from trackbridge.errors import BridgeError, ConfigError, NotFound
from trackbridge.operations.migrate.applying import Applying, apply_part
from trackbridge.operations.migrate.bounds import Bounds
from trackbridge.operations.migrate.ledger import Ledger
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.partitions import Applied, Common, Part, Place
from trackbridge.operations.migrate.planning import target_run_of
from trackbridge.operations.migrate.runs import OnPoint
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.resolve.entry_points import open_adapter
from trackbridge.resolve.uri import parse


def apply_here(
    part: Part, common: Common, *, is_repeated: bool, on_point: OnPoint = lambda name: None
) -> Applied:
    """Apply a part in this process.

    Args:
        part: The runs.
        common: What all parts have in common.
        is_repeated: Whether somebody has begun with this part before.
        on_point: Told of every step.

    Raises:
        ConfigError: This machine does not see what the others see.
        BridgeError: A backend does not answer, or refuses; nothing of the part was begun.
    """
    with _paired(common, part.bounds) as pair:
        pair.rewriter.runs.update(common.runs)
        pair.rewriter.versions.update({(name, number): new for name, number, new in common.versions})
        names = {(change.after or {})["experiment"] for change in part.changes}
        _refuse_unseen(pair.source, names)
        _refuse_unseen(pair.target, names)
        if is_repeated:
            changes = tuple(_as_it_is(change, pair.target) for change in part.changes)
            part = msgspec.structs.replace(part, changes=changes, absent=())
        return apply_part(part, common, pair, Applying(bounds=part.bounds, on_point=on_point))


def look_here(source: Place, target: Place) -> str:
    """Return what keeps this process from applying parts, "" where nothing does.

    Both sides are opened and asked for their experiments, so that missing credentials are told beforehand. A
    folder that is to become the target may be missing as yet.
    """
    path = parse(target.uri).path
    places = [source] if path is not None and not path.exists() else [source, target]
    try:
        with _opened(places, Bounds()) as (sides, _):
            for side in sides:
                side.tracking.list_experiments(stage=None, token=None)
    except BridgeError as error:
        return f"{error}; {error.hint}" if error.hint else str(error)
    return ""


@contextlib.contextmanager
def _opened(places: Iterable[Place], bounds: Bounds) -> Iterator[tuple[list[Side], Path]]:
    """Open sides, and give a folder for the time being."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trackbridge-migrate-")))
        sides: list[Side] = []
        for place in places:
            sides.append(_opened_side(place, bounds, folder))
            stack.callback(sides[-1].close)
        yield sides, folder


@contextlib.contextmanager
def _paired(common: Common, bounds: Bounds) -> Iterator[Pair]:
    """Open both sides, with a ledger that only holds what large files go on with."""
    with _opened((common.source, common.target), bounds) as ((source, target), folder):
        ledger = Ledger(folder, source=source.uri, target=target.uri)
        try:
            yield Pair(
                source=source, target=target, ledger=ledger, clock_ms=lambda: time.time_ns() // 1_000_000
            )
        finally:
            ledger.close()


def _opened_side(place: Place, bounds: Bounds, folder: Path) -> Side:
    uri = parse(place.uri)
    if uri.path is not None and not uri.path.is_dir():
        raise ConfigError(
            f"{uri.path} is no folder of {socket.gethostname()}",
            operation="migrate",
            hint="put it where every worker sees it under the same path, or use the engine threads",
        )
    return side_of(open_adapter(uri, home=uri.path or folder, options=place.options), uri.text, bounds=bounds)


def _refuse_unseen(side: Side, names: Iterable[str]) -> None:
    """Refuse a side that has not the experiments that it has for who made the plan."""
    unseen = set(names) - {experiment.name for experiment in side.experiments()}
    if not unseen:
        return
    raise ConfigError(
        f"{socket.gethostname()} does not find the experiment {min(unseen)!r}",
        operation="migrate",
        resource=side.uri,
        hint="see that every worker reaches the same backend with the same settings",
    )


def _as_it_is(change: Change, target: Side) -> Change:
    """Return a change with what is at the target now as its state before."""
    try:
        found = target_run_of(target.tracking.get_run(change.subject.partition(" ")[2]))
    except NotFound:
        return change
    before = {"print": found.print, "status": found.status, "stage": found.stage}
    return msgspec.structs.replace(change, before=before)
