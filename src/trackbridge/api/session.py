"""One program's way to its destinations: a journal, whoever delivers it, and the runs that are open.

::

    recorder -> JournalWriter -> journal folder -> delivery child (or thread) -> destinations

A session begins with its first record. After a fork the first record begins another journal, with a child
of its own, in which the runs that were open are joined.
"""

from __future__ import annotations

import atexit
import functools
import sys
import threading
import time
from collections import ChainMap
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from trackbridge.api.job_surroundings import is_tracking
from trackbridge.api.others import await_others
from trackbridge.api.recorder import RunRecorder
from trackbridge.domain.records import ExperimentOpened, OpenMode, RunOpened
from trackbridge.errors import TimedOut, Unavailable, Unsupported
from trackbridge.journal.cursors import load_cursor
from trackbridge.journal.silence import SilentWriter
from trackbridge.journal.writer import JournalWriter, WriterOptions
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import LATER, Destination, journal_root

if TYPE_CHECKING:
    from trackbridge.delivery.child import DeliveryChild
    from trackbridge.delivery.service import DeliveryService

_POLL_S = 0.01
TOLD_AFTER_S = 1.0
"""A wait at the end of a program that is longer is told at a terminal."""


class Session:
    """The journal of this process for one or several destinations.

    Args:
        destinations: Where to deliver; the first is the one that is read from.
        settings: The settings as they stood when the session was made; those that a URI gives come first.
    """

    def __init__(self, destinations: tuple[Destination, ...], settings: Settings) -> None:
        self.root = journal_root(destinations, settings=settings)
        self.destinations = tuple(destination.uri.text for destination in destinations)
        self._without_runs = [found.uri.text for found in destinations if not found.uri.keeps_runs]
        of_uris = [destination.settings for destination in destinations]
        self.settings = settings = settings.with_options(dict(ChainMap(*of_uris)))
        self.is_away: bool = settings.value("delivery") == LATER
        """Whether destinations are not to be reached from here: what is logged goes home at the job's end."""
        self._silent = None if is_tracking() else SilentWriter(self.root, self.destinations)
        self.waits_for_others = False
        """Whether a reader waits, a while, for what other processes of the project have logged, too."""
        self.is_strict: bool = settings.value("strict")
        """Whether a record that the journal refuses is an error; else it is counted, and told of once."""
        self.recorders: dict[str, RunRecorder] = {}
        self._experiments: dict[str, ExperimentOpened] = {}
        self._lock = threading.RLock()
        self._writer: JournalWriter | None = None
        self._child: DeliveryChild | None = None
        self._service: DeliveryService | None = None
        self._service_thread: threading.Thread | None = None

    # Logging.

    @property
    def writer(self) -> JournalWriter:
        """The journal, begun at the first call.

        Raises:
            Unsupported: A destination keeps no runs: nothing of them could ever be delivered.
        """
        if self._silent is not None:
            return self._silent
        if self._writer is None or self._writer.is_closed:
            self._refuse_registries()
            with self._lock:
                if self._writer is None or self._writer.is_closed:
                    self._writer = JournalWriter(
                        self.root,
                        self.destinations,
                        options=WriterOptions(
                            bytes_max=self.settings.value("journal_bytes_max"),
                            fsync_interval_s=self.settings.value("journal_fsync_interval_s"),
                            strict=self.is_strict,
                        ),
                        on_start=self._writer_started,
                        on_tick=self._watch_child,
                    )
        return self._writer

    def _refuse_registries(self) -> None:
        for uri in self._without_runs:
            raise Unsupported(
                f"{uri} is a registry of models, which keeps no runs, experiments or files of them",
                operation="tracking",
                resource=uri,
                hint=f"log elsewhere, and let models go there: BRIDGE_REGISTRY_URI={uri}, or "
                f"Client(registry_uri={uri!r})",
            )

    def open_experiment(self, experiment: ExperimentOpened) -> None:
        """Log that an experiment is in use; said once."""
        if self._experiments.get(experiment.name) != experiment:
            self.writer.append_control(msgspec.msgpack.encode(experiment))
            self._experiments[experiment.name] = experiment

    def experiment_name(self, experiment_id: str) -> str | None:
        """Return the name of an experiment that this process uses, by its id."""
        names = (known.name for known in self._experiments.values() if known.experiment_id == experiment_id)
        return next(names, None)

    def known_experiment(self, name: str) -> ExperimentOpened | None:
        """Return what this process said of an experiment that it uses, by its name."""
        return self._experiments.get(name)

    def forget_experiment(self, experiment_id: str) -> None:
        """Know no more of an experiment; its next use is said again."""
        kept = {
            name: known for name, known in self._experiments.items() if known.experiment_id != experiment_id
        }
        self._experiments = kept

    def open_run(self, opened: RunOpened) -> RunRecorder:
        """Open a run and return its recorder."""
        recorder = RunRecorder(self.writer, opened)
        self.recorders[opened.run_id] = recorder
        return recorder

    # Delivery.

    def _writer_started(self, writer: JournalWriter) -> None:
        """Begin delivery: for the first journal, and after a fork for the child's own."""
        _close_at_exit()
        is_fork = self._writer is not None and not self._writer.is_closed
        self._child = self._service = self._service_thread = None
        mode = self.settings.value("delivery")
        if mode == "child":
            self._start_child(writer)
        elif mode == "thread":
            self._start_thread(writer)
        if is_fork:
            self._lock = threading.RLock()
            for recorder in self.recorders.values():
                if recorder.end_time is None:
                    recorder.announce(OpenMode.JOIN)

    def _start_child(self, writer: JournalWriter) -> None:
        from trackbridge.delivery.child import DeliveryChild

        if not sys.executable:  # embedded Python: there is nothing to start a child with
            self._start_thread(writer)
            return
        self._child = DeliveryChild(writer.folder)

    def _start_thread(self, writer: JournalWriter) -> None:
        from trackbridge.delivery.connect import connect
        from trackbridge.delivery.service import DeliveryService

        self._service = DeliveryService(self.root, own=writer.folder, open_backend=connect)
        self._service_thread = threading.Thread(
            target=self._service.run, name="trackbridge-delivery", daemon=True
        )
        self._service_thread.start()

    def _watch_child(self, writer: JournalWriter) -> None:
        if self._child is not None:
            self._child.watch()

    @property
    def child_process_id(self) -> int | None:
        """Process id of the delivery child, None where there is none."""
        return self._child.process_id if self._child is not None else None

    def _own_writer(self) -> JournalWriter | None:
        """The journal that this process has logged to, None where there is none."""
        return self._writer if self._writer is not None and self._writer.is_own else None

    @property
    def asks_nobody(self) -> bool:
        """Whether runs are taken up without looking whether there are such."""
        return self.is_away or self._silent is not None

    def pending(self, until: int | None = None) -> dict[str, int]:
        """Return how many records each destination still has to get, by its URI, from here.

        Args:
            until: Count records up to this sequence; None for all.
        """
        writer = self._own_writer()
        if writer is None or self.is_away:
            return dict.fromkeys(self.destinations, 0)
        if writer.is_closed and not writer.folder.path.exists():  # delivered, and the journal deleted
            return dict.fromkeys(self.destinations, 0)
        last = writer.last_sequence if until is None else until
        return {
            uri: max(0, last - load_cursor(writer.folder, uri).position.sequence) for uri in self.destinations
        }

    def problems(self) -> dict[str, str]:
        """Return what keeps destinations from taking records, by URI."""
        writer = self._own_writer()
        if writer is None:
            return {}
        cursors = (load_cursor(writer.folder, uri) for uri in self.destinations)
        return {cursor.destination: cursor.problem for cursor in cursors if cursor.problem}

    @property
    def delivers_in_background(self) -> bool:
        """True when a child goes on delivering after the end of this program."""
        return self._child is not None

    def refused(self) -> int:
        """Return how many records the journal refused."""
        writer = self._own_writer()
        return 0 if writer is None else writer.refused

    def rejected(self) -> int:
        """Return how many of this journal's records were put with the dead letters."""
        from trackbridge.delivery.dead_letters import DeadLetters

        writer = self._own_writer()
        return 0 if writer is None else DeadLetters(self.root).count_of(writer.folder.journal_id)

    def flush(self, timeout_s: float, *, destinations: tuple[str, ...] | None = None) -> dict[str, int]:
        """Wait until what was logged so far is delivered; return what is still pending.

        With ``BRIDGE_DELIVERY=off`` it is delivered by this call itself.

        Args:
            timeout_s: Seconds to wait at the most.
            destinations: Wait for these only; None for all.
        """
        wanted = self.destinations if destinations is None else destinations
        writer = self._own_writer()
        if writer is None or self.is_away:
            return self.pending()
        until = writer.last_sequence  # what other threads log meanwhile is not waited for
        if self._child is None and self._service is None:
            self._deliver_here(writer, timeout_s, wanted)
            return self.pending(until)
        deadline = time.monotonic() + timeout_s
        while any((pending := self.pending(until))[uri] for uri in wanted) and time.monotonic() < deadline:
            writer.folder.request_flush()
            self._watch_child(writer)
            time.sleep(_POLL_S)
        return pending

    def _deliver_here(
        self, writer: JournalWriter | None, timeout_s: float, destinations: tuple[str, ...]
    ) -> None:
        """Deliver this process's journal, where given, and those left behind, in this thread."""
        if not self.root.is_dir():
            return
        from trackbridge.delivery.connect import connect
        from trackbridge.delivery.service import deliver_now

        deliver_now(
            self.root,
            own=None if writer is None else writer.folder,
            open_backend=functools.partial(connect, elapsed_s_max=timeout_s),
            deadline_s=timeout_s,
            destinations=frozenset(destinations),
        )

    def drain(self, timeout_s: float) -> None:
        """Deliver to the first destination what this process, and processes that died here, have logged.

        Raises:
            Unavailable: Not all of this process's records were delivered in time, or the destination is not
                to be reached from here.
        """
        if self.is_away:
            raise Unavailable(
                f"{self.destinations[0]} is not to be reached from this job: its records go home at its end",
                operation="read",
                hint="read after that, or submit with a tracking URI that the job's machine reaches",
            )
        if self._silent is not None:
            return
        first = self.destinations[0]
        count = self.flush(timeout_s, destinations=(first,))[first]
        self._deliver_here(None, timeout_s, (first,))
        if self.waits_for_others:
            writer = self._own_writer()
            own_id = None if writer is None else writer.folder.journal_id
            await_others(self.root, own_id, first, timeout_s)
        if count:
            problem = self.problems().get(first, "delivery is slower than logging")
            raise Unavailable(
                f"{counted(count)} not delivered to {first} yet: {problem}",
                operation="read",
                hint="they are safe in the journal; see: bridge sync status",
            )

    def close(self, timeout_s: float) -> dict[str, int]:
        """End the journal, wait for its delivery, and return what is still pending."""
        writer = self._own_writer()
        if writer is None:
            return self.pending()
        writer.close()
        deadline = time.monotonic() + timeout_s
        pending = self.flush(timeout_s)
        if self._child is not None:
            self._child.detach()
        if self._service is not None and self._service_thread is not None:
            self._service.hurry()
            self._service_thread.join(max(0.0, deadline - time.monotonic()))
        return pending

    def sync(self) -> None:
        """Make what was logged survive the loss of the machine, as far as its disk does."""
        writer = self._own_writer()
        if writer is not None:
            writer.sync()

    def end_journal(self) -> None:
        """End the journal without waiting: whoever delivers may finish."""
        writer = self._own_writer()
        if writer is not None:
            writer.close()


