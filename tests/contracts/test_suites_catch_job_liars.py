"""The job contract fails for backends that break it, and passes for one that does not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

pytest_plugins = ["pytester"]

HEAD = """
import pytest
from tests.support.job_liars import *
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from trackbridge.testing.contracts import JobContract
"""

BINDING = """
class {name}(JobContract):
    patience_s = {patience_s}
    machines_max = 1

    @pytest.fixture
    def adapter(self):
        self.kept = MemoryState()
        return {adapter}

    def reopened(self):
        return MemoryAdapter({reopened})
"""

HONEST = BINDING.format(
    name="TestJobs", adapter="MemoryAdapter(self.kept)", reopened="self.kept", patience_s=60
)

LIARS = {
    "IgnoresKeys": "test_the_same_key_is_the_same_job",
    "LooksBeforeItStarts": "test_one_key_submitted_by_all_starts_one_job",
    "StartsTwice": "test_one_key_submitted_by_all_starts_its_command_once",
    "ForgetsTheSpecOfAKey": "test_another_spec_is_a_conflict",
    "KillsTheLeaderAlone": "test_cancelling_ends_what_the_program_started",
    "ForgetsWhatOutlivesTheLeader": "test_what_outlives_the_program_is_ended_with_it",
    "KillsAtOnce": "test_the_program_is_asked_to_leave",
    "LosesAByteBetweenPieces": "test_a_long_log_comes_in_bounded_pieces_without_a_gap",
    "SendsTheWholeLog": "test_a_long_log_comes_in_bounded_pieces_without_a_gap",
    "LeavesOutTooMuch": "test_a_long_log_comes_in_bounded_pieces_without_a_gap",
    "CutsCharacters": "test_a_character_written_in_parts_arrives_whole",
    "IsDoneTooEarly": "test_a_log_can_be_followed",
    "TakesAnyCursor": "test_a_cursor_of_another_job_is_refused",
    "CancelsTheEnded": "test_success_stays",
    "CallsEveryEndASuccess": "test_an_exit_code_tells_of_failure",
    "CallsALeaveAtTheLimitASuccess": "test_leaving_at_the_limit_is_no_success",
    "TriesOnce": "test_a_command_that_fails_is_started_again",
    "IgnoresTheTimeLimit": "test_a_job_is_ended_at_its_time_limit",
    "TellsSecrets": "test_a_secret_is_in_the_environment_and_not_shown",
    "UsesAShell": "test_the_words_of_the_command_arrive_as_they_are",
    "ForgetsTheFolder": "test_the_folder_of_the_code_is_the_current_one",
    "ChecksNothing": "test_a_wrong_spec_is_found_and_refused",
    "TakesSpotSilently": "test_spot_capacity",
    "ListsOldestJobsFirst": "test_the_newest_is_first",
    "RaisesKeyError": "test_an_unknown_job_is_not_found",
    "WaitsInSubmit": "test_submission_does_not_wait_for_the_end",
    "PreviewsAnything": "test_what_is_refused_has_none",
    "PreviewsBySubmitting": "test_nothing_is_submitted",
    "PreviewsWithATime": "test_the_same_spec_has_the_same_preview",
    "PreviewsNoCommand": "test_the_request_is_plain_and_names_the_command",
    "PreviewsValues": "test_it_tells_no_secret",
    "PreviewsVariables": "test_what_looks_like_a_secret_is_not_shown",
    "TakesNothingThatItPreviewed": "test_a_job_that_was_previewed_runs",
    "CountsIgnoredCode": "test_the_code_that_would_be_sent_is_counted",
    "BillsWithoutLimit": "test_a_time_limit_bounds_what_can_be_billed",
    "HidesSpot": "test_spot_capacity_is_shown",
    "BringsNoInputs": "test_inputs_are_there_as_files_and_do_not_mix",
    "MixesInputs": "test_inputs_are_there_as_files_and_do_not_mix",
    "FillsNoWords": "test_words_of_the_command_find_them",
    "LosesOutputs": "test_what_is_written_to_an_output_is_there_afterwards",
    "ForgetsCheckpoints": "test_checkpoints_survive_an_attempt",
    "ChecksNoInputs": "test_a_missing_input_is_found_before",
    "ChecksNoPlaces": "test_wrong_data_is_found_and_refused",
    "TakesWhatItFoundWrong": "test_a_place_that_is_not_taken_is_found_before",
    "TakesDataSilently": "test_what_is_not_declared_is_found_before",
    "ForgetsJournals": "test_a_journal_is_kept",
    "DropsMlflowsVariables": "test_the_program_knows_its_run_and_its_job",
    "NamesNoJob": "test_the_program_knows_its_run_and_its_job",
    "StartsOne": "test_each_process_knows_its_rank_and_the_first_tracks",
    "WaitsForAll": "test_a_process_that_fails_ends_the_job",
    "IgnoresTorchrun": "test_torchrun_starts_them",
    "IgnoresMpi": "test_mpi_starts_them",
    "LetsAllTrack": "test_each_process_knows_its_rank_and_the_first_tracks",
    "TakesSeveralMachines": "test_several_machines",
}
MISSING = {"TakesSpotSilently": "NO_SPOT", "TakesDataSilently": "NO_DATA"}
PARTS = 5
"""Waiting for what liars never do takes long: several processes share it."""
HANGS_S = 100
KEEPS_JOBS_TO_ITSELF = "test_another_program_sees_a_job"


def binding_of(liar: str) -> str:
    options = f", missing={MISSING[liar]}" if liar in MISSING else ""
    adapter = f"lying_jobs({liar}, state=self.kept{options})"
    return BINDING.format(name=f"Test{liar}", adapter=adapter, reopened="self.kept", patience_s=4)


def outcomes(pytester: pytest.Pytester, bindings: Iterable[str], nodes: Iterable[str]) -> dict[str, set[str]]:
    """Run tests of the suite in this process; the outcomes by class and test, parameters left out.

    All in one run, because each run imports the suite anew.
    """
    file = pytester.makepyfile(HEAD + "".join(bindings))
    chosen = [f"{file}::{node}" for node in nodes]
    record = pytester.inline_run("-p", "no:cacheprovider", "-p", "no:xdist", f"--timeout={HANGS_S}", *chosen)
    found: dict[str, set[str]] = {}
    for report in record.getreports("pytest_runtest_logreport"):
        if report.when == "call":
            assert "from pytest-timeout" not in report.longreprtext, f"{report.nodeid} hangs"
            node = report.nodeid.partition("::")[2].partition("[")[0]
            found.setdefault(node, set()).add("xfailed" if hasattr(report, "wasxfail") else report.outcome)
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_liars_are_caught(pytester: pytest.Pytester, part: int) -> None:
    liars = list(LIARS)[part::PARTS]
    nodes = [f"Test{liar}::{LIARS[liar]}" for liar in liars]
    found = outcomes(pytester, map(binding_of, liars), nodes)
    assert [node for node in nodes if "failed" not in found[node]] == []


def test_a_backend_that_keeps_jobs_to_itself_is_caught(pytester: pytest.Pytester) -> None:
    binding = BINDING.format(name="TestJobs", adapter="MemoryAdapter(self.kept)", reopened="", patience_s=4)
    node = f"TestJobs::{KEEPS_JOBS_TO_ITSELF}"
    assert outcomes(pytester, [binding], [node]) == {node: {"failed"}}


def test_the_same_tests_pass_for_an_honest_backend(pytester: pytest.Pytester) -> None:
    nodes = [f"TestJobs::{test}" for test in sorted({*LIARS.values(), KEEPS_JOBS_TO_ITSELF})]
    assert outcomes(pytester, [HONEST], nodes) == {node: {"passed"} for node in nodes}


def test_a_backend_without_a_shared_folder_says_so(pytester: pytest.Pytester) -> None:
    binding = f"{HONEST}\n    @pytest.fixture\n    def shared_folder(self):\n        return None\n"
    node = "TestJobs::test_cancelling_ends_what_the_program_started"
    assert outcomes(pytester, [binding], [node]) == {node: {"xfailed"}}
