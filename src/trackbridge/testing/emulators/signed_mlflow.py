"""SageMaker's managed MLflow on this machine: signatures checked as AWS does, before a real MLflow server::

    with mlflow_server(folder) as server, SignedMlflow(server.url) as aws:
        os.environ.update(aws.environment())
        adapter = open_adapter(aws.arn, context=...)

A request gets through when its signature, recomputed with the secret, is the same; when its date is within
five minutes; when scope, host, content digest and ARN are right and signed (``aws_keys``); when the server is
of the caller's account, and no policy denies the action. Refusals are worded as AWS words them; their exact
bodies on this endpoint are not documented. Beside it answer STS, the part of SageMaker that describes the
server (``aws_services``), and the address at which containers get their keys. Buckets are not part of it: use
a server of S3's protocol.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from trackbridge.testing.emulators.aws_keys import ACCOUNT, Key, KeyRing, RefusedError
from trackbridge.testing.emulators.aws_services import ServerDescription, TokenService
from trackbridge.testing.emulators.front import Front, Result, json_result

REGION = "eu-west-1"
PREFIX = "/api/2.0/mlflow/"
CONTAINER_PATH = "/credentials"
CONTAINER_TOKEN = "token-of-the-container"
KINDS = {
    "mlflow-tracking-server": ("x-mlflow-sm-tracking-server-arn", "sagemaker-mlflow"),
    "mlflow-app": ("x-sm-mlflow-app-arn", "sagemaker"),
}
"""Header that routes, and name that signs, by kind (sagemaker-mlflow 0.5)."""

ACTIONS = {
    "experiments/create": "CreateExperiment",
    "experiments/search": "SearchExperiments",
    "experiments/get": "GetExperiment",
    "experiments/get-by-name": "GetExperimentByName",
    "experiments/delete": "DeleteExperiment",
    "experiments/restore": "RestoreExperiment",
    "experiments/update": "UpdateExperiment",
    "experiments/set-experiment-tag": "SetExperimentTag",
    "runs/create": "CreateRun",
    "runs/delete": "DeleteRun",
    "runs/restore": "RestoreRun",
    "runs/get": "GetRun",
    "runs/update": "UpdateRun",
    "runs/search": "SearchRuns",
    "runs/log-metric": "LogMetric",
    "runs/log-batch": "LogBatch",
    "runs/log-model": "LogModel",
    "runs/log-inputs": "LogInputs",
    "runs/log-parameter": "LogParam",
    "runs/set-tag": "SetTag",
    "runs/delete-tag": "DeleteTag",
    "metrics/get-history": "GetMetricHistory",
    "artifacts/list": "ListArtifacts",
    "registered-models/create": "CreateRegisteredModel",
    "registered-models/get": "GetRegisteredModel",
    "registered-models/rename": "RenameRegisteredModel",
    "registered-models/update": "UpdateRegisteredModel",
    "registered-models/delete": "DeleteRegisteredModel",
    "registered-models/search": "SearchRegisteredModels",
    "registered-models/get-latest-versions": "GetLatestModelVersions",
    "registered-models/set-tag": "SetRegisteredModelTag",
    "registered-models/delete-tag": "DeleteRegisteredModelTag",
    "registered-models/alias": "SetRegisteredModelAlias",
    "model-versions/create": "CreateModelVersion",
    "model-versions/get": "GetModelVersion",
    "model-versions/update": "UpdateModelVersion",
    "model-versions/delete": "DeleteModelVersion",
    "model-versions/search": "SearchModelVersions",
    "model-versions/get-download-uri": "GetDownloadURIForModelVersionArtifacts",
    "model-versions/transition-stage": "TransitionModelVersionStage",
    "model-versions/set-tag": "SetModelVersionTag",
    "model-versions/delete-tag": "DeleteModelVersionTag",
}
"""Routes, and the actions of IAM that they need (service authorization reference, sagemaker-mlflow)."""


class SignedMlflow(Front):
    """The double. Leave the context to stop it.

    Args:
        mlflow_url: Where the MLflow server is that keeps runs and models.
        kind: ``mlflow-tracking-server`` or ``mlflow-app``.
        partition: Partition of the ARN.
        region: Region of the ARN.
        denied: Actions of IAM that are refused, for example ``sagemaker-mlflow:CreateRun``.
        container_seconds: How long the keys last that containers get.
    """

    def __init__(
        self,
        mlflow_url: str,
        *,
        kind: str = "mlflow-tracking-server",
        partition: str = "aws",
        region: str = REGION,
        denied: frozenset[str] = frozenset(),
        container_seconds: float = 3600.0,
    ) -> None:
        super().__init__(mlflow_url)
        self.arn = f"arn:{partition}:sagemaker:{region}:{ACCOUNT}:{kind}/tracking"
        self.region = region
        self.denied = denied
        self.container_seconds = container_seconds
        self.keys = KeyRing(self.now_s)
        self.key = self.keys.issue()
        """Keys that do not end."""
        self.tokens = TokenService(self.keys, region)
        self.description = ServerDescription(self.arn)
        self._header, self._service = KINDS[kind]

    def environment(self, key: Key | None = None) -> dict[str, str]:
        """Return variables that lead AWS's own client, and ours, to the double. Buckets are elsewhere."""
        key = key or self.key
        return {**key.environment(), "AWS_DEFAULT_REGION": self.region, "AWS_ENDPOINT_URL": self.url}

    def container_environment(self) -> dict[str, str]:
        """Return variables as ECS and EKS set them: keys come from an address, and end."""
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}{CONTAINER_PATH}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": CONTAINER_TOKEN,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.url,
        }

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Result:
        """Answer one request."""
        path = urlsplit(target).path
        if path == CONTAINER_PATH:
            return self._handed_out(headers)
        if path == "/" and method == "POST" and "x-www-form-urlencoded" in headers.get("Content-Type", ""):
            return self.tokens.answer(method, target, headers, body)
        if path == "/" and headers.get("X-Amz-Target"):
            return self.description.answer(self.keys, method, target, headers, body)
        try:
            self._let_in(method, target, headers, body)
        except RefusedError as refused:
            return json_result(
                refused.status, {"message": refused.message}, {"x-amzn-ErrorType": f"{refused.code}:"}
            )
        if path != "/version" and path.removeprefix(PREFIX) not in ACTIONS:
            return json_result(404, {"message": "Not Found"})
        return self.forward(method, target, body)

    def _let_in(self, method: str, target: str, headers: Any, body: bytes) -> None:
        key = self.keys.signer(
            method, target, headers, body, region=self.region, service=self._service, needed=(self._header,)
        )
        if headers.get(self._header) != self.arn:
            raise RefusedError(404, "ResourceNotFound", "The requested MLflow resource does not exist.")
        if self.description.status == "Stopped":
            raise RefusedError(503, "ServiceUnavailableException", "The tracking server is not running.")
        action = ACTIONS.get(urlsplit(target).path.removeprefix(PREFIX))
        if action == "SetRegisteredModelAlias" and method != "POST":
            action = "DeleteRegisteredModelAlias" if method == "DELETE" else "GetModelVersionByAlias"
        named = f"sagemaker-mlflow:{action}"
        if named in self.denied or key.principal.split(":")[4] != ACCOUNT:
            raise RefusedError(
                403,
                "AccessDeniedException",
                f"User: {key.principal} is not authorized to perform: {named} on resource: {self.arn} "
                f"because no identity-based policy allows the {named} action",
            )

    def _handed_out(self, headers: Any) -> Result:
        if headers.get("Authorization") != CONTAINER_TOKEN:
            return json_result(401, {"code": "Unauthorized", "message": "the token is wrong"})
        key = self.keys.issue(seconds=self.container_seconds, principal="assumed-role/container/task")
        return json_result(200, key.as_json("Token"))
