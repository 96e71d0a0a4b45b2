"""What may stand next in a filter."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackbridge.domain.search import parse_query
from trackbridge.gateway.pages.completion import complete
from trackbridge.gateway.pages.keys import Seen

SEEN = Seen(
    {"metrics": ["acc", "val loss"], "params": ["lr", "optimizer"], "tags": ["team"]},
    {"params.lr": ["0.1", "0.01"], "params.optimizer": ["o'brien"], "run_name": ["bold-otter"]},
)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("", "metrics.acc"),
        ("met", "metrics.acc"),
        ("LR", "params.lr"),
        ("metrics.v", 'metrics."val loss"'),
        ('metrics."val lo', 'metrics."val loss"'),
        ("metrics.acc ", ">"),
        ("params.lr ", "="),
        ("params.lr L", "LIKE"),
        ("params.lr = ", "'0.1'"),
        ("param.lr = '0.0", "'0.01'"),
        ("params.optimizer = ", "'o''brien'"),
        ("params.lr IN (", "'0.1'"),
        ("params.lr IN ('0.1', ", "'0.1'"),
        ("params.lr IN ('0.1') ", "AND"),
        ("params.lr = '0.1' ", "AND"),
        ("params.lr = '0.1' or ", "metrics.acc"),
        ("not (status = ", "'SCHEDULED'"),
        ("status = 'FIN", "'FINISHED'"),
        ("run_name = ", "'bold-otter'"),
        ("tags.team IS NULL ", "AND"),
        ("start_time ", ">"),
    ],
)
def test_the_first_offer(text: str, first: str) -> None:
    assert complete(text, len(text), SEEN).items[0] == first


@pytest.mark.parametrize("text", ["metrics.acc > ", "metrics.acc > 0", "start_time > "])
def test_nothing_is_offered_for_numbers(text: str) -> None:
    assert complete(text, len(text), SEEN).items == []


def test_only_the_word_at_the_cursor_is_replaced() -> None:
    found = complete("params.l = '0.1'", 8, SEEN)
    assert (found.start, found.end, found.items) == (0, 8, ["params.lr"])


def test_what_is_offered_makes_filters_that_are_read() -> None:
    text = ""
    for _ in range(3):
        found = complete(text, len(text), SEEN)
        text = (
            text[: found.start] + found.items[1] + " "
        )  # metrics."val loss", an operator, nothing for numbers
        if not complete(text, len(text), SEEN).items:
            text += "1"
            break
    assert parse_query(text).filter is not None


@settings(deadline=None)
@given(st.text("ab'\"`.()<=>, ANDinot", max_size=40), st.integers(-3, 50))
def test_any_text_is_borne(text: str, at: int) -> None:
    found = complete(text, at, SEEN)
    assert 0 <= found.start <= found.end <= len(text)
