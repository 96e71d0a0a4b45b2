"""mlflow's own client in this process, towards one server after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.mlflow_servers import MlflowServer


def client_of(server: MlflowServer) -> Any:
    """Return mlflow's client of a server."""
    from mlflow import MlflowClient

    return MlflowClient(server.url)


@contextmanager
def talking_to(server: MlflowServer) -> Iterator[Any]:
    """Let mlflow's own functions mean a server; give the package, which is loaded late."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server.url)
    try:
        yield mlflow
    finally:
        mlflow.flush_trace_async_logging()
        mlflow.set_tracking_uri(before)
