"""The job contract: what the program finds, and that nothing of it is left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobSpec, JobState, JobStatus
from trackbridge.errors import Conflict
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.jobs_base import BESIDE_MAX, FOREVER, JobTests
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS

CARRIERS = ("key", "name", "variable")
THREADS = 6
SECRET = "gdzie-rosnie-pieprz-7391"
OTHERS: tuple[dict[str, object], ...] = (
    {"name": "other"},
    {"variables": {"A": "1"}},
    {"parameters": {"a": "1"}},
    {"attempts_max": 2},
    {"tags": {"a": "b"}},
)
"""What makes another spec."""
WORDS = ("", " two words ", "$HOME", "*", ";exit 9", "a\nb", "--x=1", "'\"", "\\", "Ü漢🚀")

BEATING = """
import os, sys, time
with open(sys.argv[1], "ab", buffering=0) as beats:
    while os.path.exists(sys.argv[1]):
        beats.write(b".")
        time.sleep(0.01)
"""
"""Goes on until it is killed, or its file is deleted."""

PARENT_OF_BEATING = """
import pathlib, subprocess, sys, time
beats = pathlib.Path({beats!r})
subprocess.Popen([sys.executable, "-c", {code!r}, str(beats)])
while not beats.exists():
    time.sleep(0.01)
{then}
"""


class ProgramTests(JobTests):
    """The environment, the arguments and the folder of the program."""

    def _holds(self, condition: str, **fields: object) -> None:
        state = self.run(f"import os, sys; sys.exit(0 if {condition} else 9)", **fields)
        assert (state.status, state.exit_code) == (JobStatus.SUCCEEDED, 0), state

    def test_the_variables_are_set_and_there_is_no_terminal(self) -> None:
        """Parameters, which are of the run, change nothing of that."""
        self._holds(
            "os.environ['COLOUR'] == 'blue' and (sys.stdin is None or sys.stdin.read() == '')",
            variables={"COLOUR": "blue"},
            parameters={"lr": "0.1", "text": HOSTILE_TEXTS["newlines"]},
        )

    def test_the_words_of_the_command_arrive_as_they_are(self) -> None:
        code = f"import sys; sys.exit(0 if sys.argv[1:] == {list(WORDS)!r} else 9)"
        state = self.run(command=(*self.command(code), *WORDS))
        assert state.status is JobStatus.SUCCEEDED

    def test_the_folder_of_the_code_is_the_current_one(self, tmp_path: Path) -> None:
        folder = tmp_path / "a folder, of code"
        folder.mkdir()
        (folder / "data.txt").write_text("here", encoding="utf-8")
        self._holds("open('data.txt').read() == 'here'", code_dir=str(folder))

    def test_jobs_do_not_mix(self) -> None:
        states = [
            self.submit("import os, sys; sys.exit(int(os.environ['N']))", variables={"N": str(number)})
            for number in range(1, 5)
        ]
        assert [self.ended(state.job_id).exit_code for state in states] == [1, 2, 3, 4]


class HostileTests(JobTests):
    """Texts are kept exactly, or refused."""

    def test_a_hostile_text_is_kept_or_refused(self) -> None:
        """As the key, the name and a variable of one job, and of one job each where not all of them go."""
        refused = self._kept(HOSTILE_TEXTS, *CARRIERS)
        for carrier in CARRIERS:
            self._kept(refused, carrier)

    def _kept(self, names: Iterable[str], *carriers: str) -> list[str]:
        """Demand that each text is kept by all of these carriers at once; return those that are refused."""
        waiting, refused = list(names), []
        while waiting:
            begun = {name: self._begun(HOSTILE_TEXTS[name], carriers) for name in waiting[:BESIDE_MAX]}
            waiting = waiting[BESIDE_MAX:]
            refused += [name for name, state in begun.items() if state is None]
            for name, state in begun.items():
                if state is not None:
                    self._is_kept(name, self.ended(state.job_id), carriers)
        return refused

    def _begun(self, text: str, carriers: Sequence[str]) -> JobState | None:
        return self.begun_if_taken(self._spec(text, carriers), key=text if "key" in carriers else None)

    def _is_kept(self, name: str, state: JobState, carriers: Sequence[str]) -> None:
        text = HOSTILE_TEXTS[name]
        assert state.status is JobStatus.SUCCEEDED, (name, carriers)
        if "name" in carriers:
            assert state.name == text, name
        if "key" in carriers:
            assert self.submit_spec(self._spec(text, carriers), key=text) == state, name

    def _spec(self, text: str, carriers: Sequence[str]) -> JobSpec:
        fields: dict[str, object] = {"name": text} if "name" in carriers else {}
        if "variable" not in carriers:
            return self.spec("", **fields)
        code = f"import os, sys; sys.exit(0 if os.environ['V'] == {text!r} else 9)"
        return self.spec(code, variables={"V": text}, **fields)


class SecretTests(JobTests):
    """The program gets what a reference leads to; nobody else does."""

    def test_a_secret_is_in_the_environment_and_not_shown(self, new_secret: Callable[[str], str]) -> None:
        """Nor is it where the program fails."""
        code = f"import os, sys; sys.exit(1 if os.environ['S'] == {SECRET[::-1]!r}[::-1] else 9)"
        spec = self.spec(code, secrets={"S": new_secret(SECRET)})
        state = self.ended(self.submit_spec(spec).job_id)
        assert (state.status, state.exit_code) == (JobStatus.FAILED, 1)
        assert SECRET not in repr((spec, state, self.jobs.check(spec), self.jobs, self.opened))

    def test_a_reference_that_leads_to_nothing_fails_or_is_refused(self) -> None:
        state = self.run_if_taken(self.spec(secrets={"MY_TOKEN": self.missing_secret}))
        if state is not None:
            assert state.status is JobStatus.FAILED
            assert "MY_TOKEN" in state.reason or self.missing_secret in state.reason

    def test_a_conflict_does_not_tell_a_value(self, new_secret: Callable[[str], str]) -> None:
        key = mint_id()
        self.submit("", secrets={"S": new_secret(SECRET)}, key=key)
        with pytest.raises(Conflict) as caught:
            self.submit("", secrets={"S": new_secret(SECRET + "!")}, key=key)
        assert SECRET not in repr(caught.value) + str(caught.value.hint)


class ConflictTests(JobTests):
    """A key stands for one spec."""

    def test_another_spec_is_a_conflict(self) -> None:
        key = mint_id()
        state = self.ended(self.submit("", key=key).job_id)
        for fields in OTHERS:
            with pytest.raises(Conflict):
                self.submit("", key=key, **fields)
            assert self.jobs.status(state.job_id) == state, f"after {fields}"

    def test_another_command_is_a_conflict_while_it_runs(self) -> None:
        key = mint_id()
        self.submit(FOREVER, key=key)
        with pytest.raises(Conflict):
            self.submit("", key=key)


class ConcurrencyTests(JobTests):
    """Every method may be called from any thread."""

    def at_once(self, key: str, code: str) -> list[JobState]:
        """Submit the same in several threads at once."""
        barrier = Barrier(THREADS)

        def start(_: int) -> JobState:
            barrier.wait()
            return self.submit(code, key=key)

        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(start, range(THREADS)))

    @requires(Feature.JOBS_LOGS)
    def test_one_key_submitted_by_all_starts_one_job(self) -> None:
        states = self.at_once(mint_id(), "print('started')")
        assert len({state.job_id for state in states}) == 1
        self.ended(states[0].job_id)
        assert self.log(states[0].job_id) == self.logged("started\n")

    def test_one_key_submitted_by_all_starts_its_command_once(self, shared_folder: Path | None) -> None:
        folder = given(shared_folder)
        note = f"with open({str(folder / 'starts')!r}, 'a') as starts: starts.write('x')"
        self.at_once(mint_id(), f"{note}\nimport time; time.sleep(0.5)")  # so that a second start shows
        for job_id in self.submitted:
            self.ended(job_id)
        assert (folder / "starts").read_text(encoding="utf-8") == "x"

    def test_jobs_submitted_by_all_end(self) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            states = list(pool.map(lambda _: self.run(), range(THREADS)))
        assert {state.status for state in states} == {JobStatus.SUCCEEDED}
        assert len({state.job_id for state in states}) == THREADS


class ProcessTests(JobTests):
    """A final state means that no process of the job is left."""

    def _starts(self, folder: Path, then: str) -> str:
        """Submit a program that starts another one, and wait until both are under way."""
        code = PARENT_OF_BEATING.format(beats=str(folder / "beats"), code=BEATING, then=then)
        job_id = self.submit(code, time_limit_s=self.limit_s if "limit" in then else None).job_id
        self.waited(job_id, lambda state: state.status.is_final or (folder / "beats").exists())
        return job_id

    def _is_still(self, folder: Path) -> None:
        beats = folder / "beats"
        before = beats.stat().st_size
        time.sleep(0.2)
        after = beats.stat().st_size
        beats.unlink()
        assert after == before, "a process of the job goes on"

    def test_cancelling_ends_what_the_program_started(self, shared_folder: Path | None) -> None:
        folder = given(shared_folder)
        job_id = self._starts(folder, FOREVER)
        self.jobs.cancel(job_id)
        assert self.ended(job_id).status is JobStatus.CANCELLED
        self._is_still(folder)

    def test_the_time_limit_ends_what_the_program_started(self, shared_folder: Path | None) -> None:
        folder = given(shared_folder)
        job_id = self._starts(folder, f"{FOREVER}  # until the limit")
        assert self.ended(job_id).status is JobStatus.FAILED
        self._is_still(folder)

    def test_what_outlives_the_program_is_ended_with_it(self, shared_folder: Path | None) -> None:
        folder = given(shared_folder)
        job_id = self._starts(folder, "sys.exit(0)")
        assert self.ended(job_id).status is JobStatus.SUCCEEDED
        self._is_still(folder)

    def test_an_attempt_ends_before_the_next_begins(self, shared_folder: Path | None) -> None:
        folder = given(shared_folder)
        code = PARENT_OF_BEATING.format(beats=str(folder / "beats"), code=BEATING, then="sys.exit(1)")
        state = self.run(code, attempts_max=2)
        assert (state.status, state.attempt) == (JobStatus.FAILED, 2)
        self._is_still(folder)


def given(folder: Path | None) -> Path:
    """Return the folder; without one the test is an expected failure."""
    if folder is None:
        pytest.xfail("the jobs of this backend share no folder with the tests")
    return folder
