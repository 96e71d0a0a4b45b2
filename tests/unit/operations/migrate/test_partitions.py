"""Runs copied by others, part by part: what is sent, what comes back, and what becomes of it."""

from __future__ import annotations

import os
import pickle
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.corpus import Corpus, Size, problems, write_corpus
from tests.support.migrations import local_side, pair_of
from tests.support.part_workers import Workers
from trackbridge.calls.world import World
from trackbridge.domain.migration import Counts, Kind, Outcome, State
from trackbridge.domain.plans import Action, Change
from trackbridge.errors import AuthError, BridgeError, ConfigError, Exhausted, Rejected, Unavailable
from trackbridge.operations import spark_sessions
from trackbridge.operations.migrate import spark
from trackbridge.operations.migrate.applying import FAILURES_MAX, Applying, apply_migration
from trackbridge.operations.migrate.bounds import Bounds, Spending
from trackbridge.operations.migrate.elsewhere import apply_here, look_here
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.partitions import (
    PART_RUNS_MAX,
    Applied,
    Common,
    Copied,
    Part,
    Place,
    decoded,
    encoded,
    error_of,
    part_of,
    partitioned,
    refusal_of,
)
from trackbridge.operations.migrate.planning import plan_migration


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    """A smaller corpus than that of the other modules; ``corpus`` and ``pair`` are made of it."""
    folder = tmp_path_factory.mktemp("corpus") / "store"
    side = local_side(folder)
    size = Size(experiments=3, runs=12, points=5, long_points=20, files=2, models=1, versions=2)
    corpus = write_corpus(side.adapter, size)
    side.close()
    return folder, corpus


def changes_of(count: int) -> list[Change]:
    return [
        Change(action=Action.CREATE, subject=f"run {number:032x}", after={"run": f"{number}", "losses": [1]})
        for number in range(count)
    ]


@pytest.mark.parametrize("breaks_after", [None, 3, 4])
def test_a_part_that_is_begun_twice_is_there_once(
    pair: Pair, corpus: Corpus, breaks_after: int | None
) -> None:
    workers = Workers(repeats=True, breaks_after=breaks_after)
    account = apply_migration(plan_migration(pair, Asked()), pair, Applying(engine=workers))
    assert (account.exit_code, account.remaining, account.unexplained()) == (0, [], {})
    assert problems(corpus, pair.target.adapter, registry_uri=pair.source.uri, renumbered=True) == []
    assert account.source.runs == len(corpus.runs)


def test_workers_that_share_nothing_copy_everything(pair: Pair, corpus: Corpus) -> None:
    workers = Workers()
    plan = plan_migration(pair, Asked())
    account = apply_migration(plan, pair, Applying(engine=workers))
    assert (account.exit_code, account.remaining, account.unexplained()) == (0, [], {})
    assert problems(corpus, pair.target.adapter, registry_uri=pair.source.uri, renumbered=True) == []
    assert account.source.runs == len(corpus.runs)
    assert account.source.files == sum(len(run.files) for run in corpus.runs.values())
    assert {entry.source_id for entry in pair.ledger.entries(Kind.RUN)} == set(corpus.runs)
    assert sorted(change.subject for part in workers.parts for change in part.changes) == sorted(
        f"run {run_id}" for run_id in corpus.runs
    )


def test_what_was_made_already_is_not_sent(pair: Pair, corpus: Corpus) -> None:
    plan = plan_migration(pair, Asked())
    assert apply_migration(plan, pair).exit_code == 0
    workers = Workers()
    account = apply_migration(plan, pair, Applying(engine=workers))
    sent = {change.subject for part in workers.parts for change in part.changes}
    assert sent == {f"run {run.run_id}" for run in corpus.runs.values() if not run.status.is_final}
    assert account.kinds[Kind.RUN, State.HELD] == len(corpus.runs) - len(sent)


def test_a_part_that_fails_is_all_of_it_that_remains(pair: Pair, corpus: Corpus) -> None:
    workers = Workers()
    failing: list[Part] = []

    def fail_first(part: Part) -> None:
        if part is workers.parts[0]:
            failing.append(part)
            raise Rejected("no", hint="ask")

    workers.before = fail_first
    account = apply_migration(plan_migration(pair, Asked()), pair, Applying(engine=workers))
    failed = {outcome.subject: outcome.error for outcome in account.remaining if outcome.subject[:3] == "run"}
    assert failed == {change.subject: "no; ask" for change in failing[0].changes}
    assert account.exit_code == 3
    assert apply_migration(plan_migration(pair, Asked()), pair).exit_code == 0
    assert problems(corpus, pair.target.adapter, registry_uri=pair.source.uri, renumbered=True) == []


