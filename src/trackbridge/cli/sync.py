"""``bridge sync``: what was logged and is not delivered, or was rejected."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli import completions
from trackbridge.cli.failures import EXIT_ERROR, EXIT_PARTLY, EXIT_RETRYABLE
from trackbridge.cli.options import example, output_option, uri_option, yes_option
from trackbridge.cli.output import Output, counted

if TYPE_CHECKING:
    from trackbridge.delivery.by_hand import Left
    from trackbridge.delivery.dead_letters import DeadLetter, DeadLetters
    from trackbridge.delivery.letter_names import LetterNames
    from trackbridge.delivery.replay import ReplayReport
    from trackbridge.delivery.status import JournalStatus

FOLLOW_S = 1.0
FOLLOW_BLOCKED_S = 10.0
LETTERS_SHOWN = 50
_NUMBERS = click.argument("numbers", nargs=-1, metavar="NUMBER...")
_EVERYTHING = click.option("--all", "is_all", is_flag=True, help="All of them.")


@click.group(epilog=example("bridge sync status", "bridge sync run"))
def sync() -> None:
    """See and deliver what was logged but not delivered.

    Every program delivers by itself, in the background. These commands are for what it could not: because
    the machine went down, the destination was away, or delivery was switched off.
    """


@sync.command(epilog=example("bridge sync status", "bridge sync status --uri prod --json"))
@uri_option
@output_option
def status(output: Output, uri: str | None) -> None:
    """Show each journal: its writer, its destinations, and what is pending."""
    from trackbridge.delivery.dead_letters import DeadLetters
    from trackbridge.delivery.status import journal_status

    found = [(root, journal_status(root)) for root in journal_roots(uri)]
    letters: dict[str, int] = {}
    damages = []
    for root, _ in found:
        store = DeadLetters(root)
        for destination, count in store.count().items():
            letters[destination] = letters.get(destination, 0) + count
        damages += store.damages()
    journals = [journal for _, statuses in found for journal in statuses]
    for journal in journals:
        output.event("journal", _journal_fields(journal))
    for damage in damages:
        output.event("damage", {name: getattr(damage, name) for name in damage.__struct_fields__})
    _show_journals(output, journals)
    for destination, count in letters.items():
        output.show(
            f"{counted(count, 'dead letter')} for {destination}; see: bridge sync dead-letters",
            colour="yellow",
        )
    for damage in damages:
        where = f"journal {damage.journal}, segment {damage.segment}, byte {damage.offset}"
        lost = f"at most {counted(damage.records_max, 'record')}"
        output.show(f"damage: {where}: {damage.reason}; {lost} lost", colour="yellow")
    output.summary(
        {
            "roots": [str(root) for root, _ in found],
            "journals": len(journals),
            "pending": sum(lane.pending for journal in journals for lane in journal.lanes),
            "dead_letters": letters,
            "damages": len(damages),
        }
    )


@sync.command(
    epilog=example(
        "bridge sync run", "bridge sync run prod --follow", "bridge sync run s3://bucket/jobs/wine-7/kept"
    )
)
@click.argument("uri", required=False, shell_complete=completions.uris)
@click.option(
    "--uri",
    "named_uri",
    metavar="URI",
    shell_complete=completions.uris,
    help="The same as URI; with an address of files, the tracking URI that their journals are for.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C, also with what is logged meanwhile.")
@output_option
def run(output: Output, uri: str | None, named_uri: str | None, follow: bool) -> None:
    """Deliver now what no program is delivering.

    Delivers the journals of the project and of URI, each to the destinations that it names; a journal whose
    description is damaged goes to URI. Ends with 0 when everything is delivered, with 5 when something is
    left that can be delivered later.

    URI may also be where a platform keeps the files of a job (s3://…, azureml://…/paths/…, abfss://…, gs://…,
    dbfs:/…, or a folder that cannot be written to): the journals below journal/ there are brought to this
    machine and delivered. They stay where they are; doing it again changes nothing.
    """
    from trackbridge.cli.sync_home import holds_journals_elsewhere, run_from_elsewhere

    if uri and holds_journals_elsewhere(uri):
        if follow:
            raise click.UsageError("--follow is for journals of this machine; run it again now and then")
        run_from_elsewhere(output, uri, named_uri)
        return
    if uri and named_uri and uri != named_uri:
        raise click.UsageError(f"two tracking URIs are named, {uri} and --uri {named_uri}; name one")
    uri = uri or named_uri
    roots = journal_roots(uri)
    destinations = _destination_texts(uri) if uri else None
    if follow:
        _follow(output, uri, destinations)
    delivered, left = deliver(output, roots, destinations)
    report_delivery(output, roots, delivered, left)


def report_delivery(output: Output, roots: Sequence[Path], delivered: int, left: list[Left]) -> None:
    """Say what was delivered and what is left, and end with 5 where something is."""
    for item in left:
        _report_left(output, item)
    if not left:
        output.show(f"everything is delivered ({counted(delivered, 'record')} by this command)")
    rejected = _count_letters(roots)
    if rejected:
        output.note(f"{counted(rejected, 'dead letter')}; see: bridge sync dead-letters")
    output.summary({"delivered": delivered, "left": len(left), "dead_letters": rejected})
    if left:
        output.end(EXIT_RETRYABLE)


@sync.command("dead-letters", epilog=example("bridge sync dead-letters", "bridge sync dead-letters --show 3"))
@click.option("--show", "number", metavar="NUMBER", help="Show one of them whole.")
@click.option("--limit", type=click.IntRange(1), default=LETTERS_SHOWN, show_default=True, help="How many.")
@uri_option
@output_option
def dead_letters(output: Output, number: str | None, limit: int, uri: str | None) -> None:
    """List records that a destination will not take, with the reason."""
    from trackbridge.api.display import format_time
    from trackbridge.delivery.letter_names import LetterNames

    if number is not None:
        _show_letter(output, _letter(journal_roots(uri), number))
        return
    names = LetterNames(journal_roots(uri))
    found, count = list(names.read(max_results=limit)), len(names)
    for name, item in found:
        output.event("dead_letter", {"name": name, **_letter_fields(item)})
    if found:
        rows = [
            (name, item.kind, item.run_id, item.destination, format_time(item.time), item.reason)
            for name, item in found
        ]
        output.table(
            ("NUMBER", "KIND", "RUN", "DESTINATION", "TIME (UTC)", "REASON"), rows, cell_chars_max=200
        )
        output.note("deliver them again: bridge sync replay --all; give them up: bridge sync drop NUMBER")
    else:
        output.note("there are no dead letters")
    if count > len(found):
        output.note(f"{count - len(found):,} more; see them with --limit {count}")
    output.summary({"dead_letters": count})


@sync.command(epilog=example("bridge sync replay --all", "bridge sync replay 3 4"))
@_NUMBERS
@_EVERYTHING
@uri_option
@output_option
def replay(output: Output, numbers: Sequence[str], is_all: bool, uri: str | None) -> None:
    """Deliver dead letters again, once what made them fail is put right.

    Those that are taken are removed, the others keep the new reason. Ends with 3 when only some are taken,
    with 1 when none is, with 5 when a destination takes nothing now.
    """
    from trackbridge.delivery.connect import connect
    from trackbridge.delivery.replay import replay as replay_letters

    roots = journal_roots(uri)
    names, chosen = _wanted(roots, numbers, is_all=is_all)
    reports = {root: replay_letters(root, wanted, connect) for root, wanted in chosen.items()}
    _report_replay(output, reports, names, left=_count_letters(roots))


@sync.command(epilog=example("bridge sync drop 3 4", "bridge sync drop --all --yes"))
@_NUMBERS
@_EVERYTHING
@uri_option
@yes_option
@output_option
def drop(output: Output, numbers: Sequence[str], is_all: bool, uri: str | None, is_agreed: bool) -> None:
    """Give up dead letters for good."""
    from trackbridge.delivery.dead_letters import DeadLetters

    _, chosen = _wanted(journal_roots(uri), numbers, is_all=is_all)
    count = sum(map(len, chosen.values()))
    output.confirm(f"Give up {counted(count, 'dead letter')} for good?", is_agreed=is_agreed)
    for root, wanted in chosen.items():
        DeadLetters(root).remove(wanted)
    output.show(f"{counted(count, 'dead letter')} dropped")
    output.summary({"dropped": count})


@sync.command(epilog=example("bridge sync migrations", "bridge sync migrations --json"))
@output_option
def migrations(output: Output) -> None:
    """Show what was copied from where to where in this project, the last first, and what goes on now."""
    from trackbridge.api.display import format_time
    from trackbridge.operations.migrate.ledger import pairs_of
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.home import bridge_home

    found = pairs_of(bridge_home(Settings().around))
    for pair in found:
        output.event("migration", {"migration": pair})
    if found:
        rows = [
            (
                pair.source,
                pair.target,
                "goes on" if pair.is_applying else "at rest",
                ", ".join(counted(count, kind) for kind, count in pair.counts.items()),
                pair.losses,
                format_time(pair.last_ms),
            )
            for pair in found
        ]
        output.table(("FROM", "TO", "STATE", "COPIED WHOLE", "LOSSES", "LAST COPY (UTC)"), rows)
    else:
        output.show("nothing was copied between backends from this project")
        output.note("begin with: bridge migrate SRC DST --plan")
    output.summary({"migrations": len(found)})


# Where journals lie.


def journal_roots(uri: str | None) -> list[Path]:
    """Return the journal folders that exist: of the URI, and of the project; without a URI, everybody's."""
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.destinations import journal_folders, resolve_destinations

    settings = Settings()
    destinations = resolve_destinations(uri, settings=settings)
    found = journal_folders(destinations, settings=settings, everywhere=uri is None)
    return [path for path in found if path.is_dir()]


