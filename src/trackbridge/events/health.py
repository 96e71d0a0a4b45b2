"""What keeps events from reaching their subscribers, for ``bridge doctor``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from trackbridge.domain.secrets import redact
from trackbridge.events.bus import LOG_NAME
from trackbridge.events.store import BUS, EventStore, Tally, find_events_folder
from trackbridge.events.subscribers import Subscriber, read_subscribers
from trackbridge.ports.findings import Finding, Severity
from trackbridge.resolve.config import Settings

SUBJECT = "events"
LOG_TAIL_BYTES = 8192
LOG_LINES_MAX = 8


def subscriber_findings(settings: Settings) -> Iterator[Finding]:
    """Yield one finding for each thing that is wrong, else one that says who has subscribed.

    Raises:
        ConfigError: A file of settings cannot be read.
        JournalError: What is kept cannot be read.
    """
    found = read_subscribers(settings)
    folder = find_events_folder(settings.around)
    store = EventStore(folder) if folder else None
    problems = [*_broken(found, settings)]
    if folder is not None and store is not None:
        problems += [*_undelivered(store), *_crashes(folder / LOG_NAME)]
    yield from problems
    if found and not problems:
        names = ", ".join(item.name for item in found)
        yield Finding(severity=Severity.OK, subject=SUBJECT, message=f"told to {names}")


def _broken(found: tuple[Subscriber, ...], settings: Settings) -> Iterator[Finding]:
    for item in found:
        if item.problem is not None:
            yield _warning(f"{item.identifier} is told nothing: {item.problem}", item.problem.hint or "")
        elif item.secret_env and not settings.around.environ.get(item.secret_env):
            message = f"{item.identifier} is told nothing: the variable {item.secret_env} is not set"
            yield _warning(message, f"export {item.secret_env}=…")


def _undelivered(store: EventStore) -> Iterator[Finding]:
    tallies = store.tallies()
    undelivered = store.undelivered()
    for name, count in undelivered.items():
        problem = tallies.get(name, Tally()).problem
        message = f"{name} has not got {count:,} event{'s' if count > 1 else ''}"
        yield _warning(f"{message}: {problem}" if problem else message, "bridge events retry")
    for name, tally in tallies.items():
        if name != BUS and name not in undelivered and tally.problem and not tally.delivered:
            yield _warning(f"{name} has never taken an event: {tally.problem}", f"bridge events test {name}")


def _crashes(log: Path) -> Iterator[Finding]:
    """A dispatcher writes nothing unless it crashes."""
    if not os.access(log, os.R_OK) or not log.stat().st_size:
        return
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()[-LOG_LINES_MAX:]
    text = redact(" | ".join(line.strip() for line in lines))
    yield _warning(f"a dispatcher reported in {log}: {text}", f"report it, then delete {log}")


def _warning(message: str, fix: str) -> Finding:
    return Finding(severity=Severity.WARNING, subject=SUBJECT, message=message, fix=fix)
