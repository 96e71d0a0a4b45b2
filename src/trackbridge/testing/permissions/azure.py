"""What calls of Azure need, and which of them each verb makes.

A call is ``METHOD kind``. Of Resource Manager the kind is the type of the resource, from which Azure derives
the permission: ``PUT workspaces/models/versions`` needs ``…/workspaces/models/versions/write``; a POST's last
part is an action. Of the workspace's own services it is the route: ``POST mlflow/runs/create``. Permissions
are those that Azure lists for its resource providers, and Azure ML's page on roles names for MLflow.

What is not derived:

- Files of runs and models go by signed addresses, which need no role; where a datastore keeps no secret, the
  one who signs in opens the storage: the data actions on ``storage``.
- Scoring with an identity is ``onlineEndpoints/score/action``; by key or token it needs none.
- How a slow operation stands is told by routes of the region, which no role on a workspace covers.
"""

from __future__ import annotations

from collections.abc import Mapping

from trackbridge.testing.permissions.tables import Need, Table, needs_of

SCOPES: Mapping[str, str] = {
    "workspace": "the workspace",
    "storage": "the workspace's storage account",
    "key_vault": "the workspace's key vault",
    "resource_group": "the workspace's group: autoscaling settings and Application Insights lie in it",
    "subscription": "the subscription",
}

PROVIDER = "Microsoft.MachineLearningServices"
_VERBS: Mapping[str, str] = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"


def _derived(call: str) -> frozenset[Need]:
    """Return what a call of Resource Manager needs, by its method and the type of the resource."""
    method, _, kind = call.partition(" ")
    scope = {"workspaces": "workspace", "registries": "registry"}.get(kind.partition("/")[0], "subscription")
    verb = _VERBS.get(method, "action")
    return frozenset({Need(f"{PROVIDER}/{kind}/{verb}", scope, "action")})


_MLFLOW: Mapping[str, str] = {
    "experiments/read": "GET experiments/get; GET experiments/get-by-name; POST experiments/search",
    "experiments/write": "POST experiments/create; POST experiments/set-experiment-tag;"
    " POST experiments/restore",
    "experiments/delete": "POST experiments/delete",
    "experiments/runs/read": "GET runs/get; POST runs/search; GET metrics/get-history",
    "experiments/runs/write": "POST runs/create; POST runs/update; POST runs/log-batch; POST runs/log-inputs;"
    " POST runs/delete-tag; POST runs/restore",
    "experiments/runs/delete": "POST runs/delete",
    "models/read": "GET registered-models/get; POST registered-models/search; GET registered-models/search",
    "models/write": "POST registered-models/create; PATCH registered-models/update;"
    " POST registered-models/set-tag; DELETE registered-models/delete-tag; POST registered-models/alias;"
    " DELETE registered-models/alias",
    "models/versions/read": "GET model-versions/get; POST model-versions/search; GET model-versions/search;"
    " GET model-versions/get-download-uri",
    "models/versions/write": "POST model-versions/create; PATCH model-versions/update;"
    " POST model-versions/set-tag; DELETE model-versions/delete-tag; POST model-versions/transition-stage",
    "models/versions/delete": "DELETE model-versions/delete",
}
"""Routes of MLflow, by the type of the workspace and what is done to it."""

_SERVICES: Mapping[str, str] = {
    "metadata/artifacts/read": "GET history/artifacts; GET history/artifacts/contentinfo;"
    " GET history/artifacts/prefix/contentinfo",
    "metadata/artifacts/write": "POST history/artifacts/batch/metadata; GET artifact/write",
    "experiments/runs/read": "GET history/runs/details; POST history/runs:query",
    "batchEndpoints/jobs/write": "POST scoring/jobs",
    "batchEndpoints/jobs/read": "GET batchEndpoints/jobs",
}
"""Routes of the workspace's other services, likewise."""

