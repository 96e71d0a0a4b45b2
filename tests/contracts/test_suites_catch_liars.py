"""The contract suites fail for adapters that break the contract, and pass for one that does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support import liars, registry_liars
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from trackbridge.errors import NotFound
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import (
    ArtifactContract,
    CapabilitiesContract,
    Contract,
    RegistryContract,
    RegistryStateMachine,
    TrackingContract,
    TrackingStateMachine,
    signature_differences,
)

pytest_plugins = ["pytester"]

SEARCH = settings(
    max_examples=2000,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.generate],
)
"""Until the first failure, which is enough; without making it smaller."""

BINDING = """
import pytest
from tests.support.liars import *
from tests.support.memory_adapter import MemoryAdapter
from tests.support.registry_liars import *
from trackbridge.ports.capabilities import Feature, Limits
from trackbridge.testing.contracts import *

class Test{suite}({suite}):
    @pytest.fixture
    def adapter(self, tmp_path):
        return {adapter}
"""

TRACKING, ARTIFACTS, REGISTRY, CAPABILITIES = (
    suite.__name__ for suite in (TrackingContract, ArtifactContract, RegistryContract, CapabilitiesContract)
)
DELETE = "missing=undeclared([Feature.TRACKING_DELETE])"
STAGE = "missing=undeclared([Feature.REGISTRY_STAGE])"

LIARS: dict[str, tuple[str, str]] = {
    f"lying(SilentlySupports, {DELETE})": (TRACKING, "test_a_deleted_run_can_be_read_and_restored"),
    f"lying(RefusesWithoutReason, {DELETE})": (TRACKING, "test_an_unknown_run_cannot_be_deleted"),
    "lying(DropsMinusZero)": (TRACKING, "test_a_value_is_kept_by_its_bits"),
    "lying(DropsPayloads)": (TRACKING, "test_a_value_is_kept_by_its_bits"),
    "lying(DuplicatesOnRetry)": (TRACKING, "test_a_point_written_twice_is_one_point"),
    "without_dedup_but_deduplicating()": (TRACKING, "test_a_point_written_twice_is_one_point"),
    "lying(TruncatesValues)": (TRACKING, "test_a_hostile_value_of_a_param"),
    "lying(CutsAtNul)": (TRACKING, "test_a_hostile_value_of_a_tag"),
    "lying(ListsOldestFirst)": (TRACKING, "test_runs_are_listed_newest_start_first_then_by_id"),
    "lying(IgnoresTokens)": (TRACKING, "test_runs_are_paged"),
    "lying(HistoryAsWritten)": (TRACKING, "test_a_history_is_in_order_of_step_then_time"),
    "lying(LastWrittenIsLast)": (TRACKING, "test_the_last_value_of_a_metric"),
    "lying(ForgetsMoments)": (TRACKING, "test_the_last_value_of_a_metric"),
    "lying(ReplacesParams)": (TRACKING, "test_another_value_of_a_param_is_rejected_and_the_first_stays"),
    "lying(LosesTheRestOfARejectedBatch)": (TRACKING, "test_a_rejected_param_is_named"),
    "lying(RefusesAfterTheEnd)": (TRACKING, "test_a_run_that_has_ended_still_accepts_records"),
    "lying(ResumesAlways)": (TRACKING, "test_a_run_that_exists_is_returned_as_it_is"),
    "lying(ClosesOnce)": (TRACKING, "test_closing_an_ended_run_sets_the_new_status_and_time"),
    "lying(RestoresEverything)": (TRACKING, "test_deleting_an_experiment_takes_its_runs_along"),
    "lying(ForgetsExperimentTags)": (TRACKING, "test_tags_are_set_on_an_experiment_that_exists"),
    "lying(RaisesKeyError)": (TRACKING, "test_an_unknown_run_is_not_found"),
    "lying(NotThreadSafe)": (TRACKING, "test_tags_set_by_each_are_all_there"),
    "with_limit_that_it_ignores()": (TRACKING, "test_a_value_is_kept_by_its_bits"),
    "with_limit_that_it_undercuts()": (TRACKING, "test_a_plain_value_of_the_greatest_declared_length"),
    "lying(artifacts=TakesAnyBytes)": (ARTIFACTS, "test_wrong_bytes_are_refused"),
    "lying(artifacts=KeepsTheOldBytes)": (ARTIFACTS, "test_other_bytes_replace"),
    "lying(artifacts=ReadsHalf)": (ARTIFACTS, "test_a_big_file_is_read_in_pieces"),
    "lying(artifacts=ListsEverythingBelow)": (ARTIFACTS, "test_the_direct_children_are_listed"),
    "with_root(tmp_path / 'root')": (ARTIFACTS, "test_a_trick_of_a_path_reaches_nothing"),
    "lying(registry=ForgetsKeys)": (REGISTRY, "test_the_same_key_is_the_same_version"),
    "lying(registry=IgnoresTheContentOfAKey)": (REGISTRY, "test_a_key_with_another_digest_is_a_conflict"),
    "lying(registry=CutsKeys)": (REGISTRY, "test_keys_are_compared_exactly"),
    "lying(registry=SharesKeysBetweenModels)": (REGISTRY, "test_a_key_holds_for_its_model_alone"),
    "lying(registry=ReturnsTheVersionAsItWasCreated)": (
        REGISTRY,
        "test_a_repetition_returns_the_version_as_it_stands_now",
    ),
    "lying(registry=ReusesNumbers)": (
        REGISTRY,
        "test_the_number_of_a_deleted_version_is_never_given_again",
    ),
    "lying(registry=NumbersAllModelsTogether)": (REGISTRY, "test_versions_are_numbered_from_one"),
    "lying(registry=FreesKeys)": (REGISTRY, "test_the_key_of_a_deleted_version_stays_taken"),
    "lying(registry=ForgetsDeletedModels)": (REGISTRY, "test_a_model_that_is_created_again_is_new"),
    "lying(registry=RefusesToDeleteWhatIsAbsent)": (REGISTRY, "test_deleting_an_absent_version_succeeds"),
    "lying(registry=LosesTheReason)": (REGISTRY, "test_a_tag_is_noted[deleted]"),
    "lying(registry=NotesWhatDoesNotChange)": (REGISTRY, "test_a_stage_is_noted"),
    "lying(registry=NotesOneEndOfAMove)": (
        REGISTRY,
        "test_an_alias_that_moves_is_a_change_of_both_versions",
    ),
    "lying(registry=DeletesTheHistory)": (REGISTRY, "test_what_was_deleted_keeps_its_history"),
    "lying(registry=PointsAtTwoVersions)": (REGISTRY, "test_an_alias_points_at_one_version"),
    "lying(registry=KeepsTheAliasesOfTheDeleted)": (
        REGISTRY,
        "test_the_aliases_of_a_deleted_version_are_free",
    ),
    "lying(registry=TakesAnySource)": (REGISTRY, "test_a_version_without_a_payload_cannot_be_created"),
    "lying(registry=SpendsTheKeyOfARefusedCreation)": (
        REGISTRY,
        "test_a_key_of_a_refused_creation_is_free",
    ),
    "lying(registry=TakesAnyStage)": (REGISTRY, "test_another_stage_is_refused"),
    "lying(registry=OverwritesModels)": (
        REGISTRY,
        "test_a_model_that_exists_keeps_its_description_and_tags",
    ),
    "lying(registry=SetsTagsOneByOne)": (REGISTRY, "test_of_several_tags_all_are_set_or_none"),
    "lying(registry=NormalisesTags)": (REGISTRY, "test_texts_that_differ_only_in_form_stay_apart"),
    "lying(registry=LosesTheOrigin)": (REGISTRY, "test_a_version_has_what_it_was_created_with"),
    "lying(registry=ReadsNumbers)": (REGISTRY, "test_an_unknown_version_is_not_found"),
    "lying(registry=SortsVersionsAsText)": (REGISTRY, "test_versions_are_listed_newest_first"),
    "lying(registry=TakesTokensOfOthers)": (REGISTRY, "test_the_token_of_another_listing_is_refused"),
    f"lying(registry=SilentlyKeepsStages, {STAGE})": (REGISTRY, "test_several_versions_may_share_a_stage"),
    "lying(registry=NumbersWithoutALock)": (
        REGISTRY,
        "test_versions_created_with_different_keys_have_different_numbers",
    ),
    "without_reason()": (CAPABILITIES, "test_every_feature_is_declared_or_absent_with_a_reason"),
    "lying(FindsByPrefix)": (CAPABILITIES, "test_methods_take_the_parameters_of_the_port"),
    "declaring(MemoryAdapter(), search_comparisons=frozenset())": (
        CAPABILITIES,
        "test_a_search_declares_what_it_takes",
    ),
    "declaring(MemoryAdapter(), limits=Limits(metrics_per_write_max=0))": (
        CAPABILITIES,
        "test_a_numeric_limit_is_positive",
    ),
}


def outcomes(pytester: pytest.Pytester, adapter: str, suite: str, test: str) -> dict[str, int]:
    """Run one test of a suite against an adapter, in this process."""
    pytester.makepyfile(BINDING.format(suite=suite, adapter=adapter))
    name, _, parameter = test.partition("[")
    chosen = f"{name} and {parameter.rstrip(']')}" if parameter else name
    result = pytester.runpytest_inprocess("-k", chosen, "-p", "no:cacheprovider", "-p", "no:xdist")
    return result.parseoutcomes()


@pytest.mark.parametrize("adapter", LIARS)
def test_a_liar_is_caught(pytester: pytest.Pytester, adapter: str) -> None:
    assert outcomes(pytester, adapter, *LIARS[adapter]).get("failed", 0) > 0


@pytest.mark.parametrize("suite", sorted({suite for suite, _ in LIARS.values()}))
def test_the_same_tests_pass_for_an_honest_adapter(pytester: pytest.Pytester, suite: str) -> None:
    """All in one run, because each run imports the suite anew."""
    names = {test.partition("[")[0] for other, test in LIARS.values() if other == suite}
    pytester.makepyfile(BINDING.format(suite=suite, adapter="MemoryAdapter()"))
    chosen = ("-k", " or ".join(sorted(names)))
    result = pytester.runpytest_inprocess("-v", *chosen, "-p", "no:cacheprovider", "-p", "no:xdist")
    assert set(result.parseoutcomes()) <= {"passed", "deselected"}
    passed = [line for line in result.outlines if "PASSED" in line]
    assert [name for name in sorted(names) if not any(f"::{name}" in line for line in passed)] == []


def test_an_undeclared_feature_is_an_expected_failure_with_its_reason(pytester: pytest.Pytester) -> None:
    adapter = "MemoryAdapter(missing={Feature.TRACKING_DELETE: 'runs are kept for ever'})"
    pytester.makepyfile(BINDING.format(suite=TRACKING, adapter=adapter))
    result = pytester.runpytest_inprocess(
        "-k", "test_an_unknown_run_cannot_be_deleted", "-rx", "-p", "no:xdist"
    )
    assert result.parseoutcomes().get("xfailed") == 1
    result.stdout.fnmatch_lines(["*XFAIL*runs are kept for ever*"])


def test_a_binding_cannot_replace_a_test_of_the_contract() -> None:
    with pytest.raises(TypeError, match="test_closing_twice_succeeds would replace"):
        type("TestMine", (CapabilitiesContract,), {"test_closing_twice_succeeds": lambda self: None})


def test_a_binding_may_add_tests_of_its_own() -> None:
    mine = type("TestMine", (CapabilitiesContract,), {"test_mine": lambda self: None})
    assert issubclass(mine, Contract)


def test_a_binding_without_an_adapter_is_told_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "from trackbridge.testing.contracts import *\nclass TestMine(CapabilitiesContract):\n    pass"
    )
    result = pytester.runpytest_inprocess("-k", "closing", "-p", "no:xdist")
    assert "errors" in result.parseoutcomes()
    result.stdout.fnmatch_lines(["*TestMine needs a fixture 'adapter'*"])


def test_missing_and_different_methods_are_named() -> None:
    class Port:
        def get(self, name: str, *, size: int = 1) -> None: ...

        def put(self, name: str) -> None: ...

    class Implementation:
        def get(self, name: str, size: int = 2) -> None: ...

    found = signature_differences(Port, Implementation())
    assert found == [
        "Port.get takes (name, size=2); the port says (name, *, size=1)",
        "Port.put is missing",
    ]


@pytest.mark.parametrize(
    "liar",
    [
        liars.DropsMinusZero,
        liars.DuplicatesOnRetry,
        liars.ReplacesParams,
        liars.ResumesAlways,
        liars.ClosesOnce,
        liars.RestoresEverything,
        liars.ListsOldestFirst,
        liars.LastWrittenIsLast,
    ],
)
def test_the_state_machine_catches_a_liar(liar: type[liars.MemoryTracking]) -> None:
    class Machine(TrackingStateMachine):
        def new_store(self) -> Callable[[], Adapter]:
            state = MemoryState()
            return lambda: liars.lying(liar, state=state)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Machine, settings=SEARCH)


def test_the_state_machine_catches_a_store_that_forgets_in_a_crash() -> None:
    class Machine(TrackingStateMachine):
        def new_store(self) -> Callable[[], Adapter]:
            return MemoryAdapter

    with pytest.raises(NotFound):
        run_state_machine_as_test(Machine, settings=SEARCH)


@pytest.mark.parametrize(
    "liar",
    [
        registry_liars.ForgetsKeys,
        registry_liars.ReturnsTheVersionAsItWasCreated,
        registry_liars.ReusesNumbers,
        registry_liars.FreesKeys,
        registry_liars.LosesTheReason,
        registry_liars.NotesWhatDoesNotChange,
        registry_liars.NotesOneEndOfAMove,
        registry_liars.DeletesTheHistory,
        registry_liars.PointsAtTwoVersions,
        registry_liars.OverwritesModels,
    ],
)
def test_the_registry_state_machine_catches_a_liar(liar: type[registry_liars.MemoryRegistry]) -> None:
    class Machine(RegistryStateMachine):
        def new_store(self) -> Callable[[], Adapter]:
            state = MemoryState()
            return lambda: liars.lying(registry=liar, state=state)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Machine, settings=SEARCH)


def test_the_registry_state_machine_catches_a_store_that_forgets_in_a_crash() -> None:
    class Machine(RegistryStateMachine):
        def new_store(self) -> Callable[[], Adapter]:
            return MemoryAdapter

    with pytest.raises((AssertionError, NotFound)):
        run_state_machine_as_test(Machine, settings=SEARCH)
