"""What the workspace has to run jobs on, and which secrets it keeps; asked for once each, and remembered."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from trackbridge.errors import BridgeError, NotFound, Rejected
from trackbridge_adapters._mlflow_rest.wire import Json, Wire
from trackbridge_adapters.databricks.volumes import VolumeFiles

CLUSTERS = "/api/2.1/clusters"
PAGES_MAX = 1000
Answer = TypeVar("Answer")
_LTS = re.compile(r"(?P<major>[0-9]+)\.(?P<minor>[0-9]+)\.x-scala[0-9.]+")


class Workspace:
    """The compute of one workspace. Any thread may use it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lock = threading.Lock()
        self._known: dict[str, Any] = {}

    def node_types(self) -> frozenset[str]:
        """Return the instance types."""
        return self._once(
            "node types",
            lambda: frozenset(
                str(item["node_type_id"])
                for item in self._wire.get("list-node-types", prefix=CLUSTERS).get("node_types") or ()
            ),
        )

    def newest_runtime(self) -> str | None:
        """Return the newest runtime with long-term support, neither for ML nor for GPUs."""
        return self._once("runtime", self._newest_runtime)

    def clusters(self, wanted: str) -> list[Json]:
        """Return the clusters with a name or an id."""
        found: list[Json] = []
        query: dict[str, Any] = {"page_size": 100}
        for _ in range(PAGES_MAX):
            page = self._wire.get("list", query, prefix=CLUSTERS)
            found += [
                item
                for item in page.get("clusters") or ()
                if wanted in (item.get("cluster_id"), item.get("cluster_name"))
            ]
            if not page.get("next_page_token"):
                break
            query["page_token"] = page["next_page_token"]
        by_id = [item for item in found if item.get("cluster_id") == wanted]
        return by_id or found

    def has_secret(self, scope: str, key: str) -> bool:
        """Tell whether a scope holds a secret; its value is not asked for."""
        try:
            listed = self._wire.get("list", {"scope": scope}, prefix="/api/2.0/secrets").get("secrets") or ()
        except NotFound:
            return False
        except Rejected as error:  # the service answers 400 to some scopes that it does not have
            if "does not exist" in str(error):
                return False
            raise
        return any(str(item.get("key", "")).lower() == key.lower() for item in listed)

    def has_data(self, path: str) -> bool:
        """Tell whether there is a file or a folder at a path of a volume."""
        return VolumeFiles(self._wire, path.rpartition("/")[0]).find(path.rpartition("/")[2]) is not None

    def _newest_runtime(self) -> str | None:
        listed = self._wire.get("spark-versions", prefix=CLUSTERS).get("versions") or ()
        found = {}
        for item in listed:
            match = _LTS.fullmatch(str(item.get("key", "")))
            if match is not None and "LTS" in str(item.get("name", "")):
                found[int(match["major"]), int(match["minor"])] = str(item["key"])
        return found[max(found)] if found else None

    def _once(self, name: str, ask: Callable[[], Answer]) -> Answer:
        with self._lock:
            if name not in self._known:
                self._known[name] = ask()
            known: Answer = self._known[name]
            return known


def is_about_absence(error: BridgeError) -> bool:
    """Tell whether an answer means that a run is not there: the service answers 400."""
    return isinstance(error, NotFound) or (isinstance(error, Rejected) and "does not exist" in str(error))