_OTHERS: Mapping[str, frozenset[Need]] = {
    "GET subscriptions": frozenset(),
    "GET mlflow/version": frozenset(),
    # Of an endpoint that asks who its caller is; one with keys or tokens asks for none.
    "POST scoring": needs_of(
        {"workspace": f"{PROVIDER}/workspaces/onlineEndpoints/score/action"}, kind="action"
    ),
    "GET resources": needs_of(
        {"subscription": "Microsoft.Resources/subscriptions/resources/read"}, kind="action"
    ),
    "GET permissions": needs_of({"workspace": "Microsoft.Authorization/permissions/read"}, kind="action"),
    "GET metrics": needs_of({"workspace": "Microsoft.Insights/metrics/read"}, kind="action"),
    "GET components": needs_of({"resource_group": "Microsoft.Insights/components/read"}, kind="action"),
    **{
        f"{method} autoscalesettings": needs_of(
            {"resource_group": f"Microsoft.Insights/autoscalesettings/{verb}"}, kind="action"
        )
        for method, verb in (("GET", "read"), ("PUT", "write"), ("DELETE", "delete"))
    },
    # No permission of its own is listed: it begins what the write of the version ends.
    "POST workspaces/codes/versions/startPendingUpload": needs_of(
        {"workspace": f"{PROVIDER}/workspaces/codes/versions/write"}, kind="action"
    ),
    "PUT workspaces/jobs": needs_of(
        {
            "workspace": f"{PROVIDER}/workspaces/jobs/write {PROVIDER}/workspaces/environments/build/action"
            f" {PROVIDER}/workspaces/experiments/runs/submit/action"
        },
        kind="action",
    ),
    "GET vault/secrets": needs_of(
        {"key_vault": "Microsoft.KeyVault/vaults/secrets/readMetadata/action"}, kind="data_action"
    ),
    **{
        f"{method} blobs": needs_of({"storage": f"{_BLOBS}/{verb}"}, kind="data_action")
        for method, verb in (("GET", "read"), ("PUT", "write"), ("DELETE", "delete"))
    },
}


def _each(*texts: str, prefix: str = "") -> frozenset[str]:
    found = (name.strip() for text in texts for name in text.split(";"))
    return frozenset(
        f"{method} {prefix}{kind}" for method, _, kind in (name.partition(" ") for name in found)
    )


def _calls(**methods: str) -> frozenset[str]:
    return frozenset(f"{method} {kind}" for method, text in methods.items() for kind in text.split())


