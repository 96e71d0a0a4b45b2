"""Log Analytics: rows of what happened at endpoints, once a diagnostic setting sends them to a workspace.

Rows are there at once; in Azure it takes up to an hour (``Logs.delay_s``). What happened before there was a
setting never comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any

from trackbridge.testing.emulators.azureml.core import Cloud, guid_of
from trackbridge.testing.emulators.azureml.kusto import Table
from trackbridge.testing.emulators.azureml.scored_requests import Entry, Event, Happenings, Line, Scored

TRAFFIC = "AmlOnlineEndpointTrafficLog"
CONSOLE = "AmlOnlineEndpointConsoleLog"
EVENTS = "AmlOnlineEndpointEventLog"
CATEGORIES = (TRAFFIC, CONSOLE, EVENTS)
WORKSPACES = "Microsoft.OperationalInsights/workspaces"
WORKSPACE_NAME = "logs"
_COMMON = (
    *(("TenantId", "string"), ("TimeGenerated", "datetime"), ("OperationName", "string")),
    *(("SubscriptionId", "string"), ("AzureMLWorkspaceId", "string"), ("AzureMLWorkspaceName", "string")),
    *(("EndpointName", "string"), ("DeploymentName", "string"), ("Location", "string")),
)
_LAST = (("SourceSystem", "string"), ("Type", "string"), ("_ResourceId", "string"))
COLUMNS: Mapping[str, list[tuple[str, str]]] = {
    TRAFFIC: [
        *_COMMON,
        *(("Method", "string"), ("Path", "string"), ("Protocol", "string")),
        *(("ResponseCode", "int"), ("ResponseCodeReason", "string")),
        *(("ModelStatusCode", "int"), ("ModelStatusReason", "string")),
        *(("RequestPayloadSize", "int"), ("ResponsePayloadSize", "int"), ("UserAgent", "string")),
        *(("XRequestId", "string"), ("XMSClientRequestId", "string"), ("TotalDurationMs", "int")),
        *(("RequestDurationMs", "int"), ("ResponseDurationMs", "int")),
        *(("RequestThrottlingDelayMs", "int"), ("ResponseThrottlingDelayMs", "int")),
        *(("AuthType", "string"), ("IdentityData", "string")),
        *_LAST,
    ],
    CONSOLE: [
        *_COMMON,
        *(("InstanceId", "string"), ("ContainerName", "string"), ("Message", "string")),
        *_LAST,
    ],
    EVENTS: [*_COMMON, *(("InstanceId", "string"), ("Name", "string"), ("Message", "string")), *_LAST],
}


@dataclass(slots=True)
class Sending:
    """That a category of an endpoint's logs went to a workspace from one time to another."""

    endpoint_id: str
    setting: str
    category: str
    workspace_id: str
    from_s: float
    to_s: float | None = None