def counted(records: int) -> str:
    """Return so many records as the beginning of a sentence."""
    return f"{records:,} record{' is' if records == 1 else 's are'}"


def counted_to(pending: dict[str, int]) -> str:
    """Return how many records are on their way to which destinations."""
    return ", ".join(f"{count:,} to {uri}" for uri, count in pending.items())


def raise_if_pending(pending: dict[str, int]) -> None:
    """Raise TimedOut when records are still on their way."""
    left = {uri: count for uri, count in pending.items() if count}
    if left:
        raise TimedOut(
            f"records are not delivered yet: {counted_to(left)}",
            ambiguous=False,
            operation="flush",
            hint="they are safe in the journal; see: bridge sync status",
        )


_sessions: dict[tuple[str, ...], Session] = {}
_sessions_lock = threading.Lock()


def session_for(destinations: tuple[Destination, ...], settings: Settings) -> Session:
    """Return this process's session for these destinations."""
    key = tuple(destination.uri.text for destination in destinations)
    with _sessions_lock:
        if key not in _sessions:
            _sessions[key] = Session(destinations, settings)
        return _sessions[key]


def all_sessions() -> tuple[Session, ...]:
    """Return the sessions of this process."""
    return tuple(_sessions.values())


# The end of the program.

_closes_at_exit = False
_before_close: list[Callable[[], None]] = []


