"""The runs that clients of a gateway have open.

A run belongs to its client, not to the process that serves it: when the gateway dies, nobody closes the
run, and another gateway, or the same one started again, goes on with it. So a run is known here only to
answer fast and to refuse at once what the backend would refuse later. Those used least recently are
forgotten.

::

    write -> known?  yes -> journal -> answer
               no -> the backend has it? -> join (journalled) -> journal -> answer
                       no -> a journal beside ours creates it? -> join
                               no -> minted within the last minute? -> look again for a moment, then 404

A backend that is down keeps nobody from logging to a run with an id of ours: whether there is such a run
shows at delivery.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import msgspec

from trackbridge.api.client import Client
from trackbridge.api.names import random_run_name
from trackbridge.api.recorder import RunRecorder, now_ms
from trackbridge.domain.ids import is_minted, mint_id, minted_ms
from trackbridge.domain.records import OpenMode, RunClosed, RunOpened
from trackbridge.domain.runs import (
    TAG_NAME,
    Experiment,
    LifecycleStage,
    Run,
    RunStatus,
)
from trackbridge.errors import Exhausted, NotFound, Transient
from trackbridge.gateway.errors import absent, invalid
from trackbridge.journal.folder import journals

COMING_S = 60.0
"""How old the id of a run is at the most that another gateway may be about to deliver."""
COMING_WAIT_S = 3.0
"""How long such a run is waited for."""
LOOK_S = 3.0
"""How long a look at the backend is tried before a run with an id of ours is taken for one that is there."""
BLIND_S = 5.0
"""How long a backend that did not answer is not asked again for such a run."""
_COMING_POLL_S = 0.1

_encode = msgspec.msgpack.Encoder().encode


class Runs:
    """Finds, opens and ends the runs of clients elsewhere.

    Args:
        client: Our client of the backend.
        runs_max: How many runs are known at the same time.
        coming_wait_s: How long a run is waited for that another gateway may be about to deliver.
    """

    def __init__(self, client: Client, *, runs_max: int, coming_wait_s: float = COMING_WAIT_S) -> None:
        self._client = client
        self._runs_max = runs_max
        self._coming_wait_s = coming_wait_s
        self._looks = client.reader.hurried(LOOK_S)
        self._blind_until = 0.0
        self._never = threading.Event()  # waits without sleeping through the end of the program
        self._lock = threading.Lock()
        self._known: OrderedDict[str, RunRecorder] = OrderedDict()

    def start(self) -> None:
        """Open what looks at the backend, so that the first requests do not, several at once."""
        _ = self._looks.adapter

    # Writing.

    def knows(self, run_id: str | None) -> bool:
        """Tell whether the recorder of a run is there, so that nothing has to be asked of the backend.

        It is the last to be forgotten then, since the event loop is about to use it.
        """
        try:
            self._known.move_to_end(run_id)  # type: ignore[arg-type]
        except KeyError:
            return False
        return True

    def recorder(self, run_id: str) -> RunRecorder:
        """Return the recorder of a run, looking the run up when it is not known here.

        Raises:
            Refused: There is no such run, or it was deleted.
            Transient: The backend does not answer, and the run may be one that was not made here.
        """
        known = self._known.get(run_id)
        if known is None:
            return self._joined(run_id)
        with contextlib.suppress(KeyError):  # forgotten meanwhile, and perhaps deleted: not to be known again
            self._known.move_to_end(run_id)
        return known

    def create(
        self,
        experiment: Experiment,
        *,
        name: str,
        user: str,
        start_time: int | None,
        tags: Mapping[str, str],
    ) -> RunRecorder:
        """Open a run for a client and return its recorder.

        Args:
            experiment: Where it is opened.
            name: Its name; empty for a random one.
            user: Who opened it, as the client says.
            start_time: Milliseconds since 1970; None for now.
            tags: Its tags.
        """
        name = name or tags.get(TAG_NAME) or random_run_name()
        opened = RunOpened(
            run_id=mint_id(),
            experiment_id=experiment.experiment_id,
            experiment_name=experiment.name,
            name=name,
            user=user,
            start_time=now_ms() if start_time is None else start_time,
            tags={**tags, TAG_NAME: name},
            is_of_client=True,
        )
        return self._keep(RunRecorder(self._client.session.writer, opened))

    def reopen(self, recorder: RunRecorder) -> None:
        """Set a run back to RUNNING."""
        self._append(_join(recorder.run_id, OpenMode.RESUME))
        recorder.status, recorder.end_time = RunStatus.RUNNING, None

    def end(self, recorder: RunRecorder, status: RunStatus, end_time: int | None) -> None:
        """End a run, or say again how it ended."""
        end_time = now_ms() if end_time is None else end_time
        self._append(RunClosed(recorder.run_id, status, end_time))
        recorder.status, recorder.end_time = status, end_time

    def delete(self, run_id: str) -> None:
        """Delete a run, after what was logged is delivered.

        Raises:
            Refused: There is no such run.
        """
        self._change(run_id, self._client.delete_run)

    def restore(self, run_id: str) -> None:
        """Restore a run.

        Raises:
            Refused: There is no such run.
        """
        self._change(run_id, self._client.restore_run)

    def _change(self, run_id: str, change: Callable[[str], None]) -> None:
        try:
            change(run_id)
        except NotFound:
            raise not_found(run_id) from None
        self.forget(run_id)

    def forget(self, run_id: str) -> None:
        """Know no more of a run; its next use looks it up."""
        with self._lock:
            self._known.pop(run_id, None)

    def forget_all(self) -> None:
        """Know no run any more, because many of them may have changed."""
        with self._lock:
            self._known.clear()

    def _append(self, record: RunOpened | RunClosed) -> None:
        self._client.session.writer.append_control(_encode(record))

    def _keep(self, recorder: RunRecorder) -> RunRecorder:
        """Keep the recorder of a run; return that which is kept, when another thread was faster."""
        with self._lock:
            kept = self._known.setdefault(recorder.run_id, recorder)
            self._known.move_to_end(recorder.run_id)
            while len(self._known) > self._runs_max:
                self._known.popitem(last=False)
        return kept

    def _joined(self, run_id: str) -> RunRecorder:
        run = self._found(run_id)
        if run is not None and run.info.lifecycle_stage is not LifecycleStage.ACTIVE:
            raise invalid(f"The run {run_id} must be in the 'active' state. Current state is deleted.")
        opened = _join(run_id, OpenMode.JOIN)
        if run is not None:
            info = run.info
            opened = msgspec.structs.replace(
                opened,
                experiment_id=info.experiment_id,
                name=info.run_name,
                user=info.user_id,
                start_time=info.start_time,
            )
        recorder = RunRecorder(self._client.session.writer, opened)
        if run is not None:
            recorder.know_params(run.data.params)
            recorder.status, recorder.end_time = run.info.status, run.info.end_time
        return self._keep(recorder)

    def _found(self, run_id: str) -> Run | None:
        """Return a run that is to be logged to; None when it is on its way to a backend that has it not yet.

        Raises:
            Refused: There is no such run.
        """
        deadline = time.monotonic() + self._coming_wait_s
        while True:
            if is_minted(run_id) and time.monotonic() < self._blind_until:
                return None
            try:
                return self._looks.tracking.get_run(run_id)
            except NotFound:
                if self._is_being_delivered(run_id):
                    return None
                if not _may_be_coming(run_id) or time.monotonic() >= deadline:
                    raise not_found(run_id) from None
            except (Transient, Exhausted):
                if not is_minted(run_id):
                    raise
                self._blind_until = time.monotonic() + BLIND_S
                return None
            self._never.wait(_COMING_POLL_S)

    def _is_being_delivered(self, run_id: str) -> bool:
        if not is_minted(run_id):  # what a client names may be any path
            return False
        return any(folder.creates(run_id) for folder in journals(self._client.session.root))

    # Reading.

    def get(self, run_id: str) -> Run:
        """Return a run as the backend has it, after what was logged is delivered.

        Only while the backend is down, and for a run that was opened through this gateway, what is remembered
        here is told instead.

        Raises:
            Refused: There is no such run.
            Transient: The backend does not answer, and nothing is remembered of the run.
        """
        reader = self._client.reader
        try:
            return reader.get_run(run_id)
        except NotFound:
            raise not_found(run_id) from None
        except (Transient, Exhausted):
            known = self._known.get(run_id)
            if known is None or known.opened.how is not OpenMode.CREATE:
                raise
            return known.snapshot()


def not_found(run_id: str) -> Exception:
    """Return the error for a run that is not, in the words of mlflow's store."""
    return absent(f"Run with id={run_id} not found")


def _join(run_id: str, how: OpenMode) -> RunOpened:
    return RunOpened(
        run_id=run_id,
        experiment_id="",
        experiment_name="",
        name="",
        user="",
        start_time=now_ms(),
        tags={},
        how=how,
        is_of_client=True,
    )


def _may_be_coming(run_id: str) -> bool:
    minted = minted_ms(run_id)
    return minted is not None and abs(now_ms() - minted) <= COMING_S * 1000  # clocks differ between machines
