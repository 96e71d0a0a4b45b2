"""Azure Monitor: metrics and logs of online endpoints, settings of diagnostics and of scaling.

Metrics by Resource Manager and by the batch of their own host, logs by the Log Analytics of their own host.
Settings of scaling are kept, and change nothing: nothing scales by itself here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from trackbridge.testing.emulators.azureml import kusto
from trackbridge.testing.emulators.azureml.addresses import CLOUDS
from trackbridge.testing.emulators.azureml.core import (
    WORKSPACE,
    Answer,
    Cloud,
    Refused,
    Request,
    Route,
    guid_of,
)
from trackbridge.testing.emulators.azureml.endpoint_rules import get_resource, seconds_of
from trackbridge.testing.emulators.azureml.kusto_expressions import QueryError
from trackbridge.testing.emulators.azureml.monitor_logs import CATEGORIES, WORKSPACES, Logs
from trackbridge.testing.emulators.azureml.monitor_metrics import (
    METRICS,
    Metric,
    namespace_of,
    points,
    samples_of,
    series,
)

METRICS_VERSIONS = ("2018-01-01", "2019-07-01", "2021-05-01", "2023-10-01", "2024-02-01")
DIAGNOSTICS_VERSIONS = ("2017-05-01-preview", "2021-05-01-preview")
INTERVALS = ("PT1M", "PT5M", "PT15M", "PT30M", "PT1H", "PT6H", "PT12H", "P1D")
BATCH_AUDIENCES = tuple(f"https://{each.metrics}" for each in CLOUDS)
LOGS_AUDIENCES = (*(f"https://{each.logs}" for each in CLOUDS), "https://api.loganalytics.azure.com")
RESOURCES_MAX = 50
SERIES_MAX = 10
NAMES_MAX = 20
_TERM = re.compile(r"(?P<name>\w+)\s+eq\s+'(?P<value>[^']*)'", re.IGNORECASE)
_INSIGHTS = "providers/Microsoft.Insights"
_ENDPOINT = f"{WORKSPACE}/onlineEndpoints/{{endpoint}}"
_PLACES = (_ENDPOINT, f"{_ENDPOINT}/deployments/{{deployment}}")
_GROUP_PATH = "/subscriptions/{subscription}/resourceGroups/{group}"


def _bad(message: str, code: str = "BadRequest") -> Refused:
    return Refused(400, code, message)


# Metrics.


def _resource_of(cloud: Cloud, request: Request) -> str:
    """Return the id of the endpoint or the deployment that a route is below."""
    resource_id = request.resource_id[: request.resource_id.lower().index(f"/{_INSIGHTS.lower()}")]
    return str(get_resource(cloud, resource_id)["id"])


def _metrics(cloud: Cloud, request: Request) -> Answer:
    resource_id = _resource_of(cloud, request)
    return Answer(200, _answered(cloud, resource_id, request.query, request.query.get("timespan") or "PT1H"))


def _answered(cloud: Cloud, resource_id: str, query: Mapping[str, str], timespan: str) -> dict[str, Any]:
    start, end = _span(cloud, timespan)
    interval = query.get("interval") or "PT1M"
    if interval not in INTERVALS:
        raise _bad(f"Interval {interval} is not supported: {', '.join(INTERVALS)}")
    namespace = namespace_of(resource_id)
    asked = query.get("metricnamespace") or namespace
    if asked.lower() != namespace.lower():
        raise _bad(f"The resource has no metric namespace {asked}; it has {namespace}")
    found = [
        _told(cloud, resource_id, metric, query, start, end, interval)
        for metric in _wanted(namespace, query.get("metricnames") or "")
    ]
    return {
        "cost": 0,
        "timespan": f"{_iso(start)}/{_iso(end)}",
        "interval": interval,
        "namespace": namespace,
        "resourceregion": cloud.region,
        "value": found,
    }


def _wanted(namespace: str, names: str) -> list[Metric]:
    known = {metric.name.lower(): metric for metric in METRICS[namespace]}
    asked = [name for name in names.split(",") if name] or [METRICS[namespace][0].name]
    if len(asked) > NAMES_MAX:
        raise _bad(f"At most {NAMES_MAX} metrics can be asked for at once")
    for name in asked:
        if name.lower() not in known:
            valid = ",".join(metric.name for metric in METRICS[namespace])
            provider, _, kind = namespace.partition("/")
            raise _bad(
                f"Failed to find metric configuration for provider: {provider}, resource Type: {kind}, "
                f"metric: {name}, Valid metrics: {valid}"
            )
    return [known[name.lower()] for name in asked]


def _told(
    cloud: Cloud,
    resource_id: str,
    metric: Metric,
    query: Mapping[str, str],
    start: datetime,
    end: datetime,
    interval: str,
) -> dict[str, Any]:
    dimensions = _dimensions(metric, query.get("$filter") or query.get("filter") or "")
    aggregations = _aggregations(metric, query.get("aggregation") or "")
    made = series(samples_of(cloud, metric, resource_id), dimensions)
    most = int(query.get("top") or query.get("$top") or SERIES_MAX)
    lines = []
    for key, samples in list(made.items())[:most]:
        found = points(samples, start.timestamp(), end.timestamp(), int(seconds_of(interval, 60.0)))
        labels = [{"name": {"value": name, "localizedValue": name}, "value": value} for name, value in key]
        lines.append(
            {
                "metadatavalues": labels,
                "data": [
                    {
                        "timeStamp": _iso(datetime.fromtimestamp(point["time_s"], timezone.utc)),
                        **{name: point[name] for name in aggregations if name in point},
                    }
                    for point in found
                ],
            }
        )
    return {
        "id": f"{resource_id}/{_INSIGHTS}/metrics/{metric.name}",
        "type": "Microsoft.Insights/metrics",
        "name": {"value": metric.name, "localizedValue": metric.name},
        "displayDescription": metric.about or metric.name,
        "unit": metric.unit,
        "timeseries": lines,
        "errorCode": "Success",
    }


def _aggregations(metric: Metric, text: str) -> list[str]:
    asked = [each.strip().lower() for each in text.split(",") if each.strip()] or [metric.aggregation.lower()]
    for each in asked:
        if each not in metric.aggregations:
            raise _bad(f"Aggregation {each} is not one of {', '.join(metric.aggregations)}")
    return asked


def _dimensions(metric: Metric, text: str) -> dict[str, list[str]]:
    """Return what a filter such as ``deployment eq 'blue' and statusCode eq '*'`` asks for."""
    if not text:
        return {}
    rest = re.sub(r"[()\s]|\band\b|\bor\b", "", _TERM.sub("", text), flags=re.IGNORECASE)
    if rest:
        raise _bad(f"The filter {text!r} is not understood: give NAME eq 'VALUE', with and, or")
    known = {name.lower(): name for name in metric.dimensions}
    found: dict[str, list[str]] = {}
    for term in _TERM.finditer(text):
        if term["name"].lower() not in known:
            has = ", ".join(metric.dimensions) or "none"
            raise _bad(f"Metric {metric.name} has no dimension {term['name']}; it has {has}")
        found.setdefault(known[term["name"].lower()], []).append(term["value"])
    return found


def _definitions(cloud: Cloud, request: Request) -> Answer:
    resource_id = _resource_of(cloud, request)
    namespace = namespace_of(resource_id)
    found = [
        {
            "id": f"{resource_id}/{_INSIGHTS}/metricdefinitions/{metric.name}",
            "resourceId": resource_id,
            "namespace": namespace,
            "name": {"value": metric.name, "localizedValue": metric.name},
            "isDimensionRequired": False,
            "unit": metric.unit,
            "primaryAggregationType": metric.aggregation,
            "supportedAggregationTypes": ["Average", "Total", "Minimum", "Maximum", "Count"],
            "metricAvailabilities": [{"timeGrain": each, "retention": "P93D"} for each in INTERVALS],
            "dimensions": [{"value": each, "localizedValue": each} for each in metric.dimensions],
        }
        for metric in METRICS[namespace]
    ]
    return Answer(200, {"value": found})


def _batch(cloud: Cloud, request: Request) -> Answer:
    """Answer for several resources of one region at once."""
    asked = request.content.get("resourceids") or []
    if not asked or len(asked) > RESOURCES_MAX:
        raise _bad(f"1 to {RESOURCES_MAX} resourceids can be asked for")
    query = request.query
    if not query.get("metricnamespace") or not query.get("metricnames"):
        raise _bad("metricnamespace and metricnames are required")
    start = query.get("starttime") or ""
    end = query.get("endtime") or _iso(_now(cloud))
    timespan = f"{start}/{end}" if start else "PT1H"
    values = []
    for resource_id in asked:
        told = _answered(cloud, str(get_resource(cloud, resource_id)["id"]), query, timespan)
        begin, _, finish = told["timespan"].partition("/")
        values.append(
            {
                "starttime": begin,
                "endtime": finish,
                "cost": told["cost"],
                "interval": told["interval"],
                "namespace": told["namespace"],
                "resourceregion": told["resourceregion"],
                "resourceid": resource_id,
                "value": told["value"],
            }
        )
    return Answer(200, {"values": values})


# Logs.


def _setting_put(cloud: Cloud, request: Request) -> Answer:
    endpoint_id = _resource_of(cloud, request)
    asked, name = request.properties, request.names["setting"]
    workspace_id = str(asked.get("workspaceId") or "")
    if not workspace_id:
        raise _bad("The emulator sends logs to Log Analytics only: workspaceId is needed")
    if workspace_id.lower() != cloud.part(Logs).workspace_id.lower():
        raise Refused(404, "ResourceNotFound", f"The workspace {workspace_id} was not found")
    categories: list[str] = []
    for log in asked.get("logs") or []:
        category = log.get("category")
        if category and category not in CATEGORIES:
            raise _bad(f"Category '{category}' is not supported; {', '.join(CATEGORIES)} are")
        if log.get("enabled"):
            categories += [category] if category else CATEGORIES
    cloud.part(Logs).send(endpoint_id, name, categories, workspace_id)
    resource, _ = cloud.resources.put(request.resource_id, {"properties": asked})
    return Answer(200, resource)


def _setting_get(cloud: Cloud, request: Request) -> Answer:
    _resource_of(cloud, request)
    return Answer(200, _kept(cloud, request))


def _kept(cloud: Cloud, request: Request) -> dict[str, Any]:
    found = cloud.resources.get(request.resource_id)
    if found is None:
        name = request.resource_id.rpartition("/")[2]
        raise Refused(404, "ResourceNotFound", f"The setting '{name}' doesn't exist.")
    return found


def _settings(cloud: Cloud, request: Request) -> Answer:
    _resource_of(cloud, request)
    return Answer(200, {"value": cloud.resources.children(request.resource_id)})


def _setting_delete(cloud: Cloud, request: Request) -> Answer:
    endpoint_id = _resource_of(cloud, request)
    cloud.part(Logs).send(endpoint_id, request.names["setting"], (), "")
    return Answer(200 if cloud.resources.delete(request.resource_id) else 204)


def _query_workspace(cloud: Cloud, request: Request) -> Answer:
    logs, asked = cloud.part(Logs), request.names["log_workspace"]
    if asked.lower() != logs.customer_id.lower():
        raise Refused(404, "WorkspaceNotFoundError", f"The workspace {asked} could not be found")
    return _queried(cloud, request, workspace_id=logs.workspace_id)


def _query_resource(cloud: Cloud, request: Request) -> Answer:
    resource_id = f"/{request.names['resource']}".rstrip("/")
    return _queried(cloud, request, resource_id=resource_id)


def _queried(cloud: Cloud, request: Request, *, workspace_id: str = "", resource_id: str = "") -> Answer:
    given = request.content if request.method == "POST" else request.query
    text, now = str(given.get("query") or ""), _now(cloud)
    if not text.strip():
        raise _bad("The request had some invalid properties: query is needed", "BadArgumentError")
    tables = cloud.part(Logs).tables(workspace_id, resource_id)
    timespan = given.get("timespan")
    if timespan:
        tables = {name: _within(made, *_span(cloud, str(timespan))) for name, made in tables.items()}
    try:
        found = kusto.run(text, tables, now)
    except QueryError as error:
        details = [{"code": error.code, "message": str(error)}]
        message = f"The request had some invalid properties: {error}"
        raise Refused(400, "BadArgumentError", message, details=details) from error
    columns = [{"name": name, "type": kind} for name, kind in found.columns]
    rows = [[_cell(row[name]) for name, _ in found.columns] for row in found.rows]
    return Answer(200, {"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]})


def _within(made: Any, start: datetime, end: datetime) -> Any:
    def narrowed() -> kusto.Table:
        table = made()
        rows = [row for row in table.rows if start <= row["TimeGenerated"] <= end]
        return kusto.Table(table.columns, rows)

    return narrowed


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, timedelta):
        return str(value)
    return value


def _log_workspace(cloud: Cloud, request: Request) -> Answer:
    logs = cloud.part(Logs)
    if request.resource_id.lower() != logs.workspace_id.lower():
        raise Refused(404, "ResourceNotFound", f"The workspace {request.resource_id} was not found")
    return Answer(200, _told_workspace(cloud, logs))


def _log_workspaces(cloud: Cloud, request: Request) -> Answer:
    return Answer(200, {"value": [_told_workspace(cloud, cloud.part(Logs))]})


def _told_workspace(cloud: Cloud, logs: Logs) -> dict[str, Any]:
    return {
        "id": logs.workspace_id,
        "name": logs.workspace_id.rpartition("/")[2],
        "type": WORKSPACES,
        "location": cloud.region,
        "properties": {
            "customerId": logs.customer_id,
            "provisioningState": "Succeeded",
            "sku": {"name": "PerGB2018"},
            "retentionInDays": 30,
        },
    }


def _component(cloud: Cloud, request: Request) -> Answer:
    """Return the Application Insights of a workspace."""
    name, region = request.names["component"], cloud.region
    key = guid_of(request.resource_id)
    properties = {
        "Application_Type": "web",
        "InstrumentationKey": key,
        "ConnectionString": f"InstrumentationKey={key};IngestionEndpoint=https://{region}.in.ai.azure.com/",
        "provisioningState": "Succeeded",
    }
    told = {"id": request.resource_id, "name": name, "kind": "web", "location": region}
    return Answer(200, {**told, "properties": properties})


# Scaling.


def _scaling_put(cloud: Cloud, request: Request) -> Answer:
    asked = request.properties
    target = str(asked.get("targetResourceUri") or "")
    if cloud.resources.get(target) is None:
        raise _bad(f"The target resource {target!r} was not found", "ResourceNotFound")
    profiles: Sequence[Any] = asked.get("profiles") or ()
    if not 1 <= len(profiles) <= 20:
        raise _bad(f"A setting has 1 to 20 profiles, not {len(profiles)}")
    for profile in profiles:
        capacity = {name: int(value) for name, value in profile["capacity"].items()}
        if not capacity["minimum"] <= capacity["default"] <= capacity["maximum"]:
            raise _bad(f"The capacity of {profile['name']} must be minimum <= default <= maximum")
    content = {**request.content, "properties": {**asked, "enabled": asked.get("enabled", True)}}
    resource, is_new = cloud.resources.put(request.resource_id, content)
    return Answer(201 if is_new else 200, resource)


def _scaling_get(cloud: Cloud, request: Request) -> Answer:
    return Answer(200, _kept(cloud, request))


def _scaling_list(cloud: Cloud, request: Request) -> Answer:
    return Answer(200, {"value": cloud.resources.children(request.resource_id)})


def _scaling_delete(cloud: Cloud, request: Request) -> Answer:
    return Answer(200 if cloud.resources.delete(request.resource_id) else 204)


# Times.


def _now(cloud: Cloud) -> datetime:
    return datetime.fromtimestamp(cloud.now_s(), timezone.utc)


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ").replace(".000000Z", "Z")


def _span(cloud: Cloud, text: str) -> tuple[datetime, datetime]:
    """Return start and end of ``PT1H``, ``START/END``, ``START/PT1H`` or ``PT1H/END``."""
    first, _, second = text.partition("/")
    if not second:
        end = _now(cloud)
        return end - timedelta(seconds=seconds_of(first, 3600.0)), end
    if first.startswith("P"):
        end = _moment(second)
        return end - timedelta(seconds=seconds_of(first, 3600.0)), end
    start = _moment(first)
    if second.startswith("P"):
        return start, start + timedelta(seconds=seconds_of(second, 3600.0))
    return start, _moment(second)


def _moment(text: str) -> datetime:
    # A plus sign that was not escaped arrives as a space.
    written = re.sub(r"\.(\d{6})\d+", r".\1", text.strip().replace(" ", "+").replace("Z", "+00:00"))
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        raise _bad(f"'{text}' is no time of ISO 8601") from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


_SCALING = f"{_GROUP_PATH}/{_INSIGHTS}/autoscalesettings"
_SCALING_VERSIONS = ("2015-04-01", "2022-10-01")
_LOG_VERSIONS = ("2020-08-01", "2022-10-01", "2023-09-01")
_DIAGNOSTICS = f"{_ENDPOINT}/{_INSIGHTS}/diagnosticSettings"
ROUTES = (
    *(
        Route("GET", f"{place}/{_INSIGHTS}/{path}", operation, versions=METRICS_VERSIONS)
        for place in _PLACES
        for path, operation in (("metrics", _metrics), ("metricDefinitions", _definitions))
    ),
    Route(
        "POST",
        "/metrics-monitor/subscriptions/{subscription}/metrics:getBatch",
        _batch,
        versions=("2023-10-01", "2024-02-01"),
        right="read",
        audiences=BATCH_AUDIENCES,
    ),
    Route("GET", _DIAGNOSTICS, _settings, versions=DIAGNOSTICS_VERSIONS),
    Route("GET", f"{_DIAGNOSTICS}/{{setting}}", _setting_get, versions=DIAGNOSTICS_VERSIONS),
    Route("PUT", f"{_DIAGNOSTICS}/{{setting}}", _setting_put, versions=DIAGNOSTICS_VERSIONS),
    Route("DELETE", f"{_DIAGNOSTICS}/{{setting}}", _setting_delete, versions=DIAGNOSTICS_VERSIONS),
    Route("GET", f"{_GROUP_PATH}/providers/{WORKSPACES}", _log_workspaces, versions=_LOG_VERSIONS),
    Route("GET", f"{_GROUP_PATH}/providers/{WORKSPACES}/{{logs}}", _log_workspace, versions=_LOG_VERSIONS),
    *(
        Route(
            method,
            template,
            operation,
            plane="service",
            right="read",
            audiences=LOGS_AUDIENCES,
        )
        for method in ("GET", "POST")
        for template, operation in (
            ("/loganalytics/v1/workspaces/{log_workspace}/query", _query_workspace),
            ("/loganalytics/v1/{resource...}/query", _query_resource),
        )
    ),
    Route("GET", f"{_GROUP_PATH}/{_INSIGHTS}/components/{{component}}", _component, versions=("2020-02-02",)),
    Route("GET", _SCALING, _scaling_list, versions=_SCALING_VERSIONS),
    Route("GET", f"{_SCALING}/{{setting}}", _scaling_get, versions=_SCALING_VERSIONS),
    Route("PUT", f"{_SCALING}/{{setting}}", _scaling_put, versions=_SCALING_VERSIONS),
    Route("DELETE", f"{_SCALING}/{{setting}}", _scaling_delete, versions=_SCALING_VERSIONS),
)
