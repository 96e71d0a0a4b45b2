"""Payloads that a deployment's data collector keeps: JSON lines of CloudEvents 1.0 in Blob storage.

``request`` and ``response`` are collected by the platform. Other collections come from azureml-ai-monitoring
inside of the container, which posts them to ``AZUREML_MDC_HOST``:``AZUREML_MDC_PORT``, as it does in Azure.
Azure puts payloads that are close in time into one line; here each has its own, so rely on neither.
"""

from __future__ import annotations

import json
import queue
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, NamedTuple

from trackbridge.testing.emulators.azureml.core import Cloud, Refused
from trackbridge.testing.emulators.azureml.deployment_programs import ROOT, Program, as_config
from trackbridge.testing.emulators.azureml.endpoint_rules import asset_named, bad, spelled
from trackbridge.testing.emulators.azureml.places import Place, place_of
from trackbridge.testing.emulators.azureml.scored_requests import Collected, Happenings
from trackbridge.testing.emulators.listener import Arrived, Listener, Sent

CONFIG = f"{ROOT}/mdc-config.json"
LINE_BYTES_MAX = 4 << 20
"""A payload that is larger has a blob of its own."""
COLLECTIONS_MAX = 5
"""Beside the platform's own two."""
PLATFORM = ("request", "response")
FORMATS = {"Minute": "%Y/%m/%d/%H/%M", "Hour": "%Y/%m/%d/%H", "Day": "%Y/%m/%d"}
FOLDER = "azureml://datastores/workspaceblobstore/paths/modelDataCollector"
AGENT = "azureml-mdc-emulator/1.0"


@dataclass(slots=True)
class Collection:
    """One collection: whether and what share of payloads it keeps, and where; ``owed`` takes turns."""

    name: str
    is_enabled: bool
    share: float
    place: Place
    rolling: str
    owed: float = 0.0

    def is_due(self) -> bool:
        """Say whether the next payload is kept: the share that is asked for, evenly."""
        if not self.is_enabled:
            return False
        self.owed += self.share
        if self.owed < 1.0 - 1e-9:
            return False
        self.owed -= 1.0
        return True


class Payload(NamedTuple):
    """What is collected: the JSON or the text, and what CloudEvents say of it."""

    body: bytes
    kind: str
    instance: str
    correlation: str
    agent: str = AGENT
    model_version: str = ""
    content_type: str = "application/json"


def settings_of(
    cloud: Cloud, deployment_id: str, collector: Mapping[str, Any] | None
) -> dict[str, Collection]:
    """Return the collections that a deployment asks for, by their names in lower case.

    Raises:
        Refused: A collection's data asset is not there, or there are too many.
    """
    endpoint_id, _, deployment = deployment_id.rsplit("/", 2)
    endpoint, workspace_id = endpoint_id.rsplit("/", 2)[2], endpoint_id.rsplit("/", 2)[0]
    rolling = spelled(
        (collector or {}).get("rollingRate"), ("Year", "Month", "Day", "Hour", "Minute"), "Hour"
    )
    found: dict[str, Collection] = {}
    for name, given in ((collector or {}).get("collections") or {}).items():
        uri = f"{FOLDER}/{endpoint}/{deployment}/{name}"
        if given.get("dataId"):
            uri = asset_named(cloud, "dataId", given["dataId"], "data")["properties"]["dataUri"]
        place = place_of(cloud, workspace_id, uri)
        if place is None:
            raise bad(f"Collection {name} has no place in a datastore: {uri}", target="dataCollector")
        rate = given.get("samplingRate")
        mode = spelled(given.get("dataCollectionMode"), ("Enabled", "Disabled"), "Disabled")
        share = 1.0 if rate is None else float(rate)
        if not 0.0 <= share <= 1.0:
            raise bad(f"samplingRate of {name} must be from 0 to 1", target="dataCollector")
        found[name.lower()] = Collection(
            name, mode == "Enabled", share, place, FORMATS.get(rolling, FORMATS["Hour"])
        )
    if len([name for name in found if name not in PLATFORM]) > COLLECTIONS_MAX:
        raise bad(
            f"At most {COLLECTIONS_MAX} collections beside request and response", target="dataCollector"
        )
    return found