def _destination_texts(uri: str) -> tuple[str, ...]:
    from trackbridge.resolve.destinations import resolve_destinations

    return tuple(destination.uri.text for destination in resolve_destinations(uri))


# Status.


def _show_journals(output: Output, journals: Sequence[JournalStatus]) -> None:
    if not journals:
        output.note("there are no journals: nothing is waiting to be delivered")
        return
    rows: list[tuple[object, ...]] = []
    for journal in journals:
        begin = (journal.journal_id[:12], _writer(journal))
        for lane in journal.lanes:
            problem = lane.problem or journal.problem or ""
            rows.append((*begin, lane.destination, f"{lane.delivered:,}", f"{lane.pending:,}", problem))
        if not journal.lanes:
            rows.append((*begin, "?", "?", "?", journal.problem or ""))
    columns = ("JOURNAL", "WRITER", "DESTINATION", "DELIVERED", "PENDING", "PROBLEM")
    output.table(columns, rows, cell_chars_max=300)


def _writer(journal: JournalStatus) -> str:
    state = "alive" if journal.writer_lives else "dead"
    process = f" {journal.pid} on {journal.host}" if journal.pid else ""
    return state + process + (", delivering" if journal.is_being_delivered else "")


def _journal_fields(journal: JournalStatus) -> dict[str, Any]:
    return {
        "journal": journal.journal_id,
        "path": str(journal.path),
        "writer_lives": journal.writer_lives,
        "is_being_delivered": journal.is_being_delivered,
        "pid": journal.pid,
        "host": journal.host,
        "created_ms": journal.created_ms,
        "last_written_ms": journal.last_written_ms,
        "bytes": journal.bytes,
        "problem": journal.problem,
        "destinations": [
            {
                "uri": lane.destination,
                "delivered": lane.delivered,
                "pending": lane.pending,
                "rejected": lane.rejected,
                "problem": lane.problem,
            }
            for lane in journal.lanes
        ],
    }


