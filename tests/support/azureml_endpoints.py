"""Endpoints of the emulated Azure ML for tests: models and scripts that are quick, deployments, requests."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.azureml_calls import Rig
from trackbridge.testing.emulators.azureml.jobs_records import Job, Jobs
from trackbridge.testing.emulators.azureml.online_state import OnlineEndpoints
from trackbridge.testing.emulators.azureml.places import place_of
from trackbridge.testing.emulators.azureml.storage import ACCOUNT, CONTAINER
from trackbridge.testing.emulators.listener import Arrived

SCRIPT = """
import json, os, time
def init():
    global version
    version = open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "version.txt")).read()
    print("loaded", version, flush=True)
def run(raw_data):
    asked = json.loads(raw_data)
    time.sleep(asked.get("sleep_s", 0))
    if asked.get("fail"):
        raise ValueError("asked to fail")
    return {"version": version, "asked": asked, "setting": os.environ.get("SETTING", "")}
"""
BATCH_SCRIPT = """
import os, pathlib
def init():
    global version
    version = pathlib.Path(os.environ["AZUREML_MODEL_DIR"], "model", "version.txt").read_text()
    pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"], "beside.txt").write_text("own")
def run(mini_batch):
    texts = [pathlib.Path(name).read_text() for name in mini_batch]
    if "bad" in texts:
        raise ValueError("a bad file")
    return [[version, len(mini_batch), pathlib.Path(name).name] for name in mini_batch]
"""
CONTAINER_SCRIPT = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(200 if self.path == "/live" else 404, b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(418 if body == b"tea" else 200, self.path.encode() + b" " + body)
    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/x-own")
        self.end_headers()
        self.wfile.write(body)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
WAIT_S = 120.0
REQUESTS = {"requestTimeout": "PT60S"}
"""Azure's own five seconds are too few for a machine that has much else to do."""
ENVIRONMENT_BODY = {"properties": {"image": "mcr.microsoft.com/azureml/minimal-ubuntu"}}


