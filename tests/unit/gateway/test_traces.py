"""Traces of mlflow's REST API: what is told and kept, spans from either form, searches, assessments."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway_calls import Calls
from tests.support.program_state import forget
from trackbridge.domain.ids import mint_id
from trackbridge.domain.traces import Trace
from trackbridge.errors import BridgeError
from trackbridge.gateway import trace_forms
from trackbridge.gateway.gateway import Gateway, GatewayOptions
from trackbridge.gateway.traces import put_file

INVALID, ABSENT = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"
TIME = "2026-11-21T19:50:53.727Z"
TIME_MS = 1_795_290_653_727


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    folder = tmp_path_factory.mktemp("traces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRIDGE_DELIVERY", "off")
        patch.setenv("BRIDGE_HOME", str(folder / "home"))
        gateway = Gateway(GatewayOptions(backend=f"file:{folder}/store"))
        gateway.start()
        yield Calls(gateway)
        gateway.close()
        forget()


class Client:
    """Calls version 3.0 of the API in an experiment of a test's own."""

    def __init__(self, calls: Calls, name: str) -> None:
        self.calls = calls
        made = calls("POST", "experiments/create", {"name": name})
        self.experiment_id: str = made["experiment_id"]

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        return self.calls(method, path, body, "3.0")

    def code(self, method: str, path: str, body: Any = None) -> str:
        return self.calls.code(method, path, body, "3.0")

    def info(self, **fields: Any) -> dict[str, Any]:
        return {
            "trace_id": f"tr-{mint_id()}",
            "trace_location": self.location,
            "request_time": TIME,
            "execution_duration": "1.250s",
            "state": "OK",
            "trace_metadata": {"mlflow.sourceRun": "r1"},
            "tags": {"mlflow.traceName": "ask"},
            "request_preview": "why?",
            **fields,
        }

    @property
    def location(self) -> dict[str, Any]:
        return {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": self.experiment_id},
        }

    def started(self, **fields: Any) -> dict[str, Any]:
        info = self.info(**fields)
        found: dict[str, Any] = self("POST", "traces", {"trace": {"trace_info": info}})["trace"]["trace_info"]
        return found


@pytest.fixture
def client(calls: Calls, request: pytest.FixtureRequest) -> Client:
    return Client(calls, f"of {request.node.name}")


def test_a_trace_is_told_as_mlflow_tells_it(client: Client) -> None:
    info = client.info()
    made = client("POST", "traces", {"trace": {"trace_info": info}})["trace"]["trace_info"]
    place = f"mlflow-artifacts:/{client.experiment_id}/traces/{info['trace_id']}/artifacts"
    assert made == {
        **info,
        "execution_duration": "1.250s",
        "tags": {**info["tags"], "mlflow.artifactLocation": place},
    }
    kept = client("GET", f"traces/{info['trace_id']}")["trace"]["trace_info"]
    assert kept["tags"].pop("mlflow.trace.spansLocation") == "TRACKING_STORE"
    assert kept == made
    found = client("POST", "traces/batchGetInfos", {"trace_ids": [info["trace_id"], "tr-" + "0" * 32]})
    assert [found_info["trace_id"] for found_info in found["trace_infos"]] == [info["trace_id"]]