class Logs:
    """Who sends what to which workspace; ``cloud.part(Logs)``."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.delay_s = 0.0
        """How long it takes until rows can be seen, by the cloud's clock."""
        self._sendings: list[Sending] = []
        self.workspace_id = (
            f"/subscriptions/{cloud.subscription}/resourceGroups/{cloud.group}/providers/{WORKSPACES}/"
            f"{WORKSPACE_NAME}"
        )
        """The workspace of Log Analytics that is there from the beginning."""

    @property
    def customer_id(self) -> str:
        """The id that queries name the workspace by."""
        return guid_of(self.workspace_id)

    def send(self, endpoint_id: str, setting: str, categories: Iterable[str], workspace_id: str) -> None:
        """Send categories from now on, and no others by this setting."""
        now_s, wanted = self._cloud.now_s(), set(categories)
        for sending in self._sendings:
            is_same = (sending.endpoint_id, sending.setting) == (endpoint_id.lower(), setting.lower())
            if not is_same or sending.to_s is not None:
                continue
            if sending.category in wanted and sending.workspace_id == workspace_id.lower():
                wanted.discard(sending.category)
            else:
                sending.to_s = now_s
        place = endpoint_id.lower(), setting.lower()
        self._sendings += [Sending(*place, each, workspace_id.lower(), now_s) for each in sorted(wanted)]

    def tables(self, workspace_id: str = "", resource_id: str = "") -> dict[str, Callable[[], Table]]:
        """Return the tables that a query sees: of a workspace, or of a resource."""
        return {each: partial(self._table, each, workspace_id, resource_id) for each in CATEGORIES}

    def _table(self, category: str, workspace_id: str, resource_id: str) -> Table:
        rows, until_s = [], self._cloud.now_s() - self.delay_s
        seen: set[int] = set()
        for sending in self._sendings:
            is_of = (not workspace_id or sending.workspace_id == workspace_id.lower()) and (
                not resource_id or f"{sending.endpoint_id}/".startswith(f"{resource_id.lower()}/")
            )
            if sending.category != category or not is_of:
                continue
            for entry in _entries(self._cloud, category, sending.endpoint_id):
                is_in = sending.from_s <= entry.time_s <= (until_s if sending.to_s is None else sending.to_s)
                if is_in and entry.time_s <= until_s and id(entry) not in seen:
                    seen.add(id(entry))
                    rows.append(self._row(category, entry))
        return Table(COLUMNS[category], rows)

    def _row(self, category: str, entry: Entry) -> dict[str, Any]:
        cloud = self._cloud
        workspace_id, _, endpoint = entry.endpoint_id.rsplit("/", 2)
        row: dict[str, Any] = {
            "TenantId": self.customer_id,
            "TimeGenerated": datetime.fromtimestamp(entry.time_s, timezone.utc),
            "OperationName": f"{category.removeprefix('AmlOnlineEndpoint')}",
            "SubscriptionId": cloud.subscription,
            "AzureMLWorkspaceId": guid_of(workspace_id),
            "AzureMLWorkspaceName": workspace_id.rpartition("/")[2],
            "EndpointName": endpoint,
            "DeploymentName": entry.deployment,
            "Location": cloud.region,
        }
        last = {"SourceSystem": "Azure", "Type": category, "_ResourceId": entry.endpoint_id}
        return {**row, **_own(entry), **last}


def _entries(cloud: Cloud, category: str, endpoint_id: str) -> Iterable[Entry]:
    happenings = cloud.part(Happenings)
    if category == TRAFFIC:
        return [each for each in happenings.of(Scored, endpoint_id) if not each.is_mirrored]
    return happenings.of(Line if category == CONSOLE else Event, endpoint_id)


def _own(entry: Entry) -> dict[str, Any]:
    """Return the columns that only an entry's own table has."""
    if isinstance(entry, Line):
        return {"InstanceId": entry.instance, "ContainerName": entry.container, "Message": entry.text}
    if isinstance(entry, Event):
        return {"InstanceId": entry.instance, "Name": entry.name, "Message": entry.text}
    assert isinstance(entry, Scored)
    return {
        "Method": entry.method,
        "Path": entry.path,
        "Protocol": entry.protocol,
        "ResponseCode": entry.status,
        "ResponseCodeReason": entry.reason,
        "ModelStatusCode": entry.model_status or None,
        "ModelStatusReason": entry.model_reason,
        "RequestPayloadSize": entry.request_size,
        "ResponsePayloadSize": entry.response_size,
        "UserAgent": entry.user_agent,
        "XRequestId": entry.request_id,
        "XMSClientRequestId": entry.client_request_id,
        "TotalDurationMs": round(entry.total_ms),
        "RequestDurationMs": round(max(0.0, entry.total_ms - entry.model_ms)),
        "ResponseDurationMs": round(entry.model_ms),
        "RequestThrottlingDelayMs": 0,
        "ResponseThrottlingDelayMs": 0,
        "AuthType": entry.auth,
        "IdentityData": entry.identity,
    }
