"""mlflow's own client against a signed endpoint, signing as sagemaker-mlflow 0.5 does: ADDRESS ARN."""

import hashlib
import sys

import mlflow
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import get_session
from mlflow.entities import Metric, Param
from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
from mlflow.tracking.request_auth.registry import _request_auth_provider_registry
from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider
from mlflow.tracking.request_header.registry import _request_header_provider_registry

ADDRESS, ARN = sys.argv[1:]
REGION = ARN.split(":")[3]
IS_APP = ":mlflow-app/" in ARN


def sign(request):
    """Sign every header that there is but Connection, and spaces as %20."""
    connection = request.headers.pop("Connection", "keep-alive")
    body = request.body or b""
    body = body.encode() if isinstance(body, str) else body
    request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    if request.method in ("GET", "DELETE"):
        request.url = request.url.replace("+", "%20")
    asked = AWSRequest(request.method, request.url, data=request.body, headers=request.headers)
    keys = get_session().get_credentials().get_frozen_credentials()
    SigV4Auth(keys, "sagemaker" if IS_APP else "sagemaker-mlflow", REGION).add_auth(asked)
    request.headers.update(dict(asked.headers.items()))
    request.headers["Connection"] = connection
    return request


class Signing(RequestAuthProvider):
    """Named by MLFLOW_TRACKING_AUTH."""

    def get_name(self):
        """Return the name."""
        return "signed"

    def get_auth(self):
        """Return what signs."""
        return sign


class Routing(RequestHeaderProvider):
    """Names the server in each request."""

    def in_context(self):
        """Return True: always."""
        return True

    def request_headers(self):
        """Return the header of the kind."""
        return {"x-sm-mlflow-app-arn" if IS_APP else "x-mlflow-sm-tracking-server-arn": ARN}


_request_auth_provider_registry.register(Signing)
_request_header_provider_registry.register(Routing)
client = mlflow.MlflowClient(tracking_uri=ADDRESS, registry_uri=ADDRESS)
name = "a name with +, é and %41"
experiment = client.create_experiment(name)
assert client.get_experiment_by_name(name).experiment_id == experiment
run = client.create_run(experiment).info.run_id
client.log_batch(run, [Metric("loss", float("nan"), 1, 0), Metric("loss", 0.5, 2, 1)], [Param("a b", "é+")])
assert [point.step for point in client.get_metric_history(run, "loss")] == [0, 1]
(found,) = client.search_runs([experiment], "params.`a b` = 'é+'")
assert found.info.run_id == run
client.create_registered_model("model one")
assert [model.name for model in client.search_registered_models("name LIKE 'model%'")] == ["model one"]
client.set_terminated(run)
print("done")
