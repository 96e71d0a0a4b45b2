"""What was logged and is not delivered yet, how fast it goes, and what a backend would not take."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.delivery.connect import connect
from trackbridge.delivery.dead_letters import DeadLetter, DeadLetters, FoundDamage
from trackbridge.delivery.letter_names import LetterNames
from trackbridge.delivery.replay import replay
from trackbridge.delivery.status import JournalStatus, journal_status
from trackbridge.domain.plans import Action, Change, Plan
from trackbridge.errors import InvalidInput, JournalError
from trackbridge.gateway.pages import forms
from trackbridge.gateway.pages.desk import Desk, refuse_stale
from trackbridge.gateway.pages.forms import Done, change_routes
from trackbridge.gateway.pages.layout import View
from trackbridge.gateway.pages.work_pages import work_address
from trackbridge.gateway.pages.works import Outcome, Work
from trackbridge.operations.deploy import now_ms
from trackbridge.operations.plans import basis_of
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import journal_folders, resolve_destinations

SECTION = "sync"
LETTERS_MAX = 200
CHANGES_SHOWN_MAX = 500
RATE_SPAN_S = 60.0
"""Rates are over the last so many seconds in which somebody looked."""
RATE_SPAN_S_MIN = 0.5
LETTERS = "the dead letters"


class NamedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter, and what names it here and on the command line."""

    name: str
    letter: DeadLetter


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What one destination has got and still gets, in records, over all journals.

    ``records_per_s`` is how fast it gets them now, None before that is known; ``problem`` why it gets
    nothing, ``failing_since_ms`` since when, in milliseconds since 1970.
    """

    destination: str
    journals: int
    delivered: int
    pending: int
    dead_letters: int
    records_per_s: float | None
    problem: str = ""
    failing_since_ms: int | None = None

    @property
    def left_s(self) -> float | None:
        """How long the rest takes at this rate, in seconds; None where nobody can tell."""
        return self.pending / self.records_per_s if self.records_per_s else None


class SyncFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How delivery stands; ``letters`` are the first of ``letters_count``."""

    backlogs: tuple[Backlog, ...]
    journals: tuple[JournalStatus, ...]
    letters: tuple[NamedLetter, ...]
    letters_count: int
    damages: tuple[FoundDamage, ...]


Lanes = dict[tuple[str, str], tuple[int, int]]
"""By journal and destination: how many records it has got, and how many it still gets."""