# Delivery by hand.


def deliver(
    output: Output,
    roots: Sequence[Path],
    destinations: tuple[str, ...] | None,
    *,
    others_wait_s: float = 10.0,
) -> tuple[int, list[Left]]:
    """Deliver what is there; return how many records that were, and what is left."""
    from trackbridge.delivery.by_hand import HandDelivery
    from trackbridge.delivery.connect import connect

    delivered, left = 0, []
    for root in roots:
        by_hand = HandDelivery(root, open_backend=connect, destinations=destinations)
        with output.progress("Delivering", by_hand.total) as show_progress:
            on_progress = _progress_events(output, root, by_hand.total, show_progress)
            left += by_hand.run(on_progress, others_wait_s=others_wait_s)
        delivered += by_hand.delivered()
    return delivered, left


def _progress_events(
    output: Output, root: Path, total: int, show_progress: Callable[[int], None]
) -> Callable[[int], None]:
    last = 0

    def on_progress(delivered: int) -> None:
        nonlocal last
        show_progress(delivered)
        if delivered != last:
            last = delivered
            output.event("progress", {"root": str(root), "delivered": delivered, "total": total})

    return on_progress


def _follow(output: Output, uri: str | None, destinations: tuple[str, ...] | None) -> None:
    """Deliver again and again; left by Ctrl-C alone."""
    pause = threading.Event()  # nobody sets it: it is waited on because Ctrl-C interrupts that
    total, told = 0, ""
    try:
        while True:
            delivered, left = deliver(output, journal_roots(uri), destinations, others_wait_s=0.0)
            total += delivered
            if delivered:
                output.note(f"{counted(delivered, 'record')} delivered")
            problems = "; ".join(sorted({item.why for item in left}))
            if problems and problems != told:
                output.warn(problems)
            told = problems
            pause.wait(FOLLOW_BLOCKED_S if left and not delivered else FOLLOW_S)
    except KeyboardInterrupt:
        output.summary({"delivered": total})
        raise