def before_close(callback: Callable[[], None]) -> None:
    """Call something at the end of the program, while it can still be logged."""
    if callback not in _before_close:
        _before_close.append(callback)


def _close_at_exit() -> None:
    """See to it, once, that sessions are closed when the program ends."""
    global _closes_at_exit
    if not _closes_at_exit:
        atexit.register(_close_all)
    _closes_at_exit = True


def _close_all() -> None:
    """End every session within one time limit, all of them delivering meanwhile."""
    for callback in _before_close:
        callback()
    sessions = all_sessions()
    for session in sessions:
        session.end_journal()
    deadline: float | None = None
    for session in sessions:
        if deadline is None:
            deadline = time.monotonic() + float(session.settings.value("delivery_exit_wait_s"))
        _close(session, max(0.0, deadline - time.monotonic()))


def flush_all() -> None:
    """Let everything that was logged survive this machine, then wait for its delivery as at a normal end.

    For a program that is about to be ended: the platform may copy the journals and take the machine away.
    """
    sessions = all_sessions()
    for session in sessions:
        session.sync()
    deadline: float | None = None
    for session in sessions:
        if deadline is None:
            deadline = time.monotonic() + float(session.settings.value("delivery_exit_wait_s"))
        session.flush(max(0.0, deadline - time.monotonic()))


