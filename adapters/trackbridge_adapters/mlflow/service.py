"""An MLflow server as a service of the shared REST client."""

from __future__ import annotations

from trackbridge.ports.adapter import AdapterContext
from trackbridge.ports.capabilities import Tier
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.artifacts import open_artifacts
from trackbridge_adapters._mlflow_rest.capabilities import LIMITS
from trackbridge_adapters._mlflow_rest.service import Service
from trackbridge_adapters.mlflow.config import ADAPTER, login_of


def service_of(uri: str, context: AdapterContext) -> Service:
    """Describe the server at an ``http(s)://`` address."""
    login = login_of(context.options)
    base = uri.rstrip("/")
    http = HttpClient(
        adapter=ADAPTER,
        authentication=login.authentication,
        verify=login.verify,
        certificate=login.certificate,
        answer_s=login.answer_s,
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
