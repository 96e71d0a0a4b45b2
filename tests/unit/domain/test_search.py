"""The search language: what parses to what, where it is wrong, and what it means."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.domain.runs import (
    DatasetInput,
    Experiment,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunStatus,
)
from trackbridge.domain.search import (
    COMPARISONS,
    COMPARISONS_MAX,
    NESTING_MAX,
    TEXT_CHARS_MAX,
    And,
    Comparison,
    Entity,
    Like,
    Not,
    Operator,
    Or,
    OrderBy,
    Query,
    comparisons,
    matches,
    matches_experiment,
    ordered,
    ordered_experiments,
    parse_experiment_query,
    parse_query,
    sort_key,
)
from trackbridge.errors import InvalidInput, InvalidQuery

WORDS = [
    "metrics.a",
    "params.`b_c`",
    "tags.",
    "status",
    "start_time",
    "dataset.name",
    "(",
    ")",
    ",",
    "AND",
    "or",
    "NOT",
    "in",
    "IS",
    "NULL",
    "like",
    "ILIKE",
    "=",
    "!=",
    "<",
    ">=",
    "DESC",
    "ASC",
    "'",
    "'x'",
    '"y"',
    "1",
    "-2.5e3",
    "`",
    "\x00",
    "é",
    ".",
    "9e999",
]

METRIC, PARAM, TAG, ATTRIBUTE, DATASET = (
    Entity.METRIC,
    Entity.PARAM,
    Entity.TAG,
    Entity.ATTRIBUTE,
    Entity.DATASET,
)


def parsed(text: str) -> object:
    return parse_query(text).filter


def error_of(text: str) -> InvalidQuery:
    with pytest.raises(InvalidQuery) as caught:
        parse_query(text)
    return caught.value


def refusal_of(parse: Callable[..., Query], *arguments: object) -> InvalidQuery | None:
    try:
        parse(*arguments)
    except InvalidQuery as error:
        return error
    return None


def run_of(
    run_id: str = "r",
    *,
    metrics: dict[str, float] | None = None,
    params: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    datasets: tuple[DatasetInput, ...] = (),
    start_time: int = 0,
    end_time: int | None = None,
    name: str = "name",
    status: RunStatus = RunStatus.RUNNING,
) -> Run:
    return Run(
        info=RunInfo(
            run_id=run_id,
            experiment_id="e",
            run_name=name,
            user_id="u",
            status=status,
            start_time=start_time,
            end_time=end_time,
        ),
        data=RunData(metrics=metrics or {}, params=params or {}, tags=tags or {}),
        inputs=RunInputs(dataset_inputs=datasets),
    )


def holds(text: str, run: Run) -> bool:
    return matches(parse_query(text).filter, run)


class TestParsing:
    def test_the_example_of_the_readme(self) -> None:
        assert parsed("metrics.acc > 0.9 and params.lr = '0.1' and tags.x LIKE 'a%'") == And(
            (
                Comparison(METRIC, "acc", Operator.GT, 0.9),
                Comparison(PARAM, "lr", Operator.EQ, "0.1"),
                Comparison(TAG, "x", Operator.LIKE, "a%"),
            )
        )

    @pytest.mark.parametrize("text", ["", "   ", "\n\t"])
    def test_a_blank_text_filters_nothing(self, text: str) -> None:
        assert parse_query(text).filter is None

    @pytest.mark.parametrize(
        ("text", "entity", "key"),
        [
            ("metric.a = 1", METRIC, "a"),
            ("METRICS.a = 1", METRIC, "a"),
            ("param.a = '1'", PARAM, "a"),
            ("parameter.a = '1'", PARAM, "a"),
            ("parameters.a = '1'", PARAM, "a"),
            ("tag.mlflow.user = '1'", TAG, "mlflow.user"),
            ("dataset.name = '1'", DATASET, "name"),
            ("datasets.context = '1'", DATASET, "context"),
            ("attribute.status = '1'", ATTRIBUTE, "status"),
            ("attr.run_name = '1'", ATTRIBUTE, "run_name"),
            ("run.user_id = '1'", ATTRIBUTE, "user_id"),
            ("run_id = '1'", ATTRIBUTE, "run_id"),
            ("attributes.`Run name` = '1'", ATTRIBUTE, "run_name"),
            ("`run name` = '1'", ATTRIBUTE, "run_name"),
            ("Created = 1", ATTRIBUTE, "start_time"),
            ('metrics."f1 score" = 1', METRIC, "f1 score"),
            ('metrics.`a``b"c` = 1', METRIC, 'a`b"c'),
            ("metrics.val/loss-2@k:3=1", METRIC, "val/loss-2@k:3"),
            ("metrics.and = 1", METRIC, "and"),
            ("params.Ünï = '1'", PARAM, "Ünï"),
        ],
    )
    def test_columns(self, text: str, entity: Entity, key: str) -> None:
        found = parsed(text)
        assert isinstance(found, Comparison)
        assert (found.entity, found.key) == (entity, key)

    @pytest.mark.parametrize(
        ("text", "operator", "value"),
        [
            ("metrics.a != -1.5e-3", Operator.NE, -0.0015),
            ("metrics.a<=+.5", Operator.LE, 0.5),
            ("metrics.a >= 1e999", Operator.GE, math.inf),
            ("metrics.a is null", Operator.IS_NULL, None),
            ("params.a IS NOT NULL", Operator.IS_NOT_NULL, None),
            ("start_time < 1700000000001", Operator.LT, 1700000000001),
            ("end_time = 9007199254740993", Operator.EQ, 9007199254740993),
            ("end_time > 1e3", Operator.GT, 1000),
            ("params.a = 'it''s'", Operator.EQ, "it's"),
            ('params.a = "it\'s"', Operator.EQ, "it's"),
            ("params.a = ''", Operator.EQ, ""),
            ("tags.a iLike '%x_'", Operator.ILIKE, "%x_"),
            ("run_id in ('a', \"b\",'')", Operator.IN, ("a", "b", "")),
            ("status NOT IN ('FAILED')", Operator.NOT_IN, ("FAILED",)),
        ],
    )
    def test_operators_and_values(self, text: str, operator: Operator, value: object) -> None:
        found = parsed(text)
        assert isinstance(found, Comparison)
        assert (found.operator, found.value, type(found.value)) == (operator, value, type(value))

    def test_and_binds_stronger_than_or_and_not_stronger_than_and(self) -> None:
        a, b, c = (Comparison(METRIC, key, Operator.EQ, 1.0) for key in "abc")
        assert parsed("metrics.a=1 OR metrics.b=1 AND NOT metrics.c=1") == Or((a, And((b, Not(c)))))
        assert parsed("(metrics.a=1 or metrics.b=1) and not not metrics.c=1") == And(
            (Or((a, b)), Not(Not(c)))
        )

    @pytest.mark.parametrize(
        ("text", "by"),
        [
            ("metrics.acc DESC", OrderBy(METRIC, "acc", True)),
            ("start_time", OrderBy(ATTRIBUTE, "start_time")),
            ("params.`a b` asc", OrderBy(PARAM, "a b")),
            ("attributes.end_time desc", OrderBy(ATTRIBUTE, "end_time", True)),
        ],
    )
    def test_orders(self, text: str, by: OrderBy) -> None:
        assert parse_query("", (text, text)).order_by == (by, by)

    @pytest.mark.parametrize(
        ("text", "position"),
        [("", 0), ("metrics.a DOWN", 10), ("metrics.a, metrics.b", 9), ("dataset.name", 0), ("DESC", 0)],
    )
    def test_wrong_orders(self, text: str, position: int) -> None:
        with pytest.raises(InvalidQuery) as caught:
            parse_query("", (text,))
        assert (caught.value.text, caught.value.position) == (text, position)


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "position", "hint"),
        [
            ("acc > 0.9", 0, "metrics.acc"),
            ("status = 'A' AND", 16, "columns are"),
            ("metrics.a", 9, "IS NULL"),
            ("metrics.a > '1'", 12, "without quotes"),
            ("params.lr = 0.1", 12, "quotes"),
            ("params.lr > '0.1'", 10, "LIKE"),
            ("metrics.a LIKE 'x'", 10, "IS NULL"),
            ("metrics.a == 1", 10, "write ="),
            ("metrics.a <> 1", 10, "write !="),
            ("metrics. > 1", 8, "metrics.loss"),
            ("metrics.a > 1 metrics.b > 1", 14, "AND"),
            ("(metrics.a > 1", 14, "parenthesis"),
            ("metrics.a > 1)", 13, "AND"),
            ("params.a = 'x", 11, "closing '"),
            ("params.a NOT LIKE 'x'", 13, "NOT (params.x LIKE"),
            ("params.a IS 'x'", 12, "IS NULL"),
            ("params.a IN 'x'", 12, "IN ('a', 'b')"),
            ("params.a IN ()", 13, "quotes"),
            ("params.a IN ('x',)", 17, "quotes"),
            ("metrik.a > 1", 0, "metric"),
            ("attributes.stat = 'x'", 0, "status"),
            ("dataset.size = 'x'", 0, "context"),
            ("start_time > 1.5", 13, "milliseconds"),
            ("start_time > 99999999999999999999", 13, "milliseconds"),
            ("metrics.a > 1abc", 13, "quotes"),
            ('metrics.a"b" > 1', 9, "whole key"),
            ("metrics.a > 1 \0", 14, "metrics.acc"),
            ("params.a = '\ud800'", 12, "surrogate"),
            ("; DROP TABLE run", 0, "metrics.acc"),
        ],
    )
    def test_the_position_and_the_hint(self, text: str, position: int, hint: str) -> None:
        error = error_of(text)
        assert error.position == position
        assert hint in (error.hint or "")

    def test_nesting_is_bounded(self) -> None:
        deep = "(" * NESTING_MAX + "metrics.a > 1" + ")" * NESTING_MAX
        assert parsed(deep) == Comparison(METRIC, "a", Operator.GT, 1.0)
        assert error_of(f"({deep})").position == NESTING_MAX
        assert error_of("NOT " * 100_000).position == TEXT_CHARS_MAX
        assert error_of("NOT " * 10_000).position == 4 * NESTING_MAX

    def test_the_number_of_comparisons_is_bounded(self) -> None:
        term = "metrics.a > 1"
        most = " or ".join([term] * COMPARISONS_MAX)
        assert parse_query(most).filter is not None
        assert error_of(f"{most} or {term}").position == len(most) + 4

    def test_the_text_is_bounded(self) -> None:
        assert error_of("x" * (TEXT_CHARS_MAX + 1)).position == TEXT_CHARS_MAX

    @given(st.text())
    def test_any_text_parses_or_names_a_position(self, text: str) -> None:
        self.check(text)

    @given(st.lists(st.sampled_from(WORDS)).map(" ".join))
    def test_any_words_of_the_language_parse_or_name_a_position(self, text: str) -> None:
        self.check(text)

    def check(self, text: str) -> None:
        for parse in (parse_query, parse_experiment_query):
            for arguments in ((text,), ("", (text,))):
                error = refusal_of(parse, *arguments)
                assert error is None or (0 <= error.position <= len(text) and error.hint)


class TestMeaning:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("metrics.a > 1", True),
            ("metrics.a != 2", False),
            ("metrics.a != 1", True),
            ("metrics.missing != 1", False),
            ("NOT metrics.missing = 1", True),
            ("metrics.missing IS NULL", True),
            ("metrics.nan = 1 OR metrics.nan != 1 OR metrics.nan > 1 OR metrics.nan <= 1", False),
            ("metrics.nan IS NULL", False),
            ("metrics.nan IS NOT NULL", True),
            ("metrics.zero = 0", True),
            ("params.p = 'x'", True),
            ("params.p IN ('y', 'x')", True),
            ("params.p NOT IN ('y')", True),
            ("params.missing NOT IN ('y')", False),
            ("params.p = 'x' AND tags.t = 'nope'", False),
            ("status = 'RUNNING'", True),
            ("status LIKE 'RUN%'", True),
            ("end_time IS NULL", True),
            ("end_time != 5", False),
            ("start_time >= 7", True),
            ("run_name ILIKE 'NAME'", True),
            ("dataset.name = 'iris'", True),
            ("dataset.name != 'iris'", True),
            ("dataset.context = 'train'", True),
            ("dataset.digest IS NULL", False),
        ],
    )
    def test_a_run(self, text: str, expected: bool) -> None:
        run = run_of(
            metrics={"a": 2.0, "nan": math.nan, "zero": -0.0},
            params={"p": "x"},
            start_time=7,
            datasets=(
                DatasetInput(name="iris", digest="1", tags={"mlflow.data.context": "train"}),
                DatasetInput(name="wine", digest="2"),
            ),
        )
        assert holds(text, run) is expected

    def test_a_run_without_data_sets(self) -> None:
        assert holds("dataset.name IS NULL and dataset.context IS NULL", run_of())
        assert not holds("dataset.name != 'a'", run_of())

    @pytest.mark.parametrize(
        ("pattern", "value", "like", "ilike"),
        [
            ("abc", "abc", True, True),
            ("abc", "ABC", False, True),
            ("a%", "a", True, True),
            ("a%", "ba", False, False),
            ("%b%", "abc", True, True),
            ("a_c", "abc", True, True),
            ("a_c", "ac", False, False),
            ("%", "", True, True),
            ("_", "", False, False),
            ("", "", True, True),
            ("", "a", False, False),
            ("a%a", "a", False, False),
            ("a%b%c", "a-b-b-c", True, True),
            ("%ab%ab", "ab", False, False),
            ("a.c", "abc", False, False),
            ("É%", "élan", False, True),
            ("a%z", "a\n\0z", True, True),
            ("a\\%", "a\\b", True, True),
        ],
    )
    def test_patterns(self, pattern: str, value: str, like: bool, ilike: bool) -> None:
        assert Like(pattern).matches(value) is like
        assert Like(pattern, ignore_case=True).matches(value) is ilike

    @given(st.text("ab%_", max_size=8), st.text("ab", max_size=10))
    def test_patterns_agree_with_their_definition(self, pattern: str, value: str) -> None:
        def defined(pattern: str, value: str) -> bool:
            if not pattern:
                return not value
            if pattern[0] == "%":
                return any(defined(pattern[1:], value[cut:]) for cut in range(len(value) + 1))
            return bool(value) and pattern[0] in ("_", value[0]) and defined(pattern[1:], value[1:])

        assert Like(pattern).matches(value) == defined(pattern, value)

    def test_a_pattern_of_many_wildcards_ends(self) -> None:
        assert not Like("%a" * 2000 + "b").matches("a" * 5000)


class TestOrder:
    def test_absent_and_nan_come_last_in_both_directions(self) -> None:
        runs = [
            run_of("absent"),
            run_of("nan", metrics={"m": math.nan}),
            run_of("one", metrics={"m": 1.0}),
            run_of("minus", metrics={"m": -math.inf}),
        ]
        down, up = (
            [run.info.run_id for run in ordered(runs, [OrderBy(METRIC, "m", descending)])]
            for descending in (True, False)
        )
        assert down == ["one", "minus", "nan", "absent"]
        assert up == ["minus", "one", "nan", "absent"]

    def test_ties_are_broken_by_newest_start_then_id(self) -> None:
        runs = [run_of("b", start_time=1), run_of("c", start_time=2), run_of("a", start_time=1)]
        for order_by in ([], [OrderBy(PARAM, "p")], [OrderBy(ATTRIBUTE, "run_name", True)]):
            assert [run.info.run_id for run in ordered(runs, order_by)] == ["c", "a", "b"]

    def test_the_second_column_decides_when_the_first_is_equal(self) -> None:
        runs = [
            run_of("1", metrics={"m": -0.0}, params={"p": "a"}),
            run_of("2", metrics={"m": 0.0}, params={"p": "b"}),
            run_of("3", metrics={"m": 1.0}, params={"p": "a"}),
        ]
        order_by = parse_query("", ("metrics.m", "params.p DESC")).order_by
        assert [run.info.run_id for run in ordered(runs, order_by)] == ["2", "1", "3"]

    def test_runs_cannot_be_ordered_by_a_data_set(self) -> None:
        with pytest.raises(InvalidInput):
            sort_key([OrderBy(DATASET, "name")])


class TestExperiments:
    EXPERIMENTS = (
        Experiment(experiment_id="1", name="alpha", tags={"team": "x"}, creation_time=5),
        Experiment(experiment_id="2", name="Beta", creation_time=7, last_update_time=9),
        Experiment(experiment_id="3", name="gamma"),
    )

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("name LIKE 'a%'", "1"),
            ("name ILIKE 'b%'", "2"),
            ("tags.team = 'x' OR creation_time > 5", "12"),
            ("attributes.last_update_time IS NULL", "13"),
            ("experiment_id IN ('3')", "3"),
        ],
    )
    def test_a_filter(self, text: str, expected: str) -> None:
        expression = parse_experiment_query(text).filter
        found = [item.experiment_id for item in self.EXPERIMENTS if matches_experiment(expression, item)]
        assert "".join(found) == expected

    def test_an_order(self) -> None:
        order_by = parse_experiment_query("", ("name DESC",)).order_by
        assert [item.name for item in ordered_experiments(self.EXPERIMENTS, order_by)] == [
            "gamma",
            "alpha",
            "Beta",
        ]
        assert [item.experiment_id for item in ordered_experiments(self.EXPERIMENTS)] == ["2", "1", "3"]

    @pytest.mark.parametrize(
        "text", ["metrics.a > 1", "params.a = 'x'", "run_id = 'x'", "dataset.name = 'x'"]
    )
    def test_columns_of_runs_are_refused(self, text: str) -> None:
        with pytest.raises(InvalidQuery) as caught:
            parse_experiment_query(text)
        assert caught.value.position == 0


def test_comparisons_lists_what_occurs() -> None:
    text = "metrics.a > 1 AND NOT (params.b LIKE 'x' OR status IN ('y')) AND metrics.c > 2"
    assert comparisons(parse_query(text).filter) == {
        ("metrics", ">"),
        ("params", "LIKE"),
        ("attributes", "IN"),
    }
    assert comparisons(None) == frozenset()
    assert comparisons(parse_query(text).filter) <= COMPARISONS
