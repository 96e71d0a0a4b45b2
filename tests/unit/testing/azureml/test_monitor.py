"""Azure Monitor tells what ran: metrics by both doors, logs once somebody sends them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from tests.support.azureml_calls import Rig
from tests.support.azureml_endpoints import Desk
from trackbridge.testing.emulators.azureml.monitor_logs import Logs
from trackbridge.testing.emulators.azureml.online_state import OnlineEndpoints
from trackbridge.testing.emulators.listener import Arrived

METRICS = "2018-01-01"
SETTINGS = "2021-05-01-preview"
NAMESPACE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"


class Told(NamedTuple):
    """An answer."""

    status: int
    content: Any


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """A request in one minute, and three in the next, of which one fails; every other one is mirrored."""
    rig = Rig()
    rig.cloud.clock.advance(60.0 - rig.cloud.now_s() % 60.0 + 5.0)
    made = Desk(rig)
    made.endpoint()
    for name in ("blue", "green"):
        made.deploy(made.script(), name)
    made.endpoint(traffic={"blue": 100}, mirrorTraffic={"green": 50})
    setting = f"{rig.workspace}/onlineEndpoints/wine/providers/Microsoft.Insights/diagnosticSettings/all"
    made.score({"before": "a setting"})
    rig.cloud.part(OnlineEndpoints).settle()
    rig.cloud.clock.advance(60.0)
    logs = {
        "workspaceId": rig.cloud.part(Logs).workspace_id,
        "logs": [{"categoryGroup": "allLogs", "enabled": True}],
    }
    assert rig.ask("PUT", setting, {"properties": logs}, version=SETTINGS).status == 200
    for payload in ({"a": 1}, {"fail": True}, {"a": 2}):
        made.score(payload, x_ms_client_request_id="mine")
        rig.cloud.part(OnlineEndpoints).settle()
    rig.cloud.clock.advance(180.0)
    yield made
    rig.cloud.close()


def metrics(desk: Desk, names: str, place: str = "onlineEndpoints/wine", **query: str) -> Any:
    """Ask Resource Manager for metrics of the last hour."""
    asked = urlencode({"metricnames": names, "timespan": "PT1H", **query})
    path = f"{desk.rig.workspace}/{place}/providers/Microsoft.Insights/metrics?{asked}"
    return desk.rig.ask("GET", path, version=METRICS)


def points(metric: dict[str, Any], statistic: str) -> list[dict[Any, Any]]:
    """Return by labels of a metric's series what is not nothing."""
    return [
        {
            **{label["name"]["value"]: label["value"] for label in series["metadatavalues"]},
            "points": [point[statistic] for point in series["data"] if statistic in point],
        }
        for series in metric["timeseries"]
    ]


def query(desk: Desk, text: str, *, by: str = "workspace", audience: str = "", **given: Any) -> Told:
    """Ask Log Analytics."""
    rig = desk.rig
    place = f"/workspaces/{rig.cloud.part(Logs).customer_id}" if by == "workspace" else by
    token = rig.cloud.issuer.issue(audience=audience or "https://api.loganalytics.io/").token
    headers = {"Host": "127.0.0.1:1", "Authorization": f"Bearer {token}"}
    body = json.dumps({"query": text, **given}).encode()
    sent = rig.services.answer(Arrived("POST", f"/loganalytics/v1{place}/query", headers, body, False))
    assert rig.services.failures == []
    assert isinstance(sent.body, bytes)
    return Told(sent.status, json.loads(sent.body))


def rows(desk: Desk, text: str, **given: Any) -> list[list[Any]]:
    """Return the rows that answer a query."""
    told = query(desk, text, **given)
    assert told.status == 200, told
    found: list[list[Any]] = told.content["tables"][0]["rows"]
    return found


def test_requests_are_counted_by_the_minute(desk: Desk) -> None:
    found = metrics(desk, "RequestsPerMinute", aggregation="Total,Average").content
    assert found["namespace"] == NAMESPACE
    assert found["value"][0]["unit"] == "Count"
    assert points(found["value"][0], "total") == [{"points": [2.0, 4.0]}]
    stamps = [point["timeStamp"] for point in found["value"][0]["timeseries"][0]["data"]]
    assert len(stamps) in (60, 61)
    assert all(stamp.endswith(":00Z") for stamp in stamps)


def test_a_filter_splits_by_its_dimensions(desk: Desk) -> None:
    told = metrics(
        desk,
        "RequestsPerMinute",
        aggregation="total",
        **{"$filter": "deployment eq 'blue' and statusCode eq '*'"},
    )
    assert points(told.content["value"][0], "total") == [
        {"deployment": "blue", "statusCode": "200", "points": [1.0, 2.0]},
        {"deployment": "blue", "statusCode": "424", "points": [1.0]},
    ]
    either = "deployment eq 'green' or deployment eq 'nobody'"
    mirrored = metrics(desk, "RequestsPerMinute", aggregation="total", **{"$filter": either}).content
    assert [each["deployment"] for each in points(mirrored["value"][0], "total")] == ["green"]


