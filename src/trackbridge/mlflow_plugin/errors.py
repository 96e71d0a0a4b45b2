"""Our errors as mlflow's, with the error codes that its programs look at."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes

from trackbridge.api.mlflow_codes import code_of, message_of
from trackbridge.errors import BridgeError

Store = TypeVar("Store", bound=type)


def as_mlflow(error: BridgeError) -> MlflowException:
    """Return mlflow's form of an error of ours; the hint is the end of its message."""
    return MlflowException(message_of(error), error_code=codes.ErrorCode.Value(code_of(error)))


class NotHere(MlflowException, NotImplementedError):  # type: ignore[misc]
    """mlflow has this, and no backend of ours so far. mlflow itself goes on without, where it can."""

    def __init__(self, what: str, hint: str = "") -> None:
        message = f"{what} is not supported through bridge: URIs{f'; {hint}' if hint else ''}"
        MlflowException.__init__(self, message, error_code=codes.NOT_IMPLEMENTED)


def translated(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method raise mlflow's errors instead of ours."""

    @functools.wraps(method)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return method(*arguments, **named)
        except BridgeError as error:
            raise as_mlflow(error) from error

    return call


def translates(store: Store) -> Store:
    """Let every public method of a class raise mlflow's errors instead of ours."""
    for name, method in list(vars(store).items()):
        if callable(method) and (not name.startswith("_") or name in _CALLED_BY_MLFLOW):
            setattr(store, name, translated(method))
    return store


_CALLED_BY_MLFLOW = ("__init__", "_search_runs", "_download_file")


def completes(base: type) -> Callable[[Store], Store]:
    """Say clearly of each method that mlflow's base class leaves without a body that it is not here."""

    def complete(store: Store) -> Store:
        for name in dir(base):
            method = getattr(base, name)
            code = getattr(method, "__code__", None)
            has_no_body = code is not None and "NotImplementedError" in code.co_names
            if has_no_body and getattr(store, name) is method:
                setattr(store, name, _absent(name))
        return store

    return complete


def _absent(name: str) -> Callable[..., Any]:
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        raise NotHere(name)

    call.__name__ = name
    return call
