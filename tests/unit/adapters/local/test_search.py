"""Search in SQL means what ``domain.search`` says, whatever way the plan takes, page by page."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Setting
from trackbridge.domain.runs import DatasetInput, LifecycleStage, Run, RunSpec, RunStatus
from trackbridge.domain.search import (
    COMPARISONS_MAX,
    NESTING_MAX,
    And,
    Comparison,
    Entity,
    Expression,
    Not,
    Operator,
    Or,
    OrderBy,
    Query,
    matches,
    ordered,
    parse_query,
)
from trackbridge.errors import BridgeError, InvalidInput
from trackbridge_adapters.local import search_plan
from trackbridge_adapters.local.adapter import LocalAdapter
from trackbridge_adapters.local.config import Settings
from trackbridge_adapters.local.tracking import LocalTracking

KEYS = ["a", "b", "c d", "ключ"]
TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "abc",
    "a%c",
    "a_c",
    "É",
    "é",
    "a\0b",
    "\U0010ffff",
    "\ud7ff",
    "z\ud7ffz",
    "it's",
]
PATTERNS = [*TEXTS, "%", "a%", "%b%", "_", "a_", "\ud7ff%", "\U0010ffff%", "%\0%", "A%", "a%b%", "é%", "z_z"]
NUMBERS = [0.0, -0.0, 1.0, -1.5, 2.0, math.inf, -math.inf, math.nan, 5e-324]
COMPARED_NUMBERS = [number for number in NUMBERS if not math.isnan(number)]
EXPERIMENTS = ["one", "two"]
PAGES_MAX = 100
TIMES = [-1, 0, 5, 5, 6, 2**53 + 1]

NUMBER_OPERATORS = [Operator.EQ, Operator.NE, Operator.LT, Operator.LE, Operator.GT, Operator.GE]
NULL_OPERATORS = [Operator.IS_NULL, Operator.IS_NOT_NULL]


def texts_of(entity: Entity, keys: list[str], values: list[str]) -> st.SearchStrategy[Comparison]:
    key = st.sampled_from(keys)
    return st.one_of(
        st.builds(
            Comparison,
            st.just(entity),
            key,
            st.sampled_from([Operator.EQ, Operator.NE, Operator.LIKE, Operator.ILIKE]),
            st.sampled_from([*values, *PATTERNS]),
        ),
        st.builds(
            Comparison,
            st.just(entity),
            key,
            st.sampled_from([Operator.IN, Operator.NOT_IN]),
            st.lists(st.sampled_from(values), max_size=3).map(tuple),
        ),
        st.builds(Comparison, st.just(entity), key, st.sampled_from(NULL_OPERATORS)),
    )


def numbers_of(entity: Entity, keys: list[str], values: list[float]) -> st.SearchStrategy[Comparison]:
    key = st.sampled_from(keys)
    return st.one_of(
        st.builds(
            Comparison, st.just(entity), key, st.sampled_from(NUMBER_OPERATORS), st.sampled_from(values)
        ),
        st.builds(Comparison, st.just(entity), key, st.sampled_from(NULL_OPERATORS)),
    )


COMPARISON = st.one_of(
    numbers_of(Entity.METRIC, [*KEYS, "missing"], COMPARED_NUMBERS),
    texts_of(Entity.PARAM, [*KEYS, "missing"], TEXTS),
    texts_of(Entity.TAG, [*KEYS, "mlflow.runName"], TEXTS),
    numbers_of(Entity.ATTRIBUTE, ["start_time", "end_time"], list(map(float, TIMES))),
    texts_of(Entity.ATTRIBUTE, ["run_id"], [f"r{number:02}" for number in range(40)]),
    texts_of(Entity.ATTRIBUTE, ["run_name", "user_id"], TEXTS),
    texts_of(Entity.ATTRIBUTE, ["status"], [status.value for status in RunStatus]),
    texts_of(Entity.ATTRIBUTE, ["experiment_id"], EXPERIMENTS),
    texts_of(Entity.ATTRIBUTE, ["lifecycle_stage"], ["active", "deleted"]),
    texts_of(Entity.ATTRIBUTE, ["artifact_uri"], ["bridge-artifacts:/r01", "bridge-artifacts:/r1%"]),
    texts_of(Entity.DATASET, ["name", "digest", "context"], TEXTS),
)
EXPRESSION: st.SearchStrategy[Expression] = st.recursive(
    COMPARISON,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda terms: And(tuple(terms))),
        st.lists(inner, min_size=1, max_size=3).map(lambda terms: Or(tuple(terms))),
        inner.map(Not),
    ),
    max_leaves=6,
)
ORDER_BY = st.builds(
    OrderBy,
    st.sampled_from([Entity.METRIC, Entity.PARAM, Entity.TAG]),
    st.sampled_from([*KEYS, "missing"]),
    st.booleans(),
) | st.builds(
    OrderBy,
    st.just(Entity.ATTRIBUTE),
    st.sampled_from(["start_time", "end_time", "run_name", "run_id", "status", "experiment_id"]),
    st.booleans(),
)
QUERY = st.builds(Query, filter=st.none() | EXPRESSION, order_by=st.lists(ORDER_BY, max_size=3).map(tuple))


def some(draw: st.DrawFn, values: list[str]) -> dict[str, str]:
    return draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(values), max_size=3))


@st.composite
def runs_in(draw: st.DrawFn) -> list[tuple[RunSpec, Batch, int | None, bool]]:
    """Draw what makes some runs: how each opens, what it logs, when it ends, whether it is deleted."""
    made = []
    for number in range(draw(st.integers(0, 12))):
        run_id = f"r{number:02}"
        experiment = draw(st.sampled_from(EXPERIMENTS))
        spec = RunSpec(
            run_id=run_id,
            experiment_id=experiment,
            experiment_name=experiment,
            name=draw(st.sampled_from(TEXTS)),
            user=draw(st.sampled_from(TEXTS)),
            start_time=draw(st.sampled_from(TIMES)),
            tags=some(draw, TEXTS),
        )
        metrics = draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(NUMBERS), max_size=3))
        names = draw(st.lists(st.sampled_from(TEXTS), max_size=2, unique=True))
        contexts = draw(st.sampled_from([{}, {"mlflow.data.context": "a"}]))
        batch = Batch(
            run_id=run_id,
            metrics={
                key: MetricColumns(
                    steps=array("q", [0]), timestamps=array("q", [0]), values=array("d", [value])
                )
                for key, value in metrics.items()
            },
            params=[Setting(key, value, 0) for key, value in some(draw, TEXTS).items()],
            inputs=[InputAdded(DatasetInput(name=name, digest=name, tags=contexts), 0) for name in names],
        )
        made.append((spec, batch, draw(st.none() | st.sampled_from(TIMES)), draw(st.booleans())))
    return made


def fill(store: LocalTracking, made: list[tuple[RunSpec, Batch, int | None, bool]]) -> None:
    for spec, batch, end_time, deleted in made:
        store.open_run(spec)
        store.write(batch)
        if end_time is not None:
            store.close_run(spec.run_id, status=RunStatus.FAILED, end_time=end_time)
        if deleted:
            store.delete_run(spec.run_id)


def searched(
    store: LocalTracking,
    query: Query,
    *,
    experiments: tuple[str, ...] = tuple(EXPERIMENTS),
    stage: LifecycleStage | None = None,
    size: int = 100,
) -> list[Run]:
    found: list[Run] = []
    token = None
    for _ in range(PAGES_MAX):
        page = store.search_runs(experiments, query=query, stage=stage, max_results=size, token=token)
        assert len(page) <= size
        found += page.items
        token = page.token
        if token is None:
            return found
    raise AssertionError(f"the search did not end within {PAGES_MAX} pages")


def ids_of(runs: list[Run]) -> list[str]:
    return [run.info.run_id for run in runs]


class TestEquivalence:
    @settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_sql_and_memory_agree(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        adapter = LocalAdapter(Settings(folder=tmp_path_factory.mktemp("store")), lambda: 1)
        fill(adapter.tracking, data.draw(runs_in()))
        for _ in range(8):
            self.check(adapter.tracking, data)
        adapter.close()

    def check(self, store: LocalTracking, data: st.DataObject) -> None:
        query = data.draw(QUERY)
        experiments = data.draw(st.sampled_from([("one",), ("two", "one", "none"), ("two", "two")]))
        stage = data.draw(st.sampled_from([None, *LifecycleStage]))
        every = [
            run
            for experiment in set(experiments)
            for run in store.list_runs(experiment, stage=stage)
            if matches(query.filter, run)
        ]
        wanted = ids_of(ordered(every, query.order_by))
        size = data.draw(st.sampled_from([1, 2, 3, 100]))
        for counted in (0, 2, 20_000):  # 0 makes every search walk or scan; 1 and more let conditions drive
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(search_plan, "COUNTED_ROWS_MAX", counted)
                found = searched(store, query, experiments=experiments, stage=stage, size=size)
            assert ids_of(found) == wanted, counted


@pytest.fixture
def store(adapter: LocalAdapter) -> Iterator[LocalTracking]:
    """Return a store with thirty runs: metric a counts up, every third run has none, every fifth a NaN."""
    for number in range(30):
        spec = RunSpec(
            run_id=f"r{number:02}",
            experiment_id="one",
            experiment_name="one",
            name="n",
            user="u",
            start_time=number // 2,
        )
        values = [] if number % 3 == 0 else [math.nan] if number % 5 == 0 else [float(number)]
        columns = MetricColumns(
            steps=array("q", [0] * len(values)),
            timestamps=array("q", [0] * len(values)),
            values=array("d", values),
        )
        adapter.tracking.open_run(spec)
        adapter.tracking.write(
            Batch(run_id=spec.run_id, metrics={"a": columns}, params=[Setting("p", str(number % 2), 0)])
        )
    return adapter.tracking


class TestPages:
    ORDERS = (
        (),
        ("metrics.a DESC",),
        ("metrics.a", "params.p"),
        ("params.p DESC", "metrics.a"),
        ("run_name",),
    )

    @pytest.mark.parametrize("order_by", ORDERS)
    @pytest.mark.parametrize("size", [1, 4, 7, 29, 30, 31])
    def test_pages_of_any_size_make_up_the_whole(
        self, store: LocalTracking, order_by: tuple[str, ...], size: int
    ) -> None:
        query = parse_query("params.p IS NOT NULL", order_by)
        whole = searched(store, query, size=1000)
        assert len(whole) == 30
        assert ids_of(searched(store, query, size=size)) == ids_of(whole)

    @pytest.mark.parametrize("order_by", ORDERS)
    def test_a_run_added_meanwhile_shifts_nothing(
        self, store: LocalTracking, order_by: tuple[str, ...]
    ) -> None:
        query = parse_query("", order_by)
        whole = ids_of(searched(store, query))
        page = store.search_runs(("one",), query=query, max_results=10)
        spec = RunSpec(
            run_id="new", experiment_id="one", experiment_name="one", name="n", user="u", start_time=99
        )
        store.open_run(spec)
        rest = store.search_runs(("one",), query=query, max_results=100, token=page.token)
        assert [run_id for run_id in ids_of([*page, *rest]) if run_id != "new"] == whole

    def test_a_token_of_another_search_is_refused(self, store: LocalTracking) -> None:
        token = store.search_runs(("one",), query=Query(), max_results=1).token
        assert token
        for query, experiments in [(parse_query("metrics.a > 1"), ("one",)), (Query(), ("one", "two"))]:
            with pytest.raises(InvalidInput):
                store.search_runs(experiments, query=query, max_results=1, token=token)

    @pytest.mark.parametrize("size", [0, -1])
    def test_a_page_holds_at_least_one(self, store: LocalTracking, size: int) -> None:
        with pytest.raises(InvalidInput):
            store.search_runs(("one",), query=Query(), max_results=size)

    def test_no_experiments_have_no_runs(self, store: LocalTracking) -> None:
        assert len(store.search_runs((), query=Query())) == 0


class TestBounds:
    def test_the_largest_filter_of_the_language_is_searched(self, store: LocalTracking) -> None:
        terms = " OR ".join(["metrics.a = 4"] * COMPARISONS_MAX)
        deep = "NOT (metrics.a = 4 AND " * (NESTING_MAX // 2) + "metrics.a = 4" + ")" * (NESTING_MAX // 2)
        values = ", ".join(f"'{number}'" for number in range(12_000))
        for text in (terms, deep, f"params.p IN ({values})"):
            query = parse_query(text)
            everything = store.list_runs("one").items
            wanted = [run.info.run_id for run in everything if matches(query.filter, run)]
            assert ids_of(searched(store, query)) == wanted

    def test_a_query_that_is_too_large_is_refused(self, store: LocalTracking) -> None:
        term: Expression = Comparison(Entity.METRIC, "a", Operator.EQ, 1.0)
        for _ in range(300):
            term = Not(And((Comparison(Entity.METRIC, "b", Operator.EQ, 1.0), term)))
        with pytest.raises(InvalidInput):
            store.search_runs(("one",), query=Query(filter=term))

    def test_an_order_of_too_many_columns_is_refused(self, store: LocalTracking) -> None:
        order_by = tuple(OrderBy(Entity.METRIC, f"m{number}") for number in range(100))
        with pytest.raises(InvalidInput):
            store.search_runs(("one",), query=Query(order_by=order_by))

    @pytest.mark.parametrize(
        "expression",
        [
            Comparison(Entity.ATTRIBUTE, "x = 1 OR 1", Operator.EQ, "a"),
            Comparison(Entity.DATASET, "name) OR (1", Operator.EQ, "a"),
            Comparison(Entity.METRIC, "a", Operator.GT, 2**70),
            Comparison(Entity.PARAM, "\ud800", Operator.EQ, "a"),
            Comparison(Entity.PARAM, "p", Operator.EQ, "\ud800"),
        ],
    )
    def test_a_tree_that_no_text_gives_is_refused(self, store: LocalTracking, expression: Expression) -> None:
        with pytest.raises(BridgeError):
            store.search_runs(("one",), query=Query(filter=expression))

    def test_runs_cannot_be_ordered_by_a_data_set(self, store: LocalTracking) -> None:
        with pytest.raises(InvalidInput):
            store.search_runs(("one",), query=Query(order_by=(OrderBy(Entity.DATASET, "name"),)))


@pytest.mark.parametrize(
    "comparison",
    [
        Comparison(Entity.DATASET, "context", Operator.ILIKE, "%a%"),
        Comparison(Entity.DATASET, "context", Operator.LIKE, "_"),
        Comparison(Entity.DATASET, "context", Operator.NOT_IN, ()),
    ],
)
def test_a_data_set_without_a_context_fulfils_no_condition_on_it(
    store: LocalTracking, comparison: Comparison
) -> None:
    store.write(Batch(run_id="r01", inputs=[InputAdded(DatasetInput(name="d", digest="1"), 0)]))
    assert searched(store, Query(filter=comparison)) == []
