"""Errors of ours as mlflow's clients read them."""

from __future__ import annotations

import json

import pytest

from trackbridge.errors import (
    AuthError,
    BridgeError,
    Conflict,
    Exhausted,
    InvalidInput,
    JournalFull,
    NotFound,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
    Unsupported,
)
from trackbridge.gateway import errors

ERRORS: list[tuple[BridgeError, int, str]] = [
    (NotFound("x"), 404, "RESOURCE_DOES_NOT_EXIST"),
    (Conflict("x"), 400, "RESOURCE_ALREADY_EXISTS"),
    (Conflict("x", operation="log_param"), 400, "INVALID_PARAMETER_VALUE"),
    (InvalidInput("x"), 400, "INVALID_PARAMETER_VALUE"),
    (Rejected("x"), 500, "INVALID_STATE"),
    (Unsupported("x"), 501, "NOT_IMPLEMENTED"),
    (AuthError("x"), 403, "PERMISSION_DENIED"),
    (RateLimited("x"), 429, "REQUEST_LIMIT_EXCEEDED"),
    (TimedOut("x", ambiguous=False), 504, "DEADLINE_EXCEEDED"),
    (Unavailable("x"), 503, "TEMPORARILY_UNAVAILABLE"),
    (Exhausted("x", attempts=3, elapsed_s=1.0), 503, "TEMPORARILY_UNAVAILABLE"),
    (JournalFull("x"), 429, "RESOURCE_EXHAUSTED"),
    (errors.Refused("BAD_REQUEST", "x"), 400, "BAD_REQUEST"),
    (BridgeError("x"), 500, "INTERNAL_ERROR"),
]


@pytest.mark.parametrize(("error", "status", "code"), ERRORS)
def test_each_error_has_mlflows_code_and_status(error: BridgeError, status: int, code: str) -> None:
    told = errors.error_answer(error)
    assert (told.status, json.loads(told.body)["error_code"]) == (status, code)


def test_statuses_and_classes_are_mlflows() -> None:
    from mlflow import exceptions as theirs
    from mlflow.protos import databricks_pb2

    assert errors.STATUSES == theirs.ERROR_CODE_TO_HTTP_STATUS
    for code in errors.STATUSES:
        number = databricks_pb2.ErrorCode.Value(code)
        expected = json.loads(theirs.MlflowException("x", number).serialize_as_json())
        assert json.loads(errors.answer_of(code, "x").body) == expected


def test_the_hint_is_the_end_of_the_message() -> None:
    told = json.loads(errors.error_answer(InvalidInput("wrong", hint="do this")).body)
    assert told["message"] == "wrong; do this"


def test_a_fault_of_ours_tells_nothing_of_what_it_holds() -> None:
    told = errors.error_answer(ValueError("password=hunter2"))
    assert told.status == 500
    assert b"hunter2" not in told.body


def test_when_to_come_again_is_said_also_of_what_lies_beneath() -> None:
    assert errors.error_answer(RateLimited("x", retry_after_s=7.2)).headers == {"Retry-After": "7"}
    error = Exhausted("x", attempts=3, elapsed_s=1.0)
    error.__cause__ = RateLimited("y", retry_after_s=0.1)
    assert errors.error_answer(error).headers == {"Retry-After": "1"}


def test_a_message_that_is_no_valid_text_is_told_all_the_same() -> None:
    assert errors.answer_of("BAD_REQUEST", "\ud800 is there").status == 400
