"""A managed MLflow server or app as a service of the shared REST client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec

from trackbridge.ports.adapter import AdapterContext
from trackbridge.ports.capabilities import SUPPORTED, Absence, Feature, absent
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.artifacts import StoreOptions, open_artifacts
from trackbridge_adapters._mlflow_rest.capabilities import LIMITS
from trackbridge_adapters._mlflow_rest.service import Service
from trackbridge_adapters.sagemaker.arn import ADAPTER, parse_arn
from trackbridge_adapters.sagemaker.config import Access, access_of
from trackbridge_adapters.sagemaker.credentials import Credentials, missing_extra
from trackbridge_adapters.sagemaker.errors import error_of
from trackbridge_adapters.sagemaker.health import examine_aws
from trackbridge_adapters.sagemaker.signing import Signature


def service_of(uri: str, context: AdapterContext, *, environment: Mapping[str, str] = os.environ) -> Service:
    """Describe the server or app of an ARN; nobody is contacted.

    Args:
        uri: The ARN.
        context: Of the adapter.
        environment: The variables to read. botocore reads those of credentials, always the process's own.
    """
    arn = parse_arn(uri)
    access = access_of(arn, context.options, environment)
    if find_spec("botocore") is None:
        raise missing_extra()
    credentials = Credentials(arn, access, context.clock_ms)
    base = access.endpoint or arn.url
    http = HttpClient(
        adapter=ADAPTER,
        authentication=Signature(arn, credentials, context.clock_ms),
        verify=access.verify,
        answer_s=access.answer_s,
    )
    stores = _stores(access, credentials)
    return Service(
        adapter=ADAPTER,
        address=arn.text,
        base_url=lambda: base,
        http=http,
        limits=LIMITS,
        # Runs of managed MLflow lie in a bucket of the customer's.
        gaps={
            Feature.ARTIFACTS_PRESIGN: SUPPORTED,
            Feature.TRACKING_LOGGED_MODELS: absent(
                Absence.NOT_YET, "which actions of IAM logged models need at AWS is not known so far"
            ),
            Feature.TRACKING_TRACES: absent(
                Absence.NOT_YET, "whether AWS hands the route of OpenTelemetry's spans on is not known"
            ),
        },
        artifacts=lambda tracking: open_artifacts(tracking, stores=stores),
        run_url=lambda experiment, run: _run_url(access, experiment, run),
        error_of=lambda answer, body, resource: error_of(answer, body, resource, arn, access),
        check=lambda wire, write: examine_aws(arn, access, credentials),
    )


def _run_url(access: Access, experiment: str, run: str) -> str | None:
    """Return a link where the user has told the address: AWS opens it by addresses that are good once."""
    return f"{access.ui_url}/#/experiments/{experiment}/runs/{run}" if access.ui_url else None


def _stores(access: Access, credentials: Credentials) -> StoreOptions:
    """Return how the server's bucket is reached: with the same credentials, in the server's region."""
    s3: dict[str, object] = {"region": access.s3_region}
    if access.s3_endpoint:
        s3 |= {"endpoint": access.s3_endpoint, "virtual_hosted_style_request": False}
    return StoreOptions(
        s3_credentials=credentials.for_store,
        s3=s3,
        s3_verify=access.verify,
        s3_creates=True,
        environment={},
    )