class Watched:
    """A deployment's collections, and where its containers post to."""

    def __init__(self, owner: DataCollection, deployment_id: str) -> None:
        self._owner, self._deployment_id = owner, deployment_id
        self.collections: dict[str, Collection] = {}
        self._listener: Listener | None = None
        self.lock = threading.Lock()

    def set(self, collections: dict[str, Collection]) -> None:
        """Take the settings of a new start."""
        self.collections = collections
        if any(name not in PLATFORM for name in collections) and self._listener is None:
            self._listener = Listener(self._answer)

    def files(self) -> dict[str, str]:
        """Return the files that containers get."""
        if not self.collections:
            return {}
        told = {
            each.name: {"enabled": each.is_enabled, "share": each.share} for each in self.collections.values()
        }
        return {CONFIG: as_config(told)}

    def told_to(self, program: Program) -> Program:
        """Return the program with the variables that say where to post to."""
        if self._listener is None:
            return program
        port = self._listener.url.rpartition(":")[2]
        variables = {
            "AZUREML_MDC_ENABLED": "true",
            "AZUREML_MDC_HOST": "127.0.0.1",
            "AZUREML_MDC_PORT": port,
            "AZUREML_MDC_CONFIG_PATH": CONFIG,
        }
        return replace(program, environment={**program.environment, **variables})

    def close(self) -> None:
        """Listen no longer."""
        if self._listener is not None:
            self._listener.close()

    def _answer(self, arrived: Arrived) -> Sent:
        headers = {name.lower(): value for name, value in arrived.headers.items()}
        name = headers.get("ce-type", "").removeprefix("azureml.inference.").lower()
        if arrived.method != "POST" or arrived.target != "/modeldata/log":
            return Sent(404, {}, b"")
        collection = self.collections.get(name)
        if collection is None or not collection.is_enabled:
            return Sent(400, {"Content-Type": "text/plain"}, f"no collection {name}".encode())
        payload = Payload(
            arrived.body,
            headers.get("ce-collect-data-type", ""),
            "container",
            headers.get("ce-x-request-id", ""),
            headers.get("ce-agent", ""),
            headers.get("ce-model-version", ""),
            headers.get("content-type", "application/json"),
        )
        # Its own library has taken the sample.
        self._owner.put(self._deployment_id, collection, payload)
        return Sent(200, {"Content-Type": "text/plain"}, b"")


class DataCollection:
    """All of a cloud; ``cloud.part(DataCollection)``. A thread writes what is collected."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._watched: dict[str, Watched] = {}
        self._waiting: queue.Queue[tuple[str, Collection, Payload] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def watch(self, deployment_id: str, collections: dict[str, Collection]) -> Watched:
        """Take a deployment's settings; the lock is held."""
        found = self._watched.setdefault(deployment_id.lower(), Watched(self, deployment_id))
        found.set(collections)
        return found

    def forget(self, deployment_id: str) -> None:
        """Collect no more of a deployment; the lock is held."""
        found = self._watched.pop(deployment_id.lower(), None)
        if found is not None:
            found.close()

    def see(self, deployment_id: str, request: Payload, response: Payload) -> None:
        """Take a request with its answer, if the platform is to collect them and it is their turn."""
        watched = self._watched.get(deployment_id.lower())
        if watched is None:
            return
        for name, payload in zip(PLATFORM, (request, response), strict=True):
            collection = watched.collections.get(name)
            if collection is None:
                continue
            with watched.lock:
                is_due = collection.is_due()
            if is_due:
                self.put(deployment_id, collection, payload)

    def put(self, deployment_id: str, collection: Collection, payload: Payload) -> None:
        """Let a payload be written."""
        with self._cloud.lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="data collector", daemon=True)
                self._thread.start()
        self._waiting.put((deployment_id, collection, payload))

    def settle(self) -> None:
        """Wait until all that was collected is written."""
        self._waiting.join()

    def close(self) -> None:
        """Stop."""
        for watched in self._watched.values():
            watched.close()
        self._watched.clear()
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(10.0)

    def _work(self) -> None:
        while (taken := self._waiting.get()) is not None:
            deployment_id, collection, payload = taken
            try:
                self._write(deployment_id, collection, payload)
                is_kept = True
            except (OSError, RuntimeError, Refused):
                is_kept = False  # told as DataCollectionErrorsPerMinute, as in Azure
            endpoint_id, _, deployment = deployment_id.lower().rsplit("/", 2)
            entry = Collected(
                time_s=self._cloud.now_s(),
                endpoint_id=endpoint_id,
                deployment=deployment,
                instance=payload.instance,
                collection=collection.name,
                is_kept=is_kept,
            )
            self._cloud.part(Happenings).add(entry)
            self._waiting.task_done()
        self._waiting.task_done()

    def _write(self, deployment_id: str, collection: Collection, payload: Payload) -> None:
        now = datetime.fromtimestamp(self._cloud.now_s(), timezone.utc)
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": deployment_id,
            "type": f"azureml.inference.{collection.name}",
            "datacontenttype": payload.content_type,
            "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "collectdatatype": payload.kind,
            "agent": payload.agent,
            "contentrange": f"bytes 0-{max(0, len(payload.body) - 1)}/{len(payload.body)}",
            "correlationid": payload.correlation,
            "xrequestid": payload.correlation,
        }
        if payload.model_version:
            event["modelversion"] = payload.model_version
        folder = collection.place.below(f"{now:{collection.rolling}}")
        storage, place = self._cloud.storage, folder.below(f"{payload.instance}.jsonl")
        if len(payload.body) > LINE_BYTES_MAX:
            own = folder.below(f"{payload.instance}-{event['id']}.data")
            storage.put(own.path, payload.body, container=own.container, account=own.account)
            event["dataref"] = own.path
        else:
            event["data"] = _data(payload.body)
        held = place.read(self._cloud) or b""
        line = json.dumps(event).encode() + b"\n"
        storage.put(place.path, held + line, container=place.container, account=place.account)


def _data(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
