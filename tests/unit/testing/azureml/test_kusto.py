"""Queries of logs in Kusto's language: what the emulator answers, and what it says of the rest."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from trackbridge.testing.emulators.azureml.kusto import Table, run
from trackbridge.testing.emulators.azureml.kusto_expressions import QueryError

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
COLUMNS = [("TimeGenerated", "datetime"), ("Name", "string"), ("Code", "int"), ("Ms", "real")]
ROWS: list[dict[str, Any]] = [
    {"TimeGenerated": NOW - timedelta(minutes=90), "Name": "blue", "Code": 200, "Ms": 10.0},
    {"TimeGenerated": NOW - timedelta(minutes=3), "Name": "Blue-green", "Code": 424, "Ms": 30.0},
    {"TimeGenerated": NOW - timedelta(minutes=2), "Name": "green", "Code": 200, "Ms": 20.0},
    {"TimeGenerated": NOW - timedelta(minutes=1), "Name": "green", "Code": None, "Ms": 40.0},
]


def ask(query: str) -> list[list[Any]]:
    """Return the rows that answer a query."""
    found = run(query, {"Log": lambda: Table(COLUMNS, list(ROWS))}, NOW)
    return [[row[name] for name, _ in found.columns] for row in found.rows]


@pytest.mark.parametrize(
    ("test", "count"),
    [
        ("Code == 200", 2),
        ("Code != 200 and Code > 400", 1),
        ("Code >= 200 or Ms < 15", 3),
        ("Name =~ 'BLUE'", 1),
        ("Name has 'blue'", 2),
        ("Name contains 'lue-g'", 1),
        ("Name !contains 'green'", 1),
        ('Name startswith "gre"', 2),
        ("Name in ('green', 'red')", 2),
        ("Name !in ('green')", 2),
        ("TimeGenerated > ago(1h)", 3),
        ("TimeGenerated between (datetime(2026-11-21T11:57:30Z) .. now())", 2),
        ("not(Code == 200) and isnotnull(Code)", 1),
        ("isnull(Code)", 1),
        ("(Ms + 10) * 2 == 60", 1),
        ("Name matches regex '^g.*n$'", 2),
        ("-Ms < -35", 1),
    ],
)
def test_rows_are_chosen(test: str, count: int) -> None:
    assert len(ask(f"Log | where {test}")) == count


def test_columns_are_chosen_and_made() -> None:
    assert ask("Log | where Code == 424 | project Name, Seconds = Ms / 1000.0") == [["Blue-green", 0.03]]
    assert ask("Log | take 1 | extend Fast = Ms < 15 | project Fast, toupper(Name)") == [[True, "BLUE"]]


def test_rows_are_counted_and_grouped() -> None:
    assert ask("Log | count") == [[4]]
    grouped = "Log | summarize Requests = count(), avg(Ms) by Name | order by Name asc"
    assert ask(grouped) == [["Blue-green", 1, 30.0], ["blue", 1, 10.0], ["green", 2, 30.0]]
    found = run("Log | summarize count(), max(Ms)", {"Log": lambda: Table(COLUMNS, ROWS)}, NOW)
    assert [name for name, _ in found.columns] == ["count_", "max_Ms"]
    assert ask("Log | summarize percentile(Ms, 50), dcount(Name), countif(Code == 200)") == [[20.0, 3, 2]]
    assert ask("Log | where Ms > 1000 | summarize count()") == [[0]]


def test_times_are_put_into_bins() -> None:
    found = ask("Log | where TimeGenerated > ago(1h) | summarize count() by bin(TimeGenerated, 5m)")
    assert found == [[NOW - timedelta(minutes=5), 3]]


def test_rows_are_ordered_and_cut() -> None:
    assert [row[3] for row in ask("Log | order by Ms")] == [40.0, 30.0, 20.0, 10.0]
    assert [row[3] for row in ask("Log | sort by Name asc, Ms desc | take 3")] == [30.0, 10.0, 40.0]
    assert [row[3] for row in ask("Log | top 2 by Ms asc")] == [10.0, 20.0]
    assert sorted(row[0] for row in ask("Log | distinct Name")) == ["Blue-green", "blue", "green"]


def test_comments_and_texts_with_signs_are_no_trouble() -> None:
    assert ask("Log // all of them\n| where Name == 'a | b' or Name == @'a\\b' | count") == [[0]]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Nothing | count", "Failed to resolve table"),
        ("Log | where Missing == 1", "Failed to resolve scalar"),
        ("Log | join Log on Name", "no operator 'join'"),
        ("let x = 1; Log", "unexpected"),
        ("Log | where geo_distance(1) > 2", "no function"),
        ("Log | summarize Ms by Name", "needs aggregates"),
        ("Log | where count() > 1", "stand in summarize only"),
        ("Log | where Code ==", "ends too early"),
        ("Log | where Code == 1 2", "unexpected '2'"),
        ("Log | take many", "whole number"),
        ("Log | order Name", "needs 'by'"),
        ("Log | where TimeGenerated > datetime(soon)", "is no datetime"),
        ("", "begins with the name"),
    ],
)
def test_what_there_is_not_is_said(query: str, words: str) -> None:
    with pytest.raises(QueryError, match=words.replace("(", r"\(")):
        ask(query)