def test_the_models_own_status_is_a_dimension(desk: Desk) -> None:
    told = metrics(desk, "RequestsPerMinute", aggregation="total", **{"$filter": "modelStatusCode eq '500'"})
    assert points(told.content["value"][0], "total") == [{"modelStatusCode": "500", "points": [2.0]}]


def test_latencies_are_those_that_were_measured(desk: Desk) -> None:
    told = metrics(
        desk, "RequestLatency,RequestLatency_P50,RequestLatency_P99", aggregation="average"
    ).content
    mean, median, slowest = (points(each, "average")[0]["points"][-1] for each in told["value"])
    assert 0 < median <= slowest
    assert 0 < mean <= slowest


def test_longer_intervals_sum_up_minutes(desk: Desk) -> None:
    told = metrics(
        desk, "RequestsPerMinute", aggregation="total,count,maximum", interval="P1D", timespan="P1D"
    )
    data = [point for point in told.content["value"][0]["timeseries"][0]["data"] if "total" in point]
    assert sum(point["total"] for point in data) == 6.0
    assert max(point["maximum"] for point in data) == 4.0


def test_a_deployments_own_metrics_tell_its_instances(desk: Desk) -> None:
    place = "onlineEndpoints/wine/deployments/blue"
    names = "DeploymentCapacity,CpuMemoryUtilizationPercentage,GpuUtilizationPercentage"
    told = metrics(desk, names, place, aggregation="average").content["value"]
    capacity, memory, gpu = (points(each, "average")[0]["points"] for each in told)
    assert set(capacity) == {1.0}
    assert len(capacity) >= 4
    assert memory
    assert all(0 < value < 100 for value in memory)
    assert gpu == []
    refused = metrics(desk, "DeploymentCapacity", place, aggregation="total")
    assert (refused.status, "Aggregation total" in refused.message) == (400, True)


@pytest.mark.parametrize(
    ("names", "more", "words"),
    [
        ("Nothing", {}, "Valid metrics: RequestsPerMinute,"),
        ("RequestsPerMinute", {"interval": "PT2M"}, "Interval PT2M"),
        ("RequestsPerMinute", {"aggregation": "median"}, "Aggregation median"),
        ("RequestsPerMinute", {"$filter": "colour eq 'red'"}, "no dimension colour"),
        ("RequestsPerMinute", {"$filter": "deployment like 'b'"}, "not understood"),
        ("RequestsPerMinute", {"metricnamespace": "Other/things"}, "no metric namespace"),
        ("RequestsPerMinute", {"timespan": "yesterday/today"}, "ISO 8601"),
    ],
)
def test_what_there_is_not_is_refused(desk: Desk, names: str, more: dict[str, str], words: str) -> None:
    told = metrics(desk, names, **more)
    assert told.status == 400
    assert words in told.message


def test_definitions_name_dimensions_and_units(desk: Desk) -> None:
    path = f"{desk.rig.workspace}/onlineEndpoints/wine/providers/microsoft.insights/metricDefinitions"
    found = desk.rig.ask("GET", path, version=METRICS).content["value"]
    latency = next(each for each in found if each["name"]["value"] == "RequestLatency")
    assert latency["unit"] == "MilliSeconds"
    assert latency["dimensions"] == [{"value": "deployment", "localizedValue": "deployment"}]
    missing = path.replace("wine", "beer")
    assert desk.rig.ask("GET", missing, version=METRICS).status == 404


def test_the_batch_answers_for_several_resources_with_a_token_of_its_own(desk: Desk) -> None:
    rig = desk.rig
    resource = f"{rig.workspace}/onlineEndpoints/wine"
    asked = urlencode(
        {
            "metricnamespace": NAMESPACE,
            "metricnames": "RequestsPerMinute",
            "aggregation": "total",
            "interval": "PT1M",
            "api-version": "2024-02-01",
        }
    )
    target = f"/metrics-monitor/subscriptions/{rig.cloud.subscription}/metrics:getBatch?{asked}"
    for audience, status in (
        ("https://metrics.monitor.azure.com", 200),
        ("https://management.azure.com", 401),
    ):
        headers = {"Authorization": f"Bearer {rig.cloud.issuer.issue(audience=audience).token}"}
        body = json.dumps({"resourceids": [resource]}).encode()
        sent = rig.services.answer(Arrived("POST", target, headers, body, False))
        assert sent.status == status
        if status == 200:
            assert isinstance(sent.body, bytes)
            value = json.loads(sent.body)["values"][0]
            assert value["resourceid"] == resource
            assert points(value["value"][0], "total") == [{"points": [2.0, 4.0]}]


