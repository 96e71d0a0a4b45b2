"""A run's files as outputs of its trial component: one link for each file and folder at the top.

SageMaker takes 60 links; the first 60 names are linked, all files are in the bucket. Links that somebody else
made are kept.
"""

from __future__ import annotations

import mimetypes
import threading
from collections.abc import Callable, Collection
from typing import Any

from trackbridge.errors import Conflict, NotFound, Rejected, Unavailable
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.limits import fits, limit_of

OPERATION, FIELD = "UpdateTrialComponent", "OutputArtifacts"
KNOWN_RUNS_MAX = 256
SEEN_MS = 5_000
"""How long readers go by what they have seen of a component."""


class Links:
    """The links of the runs of one place. Any thread may use it.

    Args:
        clients: For SageMaker.
        component_of: Returns the name of a run's trial component, or raises ``NotFound``.
        clock_ms: Milliseconds since 1970.
    """

    def __init__(
        self, clients: Clients, component_of: Callable[[str], str], clock_ms: Callable[[], int]
    ) -> None:
        self._clients = clients
        self._component_of = component_of
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, tuple[int, dict[str, str]]] = {}

    def add(self, run_id: str, name: str, address: str) -> None:
        """Link a file or folder, where it is not linked yet and a link can hold it."""
        if _is_done(name, self._known.get(run_id, ())) or not _can_link(name, address):
            return
        with self._lock:  # each request names all links, so that two at once would lose one
            try:
                component = self._component_of(run_id)
                known = self._links_of(run_id, component)
                if _is_done(name, known):
                    return
                linked = {**known, name: _link(name, address)}
                self._update(component, OutputArtifacts=linked)
            except (NotFound, Rejected):  # no component, or none that may have it; the file is there
                return
            except Conflict as error:
                raise Unavailable(error.message, adapter=ADAPTER, resource=f"run {run_id}") from None
            self._known[run_id] = linked
            self._seen.pop(run_id, None)

    def addresses(self, run_id: str) -> dict[str, str]:
        """Return what is linked, by name, as of some seconds ago at most."""
        now_ms, seen = self._clock_ms(), self._seen.get(run_id)
        if seen is not None and 0 <= now_ms - seen[0] < SEEN_MS:
            return seen[1]
        try:
            found = self._described(self._component_of(run_id))
        except NotFound:
            found = {}
        if len(self._seen) >= KNOWN_RUNS_MAX:
            self._seen.clear()
        addresses = {name: str(link.get("Value", "")) for name, link in found.items()}
        self._seen[run_id] = now_ms, addresses
        return addresses

    def knows(self, run_id: str, name: str) -> bool:
        """Tell whether a name may be linked."""
        known = self._known.get(run_id)
        return known is None or name in known

    def remove(self, run_id: str, name: str) -> None:
        """Take a link away, where there is one."""
        with self._lock:
            try:
                component = self._component_of(run_id)
                known = self._links_of(run_id, component)
                if name in known:
                    self._update(component, OutputArtifactsToRemove=[name])
            except NotFound:
                return
            except Conflict as error:
                raise Unavailable(error.message, adapter=ADAPTER, resource=f"run {run_id}") from None
            self._known[run_id] = {other: link for other, link in known.items() if other != name}
            self._seen.pop(run_id, None)

    def _links_of(self, run_id: str, component: str) -> dict[str, Any]:
        """Read the links anew: where an update replaces them, those that others have made since would go."""
        known = self._described(component)
        if len(self._known) >= KNOWN_RUNS_MAX:
            self._known.clear()
        self._known[run_id] = known
        return known

    def _described(self, component: str) -> dict[str, Any]:
        found = self._clients.call("sagemaker", "DescribeTrialComponent", TrialComponentName=component)
        return dict(found.get(FIELD) or {})

    def _update(self, component: str, **named: Any) -> None:
        self._clients.call("sagemaker", OPERATION, TrialComponentName=component, **named)


def _is_done(name: str, known: Collection[str]) -> bool:
    return name in known or len(known) >= limit_of("sagemaker", OPERATION, FIELD, "max")


def _can_link(name: str, address: str) -> bool:
    return fits("sagemaker", OPERATION, f"{FIELD}.key", name) and fits(
        "sagemaker", OPERATION, f"{FIELD}.value.Value", address
    )


def _link(name: str, address: str) -> dict[str, str]:
    kind = None if address.endswith("/") else mimetypes.guess_type(name)[0]
    if kind is None or not fits("sagemaker", OPERATION, f"{FIELD}.value.MediaType", kind):
        return {"Value": address}
    return {"Value": address, "MediaType": kind}
