"""What Azure ML's MLflow endpoint holds, and what it lacks; the numbers and their sources are in ``limits``.

Which metric values survive is not documented, so whatever is no plain number goes to the side-car.
"""

from __future__ import annotations

import msgspec

from trackbridge.domain.metric_values import ValueKind
from trackbridge.ports.capabilities import SUPPORTED, Absence, Capability, Feature, absent
from trackbridge_adapters._mlflow_rest.capabilities import LIMITS as MLFLOW_LIMITS
from trackbridge_adapters._mlflow_rest.conversions import BOOK_KEEPING_TAGS
from trackbridge_adapters.azureml.limits import LIMITS as AZURE_LIMITS
from trackbridge_adapters.azureml.limits import most

HISTORY_PAGE_MAX = most("history.page")

LIMITS = msgspec.structs.replace(
    MLFLOW_LIMITS,
    metrics_per_write_max=most("batch.points.sent"),
    params_per_write_max=most("batch.params"),
    tags_per_write_max=most("batch.tags"),
    params_per_run_max=most("run.params"),
    tags_per_run_max=most("run.tags") - len(BOOK_KEEPING_TAGS),
    key_chars_max=most("run.tag.key"),
    param_value_chars_max=most("run.param.value"),
    tag_value_chars_max=most("run.tag.value"),
    metric_names_per_run_advised=most("metric.names"),
    metric_values_unheld=frozenset(ValueKind) - {ValueKind.NUMBER},
    model_files_max=most("model.files"),
    model_name_pattern=AZURE_LIMITS["model.name"].pattern,
)

GAPS: dict[Feature, Capability] = {
    Feature.TRACKING_METRIC_DEDUP: absent(
        Absence.NOT_OFFERED, "Azure ML does not say that a repeated point is one point"
    ),
    Feature.TRACKING_LOGGED_MODELS: absent(
        Absence.NOT_OFFERED, "Azure ML has none of MLflow 3's routes for logged models"
    ),
    Feature.TRACKING_TRACES: absent(Absence.NOT_OFFERED, "Azure ML has none of MLflow 3's routes for traces"),
    Feature.ARTIFACTS_DELETE: absent(
        Absence.NOT_YET, "Azure ML deletes the entry of a file; what becomes of its bytes is not documented"
    ),
    Feature.ARTIFACTS_PRESIGN: absent(
        Absence.NOT_OFFERED, "the workspace decides how long an address of a file lasts"
    ),
}

JOBS: dict[Feature, Capability] = {
    Feature.JOBS_LOGS: SUPPORTED,
    Feature.JOBS_LIST: SUPPORTED,
    Feature.JOBS_SPOT: SUPPORTED,
    Feature.JOBS_DISTRIBUTED: SUPPORTED,
    Feature.JOBS_DATA: SUPPORTED,
}

DEPLOYMENTS: dict[Feature, Capability] = {
    Feature.DEPLOYMENTS_TRAFFIC: SUPPORTED,
    Feature.DEPLOYMENTS_MIRROR: SUPPORTED,
    Feature.DEPLOYMENTS_AUTOSCALE: SUPPORTED,
    Feature.DEPLOYMENTS_INVOKE: SUPPORTED,
    Feature.DEPLOYMENTS_SERVERLESS: absent(
        Absence.NOT_OFFERED, "Azure ML's serverless endpoints serve models of its own catalogue only"
    ),
    Feature.DEPLOYMENTS_ASYNCHRONOUS: absent(
        Absence.NOT_OFFERED, "Azure ML has no queue before an endpoint; score files with a batch endpoint"
    ),
    Feature.DEPLOYMENTS_BATCH: SUPPORTED,
    Feature.DEPLOYMENTS_CAPTURE: SUPPORTED,
    Feature.DEPLOYMENTS_LOGS: SUPPORTED,
    Feature.DEPLOYMENTS_METRICS: SUPPORTED,
    Feature.DEPLOYMENTS_REVISIONS: SUPPORTED,
    Feature.DEPLOYMENTS_LOCK: SUPPORTED,
}