@pytest.mark.parametrize(
    ("error", "most", "code"),
    [(Unavailable("the cluster is gone"), FAILURES_MAX, 3), (AuthError("who are you?"), 1, 3)],
)
def test_workers_that_get_nowhere_get_no_more(
    pair: Pair, corpus: Corpus, error: BridgeError, most: int, code: int
) -> None:
    workers = Workers(width=1)

    def fail(part: Part) -> None:
        raise error

    workers.before = fail
    plan = plan_migration(pair, Asked())
    account = apply_migration(plan, pair, Applying(engine=workers))
    assert len(workers.parts) == most
    assert account.stopped.startswith(error.message)
    assert account.exit_code == code
    assert account.kinds[Kind.RUN, State.LEFT] + account.kinds[Kind.RUN, State.FAILED] == len(corpus.runs)


def test_a_worker_that_stops_stops_the_rest(pair: Pair, corpus: Corpus) -> None:
    class Stopping(Workers):
        def apply(self, part: Part) -> Applied:
            self.parts.append(part)
            told = [
                Outcome(subject=change.subject, action="create", state=State.LEFT, error="it is full")
                for change in part.changes
            ]
            copied = tuple(Copied(outcome=outcome) for outcome in told)
            return Applied(copied=copied, stopped="it is full", stopped_code=5)

    workers = Stopping(width=1)
    account = apply_migration(plan_migration(pair, Asked()), pair, Applying(engine=workers))
    assert len(workers.parts) == 1
    assert account.stopped == "it is full"


def test_interrupted_the_workers_are_told(pair: Pair, corpus: Corpus) -> None:
    workers = Workers(width=1)

    def interrupt(part: Part) -> None:
        if len(workers.parts) == 2:
            raise KeyboardInterrupt

    workers.before = interrupt
    plan = plan_migration(pair, Asked())
    how = Applying(engine=workers)
    with pytest.raises(KeyboardInterrupt):
        apply_migration(plan, pair, how)
    assert workers.cancelled
    assert sum(how.account.states.values()) == len([c for c in plan.changes if c.action is not Action.KEEP])
    assert how.account.stopped == "interrupted"


def test_interrupted_workers_that_may_still_write_are_told_of(pair: Pair, corpus: Corpus) -> None:
    workers = Workers(width=1)
    workers.still_writing = "workers of Spark still write after 30 s"

    def interrupt(part: Part) -> None:
        raise KeyboardInterrupt

    workers.before = interrupt
    how = Applying(engine=workers)
    with pytest.raises(KeyboardInterrupt):
        apply_migration(plan_migration(pair, Asked()), pair, how)
    assert how.account.stopped.startswith(
        "interrupted; workers of Spark still write after 30 s: let them end"
    )
    assert how.account.stopped_code == 130


def test_a_bound_of_bytes_holds_between_runs(pair: Pair, corpus: Corpus) -> None:
    workers = Workers(width=1)
    how = Applying(engine=workers, bounds=Bounds(bytes_max=1))
    account = apply_migration(plan_migration(pair, Asked()), pair, how)
    assert account.exit_code == 8
    assert all(len(part.changes) == 1 for part in workers.parts)
    with_files = [part for part in workers.parts if part.bounds.bytes_max == 0]
    assert with_files == []
    assert account.target.bytes > 0
    assert account.kinds[Kind.RUN, State.LEFT] > 0


def test_a_plan_goes_back_home_by_workers_too(pair: Pair, corpus: Corpus, tmp_path: Path) -> None:
    """Runs that came from the target are the same runs again; their ways back are sent along."""
    assert apply_migration(plan_migration(pair, Asked()), pair).exit_code == 0
    back = pair_of(local_side(tmp_path / "b"), local_side(tmp_path / "a"), tmp_path / "home")
    workers = Workers()
    account = apply_migration(plan_migration(back, Asked(deep=True)), back, Applying(engine=workers))
    assert account.remaining == []
    side = local_side(tmp_path / "a")
    assert problems(corpus, side.adapter, registry_uri=pair.source.uri, renumbered=True) == []


# What a worker sees.