def _close(session: Session, timeout_s: float) -> None:
    """Wait for a session's delivery, and say what is not delivered."""
    pending = session.close(_told_wait(session, timeout_s))
    problems = session.problems()
    first = session.destinations[0]
    in_background = f"delivery goes on in the background; see: bridge sync status --uri {first}"
    how = in_background if session.delivers_in_background else f"send them with: bridge sync run {first}"
    for uri, count in pending.items():
        if count:
            why = f" ({problems[uri]})" if uri in problems else ""
            tell(f"{counted(count)} not delivered to {uri} yet{why}; {how}")
    rejected = session.rejected()
    if rejected:
        tell(f"{counted(rejected)} rejected and kept; see: bridge sync dead-letters")
    refused = session.refused()
    if refused:
        tell(f"{counted(refused)} refused because the disk or the journal was full, and lost")


def _told_wait(session: Session, timeout_s: float) -> float:
    """Tell a person at a terminal what a longer wait is for; return how long there is still to wait."""
    if not (session.delivers_in_background and sys.stderr.isatty() and timeout_s > TOLD_AFTER_S):
        return timeout_s
    began = time.monotonic()
    pending = session.flush(TOLD_AFTER_S)
    left_s = max(0.0, timeout_s - (time.monotonic() - began))
    late = {uri: count for uri, count in pending.items() if count}
    if late:
        tell(f"delivering {counted_to(late)}; waiting up to {left_s:.0f} s ...")
    return left_s


def tell(message: str) -> None:
    """Say something on stderr at the end of the program."""
    print(f"trackbridge: {message}", file=sys.stderr)  # noqa: T201
