"""The tracking contract: search, by a table of queries whose answers are known."""

from __future__ import annotations

from functools import partial

import pytest

from trackbridge.domain.ids import mint_id
from trackbridge.domain.metric_values import kind_of
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import DatasetInput, LifecycleStage, Run, RunStatus
from trackbridge.domain.search import (
    Comparison,
    Entity,
    Operator,
    Query,
    comparisons,
    matches,
    ordered,
    parse_query,
)
from trackbridge.errors import InvalidInput
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS, batch_of
from trackbridge.testing.contracts.tracking_base import (
    CONTRACT_EXPERIMENT_ID,
    TrackingTests,
    pages_hold,
    refuses_garbage,
    same_run,
)

FILTERS: dict[str, str] = {
    "": "abcd",
    "metrics.acc > 0.85": "a",
    "metrics.acc >= 0.8": "ab",
    "metrics.acc < 0.85": "b",
    "metrics.acc <= 0.9": "ab",
    "metrics.acc = 0.9": "a",
    "metrics.acc != 0.9": "b",
    "metrics.acc > 1e300": "",
    "metrics.ACC > 0": "",
    "metrics.acc IS NULL": "cd",
    "metrics.acc IS NOT NULL": "ab",
    "metrics.changed > 0.5": "",
    "metrics.changed < 0.5": "a",
    "metrics.`with space` = -1": "b",
    "metrics.absent != 1": "",
    "params.lr = '0.1'": "ac",
    "params.lr != '0.1'": "b",
    "params.lr LIKE '0.%'": "abc",
    "params.lr LIKE '0._'": "ac",
    "params.lr LIKE '%'": "abc",
    "params.lr LIKE '0'": "",
    "params.lr IN ('0.1', '7')": "ac",
    "params.lr NOT IN ('0.1', '7')": "b",
    "params.lr IS NULL": "d",
    "params.lr IS NOT NULL": "abc",
    "params.model = 'it''s'": "d",
    "params.model LIKE '%''%'": "d",
    "params.model ILIKE 'IT%'": "d",
    "params.absent = 'x'": "",
    "params.absent != 'x'": "",
    "params.absent NOT IN ('x')": "",
    "tags.team = 'red'": "a",
    "tags.team LIKE 'R%'": "c",
    "tags.team ILIKE 'R%'": "ac",
    "tags.team != 'red'": "bc",
    "tags.team IN ('red', 'blue')": "ab",
    "tags.note = 'Über 100%'": "a",
    "tags.note ILIKE 'über%'": "a",
    "tags.note LIKE '%100%'": "a",
    "tags.`a.b` = 'x_y'": "d",
    "tags.`a.b` LIKE 'x_y'": "d",
    "tags.team IS NULL": "d",
    "attributes.status = 'FAILED'": "b",
    "attributes.status != 'RUNNING'": "ab",
    "attributes.status IN ('FAILED', 'RUNNING')": "bcd",
    "attributes.run_name = 'name a'": "a",
    "attributes.run_name LIKE 'name%'": "abcd",
    "attributes.run_name ILIKE '%A'": "a",
    "attributes.user_id = 'tester'": "abcd",
    "attributes.start_time >= 4000": "ab",
    "attributes.start_time = 3000": "cd",
    "attributes.start_time < 3000": "",
    "attributes.end_time > 7000": "b",
    "attributes.end_time IS NULL": "cd",
    "metrics.acc > 0.7 AND params.lr = '0.1'": "a",
    "metrics.acc > 0.7 AND params.lr = '0.1' AND tags.team LIKE 'b%'": "",
    "metrics.acc > 0.85 OR tags.team = 'Red'": "ac",
    "NOT metrics.acc > 0.85": "bcd",
    "NOT (params.lr = '0.1' OR tags.team = 'blue')": "d",
    "(tags.team = 'red' OR tags.team = 'blue') AND metrics.acc < 0.85": "b",
    "tags.team = 'red' OR tags.team = 'blue' AND metrics.acc > 0.85": "a",
    "NOT (NOT params.lr IS NULL)": "d",
}
"""Filter and the runs that fulfil it, newest first; see ``SearchTests.make_runs``."""

