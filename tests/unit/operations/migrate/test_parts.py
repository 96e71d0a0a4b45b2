"""The parts of a migration by themselves: prints, ledger, bounds, selections, the account."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.support.memory_adapter import MemoryAdapter
from tests.support.migrations import PassingTime, migrate, pair_of, patient_side
from trackbridge.calls.world import World
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.batches import Batch, MetricColumns, Setting
from trackbridge.domain.migration import (
    TAG_SOURCE_URI,
    Counts,
    Kind,
    Loss,
    Outcome,
    Selection,
    State,
    Treatment,
)
from trackbridge.domain.plans import Action, Change
from trackbridge.domain.runs import Run, RunData, RunInfo, RunStatus
from trackbridge.errors import ConfigError, InvalidQuery, Locked, NotFound
from trackbridge.operations.migrate.applying import generations
from trackbridge.operations.migrate.bounds import Bounds, PacedThrottle, Spending
from trackbridge.operations.migrate.history import CarriedChange, encode_history, history_path
from trackbridge.operations.migrate.ledger import Entry, Ledger
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import plan_migration
from trackbridge.operations.migrate.prints import (
    differences,
    differences_of_files,
    differences_of_points,
    run_print,
    shown_fields,
)
from trackbridge.operations.migrate.report import Account
from trackbridge.operations.migrate.selecting import Selector
from trackbridge.operations.migrate.side import side_of
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS, run_spec


def run_of(**data: dict[str, object]) -> Run:
    info = RunInfo(
        run_id="r",
        experiment_id="1",
        run_name="a",
        user_id="u",
        status=RunStatus.FINISHED,
        start_time=1,
        end_time=2,
    )
    return Run(info=info, data=RunData(**data))  # type: ignore[arg-type]


# Prints.


def test_a_print_is_the_same_whatever_the_order_and_whatever_a_copy_says_of_itself() -> None:
    one = run_of(tags={"a": "1", "b": "2"}, params={"x": "1", "y": "2"})
    other = run_of(params={"y": "2", "x": "1"}, tags={"b": "2", TAG_SOURCE_URI: "x", "a": "1"})
    assert run_print(one) == run_print(other)


@pytest.mark.parametrize(
    "values", [(0.0, -0.0), (math.nan, math.inf), (1.0, 1.0000000000000002), (math.inf, -math.inf)]
)
def test_a_print_knows_values_by_their_bits(values: tuple[float, float]) -> None:
    one, other = (run_of(metrics={"m": value}) for value in values)
    assert run_print(one) != run_print(other)


@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
def test_any_text_has_a_print_of_its_own(text: str) -> None:
    assert run_print(run_of(tags={"k": text})) != run_print(run_of(tags={"k": text + "x"}))


def test_differences_name_the_fields_and_no_secret() -> None:
    before = {"tags": {"a": "1", "password": "hunter2", "same": "x"}, "name": "n"}
    after = {"tags": {"a": "2", "password": "hunter3", "same": "x"}, "name": None}
    assert differences(before, after) == (
        "name: n != (none)",
        "tags.a: 1 != 2",
        "tags.password: *** != ***",
    )
    assert shown_fields(before)["tags"]["password"] == "***"


def columns(*points: tuple[int, int, float]) -> MetricColumns:
    made = MetricColumns()
    for step, timestamp, value in points:
        made.append(step=step, timestamp=timestamp, value=value, sequence=0)
    return made


def test_points_are_compared_as_a_set_by_their_bits() -> None:
    one = columns((1, 1, 0.5), (1, 1, math.nan))
    assert differences_of_points("m", one, columns((1, 1, math.nan), (1, 1, 0.5))) == ()
    assert differences_of_points("m", columns((1, 1, 0.0)), columns((1, 1, -0.0))) == (
        "history of m: 1 points are missing, 1 are extra",
    )


def test_files_are_compared_by_digest_where_both_know_it() -> None:
    def info(path: str, size: int, digest: str | None) -> ArtifactInfo:
        return ArtifactInfo(path=path, file_size=size, digest=digest)

    before = [info("a", 1, "sha256:1"), info("b", 1, "sha256:1"), info("c", 1, None), info("d", 1, None)]
    after = [info("a", 1, "sha256:2"), info("b", 1, None), info("c", 2, None), info("e", 1, None)]
    assert differences_of_files(before, after, {}) == (
        "file d: missing",
        "file e: extra",
        "file a: sha256:1 != sha256:2",
        "file c: 1 bytes != 2 bytes",
    )
    assert differences_of_files([info("m", 5, "sha256:1")], [info("m", 9, "sha256:2")], {"m": 9}) == ()


# The ledger.


def test_the_ledger_keeps_pairs_apart_and_replaces(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, source="a", target="b")
    loss = Loss(item="run 1", field="params.x", treatment=Treatment.SPILLED, detail="long", count=3)
    ledger.put([Entry(kind=Kind.RUN, source_id="1", target_id="2", source_print="x", losses=(loss,))])
    ledger.put([Entry(kind=Kind.RUN, source_id="1", target_id="3", source_print="y", losses=(loss,))])
    found = ledger.find(Kind.RUN, "1")
    assert found is not None
    assert (found.target_id, found.source_print, found.losses) == ("3", "y", (loss,))
    assert Ledger(tmp_path, source="b", target="a").find(Kind.RUN, "1") is None
    assert Ledger(tmp_path, source="a", target="b").find(Kind.RUN, "1") == found
    ledger.forget(Kind.RUN, "1")
    assert ledger.entries(Kind.RUN) == []


def test_a_half_written_set_of_entries_is_none(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, source="a", target="b")
    good = Entry(kind=Kind.RUN, source_id="1", target_id="1")
    bad = Entry(kind=Kind.RUN, source_id="2", target_id="2", time=2**70)
    with pytest.raises(OverflowError):
        ledger.put([good, bad])
    assert ledger.entries(Kind.RUN) == []


def test_one_at_a_time(tmp_path: Path) -> None:
    ledger, other = (Ledger(tmp_path, source="a", target="b") for _ in range(2))
    with ledger.applying(), pytest.raises(Locked), other.applying():
        pass
    with other.applying():
        assert Ledger(tmp_path, source="b", target="a").entries(Kind.RUN) == []


def test_a_file_that_is_no_ledger_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database, but long enough to be looked at" * 50)
    with pytest.raises(ConfigError, match="cannot be opened"):
        Ledger(tmp_path, source="a", target="b")


# Bounds.


def test_bytes_are_waited_for_at_their_rate() -> None:
    time = PassingTime()
    told: list[int] = []
    world = World(clock_s=time.now_s, wait=time.wait)
    spending = Spending(Bounds(bytes_per_s=100.0), world, told.append)
    for _ in range(5):
        spending.spend(50)
    assert time.now_s() == pytest.approx(2.5)
    assert (spending.bytes_done, sum(told)) == (250, 250)


def test_bounds_are_told_when_they_are_reached() -> None:
    time = PassingTime()
    world = World(clock_s=time.now_s, wait=time.wait)
    spending = Spending(Bounds(bytes_max=10, duration_s_max=60.0), world)
    assert spending.reached() is None
    spending.spend(10)
    assert "10 are allowed" in (spending.reached() or "")
    late = Spending(Bounds(duration_s_max=60.0), world)
    time.wait(60.0)
    assert "60 s" in (late.reached() or "")


def test_calls_are_spaced_at_the_users_pace() -> None:
    time = PassingTime()
    throttle = PacedThrottle(World(clock_s=time.now_s, wait=time.wait), calls_per_s=4.0)
    for _ in range(9):
        throttle.take_turn(1000.0)
    assert time.now_s() == pytest.approx(2.0)


def test_both_ways_to_a_backend_share_one_pace() -> None:
    time = PassingTime()
    world = World(clock_s=time.now_s, wait=time.wait)
    side = side_of(MemoryAdapter(), "memory:a", bounds=Bounds(calls_per_s=2.0), world=world)
    for _ in range(3):
        list(side.experiments())
        assert side.cautious.tracking is not None
        side.cautious.tracking.list_runs("none")
    assert time.now_s() == pytest.approx(2.5)


# Selections.


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    source = MemoryAdapter()
    assert source.tracking is not None
    for number, experiment in enumerate(["wine", "wine-2", "beer", "be[er]"]):
        spec = run_spec(
            f"run {number}", run_id=f"{number:032x}", experiment=experiment, start_time=1000 * number
        )
        source.tracking.open_run(spec)
        source.tracking.write(Batch(run_id=spec.run_id, params=[Setting("n", str(number), 1)]))
        source.tracking.close_run(spec.run_id, status=RunStatus.FINISHED, end_time=1000 * number + 10)
    sides = patient_side(source, "memory:a"), patient_side(MemoryAdapter(), "memory:b")
    return pair_of(*sides, tmp_path / "home")


@pytest.mark.parametrize(
    ("selection", "numbers"),
    [
        (Selection(), [0, 1, 2, 3]),
        (Selection(experiments=("wine",)), [0]),
        (Selection(experiments=("wine*",)), [0, 1]),
        (Selection(experiments=("be[er]",)), [3]),
        (Selection(runs=(f"{2:032x}",)), [2]),
        (Selection(filter="params.n = '1' OR params.n = '3'"), [1, 3]),
        (Selection(since=2005), [2, 3]),
        (Selection(since=2011), [3]),
        (Selection(experiments=("wine*",), filter="params.n = '1'"), [1]),
        (Selection(models=("x",)), []),
    ],
)
def test_what_is_selected(pair: Pair, selection: Selection, numbers: list[int]) -> None:
    selector = Selector(selection)
    found = [
        int(run.info.run_id, 16)
        for experiment in selector.experiments(pair.source)
        for run in selector.runs(pair.source, experiment)
    ]
    assert sorted(found) == numbers


def test_what_is_not_there_is_told_of(pair: Pair) -> None:
    for selection in (
        Selection(experiments=("nope",)),
        Selection(runs=("f" * 32,)),
        Selection(models=("nope",)),
    ):
        with pytest.raises(NotFound):
            plan_migration(pair, Asked(selection=selection))
    with pytest.raises(InvalidQuery):
        plan_migration(pair, Asked(selection=Selection(filter="params.n ~ 1")))


def test_a_selection_moves_what_it_says(pair: Pair) -> None:
    account = migrate(pair, Asked(selection=Selection(experiments=("wine*",))))
    assert account.source.runs == account.target.runs == 2
    assert {item.name for item in pair.target.experiments()} == {"wine", "wine-2"}


def test_a_backend_is_not_copied_onto_itself(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the same backend"):
        pair_of(pair.source, pair.source, tmp_path / "home")


# Order.


def change_of(run_id: str, parent: str) -> Change:
    return Change(action=Action.CREATE, subject=f"run {run_id}", after={"parent": parent})


def test_parents_come_before_their_children_and_circles_end() -> None:
    parents = {"a": "b", "b": "c", "c": "", "d": "elsewhere", "e": "e", "x": "y", "y": "x", "z": "x"}
    levels = [
        [change.subject.partition(" ")[2] for change in level]
        for level in generations(change_of(*item) for item in parents.items())
    ]
    assert levels == [["c", "d", "e"], ["b"], ["a"], ["x", "y", "z"]]


# The account.


def test_an_account_explains_every_difference_or_says_by_how_much_it_does_not() -> None:
    account = Account()
    loss = Loss(item="run 1", field="params.a", treatment=Treatment.REFUSED, detail="no", count=2)
    account.add(
        Outcome(
            subject="run 1",
            action="create",
            state=State.DONE,
            source=Counts(runs=1, params=5, points=9),
            target=Counts(runs=1, params=3, points=8),
            losses=(loss,),
        )
    )
    assert account.unexplained() == {"points": 1}
    assert account.is_complete


@pytest.mark.parametrize(
    ("states", "stopped", "code"),
    [
        ([State.DONE], 0, 0),
        ([State.HELD], 0, 0),
        ([State.DONE, State.FAILED], 0, 3),
        ([State.DONE, State.FAILED, State.LEFT], 6, 3),
        ([State.FAILED, State.LEFT], 6, 6),
        ([State.FAILED], 0, 5),
        ([State.DONE, State.LEFT], 8, 8),
        ([State.GONE], 0, 3),
    ],
)
def test_how_it_ends(states: list[State], stopped: int, code: int) -> None:
    account = Account()
    for number, state in enumerate(states):
        exit_code = 5 if state is State.FAILED else 0
        account.add(Outcome(subject=f"run {number}", action="create", state=state, exit_code=exit_code))
    if stopped:
        account.stop("why", stopped)
    assert account.exit_code == code


def test_what_was_found_wrong_afterwards_is_no_success() -> None:
    account = Account()
    outcome = Outcome(subject="run 1", action="create", state=State.DONE, source=Counts(runs=1))
    account.add(outcome)
    account.retract(outcome, "it differs")
    assert not account.is_complete
    assert account.states[State.DONE] == 0
    assert account.fields()["items"] == {"run": {"failed": 1}}
    assert account.source.runs == 0


# History.


def test_a_history_has_each_change_once_in_order() -> None:
    from trackbridge.domain.models import Origin, RegistryChange

    def change(sequence: int, time: int) -> CarriedChange:
        return CarriedChange(
            registry="a",
            change=RegistryChange(
                sequence=sequence,
                name="m",
                version="1",
                what="stage",
                before="None",
                after="Staging",
                user="u",
                time=time,
            ),
        )

    lines = encode_history([change(2, 9), change(1, 5), change(2, 9)]).splitlines()
    assert len(lines) == 2
    assert b'"time":5' in lines[0]
    path = history_path(Origin(registry="r", name="a/b ü..", version="1"))
    assert path.startswith("bridge/registry/a_b-")
    assert path != history_path(Origin(registry="r", name="a/b ü..", version="2"))