def _report_left(output: Output, item: Left) -> None:
    fields = {
        "journal": item.journal,
        "destination": item.destination,
        "pending": item.pending,
        "why": item.why,
    }
    output.event("left", fields)
    what = f"{counted(item.pending, 'record')} for {item.destination}" if item.destination else "all of it"
    output.show(f"left in journal {item.journal[:12]}: {what}: {item.why}", colour="yellow")


# Dead letters.


def _stores(roots: Sequence[Path]) -> list[DeadLetters]:
    from trackbridge.delivery.dead_letters import DeadLetters

    return [DeadLetters(root) for root in roots]


def _count_letters(roots: Sequence[Path]) -> int:
    return sum(sum(store.count().values()) for store in _stores(roots))


def _wanted(
    roots: Sequence[Path], numbers: Sequence[str], *, is_all: bool
) -> tuple[LetterNames, dict[Path, list[int]]]:
    """Return how dead letters are named, and which are meant: their numbers in each folder.

    Raises:
        UsageError: Neither numbers nor --all, or both, are given.
        NotFound: A number is unknown.
        InvalidInput: A number is not enough.
    """
    from trackbridge.delivery.letter_names import LetterNames

    if bool(numbers) == is_all:
        raise click.UsageError("name dead letters by number, or all of them with --all")
    names = LetterNames(roots)
    return names, names.all() if is_all else names.find(numbers)


def _letter(roots: Sequence[Path], name: str) -> DeadLetter:
    from trackbridge.delivery.dead_letters import DeadLetters
    from trackbridge.delivery.letter_names import LetterNames
    from trackbridge.errors import NotFound

    ((root, (number,)),) = LetterNames(roots).find([name]).items()
    for letter in DeadLetters(root).read():
        if letter.number == number:
            return letter
    raise NotFound(f"there is no dead letter {name}", hint="bridge sync dead-letters")


def _letter_fields(letter: DeadLetter) -> dict[str, Any]:
    names = ("number", "destination", "journal", "sequence", "run_id", "kind", "reason", "time")
    return {name: getattr(letter, name) for name in names}


def _show_letter(output: Output, letter: DeadLetter) -> None:
    from trackbridge.errors import JournalError

    try:
        record = letter.record
        content = {name: getattr(record, name) for name in record.__struct_fields__}
    except JournalError as error:
        content = {"problem": error.message}
    for name, value in {**_letter_fields(letter), **content}.items():
        output.show(f"{name:<12} {value}")
    output.summary({**_letter_fields(letter), "record": content})


def _report_replay(
    output: Output, reports: Mapping[Path, ReplayReport], names: LetterNames, *, left: int
) -> None:
    counts = {"delivered": 0, "kept": 0, "waiting": 0}
    for root, report in reports.items():
        counts["delivered"] += len(report.delivered)
        for outcome, reasons in (("kept", report.kept), ("waiting", report.waiting)):
            counts[outcome] += len(reasons)
            for number, reason in reasons.items():
                name = names.name(root, number)
                output.event(outcome, {"name": name, "number": number, "reason": reason})
                output.show(f"{name} {outcome}: {reason}", colour="yellow")
    if any(counts.values()):
        output.show(f"{counted(counts['delivered'], 'dead letter')} delivered, {left:,} left")
    else:
        output.note("there are no dead letters")
    output.summary({**counts, "left": left})
    if counts["waiting"]:
        output.end(EXIT_RETRYABLE)
    if counts["kept"]:
        output.end(EXIT_PARTLY if counts["delivered"] else EXIT_ERROR)
