"""The two files by which AWS's own registration of managed MLflow makes a model deployable.

A tracking server or app that registers automatically makes a model package of each MLflow version. What the
package says of containers and of quality it takes from two files beside the model (SageMaker's guide,
"Automatically register SageMaker AI models with SageMaker Model Registry", and the package sagemaker-mlflow):

=============================================  ==================================================
``sagemaker_inference_specification.json``     the package's ``InferenceSpecification``
``sagemaker_evaluation_group_NAME.json``       metrics, for the model card
=============================================  ==================================================

They are written just before a version is made, where the option ``image`` names what serves the model. They
are no part of the model: its digest leaves them out.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.models import ChangeReason, ModelVersion, ModelVersionSpec
from trackbridge.errors import NotFound
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge_adapters._mlflow_rest.registry import RestRegistry
from trackbridge_adapters.sagemaker.limits import check
from trackbridge_adapters.sagemaker.registry_native import SERVICE
from trackbridge_adapters.sagemaker.registry_projection import inference
from trackbridge_adapters.sagemaker.registry_settings import RegistrySettings

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking

SPECIFICATION_FILE = "sagemaker_inference_specification.json"
EVALUATION_NAME = "evaluation"
"""As AWS's client calls a group whose data set it does not know."""
EVALUATION_FILE = f"sagemaker_evaluation_group_{EVALUATION_NAME}.json"


class DeployableRegistry(RestRegistry):
    """The registry of managed MLflow, whose versions become deployable packages.

    Args:
        tracking: Of the server or app.
        artifacts: Of the same.
        settings: With an image.
    """

    def __init__(self, tracking: RestTracking, artifacts: ArtifactStore, settings: RegistrySettings) -> None:
        super().__init__(tracking, artifacts)
        self._stored = artifacts
        self._settings = settings

    def _create(self, spec: ModelVersionSpec, key: str, reason: ChangeReason) -> ModelVersion:
        self._describe(spec)
        return super()._create(spec, key, reason)

    def _describe(self, spec: ModelVersionSpec) -> None:
        """Put the files beside a model that is a folder in S3; there is no place for them elsewhere."""
        artifact = split_artifact_uri(spec.source)
        if artifact is None or not artifact[1]:
            return
        run_id, path = artifact
        info = self._stored.stat(run_id, path)
        address = str(info.native_uri)
        if not info.is_dir or not address.startswith("s3://"):
            return
        self._put(run_id, f"{path}/{SPECIFICATION_FILE}", self._specification(address))
        metrics = self._metrics(spec.run_id or run_id)
        if metrics:
            self._put(run_id, f"{path}/{EVALUATION_FILE}", evaluation_group(metrics))

    def _specification(self, address: str) -> dict[str, Any]:
        """Return the specification of a folder.

        Raises:
            Rejected: SageMaker would not take it, for example an instance type that it does not know.
        """
        source = {"S3Uri": f"{address.rstrip('/')}/", "S3DataType": "S3Prefix", "CompressionType": "None"}
        found = inference(self._settings.image, self._settings.instance_types, source)
        check(SERVICE, "CreateModelPackage", {"InferenceSpecification": found})
        return found

    def _metrics(self, run_id: str) -> dict[str, float]:
        try:
            return self._tracking.get_run(run_id).data.metrics
        except NotFound:  # a run of another backend
            return {}

    def _put(self, run_id: str, path: str, content: dict[str, Any]) -> None:
        data = msgspec.json.format(msgspec.json.encode(content), indent=2)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "file"
            file.write_bytes(data)
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            self._stored.put(run_id, path, file, digest=digest, size=len(data))


def evaluation_group(metrics: dict[str, float]) -> dict[str, Any]:
    """Return metrics in the form that the model card of a package takes."""
    data = [{"name": key, "value": str(value), "type": "number"} for key, value in sorted(metrics.items())]
    return {"name": EVALUATION_NAME, "metric_groups": [{"name": "Metrics", "metric_data": data}]}