def test_a_worker_on_another_machine_writes_nothing(pair: Pair, corpus: Corpus, tmp_path: Path) -> None:
    plan = plan_migration(pair, Asked())
    change = next(change for change in plan.changes if change.subject.startswith("run "))
    name = (change.after or {})["experiment"]
    (tmp_path / "other").mkdir()
    source = Place(uri=pair.source.uri)
    common = Common(source=source, target=Place(uri=str(tmp_path / "other")), parameters=plan.parameters)
    with pytest.raises(ConfigError, match="does not find the experiment") as caught:
        apply_here(part_of([change], absent=(), bounds=Bounds()), common, is_repeated=False)
    assert repr(name) in str(caught.value)
    nowhere = Common(source=source, target=Place(uri=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match="is no folder of"):
        apply_here(part_of([change], absent=(), bounds=Bounds()), nowhere, is_repeated=False)
    assert not (tmp_path / "nowhere").exists()


def test_what_keeps_a_worker_from_migrating_is_told(corpus: Corpus, tmp_path: Path) -> None:
    source = Place(uri=str(tmp_path / "a"))
    assert look_here(source, Place(uri=str(tmp_path / "b"))) == ""
    assert not (tmp_path / "b").exists()
    assert "is no folder of" in look_here(Place(uri=str(tmp_path / "b")), source)
    assert "no adapter" in look_here(source, Place(uri="elsewhere://x"))
    option = Place(uri="http://127.0.0.1:9", options={"token_env": "NOT_SET_HERE"})
    assert "NOT_SET_HERE" in look_here(source, option)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AuthError("a", hint="b"), AuthError),
        (ConfigError("a"), ConfigError),
        (Unavailable("a"), Unavailable),
        (Exhausted("a", attempts=1, elapsed_s=1.0), Exhausted),
        (Rejected("a", hint="b"), Rejected),
    ],
)
def test_an_error_comes_back_as_what_it_was(error: BridgeError, kind: type[BridgeError]) -> None:
    back = error_of(decoded(encoded(refusal_of(error)), type(refusal_of(error))))
    assert type(back).exit_code == kind.exit_code
    assert (str(back), back.hint) == (str(error), error.hint)


# Parts.