def test_traffic_is_logged_from_the_setting_on(desk: Desk) -> None:
    found = rows(
        desk,
        "AmlOnlineEndpointTrafficLog | where EndpointName == 'wine' | order by ResponseCode asc"
        " | project DeploymentName, ResponseCode, ModelStatusCode, XMSClientRequestId, AuthType, Method"
        ", Path",
    )
    good = ["blue", 200, 200, "mine", "Key", "POST", "/score"]
    assert found == [good, good, ["blue", 424, 500, "mine", "Key", "POST", "/score"]]


def test_a_resource_can_be_asked_for_its_own_logs(desk: Desk) -> None:
    text = "AmlOnlineEndpointTrafficLog | summarize count()"
    for place in (f"{desk.rig.workspace}/onlineEndpoints/wine", desk.rig.workspace):
        assert rows(desk, text, by=place) == [[3]]
    assert rows(desk, text, by=f"{desk.rig.workspace}/onlineEndpoints/win") == [[0]]


def test_lines_and_events_of_containers_are_logged(desk: Desk) -> None:
    lines = rows(
        desk, "AmlOnlineEndpointConsoleLog | where Message has 'ValueError' | project DeploymentName"
    )
    assert ["blue"] in lines
    assert rows(desk, "AmlOnlineEndpointEventLog | where Name == 'ContainerReady' | count") == [[0]]


def test_a_timespan_narrows_what_is_seen(desk: Desk) -> None:
    text = "AmlOnlineEndpointTrafficLog | count"
    assert rows(desk, text, timespan="PT1M") == [[0]]
    assert rows(desk, text, timespan="PT1H") == [[3]]


def test_rows_come_late_when_they_are_to(desk: Desk) -> None:
    logs = desk.rig.cloud.part(Logs)
    logs.delay_s = 3600.0
    try:
        assert rows(desk, "AmlOnlineEndpointTrafficLog | count") == [[0]]
    finally:
        logs.delay_s = 0.0


def test_a_query_that_makes_no_sense_says_why(desk: Desk) -> None:
    told = query(desk, "AmlOnlineEndpointTrafficLog | where Nothing == 1")
    assert told.status == 400
    assert told.content["error"]["details"][0]["code"] == "SemanticError"
    assert query(desk, "T | count", by="/workspaces/unknown").status == 404
    assert query(desk, "x", audience="https://management.azure.com").status == 401


def test_a_setting_that_is_gone_sends_no_more(desk: Desk) -> None:
    rig = desk.rig
    place = f"{rig.workspace}/onlineEndpoints/wine/providers/Microsoft.Insights/diagnosticSettings"
    assert [each["name"] for each in rig.ask("GET", place, version=SETTINGS).content["value"]] == ["all"]
    assert rig.ask("DELETE", f"{place}/all", version=SETTINGS).status == 200
    rig.cloud.clock.advance(60.0)
    desk.score({"after": 1})
    rig.cloud.clock.advance(60.0)
    assert rows(desk, "AmlOnlineEndpointTrafficLog | count") == [[3]]
    assert rig.ask("GET", f"{place}/all", version=SETTINGS).status == 404
    wrong = {
        "workspaceId": rig.cloud.part(Logs).workspace_id,
        "logs": [{"category": "Other", "enabled": True}],
    }
    assert rig.ask("PUT", f"{place}/all", {"properties": wrong}, version=SETTINGS).status == 400
    assert rig.ask("PUT", f"{place}/all", {"properties": {"logs": []}}, version=SETTINGS).status == 400


def test_the_workspace_of_logs_tells_its_id(desk: Desk) -> None:
    logs = desk.rig.cloud.part(Logs)
    told = desk.rig.ask("GET", logs.workspace_id, version="2022-10-01").content
    assert told["properties"]["customerId"] == logs.customer_id


def test_settings_of_scaling_are_kept_and_checked(desk: Desk) -> None:
    rig = desk.rig
    place = f"/subscriptions/{rig.cloud.subscription}/resourceGroups/{rig.cloud.group}"
    place += "/providers/Microsoft.Insights/autoscalesettings/grow"
    capacity = {"minimum": "1", "maximum": "3", "default": "1"}
    body = {
        "location": "westeurope",
        "properties": {
            "targetResourceUri": f"{rig.workspace}/onlineEndpoints/wine/deployments/blue",
            "profiles": [{"name": "own", "capacity": capacity, "rules": []}],
        },
    }
    assert rig.ask("PUT", place, body, version="2022-10-01").status == 201
    assert rig.ask("PUT", place, body, version="2022-10-01").status == 200
    assert rig.ask("GET", place, version="2022-10-01").content["properties"]["enabled"] is True
    capacity["default"] = "5"
    assert "minimum <= default" in rig.ask("PUT", place, body, version="2022-10-01").message
    body["properties"] = {**body["properties"], "targetResourceUri": "/subscriptions/x"}  # type: ignore[dict-item]
    assert rig.ask("PUT", place, body, version="2022-10-01").status == 400
    assert rig.ask("DELETE", place, version="2022-10-01").status == 200