class Scored(NamedTuple):
    """An answer of an endpoint; names of headers are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def content(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)


class Desk:
    """Makes endpoints and deployments on a rig, and scores."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.keys: dict[str, str] = {}

    def endpoint(self, name: str = "wine", **properties: Any) -> None:
        """Make an endpoint, or change it: whatever is not named is gone."""
        body = {"location": "westeurope", "properties": {"authMode": "Key", **properties}}
        begun = self.rig.ask("PUT", f"onlineEndpoints/{name}", body)
        assert begun.status in (200, 201), begun
        assert self.rig.outcome(begun)["status"] == "Succeeded"
        if properties.get("authMode", "Key") == "Key":
            self.keys[name] = self.rig.ask("POST", f"onlineEndpoints/{name}/listKeys").content["primaryKey"]

    def script_model(self, version: str = "1") -> str:
        """Register a model for ``SCRIPT``; returns its id."""
        place = f"LocalUpload/{version}/model/version.txt"
        self.rig.storage.put(place, f"v{version}".encode(), container=CONTAINER)
        uri = f"azureml://datastores/workspaceblobstore/paths/LocalUpload/{version}/model"
        body = {"properties": {"modelType": "custom_model", "modelUri": uri}}
        return str(self.rig.ask("PUT", f"models/wine/versions/{version}", body).content["id"])

    def code(self, text: str = SCRIPT, version: str = "1") -> str:
        """Register a folder with ``score.py``; returns its id."""
        self.rig.storage.put(f"code/{version}/score.py", text.encode(), container=CONTAINER)
        uri = f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}/code/{version}"
        body = {"properties": {"codeUri": uri}}
        return str(self.rig.ask("PUT", f"codes/code/versions/{version}", body).content["id"])

    def environment(self, name: str = "env", **properties: Any) -> str:
        """Register an environment; returns its id."""
        body = {"properties": {**ENVIRONMENT_BODY["properties"], **properties}}
        return str(self.rig.ask("PUT", f"environments/{name}/versions/1", body).content["id"])

    def script(self, text: str = SCRIPT, version: str = "1") -> dict[str, Any]:
        """Return the properties of a deployment with a script."""
        return {
            "model": self.script_model(version),
            "codeConfiguration": {"codeId": self.code(text, version), "scoringScript": "score.py"},
            "environmentId": self.environment(),
        }

    def container(self, folder: Path, name: str = "own", **routes: Any) -> dict[str, Any]:
        """Return the properties of a deployment with a container of one's own."""
        program = folder / "container.py"
        program.write_text(CONTAINER_SCRIPT)
        inference = {
            "livenessRoute": {"path": "/live", "port": 8501},
            "readinessRoute": {"path": "/live", "port": 8501},
            "scoringRoute": {"path": "/v1/models/wine:predict", "port": 8501},
            **routes,
        }
        return {
            "environmentId": self.environment(name, image="own/image:1", inferenceConfig=inference),
            "environmentVariables": {"BRIDGE_EMULATED_COMMAND": f"{sys.executable} {program} 8501"},
        }

    def deploy(
        self, properties: Mapping[str, Any], name: str = "blue", endpoint: str = "wine", **body: Any
    ) -> dict[str, Any]:
        """Make a deployment, and wait until it is there or has failed; returns the operation."""
        content = {"location": "westeurope", "sku": {"name": "Default", "capacity": 1}, **body}
        content["properties"] = {"endpointComputeType": "Managed", "requestSettings": REQUESTS, **properties}
        begun = self.rig.ask("PUT", f"onlineEndpoints/{endpoint}/deployments/{name}", content)
        assert begun.status in (200, 201), begun
        return self.finished(begun)

    def finished(self, begun: Any) -> dict[str, Any]:
        """Wait for what a request has begun; returns the operation."""
        self.rig.cloud.part(OnlineEndpoints).settle()
        return self.rig.outcome(begun, seconds=5.0)

    def score(
        self,
        payload: Any = None,
        *,
        endpoint: str = "wine",
        path: str = "/score",
        key: str | None = None,
        method: str = "POST",
        body: bytes | None = None,
        **headers: str,
    ) -> Scored:
        """Send a request to an endpoint, as its key's owner."""
        given = self.keys.get(endpoint, "") if key is None else key
        sent = {"Host": "127.0.0.1:1", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if given:
            sent["Authorization"] = f"Bearer {given}"
        content = json.dumps(payload if payload is not None else {}).encode() if body is None else body
        answer = self.rig.services.answer(
            Arrived(method, f"/endpoints/{endpoint}{path}", _Headers(sent), content, False)
        )
        assert self.rig.services.failures == []
        assert isinstance(answer.body, bytes)
        told = {name.lower(): value for name, value in answer.headers.items()}
        assert len(told) == len(answer.headers), "a header was sent twice"
        return Scored(answer.status, answer.body, told)

    def score_aside(self, payload: Any, into: list[Scored]) -> threading.Thread:
        """Send a request in a thread."""
        thread = threading.Thread(target=lambda: into.append(self.score(payload)))
        thread.start()
        return thread


class BatchDesk(Desk):
    """Makes batch endpoints, and invokes them."""

    def batch(self, name: str = "scores", **properties: Any) -> None:
        """Make a batch endpoint, or change it."""
        body = {"location": "westeurope", "properties": {"authMode": "aadToken", **properties}}
        begun = self.rig.ask("PUT", f"batchEndpoints/{name}", body)
        assert begun.status in (200, 201), begun
        self.rig.outcome(begun)

    def batch_deployment(self, properties: Mapping[str, Any], name: str = "one") -> dict[str, Any]:
        """Make a deployment of it."""
        place = f"batchEndpoints/scores/deployments/{name}"
        begun = self.rig.ask("PUT", place, {"location": "westeurope", "properties": properties})
        assert begun.status in (200, 201), begun
        self.rig.outcome(begun)
        found: dict[str, Any] = self.rig.ask("GET", place).content
        return found

    def batch_script(self, text: str = BATCH_SCRIPT, **more: Any) -> dict[str, Any]:
        """Return the properties of a deployment with a script."""
        given = self.script(text)
        return {**given, "model": {"referenceType": "Id", "assetId": given["model"]}, **more}

    def files(self, **texts: str) -> str:
        """Put files into a folder; returns its address."""
        for name, text in texts.items():
            self.rig.storage.put(f"in/{name}.txt", text.encode(), container=CONTAINER)
        return "azureml://datastores/workspaceblobstore/paths/in/"

    def invoke(self, uri: str, *, key: str | None = None, deployment: str = "", **properties: Any) -> Scored:
        """Invoke the endpoint."""
        inputs = {"UriFolder": {"jobInputType": "UriFolder", "uri": uri}}
        token = self.rig.cloud.issuer.issue(audience="https://ml.azure.com").token if key is None else key
        headers = {"azureml_model_deployment": deployment} if deployment else {}
        body = {"properties": {"inputData": inputs, **properties}}
        return self.score(body, endpoint="scores", path="/jobs", key=token, **headers)

    def ended(self, answer: Scored) -> Job:
        """Wait for the job of an invocation."""
        assert answer.status == 201, answer
        place = f"{self.rig.workspace}/jobs/{answer.content['name']}"
        job = self.rig.cloud.part(Jobs).find(place)
        assert job is not None
        assert job.is_done.wait(WAIT_S)
        return job

    def output(self, job: Job, path: str = "predictions.csv") -> str | None:
        """Return a file of the job's output."""
        place = place_of(self.rig.cloud, self.rig.workspace, f"azureml://jobs/{job.name}/outputs/score")
        assert place is not None
        found = place.read(self.rig.cloud, path)
        return None if found is None else found.decode()


class _Headers(dict[str, str]):
    """Headers by names in any case, as a request of HTTP has them."""

    def get(self, name: str, default: Any = None) -> Any:
        return next((value for key, value in self.items() if key.lower() == name.lower()), default)
