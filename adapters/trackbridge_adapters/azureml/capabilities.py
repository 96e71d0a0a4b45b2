"""What Azure ML's MLflow endpoint holds, and what it lacks.

===========================  ======  ==========================================================
limit                        value   source
===========================  ======  ==========================================================
points per call              200     250 of one metric are enforced (MetricV2Dto.Value/Count,
                                     mlflow#11462); 200 is what the field found safe (gordo#934)
params per call, per run     100,    mlflow's own; "FieldName=Parameters, Limit=200"
                             200
tags per call                25      a run has 50 (resource-limits-capacity.md)
length of a name             100     of a tag's; a metric's is 255 (resource-limits-capacity.md)
length of a param or tag     1,000   resource-limits-capacity.md
points of a history a page   999     "MaxResults must be less than 1000" (mlflow#10694)
===========================  ======  ==========================================================

Which metric values survive is not documented, so whatever is no plain number goes to the side-car.
"""

from __future__ import annotations

import msgspec

from trackbridge.domain.metric_values import ValueKind
from trackbridge.ports.capabilities import Absence, Capability, Feature, absent
from trackbridge_adapters._mlflow_rest.capabilities import LIMITS as MLFLOW_LIMITS

HISTORY_PAGE_MAX = 999

LIMITS = msgspec.structs.replace(
    MLFLOW_LIMITS,
    metrics_per_write_max=200,
    params_per_write_max=100,
    tags_per_write_max=25,
    params_per_run_max=200,
    key_chars_max=100,
    param_value_chars_max=1000,
    tag_value_chars_max=1000,
    metric_values_unheld=frozenset(ValueKind) - {ValueKind.NUMBER},
)

GAPS: dict[Feature, Capability] = {
    Feature.TRACKING_METRIC_DEDUP: absent(
        Absence.NOT_OFFERED, "Azure ML does not say that a repeated point is one point"
    ),
    Feature.TRACKING_LOGGED_MODELS: absent(
        Absence.NOT_OFFERED, "Azure ML has none of MLflow 3's routes for logged models"
    ),
    Feature.TRACKING_TRACES: absent(Absence.NOT_OFFERED, "Azure ML has none of MLflow 3's routes for traces"),
    Feature.REGISTRY_DELETE: absent(
        Absence.NOT_OFFERED, "Azure ML's MLflow routes delete no registered model, only versions of one"
    ),
    Feature.ARTIFACTS_DELETE: absent(
        Absence.NOT_YET, "Azure ML deletes the entry of a file; what becomes of its bytes is not documented"
    ),
    Feature.ARTIFACTS_PRESIGN: absent(
        Absence.NOT_OFFERED, "the workspace decides how long an address of a file lasts"
    ),
}
