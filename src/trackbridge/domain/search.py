"""The search language: text to a tree, and a tree to true or false.

::

    filter     = and ("OR" and)*
    and        = not ("AND" not)*
    not        = "NOT" not | "(" filter ")" | comparison
    comparison = column ("=" | "!=" | "<" | "<=" | ">" | ">=" | "LIKE" | "ILIKE") value
               | column ["NOT"] "IN" "(" string ("," string)* ")"
               | column "IS" ["NOT"] "NULL"
    column     = [entity "."] key          metrics.acc   params."learning rate"   start_time
    order      = column ["ASC" | "DESC"]

It is MLflow's, with ``OR``, ``NOT`` and parentheses added. Keywords and entities are read in any case. A
metric and a time compare with a number, all else with a string in single or double quotes (a quote
inside is doubled). A key may stand in backticks or double quotes. ``LIKE`` knows ``%`` and ``_`` and minds
the case, ``ILIKE`` does not.
"""

from __future__ import annotations

from trackbridge.domain.search_evaluation import (
    TAG_DATASET_CONTEXT,
    Like,
    like,
    matches,
    matches_experiment,
    matches_model,
    matches_values,
    ordered,
    ordered_by_values,
    ordered_experiments,
    ordered_models,
    sort_key,
)
from trackbridge.domain.search_parser import (
    COMPARISONS_MAX,
    NESTING_MAX,
    TEXT_CHARS_MAX,
    parse_experiment_query,
    parse_logged_model_query,
    parse_model_query,
    parse_query,
    parse_trace_query,
    parse_version_query,
)
from trackbridge.domain.search_tree import (
    COMPARISONS,
    And,
    Comparison,
    Entity,
    Expression,
    Not,
    Operator,
    Or,
    OrderBy,
    Query,
    comparisons,
)

__all__ = [
    "COMPARISONS",
    "COMPARISONS_MAX",
    "NESTING_MAX",
    "TAG_DATASET_CONTEXT",
    "TEXT_CHARS_MAX",
    "And",
    "Comparison",
    "Entity",
    "Expression",
    "Like",
    "Not",
    "Operator",
    "Or",
    "OrderBy",
    "Query",
    "comparisons",
    "like",
    "matches",
    "matches_experiment",
    "matches_model",
    "matches_values",
    "ordered",
    "ordered_by_values",
    "ordered_experiments",
    "ordered_models",
    "parse_experiment_query",
    "parse_logged_model_query",
    "parse_model_query",
    "parse_query",
    "parse_trace_query",
    "parse_version_query",
    "sort_key",
]