class Rates:
    """How fast destinations get what is theirs, from the looks of the last minute. Any thread may use it."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._looks: deque[tuple[float, Lanes]] = deque()

    def look(self, lanes: Lanes) -> dict[str, float]:
        """Remember a look, and return the records per second of each destination, where they are known."""
        now_s = self._clock_s()
        with self._lock:
            while self._looks and now_s - self._looks[0][0] > RATE_SPAN_S:
                self._looks.popleft()
            if not self._looks or now_s - self._looks[-1][0] >= RATE_SPAN_S_MIN:
                self._looks.append((now_s, lanes))
            begun_s, before = self._looks[0]
        if now_s - begun_s < RATE_SPAN_S_MIN:
            return {}
        moved: dict[str, int] = {destination: 0 for _, destination in (*before, *lanes)}
        for (journal, destination), (delivered, pending) in before.items():
            now = lanes.get((journal, destination))
            # A journal that is gone was delivered whole.
            moved[destination] += pending if now is None else max(0, now[0] - delivered)
        for key in lanes.keys() - before.keys():
            moved[key[1]] += lanes[key][0]
        return {destination: count / (now_s - begun_s) for destination, count in moved.items()}


# What is asked.


def journal_roots(uris: Sequence[str]) -> list[Path]:
    """Return the journal folders that exist: of these tracking URIs, and of the project."""
    settings = Settings()
    destinations = resolve_destinations(list(uris), settings=settings)
    found = journal_folders(destinations, settings=settings, everywhere=False)
    return [path for path in found if path.is_dir()]


def sync_facts(roots: Sequence[Path], rates: Rates) -> SyncFacts:
    """Return how delivery stands, from files alone."""
    journals = [journal for root in roots for journal in journal_status(root)]
    stores = [DeadLetters(root) for root in roots]
    counts: dict[str, int] = {}
    for store in stores:
        for destination, count in store.count().items():
            counts[destination] = counts.get(destination, 0) + count
    names = LetterNames(roots)
    letters = tuple(NamedLetter(name=name, letter=item) for name, item in names.read(max_results=LETTERS_MAX))
    return SyncFacts(
        backlogs=tuple(backlogs(journals, counts, rates)),
        journals=tuple(journals),
        letters=letters,
        letters_count=len(names),
        damages=tuple(damage for store in stores for damage in store.damages()),
    )


def backlogs(journals: Sequence[JournalStatus], letters: dict[str, int], rates: Rates) -> list[Backlog]:
    """Return the backlog of each destination, in order of name.

    Args:
        journals: How the journals stand.
        letters: The dead letters by destination.
        rates: Remembers this look.
    """
    lanes = [(journal, lane) for journal in journals for lane in journal.lanes]
    per_s = rates.look(
        {(journal.journal_id, lane.destination): (lane.delivered, lane.pending) for journal, lane in lanes}
    )
    found = []
    for destination in sorted({lane.destination for _, lane in lanes} | letters.keys()):
        own = [lane for _, lane in lanes if lane.destination == destination]
        failing = [lane.failing_since_ms for lane in own if lane.failing_since_ms is not None]
        found.append(
            Backlog(
                destination=destination,
                journals=len(own),
                delivered=sum(lane.delivered for lane in own),
                pending=sum(lane.pending for lane in own),
                dead_letters=letters.get(destination, 0),
                records_per_s=per_s.get(destination),
                problem="; ".join(dict.fromkeys(lane.problem for lane in own if lane.problem)),
                failing_since_ms=min(failing, default=None),
            )
        )
    return found


# Changes.


def plan_letters(roots: Sequence[Path], names: Sequence[str], *, is_all: bool, drops: bool) -> Plan:
    """Plan to deliver dead letters again, or to give them up.

    Args:
        roots: Folders of journals.
        names: Which, as they are named.
        is_all: All of them.
        drops: Whether they are given up.

    Raises:
        NotFound: There is none of a name.
        InvalidInput: None is named, or a name is not enough.
    """
    chosen = chosen_letters(roots, names, is_all=is_all)
    letters = [letter for root, numbers in chosen.items() for letter in _letters(root, numbers)]
    changes = [
        Change(
            action=Action.DELETE if drops else Action.UPDATE,
            subject=f"{letter.kind} of run {letter.run_id or '?'} for {letter.destination}",
            before={"rejected because": letter.reason},
            after=None if drops else {"is": "delivered again"},
        )
        for letter in letters[:CHANGES_SHOWN_MAX]
    ]
    # The number of a dead letter that is gone may be given to another.
    state = (
        [(str(root), numbers) for root, numbers in chosen.items()],
        [(letter.destination, letter.journal, letter.sequence) for letter in letters],
    )
    notes = [f"{len(letters):,} dead letters; {'they are gone for good' if drops else 'in their order'}"]
    if len(letters) > CHANGES_SHOWN_MAX:
        notes.append(f"the first {CHANGES_SHOWN_MAX:,} are shown")
    return Plan(
        operation="sync drop" if drops else "sync replay",
        basis=basis_of(state),
        changes=tuple(changes),
        created_time=now_ms(),
        notes=tuple(notes),
    )


def chosen_letters(roots: Sequence[Path], names: Sequence[str], *, is_all: bool) -> dict[Path, list[int]]:
    """Return which dead letters are meant: their numbers in each folder.

    Raises:
        NotFound: There is none of a name.
        InvalidInput: None is named, or a name is not enough.
    """
    if not names and not is_all:
        raise InvalidInput("no dead letter is chosen", operation="sync", hint="tick some on the page, or all")
    found = LetterNames(roots)
    return found.all() if is_all else found.find(names)


def _letters(root: Path, numbers: Sequence[int]) -> list[DeadLetter]:
    wanted = frozenset(numbers)
    return [letter for letter in DeadLetters(root).read() if letter.number in wanted]


def replay_letters(chosen: dict[Path, list[int]], work: Work) -> Outcome:
    """Deliver dead letters again; those that are not taken keep the new reason."""
    delivered, problems = 0, []
    for root, numbers in chosen.items():
        work.tell(f"{len(numbers):,} dead letters of {root}")
        report = replay(root, numbers, connect)
        delivered += len(report.delivered)
        for word, reasons in (("refused again", report.kept), ("not taken now", report.waiting)):
            problems += [f"{number} {word}: {reason}" for number, reason in reasons.items()]
        work.reach(delivered, sum(map(len, chosen.values())))
    left = sum(map(len, chosen.values())) - delivered
    return Outcome(text=f"delivered: {delivered:,}; left: {left:,}", problems=tuple(problems))


# The pages.


def routes(desk: Desk) -> list[Route]:
    """Return the routes of these pages."""
    rates = Rates()

    def shown(view: View) -> Response:
        facts = sync_facts(_roots(view), rates)
        if view.request.headers.get("HX-Request"):
            return view.fragment("sync_live.html", facts=facts)
        twin = "bridge sync status --json; bridge sync dead-letters --json"
        return view.page("sync.html", title="Sync", section=SECTION, facts=facts, twin=twin)

    def letter(view: View) -> Response:
        return _letter_page(view)

    return [
        desk.pages.route("/sync", shown),
        desk.pages.route("/sync/letter/{name}", letter),
        *change_routes(desk.pages, _change(desk, drops=False)),
        *change_routes(desk.pages, _change(desk, drops=True)),
    ]


def _change(desk: Desk, *, drops: bool) -> forms.Change:
    def plan(view: View) -> Plan:
        return plan_letters(_roots(view), view.values("letter"), is_all=bool(view.value("all")), drops=drops)

    def do_drop(view: View, shown: Plan) -> Done:
        with desk.works.holding(LETTERS):
            refuse_stale(shown, plan(view))
            chosen = chosen_letters(_roots(view), view.values("letter"), is_all=bool(view.value("all")))
            for root, numbers in chosen.items():
                DeadLetters(root).remove(numbers)
        count = sum(map(len, chosen.values()))
        return Done(f"{count:,} dead letters dropped", "/sync", "Back to sync")

    def do_replay(view: View, shown: Plan) -> Response:
        roots = _roots(view)
        chosen = chosen_letters(roots, view.values("letter"), is_all=bool(view.value("all")))
        work = desk.works.start(
            "replay",
            "Replay dead letters",
            frozenset({LETTERS}),
            lambda work: replay_letters(chosen, work),
            back="/sync",
            user=desk.user(view),
        )
        return view.redirect(work_address(work.work_id))

    verb = "drop" if drops else "replay"
    return forms.Change(
        path=f"/sync/{verb}",
        title=f"{verb.capitalize()} dead letters",
        verb=verb.capitalize(),
        plan=plan,
        apply=do_drop if drops else do_replay,
        section=SECTION,
        is_dangerous=drops,
        twin=lambda view: f"bridge sync {verb} {_named(view)} --json",
    )


def _named(view: View) -> str:
    return "--all" if view.value("all") else " ".join(view.values("letter"))


def _letter_page(view: View) -> Response:
    name = view.part("name")
    ((root, numbers),) = LetterNames(_roots(view)).find([name]).items()
    (letter,) = _letters(root, numbers)
    try:
        record = letter.record
        content = {field: repr(getattr(record, field)) for field in record.__struct_fields__}
    except JournalError as error:
        content = {"problem": error.message}
    return view.page(
        "letter.html",
        title=f"Dead letter {name}",
        section=SECTION,
        name=name,
        letter=letter,
        content=content,
        twin=f"bridge sync dead-letters --show {name} --json",
    )


def _roots(view: View) -> list[Path]:
    return journal_roots(view.client.session.destinations)
