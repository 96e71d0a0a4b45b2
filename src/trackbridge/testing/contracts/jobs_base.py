"""What the parts of the job contract share: hooks that a binding may set, and waiting."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from trackbridge.domain.file_uris import file_path
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobSpec, JobState, JobStatus, Launcher
from trackbridge.errors import Rejected
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.jobs import JobBackend
from trackbridge.testing.contracts.base import Contract

FOREVER = "import time\nwhile True: time.sleep(1)"
"""A program that does not end by itself."""

READY = "import sys\nprint('ready', flush=True)\n"

NewInput = Callable[[dict[str, bytes]], str]
ReadBack = Callable[[str], dict[str, bytes]]

PIECES_MAX = 10_000
BESIDE_MAX = 6
"""How many jobs run beside each other where one would do after the other: no more than clouds let one run."""


class JobTests(Contract):
    """Access to the backend, and the programs that it runs.

    The programs are Python code; what they need of the backend is a Python of version 3.10 or later. A
    binding sets what differs:

    - ``command(code)``: the command that runs the code, by default with the interpreter of the tests;
    - ``reopened()``: the same place opened again, as another program would;
    - ``new_secret``: a fixture; a function that keeps a value where the backend's references lead, and
      returns the reference. By default a variable of the environment, ``env:NAME``;
    - ``missing_secret``: a reference that is well-formed and leads to nothing;
    - ``shared_folder``: a fixture; a folder which the test and the jobs see under the same path, None where
      there is no such thing. Without it, what only shows on the machine itself is an expected failure;
    - ``patience_s``: how long a state that must come may take, queue and start of machines included;
    - ``pause_s``: how long to wait between two looks;
    - ``limit_s``: a time limit, in seconds, within which a program has surely begun;
    - ``logged(text)``: what the platform's log holds of what a program wrote, by default the same; a
      platform that keeps lines, and not their ends, gives what it makes of them;
    - ``long_lines``: how many lines the log has that is read in pieces;
    - ``skips_to_tail``: whether the end of such a log is read without its beginning;
    - ``launchers`` and ``machines_max``: with which launchers, and on how many machines (2 stand for many), a
      job can be distributed; others must be refused;
    - ``missing_input``: the URI or path of an input that is not there;
    - ``new_input``: a fixture; a function that puts files (by path) where an input may come from, and returns
      its URI or path. By default a folder;
    - ``new_place``: a fixture; a function that returns the URI or path of an empty folder for outputs or
      checkpoints, each time another;
    - ``read_back``: a fixture; a function that returns the files (by path) below a URI or path, be it of an
      output, or ``kept_uri``.

    Jobs that a test leaves are cancelled after it.
    """

    patience_s = 60.0
    pause_s = 0.01
    limit_s = 2
    long_lines = 500_000
    skips_to_tail = True
    launchers = frozenset([Launcher.DIRECT, Launcher.TORCHRUN, Launcher.MPI])
    machines_max = 2
    missing_input = "/there/is/no/such/input"
    missing_secret = "env:BRIDGE_CONTRACT_IS_NOT_SET"
    submitted: list[str]

    def command(self, code: str) -> tuple[str, ...]:
        """Return the command that runs some Python code."""
        return (sys.executable, "-c", code)

    def reopened(self) -> Adapter:
        """Return another adapter, opened at the same place."""
        raise TypeError(f"{type(self).__name__} needs a method 'reopened' that opens the same place again")

    def logged(self, text: str) -> str:
        """Return what the log holds when a program has written some text."""
        return text

    @pytest.fixture
    def new_input(self, tmp_path: Path) -> NewInput:
        """Return a function that provides files as an input."""

        def provide(files: dict[str, bytes]) -> str:
            folder = tmp_path / mint_id()
            for path, content in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
            return str(folder)

        return provide

    @pytest.fixture
    def new_place(self, tmp_path: Path) -> Callable[[], str]:
        """Return a function that returns an empty place for files."""
        return lambda: str(tmp_path / mint_id())

    @pytest.fixture
    def read_back(self) -> ReadBack:
        """Return a function that returns the files at a place."""

        def read(place: str) -> dict[str, bytes]:
            root = Path(file_path(place) if place.startswith("file:") else place)
            files = (path for path in root.rglob("*") if path.is_file())
            return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

        return read

    @pytest.fixture
    def new_secret(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
        """Return a function that keeps a secret value and returns the reference to it."""

        def keep(value: str) -> str:
            name = f"BRIDGE_CONTRACT_{mint_id()}"
            monkeypatch.setenv(name, value)
            return f"env:{name}"

        return keep

    @pytest.fixture
    def shared_folder(self, tmp_path: Path) -> Path | None:
        """Return a folder that jobs see, too."""
        folder = tmp_path / "shared"
        folder.mkdir()
        return folder

    @pytest.fixture(autouse=True)
    def _leave_nothing(self, _bind: None) -> Iterator[None]:
        self.submitted = []
        yield
        for job_id in self.submitted:
            self.jobs.cancel(job_id)
        for job_id in self.submitted:
            self.ended(job_id)

    @property
    def jobs(self) -> JobBackend:
        """The port under test."""
        return port_of(self.opened)

    def spec(self, code: str = "", **fields: object) -> JobSpec:
        """Return a spec that runs some code; any field of it can be given."""
        spec = JobSpec(name="contract", command=self.command(code))
        return msgspec.structs.replace(spec, **fields)

    def submit(self, code: str = "", *, key: str | None = None, **fields: object) -> JobState:
        """Submit some code."""
        return self.submit_spec(self.spec(code, **fields), key=key)

    def submit_spec(self, spec: JobSpec, *, key: str | None = None) -> JobState:
        """Submit a spec."""
        state = self.jobs.submit(spec, key=key or mint_id())
        self.submitted.append(state.job_id)
        return state

    def run(self, code: str = "", **fields: object) -> JobState:
        """Submit some code and wait for its end."""
        return self.ended(self.submit_spec(self.spec(code, **fields)).job_id)

    def run_if_taken(self, spec: JobSpec, *, key: str | None = None) -> JobState | None:
        """Run a spec to its end; None when it is refused."""
        state = self.begun_if_taken(spec, key=key)
        return None if state is None else self.ended(state.job_id)

    def run_beside(self, specs: Sequence[JobSpec]) -> list[JobState | None]:
        """Run specs to their ends, several at a time; None for each that is refused."""
        found: list[JobState | None] = []
        for first in range(0, len(specs), BESIDE_MAX):
            begun = [self.begun_if_taken(spec) for spec in specs[first : first + BESIDE_MAX]]
            found += [None if state is None else self.ended(state.job_id) for state in begun]
        return found

    def begun_if_taken(self, spec: JobSpec, *, key: str | None = None) -> JobState | None:
        """Submit a spec; None when it is refused."""
        try:
            return self.submit_spec(spec, key=key)
        except Rejected:
            return None

    def is_refused(self, spec: JobSpec, subject: str = "") -> None:
        """Demand that a spec is found wrong and refused; ``subject`` is the part that a finding names."""
        errors = errors_of(self.jobs.check(spec))
        assert errors, "check says nothing"
        assert all(error.subject and error.message for error in errors)
        assert all(error.fix for error in errors), "the user wants to know what to do"
        assert not subject or subject in [error.subject for error in errors]
        with pytest.raises(Rejected) as caught:
            self.submit_spec(spec)
        assert "Pa55word" not in repr(errors) + repr(caught.value) + str(caught.value.hint)

    def ended(self, job_id: str) -> JobState:
        """Wait for a job's end and return its final state."""
        return self.waited(job_id, lambda state: state.status.is_final)

    def running(self, job_id: str) -> JobState:
        """Wait until a job runs that does not end by itself."""
        state = self.waited(job_id, lambda state: state.status.is_final or state.status is JobStatus.RUNNING)
        assert state.status is JobStatus.RUNNING, f"it has ended: {state}"
        return state

    def waited(self, job_id: str, holds: Callable[[JobState], bool]) -> JobState:
        """Return the first state for which something holds."""
        deadline_s = time.monotonic() + self.patience_s
        while not holds(state := self.jobs.status(job_id)):
            assert time.monotonic() < deadline_s, f"after {self.patience_s} s the job still is {state}"
            time.sleep(self.pause_s)
        return state

    def log(self, job_id: str, cursor: str = "") -> str:
        """Read a log from a cursor until it says that it is done."""
        return "".join(text for text, _ in self.pieces(job_id, cursor))

    def pieces(self, job_id: str, cursor: str = "") -> Iterator[tuple[str, str]]:
        """Yield the pieces of a log, each with the cursor behind it, until it says that it is done."""
        deadline_s = time.monotonic() + self.patience_s
        for _ in range(PIECES_MAX):
            chunk = self.jobs.read_logs(job_id, cursor=cursor)
            yield chunk.text, chunk.cursor
            cursor = chunk.cursor
            if chunk.done:
                return
            assert time.monotonic() < deadline_s, "the log does not get done"
            if not chunk.text:
                time.sleep(self.pause_s)
        raise AssertionError(f"the log was not done after {PIECES_MAX} pieces")

    def until_logged(self, job_id: str, text: str) -> tuple[str, str]:
        """Read a log until it holds some text; return what came, and the cursor behind it."""
        came = ""
        for piece, cursor in self.pieces(job_id):
            came += piece
            if text in came:
                return came, cursor
        raise AssertionError(f"the log is done without {text!r}: {came!r}")


def port_of(adapter: Adapter) -> JobBackend:
    """Return the job backend of an adapter."""
    jobs = adapter.jobs
    assert jobs is not None, "the adapter has no jobs port"
    return jobs


def errors_of(findings: tuple[Finding, ...]) -> list[Finding]:
    """Return the findings that keep a job from running."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]