CALLS: Mapping[str, frozenset[str]] = {
    "tracking": _calls(
        GET="artifact/write blobs history/artifacts/contentinfo"
        " history/artifacts/prefix/contentinfo mlflow/experiments/get"
        " mlflow/experiments/get-by-name mlflow/metrics/get-history mlflow/runs/get"
        " mlflow/version workspaces workspaces/datastores",
        POST="history/artifacts/batch/metadata mlflow/experiments/create"
        " mlflow/experiments/delete mlflow/experiments/restore mlflow/experiments/search"
        " mlflow/experiments/set-experiment-tag mlflow/runs/create mlflow/runs/delete"
        " mlflow/runs/delete-tag mlflow/runs/log-batch mlflow/runs/log-inputs"
        " mlflow/runs/restore mlflow/runs/search mlflow/runs/update"
        " workspaces/datastores/listSecrets",
        PUT="blobs",
    ),
    "registry": _calls(
        DELETE="mlflow/model-versions/delete mlflow/model-versions/delete-tag"
        " mlflow/registered-models/alias mlflow/registered-models/delete-tag"
        " workspaces/models workspaces/models/versions",
        GET="blobs history/artifacts/contentinfo history/artifacts/prefix/contentinfo"
        " mlflow/model-versions/get mlflow/model-versions/search"
        " mlflow/registered-models/get mlflow/registered-models/search mlflow/runs/get"
        " workspaces workspaces/datastores workspaces/models workspaces/models/versions",
        PATCH="mlflow/model-versions/update mlflow/registered-models/update",
        POST="mlflow/model-versions/create mlflow/model-versions/set-tag"
        " mlflow/model-versions/transition-stage mlflow/registered-models/alias"
        " mlflow/registered-models/create mlflow/registered-models/set-tag"
        " workspaces/datastores/listSecrets",
        PUT="workspaces/models workspaces/models/versions",
    ),
    "jobs": _calls(
        GET="blobs history/artifacts/contentinfo history/runs/details locations/usages"
        " locations/vmSizes vault/secrets workspaces workspaces/codes/versions workspaces/computes"
        " workspaces/datastores workspaces/environments/versions workspaces/jobs",
        POST="history/runs:query workspaces/codes/versions/startPendingUpload"
        " workspaces/datastores/listSecrets workspaces/jobs/cancel",
        PUT="blobs workspaces/codes/versions workspaces/environments/versions workspaces/jobs",
    ),
    "deployment": _calls(
        DELETE="autoscalesettings workspaces/batchEndpoints"
        " workspaces/onlineEndpoints workspaces/onlineEndpoints/deployments",
        GET="autoscalesettings blobs components locations/mfeOperationsStatus locations/usages"
        " locations/vmSizes metrics permissions resources workspaces workspaces/batchEndpoints"
        " workspaces/batchEndpoints/deployments workspaces/codes/versions workspaces/computes"
        " workspaces/data/versions workspaces/datastores workspaces/environments/versions"
        " workspaces/jobs workspaces/models/versions"
        " workspaces/onlineEndpoints workspaces/onlineEndpoints/deployments",
        PATCH="workspaces/onlineEndpoints/deployments",
        POST="scoring scoring/jobs workspaces/datastores/listSecrets"
        " workspaces/onlineEndpoints/deployments/getLogs workspaces/onlineEndpoints/listKeys"
        " workspaces/onlineEndpoints/token",
        PUT="autoscalesettings blobs workspaces/batchEndpoints workspaces/batchEndpoints/deployments"
        " workspaces/codes/versions workspaces/data/versions workspaces/environments/versions"
        " workspaces/models/versions workspaces/onlineEndpoints workspaces/onlineEndpoints/deployments",
    ),
    "migration": _calls(
        GET="blobs history/artifacts history/artifacts/contentinfo"
        " history/artifacts/prefix/contentinfo mlflow/experiments/get"
        " mlflow/experiments/get-by-name mlflow/metrics/get-history"
        " mlflow/model-versions/get mlflow/model-versions/search"
        " mlflow/registered-models/get mlflow/registered-models/search mlflow/runs/get"
        " workspaces workspaces/datastores workspaces/models workspaces/models/versions",
        POST="history/artifacts/batch/metadata mlflow/experiments/create"
        " mlflow/experiments/delete mlflow/experiments/search mlflow/model-versions/create"
        " mlflow/model-versions/set-tag mlflow/model-versions/transition-stage"
        " mlflow/registered-models/alias mlflow/registered-models/create"
        " mlflow/runs/create mlflow/runs/log-batch mlflow/runs/log-inputs"
        " mlflow/runs/search mlflow/runs/update workspaces/datastores/listSecrets",
        PUT="blobs",
    ),
}
"""What each verb calls, as the tests record it on the emulator."""


OUTSIDE: Mapping[str, str] = {
    "GET subscriptions": "the doctor asks it when a subscription is not found; it lists what one may see",
}


def _needs() -> dict[str, frozenset[Need]]:
    found = {call: _derived(call) for calls in CALLS.values() for call in calls}
    for prefix, table in (("mlflow/", _MLFLOW), ("", _SERVICES)):
        for use, text in table.items():
            need = Need(f"{PROVIDER}/workspaces/{use}", "workspace", "action")
            found.update({call: frozenset({need}) for call in _each(text, prefix=prefix) if call in found})
    used = found.keys() | OUTSIDE.keys()
    return {**found, **{call: needs for call, needs in _OTHERS.items() if call in used}}


NEEDS: Mapping[str, frozenset[Need]] = _needs()
TABLE = Table(SCOPES, NEEDS, CALLS, OUTSIDE)
