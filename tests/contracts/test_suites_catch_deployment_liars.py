"""The deployment contract fails for targets that break it, and passes for one that does not."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

HEAD = """
import pytest
from tests.support.deployment_liars import *
from tests.support.memory_adapter import MemoryAdapter
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts import DeploymentContract
"""

BINDING = """
class Test{name}(DeploymentContract):
    poll_s = 0.0
    patience_s = {patience_s}

    @pytest.fixture
    def adapter(self):
        return {adapter}

    def open_again(self):
        again = MemoryAdapter(self.opened.state)
        again.deployments = type(self.target)(self.target.world, again.capabilities(), self.target.clock_ms)
        return again
"""

LIARS = {
    "PlansWhatHolds": "test_nothing_is_planned_for_what_holds",
    "PlansTrafficFirst": "test_a_new_endpoint_is_made_step_by_step",
    "ActsWhilePlanning": "test_planning_changes_nothing_and_gives_the_same_again",
    "TakesAnyName": "test_a_name_that_cannot_be_is_rejected",
    "SilentlyTakesAutoscale": "test_autoscaling_is_planned",
    "AppliesStalePlans": "test_a_plan_is_stale_once_the_traffic_changed",
    "StartsTwice": "test_each_change_may_be_repeated",
    "TakesTheOldServerDownFirst": "test_what_served_serves_on_when_its_replacement_fails",
    "HidesFailures": "test_a_model_that_cannot_be_loaded_fails",
    "NeedsThePayloadForEver": "test_the_payload_is_left_alone_and_may_go",
    "RemovesWhatHasTraffic": "test_a_deployment_with_traffic_is_not_removed",
    "AcceptsAnyShares": "test_traffic_that_cannot_be_is_rejected",
    "IgnoresTheShares": "test_requests_are_shared",
    "IgnoresTheName": "test_a_named_deployment_answers_whatever_its_share",
    "LetsMirrorsFail": "test_a_mirror_that_fails_is_not_seen",
    "CountsCopiesAsRequests": "test_a_mirror_gets_copies_and_never_answers",
    "AnswersNonsense": "test_a_payload_that_is_none_is_rejected",
    "RaisesKeyErrorForTheUnknown": "test_an_unknown_endpoint_is_not_found",
    "LosesLogsOfTheRemoved": "test_logs_end_with_the_deployment",
    "TakesAnyCursor": "test_a_cursor_that_was_not_given_out_is_refused",
    "ForgetsRefusals": "test_requests_are_counted",
    "KeepsEveryRevision": "test_the_same_state_twice_in_a_row_is_one_revision",
    "ListsOldestRevisionsFirst": "test_revisions_are_numbered_and_listed_newest_first",
    "LosesRevisionsWithTheEndpoint": "test_revisions_outlive_the_endpoint",
    "DeletesOnce": "test_deleting_what_never_was_succeeds",
    "LocksNobodyOut": "test_one_of_two_gets_the_lock",
    "LocksLate": "test_the_lock_is_held_from_the_call_on",
    "KeepsTheLockAfterAnError": "test_the_lock_ends_with_the_block_however_that_ends",
    "KnowsEveryOperation": "test_an_unknown_operation_is_not_found",
    "KeepsNoPayloads": "test_what_was_asked_and_answered_is_kept",
    "KeepsEachPayloadTwice": "test_what_was_asked_and_answered_is_kept",
    "KeepsPayloadsUnasked": "test_without_capture_nothing_is_kept",
    "ReadsPayloadsOfAnyTime": "test_what_was_kept_is_chosen_by_deployment_and_time",
    "LosesPayloadsWithTheEndpoint": "test_what_was_kept_outlives_the_endpoint",
    "ForgetsSlowRequests": "test_telemetry_adds_up",
}


HONEST = "Honest"
SWITCHED_OFF = {"SilentlyTakesAutoscale": "Feature.DEPLOYMENTS_AUTOSCALE"}


def failed(pytester: pytest.Pytester, adapters: dict[str, str], chosen: str) -> tuple[set[str], int]:
    """Run tests of the suite against adapters; return the adapters that failed, and how many tests passed."""
    pytester.makepyfile(
        HEAD
        + "".join(
            BINDING.format(name=name, adapter=adapters[name], patience_s=30.0 if name == HONEST else 0.2)
            for name in adapters
        )
    )
    run = pytester.inline_run("-k", chosen, "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    passed, _, wrong = run.listoutcomes()
    return {report.nodeid.split("::")[1].removeprefix("Test") for report in wrong}, len(passed)


def test_every_liar_is_caught(pytester: pytest.Pytester) -> None:
    adapters = {name: f"lying({name}, {SWITCHED_OFF.get(name)})" for name in LIARS}
    chosen = " or ".join(f"(Test{name} and {test})" for name, test in LIARS.items())
    found, _ = failed(pytester, adapters, chosen)
    assert sorted(set(LIARS) - found) == []


def test_the_same_tests_pass_for_an_honest_target(pytester: pytest.Pytester) -> None:
    chosen = " or ".join(sorted(set(LIARS.values())))
    found, passed = failed(pytester, {HONEST: "MemoryAdapter()"}, chosen)
    assert found == set()
    assert passed >= len(set(LIARS.values()))
