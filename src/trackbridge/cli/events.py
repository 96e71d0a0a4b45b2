"""``bridge events``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli.failures import EXIT_ERROR, EXIT_PARTLY, EXIT_RETRYABLE
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackbridge.events.store import EventStore, Tally
    from trackbridge.events.subscribers import Subscriber


@click.group(epilog=example("bridge events list", "bridge events test audit"))
def events() -> None:
    """See who is told what happens, and try it.

    Subscribers are webhooks of config.toml, entry points of installed packages, and OpenTelemetry.
    """


@events.command("list", epilog=example("bridge events list", "bridge events list --json"))
@output_option
def list_(output: Output) -> None:
    """List the subscribers: what they are told, how that went, and what they have not got.

    Ends with 1 when one of them cannot work.
    """
    from trackbridge.events.store import BUS, Tally
    from trackbridge.events.subscribers import read_subscribers
    from trackbridge.resolve.config import Settings

    settings = Settings()
    found = read_subscribers(settings)
    store = _store(settings)
    tallies = store.tallies() if store else {}
    undelivered = store.undelivered() if store else {}
    for item in found:
        output.event("subscriber", _fields(item, tallies, undelivered))
    if found:
        _show(output, found, tallies, undelivered)
    else:
        output.note("there are no subscribers; add [webhooks.NAME] with a url to config.toml")
    bus = tallies.get(BUS, Tally())
    if bus.dropped or bus.lost:
        output.show(
            f"{counted(bus.dropped, 'event')} found no room, {bus.lost:,} went down with a dispatcher",
            colour="yellow",
        )
    known = {item.identifier for item in found}
    orphaned = sum(count for name, count in undelivered.items() if name not in known)
    if orphaned:
        output.note(f"{counted(orphaned, 'event')} kept for subscribers that are no more")
    problems = sum(item.problem is not None for item in found)
    output.summary(
        {
            "subscribers": len(found),
            "problems": problems,
            "undelivered": sum(undelivered.values()),
            "dropped": bus.dropped,
            "lost": bus.lost,
        }
    )
    if problems:
        output.end(EXIT_ERROR)


@events.command(epilog=example("bridge events test audit"))
@click.argument("name")
@output_option
def test(output: Output, name: str) -> None:
    """Send a test event to the subscriber NAME, and say what came back.

    The event is of the kind bridge.test, and is sent whatever the subscriber subscribed to. What an entry
    point prints goes to stderr. Ends with 5 when it may work later.
    """
    import time

    from trackbridge.domain.events import TEST
    from trackbridge.events.messages import Message, new_event
    from trackbridge.events.subscribers import find_subscriber
    from trackbridge.events.workers import Worker
    from trackbridge.resolve.config import Settings

    subscriber = find_subscriber(name, Settings())
    if subscriber.problem is not None:
        raise subscriber.problem
    data = {"message": "sent by bridge events test"}
    event = new_event(
        TEST, subject=subscriber.name, source="", data=data, time_ms=time.time_ns() // 1_000_000
    )
    worker = Worker(subscriber, is_quiet=False)
    try:
        reply = worker.handle(Message(event=event))
    finally:
        worker.close()
    answer = reply.answer or "it returned"
    fields = {"subscriber": subscriber.identifier, "event_id": event.event_id, "delivered": reply.delivered}
    output.show(f"{subscriber.identifier}: {answer if reply.delivered else reply.problem}")
    output.summary({**fields, "answer": answer if reply.delivered else "", "problem": reply.problem})
    if not reply.delivered:
        output.end(EXIT_RETRYABLE if reply.is_transient else EXIT_ERROR)


@events.command(epilog=example("bridge events retry", "bridge events retry audit"))
@click.argument("name", required=False)
@output_option
def retry(output: Output, name: str | None) -> None:
    """Send what was kept, to the subscriber NAME or to all.

    What fails is kept. Ends with 5 when some of it may be taken later, with 3 when some and with 1 when all
    of it was refused.
    """
    from trackbridge.events.subscribers import find_subscriber, read_subscribers
    from trackbridge.resolve.config import Settings

    settings = Settings()
    chosen = (find_subscriber(name, settings),) if name else read_subscribers(settings)
    store = _store(settings)
    waiting = store.undelivered() if store else {}
    delivered = left = 0
    is_transient = False
    for subscriber in chosen:
        if store is None or not waiting.get(subscriber.identifier):
            continue
        done, problem, may_work_later = _retry(store, subscriber)
        remaining = waiting[subscriber.identifier] - done
        delivered, left = delivered + done, left + remaining
        fields = {"subscriber": subscriber.identifier, "delivered": done, "left": remaining}
        output.event("retried", {**fields, "problem": problem})
        if problem:
            output.show(f"{subscriber.identifier}: {remaining:,} left: {problem}", colour="yellow")
            is_transient = is_transient or may_work_later
    output.show(f"{counted(delivered, 'event')} delivered, {left:,} left")
    output.summary({"delivered": delivered, "left": left})
    if left:
        output.end(EXIT_RETRYABLE if is_transient else EXIT_PARTLY if delivered else EXIT_ERROR)


def _store(settings: Any) -> EventStore | None:
    from trackbridge.events.store import EventStore, find_events_folder

    folder = find_events_folder(settings.around)
    return EventStore(folder) if folder else None


def _retry(store: EventStore, subscriber: Subscriber) -> tuple[int, str, bool]:
    """Send what is kept for one subscriber until it fails for now.

    Returns:
        How many it took, the last problem, and whether that may go away by itself.
    """
    from trackbridge.events.messages import Message
    from trackbridge.events.store import Tally
    from trackbridge.events.workers import Worker

    if subscriber.problem is not None:
        return 0, str(subscriber.problem), False
    worker = Worker(subscriber)
    delivered, problem, is_transient, tried = 0, "", False, set[int]()
    try:
        while not is_transient:
            kept = store.take(subscriber.identifier, is_due=False, but=frozenset(tried))
            if kept is None:
                break
            tried.add(kept.number)
            reply = worker.handle(Message(event=kept.event))
            if reply.delivered:
                store.remove(kept.number)
                delivered += 1
                continue
            problem, is_transient = reply.problem, reply.is_transient
            store.postpone(kept.number, attempts=kept.attempts + 1, next_ms=kept.next_ms, problem=problem)
    finally:
        worker.close()
    store.count({subscriber.identifier: Tally(delivered=delivered, problem=problem)})
    return delivered, problem, is_transient


def _show(
    output: Output,
    found: Sequence[Subscriber],
    tallies: dict[str, Tally],
    undelivered: dict[str, int],
) -> None:
    rows = []
    for item in found:
        fields = _fields(item, tallies, undelivered)
        counts = [f"{fields[name]:,}" for name in ("delivered", "failed", "dropped", "undelivered")]
        state = f"WRONG: {item.problem}" if item.problem else fields["last_problem"]
        rows.append((item.name, item.kind.value, " ".join(item.events), item.target, *counts, state))
    columns = ("NAME", "KIND", "EVENTS", "TARGET", "DELIVERED", "FAILED", "DROPPED", "UNDELIVERED", "PROBLEM")
    output.table(columns, rows, cell_chars_max=300)


def _fields(item: Subscriber, tallies: dict[str, Tally], undelivered: dict[str, int]) -> dict[str, Any]:
    from trackbridge.events.store import Tally

    tally = tallies.get(item.identifier, Tally())
    return {
        **{name: getattr(item, name) for name in ("name", "events", "target", "place", "secret_env")},
        "kind": item.kind.value,
        "problem": str(item.problem) if item.problem else "",
        "hint": (item.problem.hint or "") if item.problem else "",
        "delivered": tally.delivered,
        "failed": tally.failed,
        "dropped": tally.dropped,
        "undelivered": undelivered.get(item.identifier, 0),
        "last_problem": tally.problem,
        "last_problem_ms": tally.problem_ms or None,
    }