def test_spans_of_the_backends_store(client: Client) -> None:
    trace_id = client.started()["trace_id"]
    known = client.calls.gateway.client.reader.tracking.get_trace(trace_id)
    digits = trace_id.removeprefix("tr-")
    span = {"traceId": digits, "spanId": "00112233445566ff", "name": "root", "links": []}
    trace = Trace(
        trace_id=trace_id,
        experiment_id=known.experiment_id,
        request_time=1,
        spans=({**span, "links": [{"traceId": digits, "spanId": "00112233445566ff"}]},),
    )
    client.calls.gateway.client.reader.tracking.put_trace(trace)
    (told,) = client("GET", f"traces/get?trace_id={trace_id}")["trace"]["spans"]
    ids = (
        base64.b64encode(bytes.fromhex(digits)).decode(),
        base64.b64encode(bytes.fromhex("00112233445566ff")).decode(),
    )
    assert (told["traceId"], told["spanId"]) == ids
    assert (told["links"][0]["traceId"], told["links"][0]["spanId"]) == ids


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"spans": [{}]}', b'{"spans": [3]}', b'{"spans": 3}']
)
def test_a_file_of_another_form_is_refused(client: Client, content: bytes) -> None:
    trace_id = client.started()["trace_id"]
    assert "spans" not in client("GET", f"traces/get?trace_id={trace_id}")["trace"]  # none came so far
    put_file(client.calls.gateway, trace_id, "traces.json", content)
    assert client.code("GET", f"traces/get?trace_id={trace_id}") == "NOT_IMPLEMENTED"


def test_searches(client: Client) -> None:
    for number in range(4):
        client.started(
            request_time=f"2026-11-21T19:50:5{number}Z",
            state="ERROR" if number % 2 else "OK",
            execution_duration=f"{4 - number}s",
            tags={"mlflow.traceName": f"t{number}", "n": str(number)},
        )

    def search(filter_string: str = "", **fields: Any) -> Any:
        body = {"locations": [client.location], "filter": filter_string, **fields}
        return client("POST", "traces/search", body)

    def names(answer: Any) -> list[str]:
        return [info["tags"]["mlflow.traceName"] for info in answer.get("traces", [])]

    assert names(search()) == ["t3", "t2", "t1", "t0"]
    assert names(search("status = 'OK'")) == ["t2", "t0"]
    assert names(search("tags.n = '1' AND attributes.name LIKE 't%'")) == ["t1"]
    assert names(search(f"timestamp_ms > {TIME_MS - 1000}")) == ["t3"]
    assert names(search("run_id = 'r1' AND execution_time < 3000")) == ["t3", "t2"]
    assert names(search("trace.status = 'ERROR'", order_by=["trace.timestamp_ms ASC"])) == ["t1", "t3"]
    assert names(search(order_by=["execution_time ASC"], max_results=1)) == ["t3"]
    page = search(order_by=["timestamp_ms ASC"], max_results=3)
    assert names(page) == ["t0", "t1", "t2"]
    rest = search(order_by=["timestamp_ms ASC"], max_results=3, page_token=page["next_page_token"])
    assert (names(rest), "next_page_token" in rest) == (["t3"], False)
    wrong: dict[str, Any]
    for wrong in (
        {"filter": "nothing = 'x'"},
        {"max_results": 501},
        {"max_results": 0},
        {"page_token": "x"},
        {"order_by": ["nothing"]},
        {"locations": []},
    ):
        body = {"locations": [client.location], **wrong}
        assert client.code("POST", "traces/search", body) == INVALID


def test_tags_of_a_trace(client: Client) -> None:
    trace_id = client.started()["trace_id"]
    client("PATCH", f"traces/{trace_id}/tags", {"key": "a", "value": "b"})
    client.calls("PATCH", f"traces/{trace_id}/tags", {"key": "c", "value": "d"})  # as in version 2.0
    assert client.code("PATCH", f"traces/{trace_id}/tags", {"value": "b"}) == INVALID
    assert client.code("PATCH", f"traces/{trace_id}/tags", {"key": "mlflow.artifactLocation"}) == INVALID
    client("DELETE", f"traces/{trace_id}/tags", {"key": "a"})
    assert client.code("DELETE", f"traces/{trace_id}/tags", {"key": "a"}) == ABSENT
    tags = client("GET", f"traces/{trace_id}")["trace"]["trace_info"]["tags"]
    assert (tags.get("a"), tags["c"], tags["mlflow.traceName"]) == (None, "d", "ask")


