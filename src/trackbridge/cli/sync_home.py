"""``bridge sync run s3://…``: journals of a job come home from where its platform keeps them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from trackbridge.cli.failures import EXIT_PARTLY
from trackbridge.cli.output import Output, counted

if TYPE_CHECKING:
    from trackbridge.operations.job_homecoming import Arrival
    from trackbridge.resolve.config import Settings


def holds_journals_elsewhere(text: str) -> bool:
    """Tell whether a text names files that are to be copied here first, and is no tracking URI."""
    from trackbridge.operations.uri_files import is_files_address

    if is_files_address(text):
        return True
    journals = Path(text).expanduser() / "journal"
    return ":" not in text and journals.is_dir() and not os.access(journals, os.W_OK)


def run_from_elsewhere(output: Output, address: str, uri: str | None) -> None:
    """Bring the journals below an address to this machine, and deliver them.

    Raises:
        NotFound: There are none.
    """
    from trackbridge.cli.sync import deliver, report_delivery
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.destinations import journal_root, resolve_destinations

    settings = Settings()
    destinations = resolve_destinations(uri, settings=settings)
    root = journal_root(destinations, settings=settings)
    arrival = _bring(output, address, root, uri, settings)
    roots = [root] if root.is_dir() else []
    delivered, left = deliver(output, roots, tuple(found.uri.text for found in destinations))
    arrival.note_delivered()
    report_delivery(output, roots, delivered, left)
    if arrival.left_behind:
        output.end(EXIT_PARTLY)


def _bring(output: Output, address: str, root: Path, uri: str | None, settings: Settings) -> Arrival:
    from trackbridge.errors import NotFound
    from trackbridge.operations.job_homecoming import bring_home
    from trackbridge.operations.opening import open_place
    from trackbridge.operations.uri_files import open_files

    place = open_place(uri, settings=settings)
    accepted = _accepted(uri, settings)
    try:
        files = open_files(address, place.adapter.artifacts)
        arrival = bring_home(files, root, accepts=accepted.__contains__)
    finally:
        place.close()
    if not (arrival.journals or arrival.known or arrival.left_behind):
        raise NotFound(
            f"there are no journals at {files.address}",
            operation="sync",
            hint="name the folder that the platform keeps for the job, which has a folder journal/",
        )
    for item in arrival.left_behind:
        output.event("left_behind", {"journal": item.journal, "why": item.why})
        output.show(f"journal {item.journal[:12]} was not taken: {item.why}", colour="yellow")
    output.event("fetched", {"journals": list(arrival.journals), "known": list(arrival.known)})
    known = f", {len(arrival.known):,} known and delivered before" if arrival.known else ""
    output.note(f"{counted(len(arrival.journals), 'journal')} fetched{known}")
    return arrival


def _accepted(uri: str | None, settings: Settings) -> frozenset[str]:
    """Return the tracking URIs that journals may be delivered to: what was named, else what is configured."""
    from trackbridge.resolve.destinations import resolve_destinations
    from trackbridge.resolve.remotes import remotes_of

    texts = {found.uri.text for found in resolve_destinations(uri, settings=settings)}
    if uri is None:
        for name in remotes_of(settings):
            texts.update(found.uri.text for found in resolve_destinations(name, settings=settings))
    return frozenset(texts)