@given(st.integers(0, 3000), st.integers(1, 200), st.integers(1, 60))
def test_parts_hold_everything_once_in_order(count: int, workers: int, runs_max: int) -> None:
    changes = [Change(action=Action.CREATE, subject=f"run {number}") for number in range(count)]
    parts = list(partitioned(changes, workers=workers, runs_max=runs_max))
    assert [change for part in parts for change in part] == changes
    sizes = {len(part) for part in parts}
    assert all(0 < size <= runs_max for size in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert len(parts) >= min(count, workers)


def test_a_part_says_nothing_of_losses_and_what_is_new() -> None:
    changes = changes_of(3)
    part = part_of(changes, absent={changes[1].subject, "run other"}, bounds=Bounds(transfers=2))
    assert part.absent == (changes[1].subject,)
    assert [change.after for change in part.changes] == [{"run": f"{number}"} for number in range(3)]
    assert decoded(encoded(part), Part) == part
    assert len(next(partitioned(changes_of(PART_RUNS_MAX * 9), workers=1))) == PART_RUNS_MAX


def test_a_share_of_what_is_allowed() -> None:
    bounds = Bounds(transfers=7, calls_per_s=10.0, bytes_per_s=100.0, bytes_max=50, duration_s_max=60.0)
    now_s = 100.0
    spending = Spending(bounds, World(clock_s=lambda: now_s))
    now_s = 115.0
    counted: list[int] = []
    spending.on_bytes = counted.append
    spending.note(20)
    share = spending.share(4)
    assert (share.transfers, share.calls_per_s, share.bytes_per_s, share.bytes_max) == (7, 2.5, 25.0, 30)
    assert share.duration_s_max == 45.0
    assert counted == [20]
    assert Spending(Bounds()).share(4) == Bounds()


def test_names_that_no_encoding_takes_are_sent() -> None:
    outcome = Outcome(subject="run \udc80\x00 漢", action="create", state=State.DONE, source=Counts(runs=1))
    applied = Applied(copied=(Copied(outcome=outcome, print="x"),), bytes=1)
    assert decoded(encoded(applied), Applied) == applied
    assert encoded(applied).isascii()


# Spark, without one.


def test_nothing_secret_goes_to_the_workers(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, corpus: Corpus
) -> None:
    from pyspark import cloudpickle

    secret = "s3cr3t-of-the-driver"
    monkeypatch.setenv("AZURE_CLIENT_SECRET", secret)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", secret)
    sent: list[bytes] = []
    workers = Workers()
    workers.before = lambda part: sent.append(encoded(part))
    apply_migration(plan_migration(pair, Asked()), pair, Applying(engine=workers))
    closures = [cloudpickle.dumps(partial(spark._applied, None)), cloudpickle.dumps(spark._prober("1"))]
    everything = b"".join([*sent, workers._common, *closures])
    assert secret.encode() not in everything
    values = {value for value in os.environ.values() if len(value) > 20 and value not in pair.source.uri}
    assert [value for value in values if value.encode() in b"".join(closures)] == []
    assert pickle.loads(closures[0]).func is spark._applied


def test_a_worker_is_asked_without_our_package() -> None:
    """What asks is sent by its code: a worker that has no trackbridge can say so."""
    from pyspark import cloudpickle

    code = cloudpickle.dumps(spark._prober("0.0.1"))
    assert b"trackbridge.operations.migrate.spark" in code  # only as the name of where it came from
    (answer,) = pickle.loads(code)(iter([encoded([Place(uri="a"), Place(uri="b")])]))
    assert b"and the driver has 0.0.1" in answer


class Cluster:
    """A context whose tasks end as told: each look takes the next number of them, an error is raised."""

    def __init__(self, *running: int | Exception, is_stopped: bool = False) -> None:
        self.looks = iter(running)
        self.cancelled: list[str] = []
        self._jsc = None if is_stopped else self

    def cancelJobGroup(self, group: str) -> None:  # noqa: N802  as Spark has it
        self.cancelled.append(group)

    def sc(self) -> Cluster:
        return self

    def statusTracker(self) -> Cluster:  # noqa: N802
        return self

    def getExecutorInfos(self) -> list[SimpleNamespace]:  # noqa: N802
        look = next(self.looks)
        if isinstance(look, Exception):
            raise look
        return [SimpleNamespace(numRunningTasks=lambda: look)]


def test_cancelled_jobs_are_waited_for() -> None:
    cluster = Cluster(2, 1, 0)
    assert spark._cancel_jobs(cluster, "ours", patience_s=60) == ""
    assert cluster.cancelled == ["ours"] * 3


def test_tasks_that_do_not_end_are_told_of() -> None:
    assert (
        spark._cancel_jobs(Cluster(1, 1), "ours", patience_s=0.2)
        == "workers of Spark still write after 0.2 s"
    )


def test_a_cluster_that_does_not_answer_is_told_of() -> None:
    said = spark._cancel_jobs(Cluster(ConnectionRefusedError("no JVM")), "ours", patience_s=60)
    assert "does not say whether its workers still write" in said
    assert "no JVM" in said


def test_a_session_that_was_ended_has_no_workers() -> None:
    assert spark._cancel_jobs(Cluster(is_stopped=True), "ours", patience_s=60) == ""


def test_two_of_the_same_at_the_same_time_are_refused() -> None:
    for value, is_refused in (("true", True), ("TRUE", True), ("false", False)):
        context = SimpleNamespace(getConf=partial(dict, {"spark.speculation": value}))
        if is_refused:
            with pytest.raises(ConfigError, match="at the same time"):
                spark._refuse_speculation(context)
        else:
            spark._refuse_speculation(context)


def test_a_session_without_workers_of_its_own_is_refused() -> None:
    class Remote:
        @property
        def sparkContext(self) -> object:  # noqa: N802  as Spark has it
            raise RuntimeError("[JVM_ATTRIBUTE_NOT_SUPPORTED] not on Spark Connect")

    with pytest.raises(ConfigError, match="no access to its workers") as caught:
        spark_sessions.context_of(Remote(), operation="migrate")
    assert "dedicated" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Exception"),
        ("one line\nand more", "one line"),
        (
            "An error occurred\n: org.apache.spark.SparkException: Job aborted\n"
            "Traceback (most recent call last):\n  File x\nValueError: it is broken\n\n\tat java.lang.Thread",
            "ValueError: it is broken",
        ),
        ("x.y.SomeError: token=abcdefghijklmnop refused", "x.y.SomeError: token=*** refused"),
    ],
)
def test_spark_is_quoted_in_one_line_and_without_secrets(text: str, said: str) -> None:
    assert spark_sessions.said(Exception(text)) == said


def test_other_pythons_on_the_workers_are_told() -> None:
    error = spark._translated(Exception("pyspark.errors.PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] 3.11"))
    assert isinstance(error, ConfigError)
    assert "PYSPARK_PYTHON" in (error.hint or "")
    assert isinstance(spark._translated(Exception("lost")), Unavailable)