def test_assessments(client: Client) -> None:
    trace_id = client.started()["trace_id"]
    root = f"traces/{trace_id}/assessments"
    given = {"assessment_name": "good", "feedback": {"value": True}, "source": {"source_type": "HUMAN"}}
    made = client("POST", root, {"assessment": given})["assessment"]
    one = f"{root}/{made['assessment_id']}"
    assert client("GET", one)["assessment"] == made == {**made, **given, "trace_id": trace_id}
    change = {"assessment": {"expectation": {"value": 1}, "rationale": "so"}, "update_mask": "expectation"}
    changed = client("PATCH", one, change)["assessment"]
    assert (changed["expectation"], "feedback" in changed, "rationale" in changed) == (
        {"value": 1},
        False,
        False,
    )
    assert client("GET", f"traces/{trace_id}")["trace"]["trace_info"]["assessments"] == [changed]
    assert client.code("PATCH", one, {"assessment": {}, "update_mask": "rationale"}) == INVALID
    assert client.code("POST", root, {"assessment": {}}) == INVALID
    client("DELETE", one)
    for method in ("GET", "DELETE"):
        assert client.code(method, one) == ABSENT


def test_wrong_traces_are_refused(client: Client) -> None:
    wrong: dict[str, Any]
    for wrong in (
        {"trace_id": "x"},
        {"trace_id": "tr-../../etc"},
        {"request_time": "yesterday"},
        {"request_time": "2026-13-41T00:00:00Z"},
        {"execution_duration": "long"},
        {"state": "FINE"},
        {"state": "1" * 5000},
        {"tags": {"a": 3}},
        {"assessments": [{}]},
    ):
        body = {"trace": {"trace_info": client.info(**wrong)}}
        assert client.code("POST", "traces", body) == INVALID, wrong
    assert client.code("POST", "traces", {"trace": {}}) == INVALID
    nowhere = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "17"}}
    assert (
        client.code("POST", "traces", {"trace": {"trace_info": client.info(trace_location=nowhere)}})
        == ABSENT
    )
    assert client.code("GET", f"traces/tr-{mint_id()}") == ABSENT
    with pytest.raises(BridgeError, match="not found"):
        put_file(client.calls.gateway, f"tr-{mint_id()}", "traces.json", b"")
    for path in ("delete-traces", "link-to-run"):
        assert client.code("POST", f"traces/{path}", {}) == "NOT_IMPLEMENTED"


def test_a_trace_of_an_experiment_that_nothing_was_logged_to(calls: Calls) -> None:
    info = Client(calls, "another").info(trace_location=None)  # which is Default
    made = calls("POST", "traces", {"trace": {"trace_info": info}}, "3.0")["trace"]["trace_info"]
    assert made["trace_location"]["mlflow_experiment"] == {"experiment_id": "0"}


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        (TIME, TIME_MS),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-11-21T20:50:53.727999+01:00", TIME_MS),
        ("2026-11-21T19:20:53.727-00:30", TIME_MS),
    ],
)
def test_times_are_read_as_protobuf_writes_them(text: str, milliseconds: int) -> None:
    assert trace_forms.milliseconds_of(text) == milliseconds
    assert trace_forms.milliseconds_of(trace_forms.time_of(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-21",
        "2026-02-30T00:00:00Z",
        "٢026-11-21T19:50:53Z",
        "0001-01-01T00:00:00+23:59",  # once kept, no search could tell it
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BridgeError):
        trace_forms.milliseconds_of(text)


@pytest.mark.parametrize(("text", "milliseconds"), [("0s", 0), ("1.250s", 1250), ("3.000000001s", 3000)])
def test_durations_are_read_as_protobuf_writes_them(text: str, milliseconds: int) -> None:
    assert trace_forms.duration_ms_of(text) == milliseconds
    assert trace_forms.duration_ms_of(trace_forms.duration_of(milliseconds)) == milliseconds