ORDERS: dict[tuple[str, ...], str] = {
    ("metrics.acc ASC",): "bacd",
    ("metrics.acc DESC",): "abcd",
    ("metrics.absent DESC",): "abcd",
    ("params.lr ASC",): "bacd",
    ("params.lr DESC",): "acbd",
    ("tags.team ASC",): "cbad",
    ("tags.team DESC",): "abcd",
    ("attributes.start_time ASC",): "cdba",
    ("attributes.start_time DESC",): "abcd",
    ("attributes.end_time ASC",): "abcd",
    ("attributes.end_time DESC",): "bacd",
    ("attributes.run_name ASC",): "abcd",
    ("attributes.run_name DESC",): "dcba",
    ("attributes.status ASC", "attributes.run_name DESC"): "badc",
    ("params.lr DESC", "attributes.start_time ASC"): "cabd",
    ("tags.absent ASC", "metrics.acc ASC"): "bacd",
}


class SearchTests(TrackingTests):
    """``search_runs``; each answer is also compared with what the core evaluates itself."""

    def make_runs(self) -> None:
        """Make runs a, b, c and d, and e in another experiment; c and d started at the same time."""
        now = self.now
        c, d = sorted([mint_id(), mint_id()])
        self.ids = {
            "e": self.open_run("name e", start_time=9000, experiment="other", tags={"team": "red"}),
            "d": self.open_run("name d", run_id=d, start_time=3000, tags={"a.b": "x_y"}),
            "b": self.open_run("name b", start_time=4000, tags={"team": "blue"}),
            "c": self.open_run("name c", run_id=c, start_time=3000, tags={"team": "Red"}),
            "a": self.open_run("name a", start_time=5000, tags={"team": "red", "note": "Über 100%"}),
        }
        self.names = {run_id: name for name, run_id in self.ids.items()}
        points = {
            "a": [("acc", 0.9, 0, now), ("changed", 0.9, 0, now), ("changed", 0.1, 1, now)],
            "b": [("acc", 0.8, 0, now), ("with space", -1.0, 0, now)],
            "e": [("acc", 0.95, 0, now)],
        }
        for name, metrics in points.items():
            self.write_all(batch_of(self.ids[name], metrics=metrics))
        for name, params in {
            "a": ("lr", "0.1"),
            "b": ("lr", "0.01"),
            "c": ("lr", "0.1"),
            "d": ("model", "it's"),
        }.items():
            self.write_all(batch_of(self.ids[name], params=[params]))
        self.close(self.ids["a"], RunStatus.FINISHED, 6000)
        self.close(self.ids["b"], RunStatus.FAILED, 8000)

    def found(
        self,
        query: Query,
        *,
        experiments: tuple[str, ...] = (CONTRACT_EXPERIMENT_ID,),
        stage: LifecycleStage | None = LifecycleStage.ACTIVE,
        runs: list[Run] | None = None,
    ) -> list[Run]:
        """Return what the core finds, after seeing that the store finds the same.

        A query with a comparison that the store does not declare never reaches it. Who asks for much in
        runs that stay as they are lists them once, as ``runs``.
        """
        runs = self.listed_in(experiments, stage) if runs is None else runs
        expected = ordered([run for run in runs if matches(query.filter, run)], query.order_by)
        declared = comparisons(query.filter) <= self.capabilities.search_comparisons
        if declared or not self.capabilities.supports(Feature.TRACKING_SEARCH):
            page = self.store.search_runs(experiments, query=query, stage=stage)
            assert [run.info.run_id for run in page] == [run.info.run_id for run in expected]
            assert page.token is None
            assert all(map(same_run, page, expected))
        return expected

    def listed_in(
        self, experiments: tuple[str, ...], stage: LifecycleStage | None = LifecycleStage.ACTIVE
    ) -> list[Run]:
        """Return the runs that are listed, among which the core searches."""
        return [run for found in experiments for run in self.store.list_runs(found, stage=stage)]

    def search(self, text: str = "", *order: str, runs: list[Run] | None = None) -> str:
        """Return the names of the runs that are found."""
        found = self.found(parse_query(text, order), runs=runs)
        return "".join(self.names[run.info.run_id] for run in found)

    @requires(Feature.TRACKING_SEARCH)
    def test_filters(self) -> None:
        self.make_runs()
        runs = self.listed_in((CONTRACT_EXPERIMENT_ID,))
        assert {text: self.search(text, runs=runs) for text in FILTERS} == FILTERS

    @requires(Feature.TRACKING_SEARCH)
    def test_orders(self) -> None:
        self.make_runs()
        runs = self.listed_in((CONTRACT_EXPERIMENT_ID,))
        assert {order: self.search("", *order, runs=runs) for order in ORDERS} == ORDERS
        assert self.search("params.lr LIKE '0.%'", "metrics.acc ASC", runs=runs) == "bac", "both together"

    @requires(Feature.TRACKING_SEARCH)
    def test_a_run_is_found_by_its_id(self) -> None:
        self.make_runs()
        runs = self.listed_in((CONTRACT_EXPERIMENT_ID,))
        for name in "abcd":
            assert self.search(f"attributes.run_id = '{self.ids[name]}'", runs=runs) == name
        assert self.search(f"attributes.run_id IN ('{self.ids['a']}', '{self.ids['c']}')", runs=runs) == "ac"
        other = f"attributes.run_id = '{self.ids['e']}'"
        assert self.search(other, runs=runs) == "", "it is in another experiment"

    @requires(Feature.TRACKING_SEARCH)
    def test_the_named_experiments_are_searched_together(self) -> None:
        self.make_runs()
        page = self.store.search_runs((mint_id(),), query=Query())
        assert (page.items, page.token) == ((), None), "an unknown experiment has nothing to find"
        experiments = (CONTRACT_EXPERIMENT_ID, self.experiment_of(self.ids["e"]))
        found = self.found(parse_query("metrics.acc > 0.7", ("metrics.acc DESC",)), experiments=experiments)
        assert [self.names[run.info.run_id] for run in found] == ["e", "a", "b"]

    @requires(Feature.TRACKING_SEARCH)
    def test_results_are_paged(self) -> None:
        self.make_runs()
        runs = self.listed_in((CONTRACT_EXPERIMENT_ID,))
        for order in ((), ("metrics.acc DESC",), ("params.lr ASC",), ("tags.team DESC",)):
            query = parse_query("", order)
            pages_hold(
                [run.info.run_id for run in self.found(query, runs=runs)],
                partial(self.page, query),
                sizes=(1, 3, 4, 100),
                item=lambda run: run.info.run_id,
            )

    def page(self, query: Query, size: int, token: str | None) -> Page[Run]:
        """Return a page of what is found in the experiment of the contract."""
        return self.store.search_runs((CONTRACT_EXPERIMENT_ID,), query=query, max_results=size, token=token)

    @requires(Feature.TRACKING_SEARCH)
    def test_a_foreign_token_of_a_search_is_refused(self) -> None:
        experiments = (CONTRACT_EXPERIMENT_ID,)
        for number in range(2):
            self.open_run(start_time=number)
        refuses_garbage(lambda token: self.store.search_runs(experiments, query=Query(), token=token))
        token = self.store.search_runs(experiments, query=Query(), max_results=1).token
        assert token is not None
        other = parse_query("", ("metrics.acc ASC",))
        with pytest.raises(InvalidInput):
            self.store.search_runs(experiments, query=other, max_results=1, token=token)

    @requires(Feature.TRACKING_SEARCH)
    def test_a_metric_that_is_not_a_number_compares_with_nothing(self) -> None:
        self.make_runs()
        values = {"a": 1.0, "b": float("nan"), "c": float("inf")}
        unheld = self.limits.metric_values_unheld
        held = "".join(name for name, value in values.items() if kind_of(value) not in unheld)
        for name in held:
            self.write_all(batch_of(self.ids[name], metrics=[("n", values[name], 0, self.now)]))
        expected = {
            "metrics.n > 0": "ac",
            "metrics.n < 0": "",
            "metrics.n = 1": "a",
            "metrics.n != 1": "c",
            "NOT metrics.n > 0": "bd",
            "metrics.n IS NULL": "d",
            "metrics.n IS NOT NULL": "abc",
        }
        runs = self.listed_in((CONTRACT_EXPERIMENT_ID,))
        for text, names in expected.items():
            found = [name for name in self.search(text, runs=runs) if name in held or name == "d"]
            assert found == [name for name in names if name in held or name == "d"], text
        if held == "abc":
            assert self.search("", "metrics.n ASC", runs=runs) == "acbd"
            assert self.search("", "metrics.n DESC", runs=runs) == "cabd"

    @requires(Feature.TRACKING_SEARCH, Feature.TRACKING_DATASETS)
    def test_runs_are_found_by_their_data_sets(self) -> None:
        self.make_runs()
        training = DatasetInput(name="iris", digest="1", tags={"mlflow.data.context": "training"})
        other = DatasetInput(name="wine", digest="2")
        self.write_all(batch_of(self.ids["a"], inputs=[training, other]))
        self.write_all(batch_of(self.ids["b"], inputs=[other]))
        expected = {
            "datasets.name = 'iris'": "a",
            "datasets.name LIKE 'w%'": "ab",
            "datasets.digest IN ('2', '3')": "ab",
            "datasets.context = 'training'": "a",
            "datasets.name = 'absent'": "",
        }
        runs = self.listed_in((CONTRACT_EXPERIMENT_ID,))
        assert {text: self.search(text, runs=runs) for text in expected} == expected

    @requires(Feature.TRACKING_SEARCH, Feature.TRACKING_DELETE)
    def test_deleted_runs_are_found_by_stage(self) -> None:
        self.make_runs()
        self.store.delete_run(self.ids["a"])
        assert self.search("metrics.acc > 0.5") == "b"
        for stage, expected in ((LifecycleStage.DELETED, ["a"]), (None, ["a", "b"])):
            found = self.found(parse_query("metrics.acc > 0.5"), stage=stage)
            assert [self.names[run.info.run_id] for run in found] == expected

    @requires(Feature.TRACKING_SEARCH)
    def test_changes_are_found_at_once(self) -> None:
        self.make_runs()
        self.write_all(batch_of(self.ids["d"], metrics=[("acc", 0.99, 1, self.now)], tags=[("team", "red")]))
        assert self.search("metrics.acc > 0.85 AND tags.team = 'red'") == "ad"
        self.write_all(batch_of(self.ids["a"], tags=[("team", None)]))
        assert self.search("tags.team = 'red'") == "d"

    @requires(Feature.TRACKING_SEARCH)
    def test_a_hostile_text_is_sought_exactly(self) -> None:
        """Core and store agree; a text that no store holds may be refused. Each has a key of its own."""
        kept, plain = self.open_run("kept"), self.open_run("plain")
        texts = HOSTILE_TEXTS.items()
        accepted = {name for name, text in texts if self.is_accepted(batch_of(kept, tags=[(name, text)]))}
        self.write_all(batch_of(plain, tags=[(name, "plain") for name in HOSTILE_TEXTS]))
        runs = self.listed_in((CONTRACT_EXPERIMENT_ID,))
        for name, text in texts:
            expected = {Operator.EQ: [kept] if name in accepted else [], Operator.NE: [plain]}
            for operator in (Operator.EQ, Operator.NE, Operator.LIKE, Operator.ILIKE):
                query = Query(filter=Comparison(Entity.TAG, name, operator, text))
                try:
                    found = [run.info.run_id for run in self.found(query, runs=runs)]
                except InvalidInput:
                    assert name not in accepted, operator
                    continue
                assert found == expected.get(operator, found), (name, operator)

    @requires(Feature.TRACKING_SEARCH)
    def test_a_hostile_key_is_sought_exactly(self) -> None:
        """Each has a value of its own, so that none can be taken for another."""
        run_id, texts = self.open_run(), HOSTILE_TEXTS.items()
        accepted = {name for name, text in texts if self.is_accepted(batch_of(run_id, params=[(text, name)]))}
        runs = self.listed_in((CONTRACT_EXPERIMENT_ID,))
        for name, text in texts:
            query = Query(filter=Comparison(Entity.PARAM, text, Operator.EQ, name))
            try:
                found = [run.info.run_id for run in self.found(query, runs=runs)]
            except InvalidInput:
                assert name not in accepted, name
                continue
            assert found == ([run_id] if name in accepted else []), name
