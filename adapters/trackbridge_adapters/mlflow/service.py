"""An MLflow server, or what mlflow opens itself, as a service of the shared REST client."""

from __future__ import annotations

from trackbridge.ports.adapter import AdapterContext
from trackbridge.ports.capabilities import Tier
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.artifacts import open_artifacts
from trackbridge_adapters._mlflow_rest.capabilities import LIMITS
from trackbridge_adapters._mlflow_rest.options import timeout_s
from trackbridge_adapters._mlflow_rest.service import Service
from trackbridge_adapters.mlflow.config import ADAPTER, login_of

PRIVATE = "mlflow+"


def service_of(uri: str, context: AdapterContext) -> Service:
    """Describe the server at an ``http(s)://`` address, or a private one for ``mlflow+URI``."""
    inner = uri.removeprefix(PRIVATE)
    if inner.startswith(("http://", "https://")):
        return _server(inner, context)
    return _private(inner, context)


def _server(uri: str, context: AdapterContext) -> Service:
    login = login_of(context.options)
    base = uri.rstrip("/")
    http = HttpClient(
        adapter=ADAPTER,
        authentication=login.authentication,
        verify=login.verify,
        certificate=login.certificate,
        answer_s=login.answer_s,
        not_running_hint=_start_hint(base),
    )
    return Service(
        adapter=ADAPTER,
        address=base,
        base_url=lambda: base,
        http=http,
        limits=LIMITS,
        tier=Tier.EVERY_CHANGE,
        artifacts=open_artifacts,
        run_url=lambda experiment, run: f"{base}/#/experiments/{experiment}/runs/{run}",
    )


def _start_hint(base: str) -> str:
    port = base.partition("://")[2].partition("/")[0].rpartition(":")[2]
    option = f" --port {port}" if port.isdecimal() else ""
    return f"is the server running? mlflow server{option}, or bridge gateway{option}"


def _private(uri: str, context: AdapterContext) -> Service:
    from trackbridge_adapters.mlflow.private import PrivateServer, store_of

    store = store_of(uri, context)
    server = PrivateServer(store, context.home)
    http = HttpClient(
        adapter=ADAPTER,
        answer_s=timeout_s(context.options.get("timeout_s"), adapter=ADAPTER),
        local_socket=server.connect,
    )
    return Service(
        adapter=ADAPTER,
        address=f"{PRIVATE}{uri}",
        base_url=server.base_url,
        http=http,
        limits=LIMITS,
        tier=Tier.EVERY_CHANGE,
        artifacts=open_artifacts,
        dedups_points=not store.is_folder,
        close=server.close,
    )
