"""What Databricks' MLflow endpoint holds, and what it lacks.

===========================  ======  ==================================================================
limit                        value   source
===========================  ======  ==================================================================
points, params, tags a call  1,000,  docs.databricks.com/api: Log Batch; 1,000 together, 1 MB
                             100,
                             100
params of a run              1,600   docs.databricks.com: Resource limits
length of a name             250     bytes (API: Log Param, Set Tag); names of other than ASCII letters are
                                     escaped, so that characters are bytes
length of a param            1,500   6,000 bytes (API: Log Param), and a character has up to four
length of a tag              5,000   64 KB (API: Set Tag); as other MLflow servers have it
===========================  ======  ==================================================================

Which metric values survive is not documented, so whatever is no plain number goes to the side-car.
"""

from __future__ import annotations

import msgspec

from trackbridge.domain.metric_values import ValueKind
from trackbridge.ports.capabilities import SUPPORTED, Absence, Capability, Feature, absent
from trackbridge_adapters._mlflow_rest.capabilities import KEY_PATTERN
from trackbridge_adapters._mlflow_rest.capabilities import LIMITS as MLFLOW_LIMITS

LIMITS = msgspec.structs.replace(
    MLFLOW_LIMITS,
    params_per_run_max=1600,
    key_chars_max=250,
    key_pattern=KEY_PATTERN.replace(r"\w", "A-Za-z0-9_"),
    param_value_chars_max=1500,
    tag_value_chars_max=5000,
    metric_values_unheld=frozenset(ValueKind) - {ValueKind.NUMBER},
)

GAPS: dict[Feature, Capability] = {
    Feature.TRACKING_METRIC_DEDUP: absent(
        Absence.NOT_OFFERED, "Databricks appends every point that it is sent: a repeated one is there twice"
    ),
    Feature.TRACKING_LOGGED_MODELS: absent(
        Absence.NOT_YET, "the files of Databricks' logged models have routes of their own, not used so far"
    ),
    Feature.TRACKING_TRACES: absent(
        Absence.NOT_YET, "the spans of Databricks' traces have routes of their own, not used so far"
    ),
    Feature.ARTIFACTS_DELETE: absent(
        Absence.NOT_OFFERED, "Databricks has no route that deletes a run's file"
    ),
    Feature.ARTIFACTS_PRESIGN: absent(
        Absence.NOT_OFFERED, "the workspace decides how long an address of a file lasts"
    ),
    Feature.ARTIFACTS_RESUMABLE_UPLOAD: absent(
        Absence.NOT_YET, "a large file goes up in parts within one call; parts are not kept for a later one"
    ),
    **{
        feature: absent(
            Absence.NOT_YET,
            "Databricks' model serving is not spoken to so far; its models can be served elsewhere",
        )
        for feature in Feature
        if feature.port == "deployments"
    },
}
"""Of what every MLflow endpoint declares."""

JOBS: dict[Feature, Capability] = {
    Feature.JOBS_LOGS: SUPPORTED,
    Feature.JOBS_LIST: SUPPORTED,
    Feature.JOBS_SPOT: SUPPORTED,
    Feature.JOBS_DISTRIBUTED: absent(
        Absence.NOT_YET,
        "a command is a process beside the driver's Spark session, so that more machines would idle",
    ),
    Feature.JOBS_DATA: SUPPORTED,
}
